"""Before a run trains it says what it will have on the disk, and what is free there."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from debft.config.recipe import RuntimeConfig, TrainConfig
from debft.console import byte_size, say_field
from debft.errors import MachineError
from debft.models.vocabulary import ActiveVocabulary
from debft.runs.checkpoint import checkpoints
from debft.runs.directory import RunDirectory
from debft.runs.storage import disk_errors
from debft.scoring.loaded import LoadedModel
from debft.training.choice import evaluation_due
from debft.training.plan import Plan

BYTES_OF_NUMBER = 4  # weights and moments are float32
BYTES_OF_STEP = 200  # a line of steps.jsonl
BYTES_OF_ROW = 130  # a line of predictions/ with a label, without its scores
BYTES_OF_SCORE = 30  # each of them
BYTES_OF_TOKENIZER = 350_000  # tokenizer.json with SentencePiece's table of characters, without its tokens
BYTES_OF_PIECE = 70  # each of these: 9 MB for the 128,000 of DeBERTa-v3


@dataclass(frozen=True, kw_only=True)
class DiskNeed:
    """A need says how many bytes a run has on the disk when it has most.

    checkpoint: of one checkpoint.
    at_once: checkpoints that lie there at once, with the one that is being written.
    kept: checkpoints that stay.
    best: of all the weights that are kept as the best, 0 where none are.
    model: of the trained model.
    rest: of predictions and logs.
    """

    checkpoint: int
    at_once: int
    kept: int
    best: int
    model: int
    rest: int

    @property
    def total(self) -> int:
        """The bytes at the moment at which there are most: while the last checkpoint is written, or when all is done."""
        while_saving = self.at_once * self.checkpoint
        in_the_end = self.kept * self.checkpoint + self.model
        return max(while_saving, in_the_end) + self.best + self.rest

    def in_words(self) -> str:
        """Name the parts."""
        parts = [f"{self.at_once} checkpoint{'' if self.at_once == 1 else 's'} of {byte_size(self.checkpoint)} at once"]
        parts += [f"the best weights {byte_size(self.best)}"] if self.best else []
        parts += [f"the model {byte_size(self.model)}", f"predictions and logs {byte_size(self.rest)}"]
        return ", ".join(parts)


def check_disk(plan: Plan, run: RunDirectory, loaded: LoadedModel, vocabulary: ActiveVocabulary, step: int, sequences: int) -> None:
    """Say what the run needs on the disk and what is free. Raises MachineError where it cannot fit.

    step: the step that the run goes on from; sequences: of the training split
    What the directory holds already counts as free: a run that goes on or begins anew takes its place.
    """
    need = disk_need(plan, loaded, vocabulary, step, sequences, len(checkpoints(run.checkpoints)) if step else 0)
    with disk_errors(run.path, "read"):
        usage = shutil.disk_usage(next(path for path in (run.path, *run.path.absolute().parents) if path.exists()))
        free = usage.free + _bytes_below(run.path)
    if not usage.total:  # a file system that does not tell
        say_field("disk", f"needs {byte_size(need.total)} ({need.in_words()}); what is free is not known")
        return
    if need.total > free:
        raise MachineError(
            f"--output {run.path}: expected {byte_size(need.total)} of free disk ({need.in_words()}), got {byte_size(free)}; "
            "make room, give another --output" + (", or --set runtime.keep_checkpoints=1" if need.kept > 1 else "")
        )
    say_field("disk", f"needs {byte_size(need.total)} ({need.in_words()}); {byte_size(free)} free")


def disk_need(plan: Plan, loaded: LoadedModel, vocabulary: ActiveVocabulary, step: int, sequences: int, there: int = 0) -> DiskNeed:
    """Return what a run will have on the disk that goes on after `step`, where so many of its checkpoints are there.

    sequences: of the training split
    """
    weights = BYTES_OF_NUMBER * (sum(tensor.numel() for tensor in loaded.model.state_dict().values()) + vocabulary.left_out())
    moments = 2 * BYTES_OF_NUMBER * sum(parameter.numel() for parameter in loaded.model.parameters() if parameter.requires_grad)
    logs = BYTES_OF_STEP * plan.total_steps
    saves = _saves(plan.recipe.runtime, step, plan.total_steps)
    keep, all_of_them = plan.recipe.runtime.keep_checkpoints, saves + there
    outputs = loaded.model.config.num_labels or 0
    rows = sum(len(plan.examples[split.name]) for split in plan.task.evals)
    return DiskNeed(
        checkpoint=weights + moments + logs,
        at_once=min(keep + 1 if saves else keep, all_of_them),
        kept=min(keep, all_of_them),
        best=weights * _bests(plan.recipe.train, plan.total_steps, sequences),
        model=weights + BYTES_OF_TOKENIZER + BYTES_OF_PIECE * len(loaded.tokenizer),
        rest=logs + rows * (BYTES_OF_ROW + BYTES_OF_SCORE * outputs),
    )


def _saves(runtime: RuntimeConfig, step: int, total_steps: int) -> int:
    """Count the checkpoints that a run writes after `step`: the last step has one, whatever the rhythm."""
    if runtime.save_steps is None or step == total_steps:
        return int(step < total_steps)
    return (total_steps - 1) // runtime.save_steps - step // runtime.save_steps + 1


def _bests(config: TrainConfig, total_steps: int, sequences: int) -> int:
    """Count the best weights that lie there at once: those of the best evaluation so far, and those that were it before."""
    if config.checkpoint != "best":
        return 0
    return 2 if any(evaluation_due(config, step, total_steps, sequences) for step in range(1, total_steps)) else 1


def _bytes_below(folder: Path) -> int:
    """Return the bytes of all files below a folder; one that is gone meanwhile has none."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat(follow_symlinks=False).st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total
