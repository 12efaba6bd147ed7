"""A few real steps and evaluation batches, in memory alone, tell what a run will take: time, tokens and memory.

Lengths vary from step to step, so that time is counted by token: the tokens of the whole run are known exactly.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from debft.config.recipe import TrainConfig
from debft.data.batches import by_length, epoch_order, micro_batches, steps_per_epoch
from debft.errors import MachineError, first_line
from debft.runs.directory import RunDirectory
from debft.runs.result import Lengths
from debft.runtime.devices import device_name
from debft.runtime.memory import is_out_of_memory, peak_memory_bytes
from debft.runtime.progress import activity, meter
from debft.training.checkpoints import bytes_to_save
from debft.training.choice import evaluation_due
from debft.training.describe import lengths_of
from debft.training.disk import check_disk
from debft.training.opening import open_session
from debft.training.plan import Plan
from debft.training.session import Session

STEPS = 10  # whose time counts
SETTLING_STEPS = 3  # before them, which fill caches
MOST_SECONDS = 60.0  # after which the probe ends with the steps that it has
EVAL_BATCHES = 6  # of the rows that are evaluated, from the shortest to the longest


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A piece of work was measured."""

    seconds: float
    """Wall-clock time."""
    tokens: int
    """Tokens, without padding."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate says what a run will take on this machine."""

    device: str
    """The device that was probed."""
    precision: str
    """Precision of the matrix products."""
    attention: str
    """What computes the attention."""
    probed_steps: int
    """Optimizer steps whose time counts."""
    num_tokens: int
    """Tokens that the run trains on, without padding; known, not estimated."""
    eval_tokens: int
    """Tokens of all evaluations of the run, at most."""
    train_seconds: float
    """Seconds of the training steps."""
    eval_seconds: float
    """Seconds of the model in all evaluations, without those of computing scores from its outputs."""
    peak_memory_bytes: int
    """Largest memory in use during the probe."""
    copy_bytes: int
    """Memory of the host that weights and optimizer state are copied to while a checkpoint is written; 0 where none is written
    between the steps."""
    lengths: dict[str, Lengths]
    """Lengths of the inputs, by split."""


def probe(plan: Plan, run: RunDirectory) -> Estimate:
    """Open the run as it would be opened, do a few steps and evaluation batches, and estimate. Nothing is written to the run.

    Raises InputError where the run could not be opened, NotFiniteError or MachineError where its steps fail.
    """
    try:
        with activity("preparing the probe"):
            session, _ = open_session(plan, run, claim=False)
        check_disk(plan, run, session.loaded, session.vocabulary, 0, len(session.splits[plan.task.train.name]))
        steps = _measure_steps(session)
        save_steps = plan.recipe.runtime.save_steps
        copy_bytes = bytes_to_save(session) if save_steps is not None and save_steps < plan.total_steps else 0
        with session.vocabulary.whole(len(steps)):
            batches = _measure_evaluation(session)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise MachineError(f"the memory is not enough for the model and its optimizer: {first_line(error)}") from error
    lengths = {name: split.lengths() for name, split in session.splits.items()}
    num_tokens = tokens_of_steps(lengths[plan.task.train.name], plan.recipe.train, plan.total_steps)
    eval_tokens = tokens_of_evaluations(plan, {name: int(lengths_S.sum()) for name, lengths_S in lengths.items()}, lengths)
    counted = steps[SETTLING_STEPS:] or steps[-1:]
    return Estimate(
        device=device_name(session.accelerator.device),
        precision=session.precision,
        attention=session.loaded.attention,
        probed_steps=len(counted),
        num_tokens=num_tokens,
        eval_tokens=eval_tokens,
        train_seconds=seconds_for(num_tokens, counted),
        eval_seconds=seconds_for(eval_tokens, batches),
        peak_memory_bytes=peak_memory_bytes(),
        copy_bytes=copy_bytes,
        lengths={name: lengths_of(split) for name, split in session.splits.items()},
    )


def seconds_for(tokens: int, measured: Sequence[Measured]) -> float:
    """Return the time of so many tokens, by the median of what one took."""
    return tokens * median(one.seconds / one.tokens for one in measured)


def tokens_of_steps(lengths_S: np.ndarray, config: TrainConfig, total_steps: int) -> int:
    """Count the tokens of all steps of a run: whole epochs, and the first part of another."""
    epochs, rest = divmod(total_steps, steps_per_epoch(len(lengths_S), config.train_batch_size))
    begun = epoch_order(config.seed, epochs, len(lengths_S))[: rest * config.train_batch_size]
    return epochs * int(lengths_S.sum()) + int(lengths_S[begun].sum())


def tokens_of_evaluations(plan: Plan, tokens: dict[str, int], lengths: dict[str, np.ndarray]) -> int:
    """Count the tokens of all evaluations: those between the steps see the splits that choose, the last one all splits.

    tokens: of each split. Where the best weights are kept they are scored once more, unless they are the last ones.
    """
    config, task, sequences = plan.recipe.train, plan.task, len(lengths[plan.task.train.name])
    during = sum(evaluation_due(config, step, plan.total_steps, sequences) for step in range(1, plan.total_steps))
    choosing = sum(tokens[split.name] for split in task.selection_evals)
    last = sum(tokens[split.name] for split in task.evals)
    return during * choosing + last + (choosing if config.checkpoint == "best" else 0)


def _measure_steps(session: Session) -> list[Measured]:
    """Do the first steps of the run and measure each."""
    plan, measured, started = session.plan, [], time.perf_counter()
    number = min(SETTLING_STEPS + STEPS, plan.total_steps)
    with closing(session.steps()) as steps, meter("probe", number, "steps") as progress:
        for log in steps:
            measured.append(Measured(seconds=log.seconds, tokens=log.num_tokens))
            progress.advance(1, f"{log.num_examples / log.seconds:,.0f} examples/s")
            if len(measured) == number or time.perf_counter() - started > MOST_SECONDS:
                break
    return measured


def _measure_evaluation(session: Session) -> list[Measured]:
    """Compute the outputs of a few batches of the longest split that is evaluated, and measure each but the first."""
    loaded, measured = session.loaded, []
    split = max((session.splits[split.name] for split in session.plan.task.evals), key=len)
    lengths_S = split.lengths()
    batches = micro_batches(
        by_length(np.arange(len(split)), lengths_S), lengths_S, session.micro_batch_tokens, packed=loaded.collate.packed
    )
    chosen = [batches[i] for i in np.linspace(0, len(batches) - 1, min(EVAL_BATCHES, len(batches))).astype(int)]
    loaded.model.eval()
    with torch.inference_mode():
        for batch in [chosen[0], *chosen]:
            started = time.perf_counter()
            loaded.head.outputs(loaded.model, loaded.collate(split, batch)).cpu()
            measured.append(Measured(seconds=time.perf_counter() - started, tokens=int(lengths_S[batch].sum())))
    return measured[1:]
