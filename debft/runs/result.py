"""The result of a run, and the file result.json that holds it: written in the newest format, read in every older one.

The text below a field is its description in docs/result.schema.json. A change that an older debft cannot read makes a new format:
raise FORMAT_VERSION and add the function that brings the format before it to the new one. A field that is only added needs
neither, if it has a default.
"""

import json
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, TypeGuard

from debft.config.reading import upgraded as upgraded_recipe
from debft.errors import InputError, shown
from debft.runs.seal import SEAL, check_seal, sealed
from debft.runs.sessions import SessionOfRun

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
class WrittenFile:
    """A file is known by its size and its digest."""

    bytes: int
    """Size in bytes."""
    sha256: str
    """Digest of the content, 64 hex digits."""


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


def from_json(text: str, where: str) -> RunResult:
    """Read the content of a result.json of this format or an older one. A field that is not known here is left alone.

    where: the path of the file, for the error lines. Raises InputError where the format is newer than this one, and ValueError
    with the place and the reason where the text is no result of a complete run.
    """
    try:
        content = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, got {shown(content)}")
    version = content.get("format_version")
    if not _is_whole(version) or version < 1:
        raise ValueError(f"format_version: expected a whole number of at least 1, got {shown(version)}")
    if version > FORMAT_VERSION:
        raise InputError(f"{where}: format {version} is newer than this debft reads ({FORMAT_VERSION}); upgrade debft")
    written = content
    for older in range(version, FORMAT_VERSION):
        content = UPGRADES[older](content)
    result = read_as(content | {"format_version": FORMAT_VERSION}, RunResult, "")
    if not isinstance(result.recipe.get("train"), dict):
        raise ValueError(f"recipe.train: expected an object, got {shown(result.recipe.get('train'))}")
    for where_of, files in (("model_files", result.model_files), ("run_files", result.run_files)):
        for name in files or {}:
            if (path := PurePosixPath(name)).is_absolute() or ".." in path.parts:
                of_what = "model/" if where_of == "model_files" else "the run"
                raise ValueError(f"{where_of}: expected names of files in {of_what}, got {shown(name)}")
    if not written.keys().isdisjoint((SEAL, "run_files")):  # an older debft wrote neither
        check_seal(written)
    return result


def in_percent(score: str) -> bool:
    """Whether it is a score of the task, in percent, and not a mean that training logged, such as `train/loss`."""
    return not score.startswith("train/")


def possible_range(score: str) -> tuple[float, float]:
    """Return the lowest and the highest value that a score can have: of a correlation -100 and 100, of what training logs none."""
    if not in_percent(score):
        return 0.0, math.inf
    return (-100.0 if score.rpartition("/")[2] in CORRELATIONS else 0.0), 100.0


def _upgrade_1_to_2(content: dict[str, Any]) -> dict[str, Any]:
    """Format 1 did not record the files of the model, as the default says."""
    return content


def _upgrade_2_to_3(content: dict[str, Any]) -> dict[str, Any]:
    """In format 2 every key of a recipe that moves the score was in `train`."""
    recipe = content.get("recipe")
    return content | {"recipe": upgraded_recipe(recipe)} if isinstance(recipe, dict) else content


def _upgrade_3_to_4(content: dict[str, Any]) -> dict[str, Any]:
    """In format 3 the keys of own data were in `text`."""
    return _upgrade_2_to_3(content)


# By the format that a function starts from; each brings it to the next one.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _upgrade_1_to_2, 2: _upgrade_2_to_3, 3: _upgrade_3_to_4}


def read_as(value: Any, kind: Any, place: str) -> Any:
    """Return a JSON value as the type `kind`. Raises ValueError, with the place, where it is none."""
    if isinstance(kind, type) and is_dataclass(kind):
        return _read_record(value, kind, place)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if type(None) in arguments:
        (kind,) = (part for part in arguments if part is not type(None))
        return None if value is None else read_as(value, kind, place)
    if origin is dict and isinstance(value, dict):
        return {name: read_as(item, arguments[1], f"{place}.{name}") for name, item in value.items()}
    if origin is list and isinstance(value, list):
        return [read_as(item, arguments[0], f"{place}[{number}]") for number, item in enumerate(value)]
    if not (value in arguments if origin is Literal else kind in _FITS and _FITS[kind](value)):
        expected = arguments[0] if origin is Literal else _WORDS[origin or kind]
        raise ValueError(f"{place}: expected {expected}, got {shown(value)}")
    return value


def _read_record(value: Any, kind: type, place: str) -> Any:
    """Return a JSON object as the dataclass `kind`. Only a field without a default must be there."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{place}: expected an object, got {shown(value)}")
    hints = typing.get_type_hints(kind)
    missing = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING and f.name not in value]
    if missing:
        raise ValueError(f"{'.'.join(filter(None, (place, missing[0])))}: is missing")
    return kind(
        **{
            f.name: read_as(value[f.name], hints[f.name], f"{place}.{f.name}".removeprefix("."))
            for f in fields(kind)
            if f.name in value
        }
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"expected JSON, got {name}")


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_FITS: dict[Any, Callable[[Any], bool]] = {
    bool: lambda value: isinstance(value, bool),
    int: _is_whole,
    float: _is_number,
    str: lambda value: isinstance(value, str),
    Any: lambda value: True,
}
_WORDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text", dict: "an object", list: "a list"}
