"""The result of a run, which result.json holds.

The text below a field is its description in docs/result.schema.json. A change that an older debft cannot read makes a new format:
raise FORMAT_VERSION and add the function that brings the format before it to the new one to result_file.py. A field that is only
added needs neither, if it has a default.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from debft.runs.seal import sealed
from debft.runs.sessions import SessionOfRun
from debft.runs.written import WrittenFile

FORMAT_VERSION = 4
WarningKind = Literal["empty", "leak", "near_duplicate", "duplicate", "two_labels", "few_rows", "label_in_text", "giveaway"]
CORRELATIONS = ("matthews_correlation", "pearson", "spearmanr")  # scores that may be negative


@dataclass(frozen=True, kw_only=True)
class Timing:
    """A timing says how long a run took."""

    train_seconds: float
    """Seconds of the training steps alone."""
    eval_seconds: float
    """Seconds of all evaluations."""
    examples_per_second: float
    """Sequences trained on, per second of training."""
    tokens_per_second: float
    """Tokens trained on, without padding, per second of training."""


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Some of the training rows were held out, to be scored. Which ones is in the run's split.json."""

    of: int
    """Rows before any was held out."""
    fingerprint: str
    """Digest of all these rows, in their order."""
    seed: int
    """Seed of the choice."""
    shares: dict[str, float]
    """Share of the rows of each split that was held out."""


@dataclass(frozen=True, kw_only=True)
class RowWarning:
    """A warning says what is odd about rows of a run, each of which is in order by itself. They were used as they are."""

    kind: WarningKind
    """What is odd: texts that are empty, rows that are scored and have the texts of a training row or nearly so, training rows that
    have those of an earlier one, texts with two labels, labels with few rows, texts that hold the names of their labels, columns
    that tell the label."""
    split: str
    """Name of the split that the rows are in."""
    count: int
    """How many rows, texts, labels or columns it is about, by its kind."""
    of: int
    """Rows of the split."""
    what: str
    """The warning in words."""
    examples: list[str] = field(default_factory=list)
    """The first ones, named by file and line."""

    def __str__(self) -> str:
        more = [*self.examples, *(["..."] if self.count > len(self.examples) else [])]
        return f"{self.what}{': ' if more else ''}{'; '.join(more)}"


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """The lengths of the inputs of a split, in tokens."""

    median: int
    """Half of the inputs are no longer."""
    p95: int
    """95 % of them are no longer."""
    longest: int
    """The longest input."""
    cut: int
    """Inputs that were cut."""
    uncut: int = 0
    """The longest input before it was cut, where one was; 0 where it is not known."""


@dataclass(frozen=True, kw_only=True)
class RowsOfRun:
    """The rows of a run are named by where they come from and by what they hold."""

    source: str
    """`hub`, `demo` or `directory`; of own data also `file`, or `dataset` for one of the hub."""
    fingerprints: dict[str, str]
    """Digest of the rows of each split."""
    skipped_rows: dict[str, int] = field(default_factory=dict)
    """Bad rows of each split that were left out."""
    held_out: HeldOut | None = None
    """What was held out of the training rows; null: every split came as it is."""
    warnings: list[RowWarning] = field(default_factory=list)
    """What was odd about the rows, taken together, before training."""
    lengths: dict[str, Lengths] = field(default_factory=dict)
    """Lengths of the inputs of each split, and how many were cut; {}: an older debft did not record them."""


@dataclass(frozen=True, kw_only=True)
class ComparedScore:
    """A compared score is one number of a published cell with ours beside it, in percent."""

    score: str
    """`<split>/<metric>`."""
    ours: float | None = None
    """Our score; null where the run has none."""
    value: float | None = None
    """The published number; null where the cell prints none for this score."""
    difference: float | None = None
    """Ours minus the published one, in points; null where one of them is missing."""
    verdict: str = ""
    """What one run can say, with its reason."""
    table: str = ""
    """The table that prints the cell."""
    row: str = ""
    """Its row."""
    cell: str = ""
    """The whole cell verbatim."""
    source: str = ""
    """Where the cell comes from."""
    note: str | None = None
    """What a reader should know about it."""


@dataclass(frozen=True, kw_only=True)
class TrainedRows:
    """The rows of the embeddings that the tokens of the training rows need are trained, the others only decay."""

    rows: int
    """Rows of the embeddings that the steps trained."""
    of: int
    """Rows of the whole table."""


@dataclass(frozen=True, kw_only=True)
class EarlyStop:
    """A run ended before its last step, since nothing better came for as long as its recipe waits."""

    step: int
    """Step after which it ended."""
    of: int
    """Steps that were planned, and that the schedule of the learning rate is of."""
    best_step: int
    """Step with the best score, whose weights are the model."""
    reason: str
    """Why it ended, in words."""


@dataclass(frozen=True, kw_only=True)
class MemoryCut:
    """The memory was not enough for a forward or backward pass: it was done again with fewer tokens, as were all behind it."""

    during: Literal["training", "evaluation"]
    """What was done again."""
    step: int
    """Optimizer step that was done again; of an evaluation the last step before it."""
    before: int
    """Tokens that went through the model at once before."""
    after: int
    """Tokens that do from there on."""


def tokens_after(cuts: Sequence[MemoryCut], during: Literal["training", "evaluation"], asked: int) -> int:
    """Return how many tokens go through the model at once where so many are asked for and the memory was not enough before."""
    return min([asked, *(cut.after for cut in cuts if cut.during == during)])


@dataclass(frozen=True, kw_only=True)
class PathsOfRun:
    """The paths of a run tell which of several ways to compute the same it took; they agree up to rounding and dropout's masks."""

    attention: str
    """What computed the attention: `eager`, `torch` or `triton`."""
    packed: bool = False
    """Whether the tokens of a batch lay end to end, without padding."""
    cls_only_last_layer: bool = False
    """Whether the last layer was computed for the first token alone, which is all that a label is read from."""
    active_vocabulary: TrainedRows | None = None
    """The part of the embeddings that the steps trained; null: they held the whole table."""
    checkpointed_activations: bool = False
    """Whether the activations of the layers were computed anew for the backward pass, to save memory."""
    cuda_graphs: bool = False
    """Whether the passes of the steps were recorded as CUDA graphs and replayed."""
    sharded_over: int = 1
    """Processes of which each held a part of the weights, of their gradients and of the optimizer's state; 1: each held all."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """A result holds what a complete run found out, and everything that led to it. It is the content of result.json."""

    format_version: int = FORMAT_VERSION
    """Version of this file's format."""
    task: str
    """Name of the task, such as `mnli`."""
    model: str
    """Alias, hub id or directory of the model."""
    status: Literal["complete"]
    """Only a complete run has a result."""
    scores: dict[str, float]
    """Score of each `<split>/<metric>`, in percent (0-100)."""
    published: list[ComparedScore]
    """The scores of the published cell with our difference in points; empty where the run is not compared."""
    not_compared: str | None
    """Why the run is not set beside the published cell; null: it is."""
    num_examples: dict[str, int]
    """Rows of each evaluated split."""
    num_train_examples: int
    """Rows of the training split."""
    num_tokens: int
    """Tokens trained on over all steps, without padding."""
    steps: int
    """Optimizer steps of the run."""
    timing: Timing
    """How long the run took."""
    peak_memory_bytes: int
    """Largest memory in use at once, in bytes: of the GPU where one was used, else of the main process."""
    data: RowsOfRun
    """The rows that were trained on and evaluated."""
    recipe: dict[str, Any]
    """The resolved recipe, as recipe.yaml holds it."""
    environment: dict[str, Any]
    """Code, versions and hardware of the run."""
    model_files: dict[str, WrittenFile] | None = None
    """Each file of model/ by its path there; null: the run is of a debft that did not record them."""
    run_files: dict[str, WrittenFile] | None = None
    """Each other file that the run wrote and that is read again, by its path: recipe, split, logs, predictions, analysis; null: the
    run is of a debft that did not record them."""
    intervals: dict[str, list[float]] = field(default_factory=dict)
    """95 % interval of a score, [low, high] in percent: what other rows of the same kind would move, not what other seeds would."""
    label_counts: dict[str, int] = field(default_factory=dict)
    """Training rows of each label; {} where there are no labels."""
    started: str | None = None
    """When the command that completed the run began, in UTC as ISO 8601 writes it; null: an older debft did not record it."""
    finished: str | None = None
    """When the result was written; null as above."""
    command: str | None = None
    """That command as it was typed; null where the run was not started by the command line."""
    paths: PathsOfRun | None = None
    """Which ways to compute the run took; null: it is of a debft that had one alone."""
    stopped_early: EarlyStop | None = None
    """Where and why the run ended before its last step; null: it did not."""
    weights: dict[str, str] = field(default_factory=dict)
    """sha256 of each file of weights that the run began from; {}: from random ones, or an older debft did not record it."""
    sessions: list[SessionOfRun] = field(default_factory=list)
    """The parts that single commands did, in order; []: one command did it all, or an older debft did not record them. `recipe` is
    what the first began with; options of the optimisation that were changed later are here."""
    memory_cuts: list[MemoryCut] = field(default_factory=list)
    """Where the memory was not enough and fewer tokens went through the model at once from there on."""
    overflows: int | None = None
    """How often the gradient overflowed in fp16 and a step was tried again with a lower loss scale; null: it was not in fp16."""
    warnings: list[str] = field(default_factory=list)
    """What shows that the run has learned nothing: predictions that are all one, a loss above that of a guess."""
    sha256: str | None = field(default=None, compare=False)
    """Digest of everything else in this file, which tells a change by hand or a flipped bit; null: an older debft wrote none."""

    def to_json(self) -> str:
        """Return the content of result.json, sealed by its digest."""
        return json.dumps(sealed(asdict(self)), indent=2, ensure_ascii=False, allow_nan=False)


def in_percent(score: str) -> bool:
    """Whether it is a score of the task, in percent, and not a mean that training logged, such as `train/loss`."""
    return not score.startswith("train/")


def possible_range(score: str) -> tuple[float, float]:
    """Return the lowest and the highest value that a score can have: of a correlation -100 and 100, of what training logs none."""
    if not in_percent(score):
        return 0.0, math.inf
    return (-100.0 if score.rpartition("/")[2] in CORRELATIONS else 0.0), 100.0
