"""The loop is a generator that yields once per optimizer step.

The loss of a step is the mean over all its sequences, however they are cut: over micro-batches, over processes, and
also where the last step of an epoch is smaller. Step k draws its dropout masks from generators seeded by (seed, k) and the example,
with eager attention by (seed, k, process), so a resumed run on the CPU continues bit for bit without saved random states.

On a GPU the host only enqueues a step, and reads the figures of the one before while it computes; a step that is not finite leaves
the weights alone by itself, and so do those behind it.
"""

import time
from collections.abc import Callable, Generator
from contextlib import closing, nullcontext
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from accelerate import Accelerator

from debft.config.recipe import TrainConfig
from debft.data.batches import by_length, micro_batches, places_in_step, share, step_examples, steps_per_epoch
from debft.data.encoding import EncodedSplit
from debft.data.packing import Batch, Collator, NoiseSeeds
from debft.runtime.memory import to_device
from debft.training.figures import Figures, FiguresOnDevice, gathered
from debft.training.graphs import Graphs
from debft.training.guards import Guard, check_finite
from debft.training.optimization import AdamWithoutBiasCorrection, gradient_norm, guarded_update, plain_optimizer, set_learning_rate
from debft.training.prefetch import made_ahead
from debft.training.schedule import learning_rate

# A loss: `(model, batch) -> (summed loss, extra sums to log)`, float32. Summed, not averaged, so that micro-batches add up.
LossFn = Callable[[torch.nn.Module, Batch], tuple[torch.Tensor, dict[str, torch.Tensor]]]
ALL_PROCESSES = 2**31  # stands for the number of a process where all of them draw the same


@dataclass(frozen=True, kw_only=True)
class StepLog:
    """The log has a line for each optimizer step, over all processes.

    step: its number, from 1.
    epoch: passes over the training data after it.
    loss: mean over its sequences.
    learning_rate: the rate that it was done with.
    grad_norm: norm of the gradient before clipping.
    num_examples: its sequences.
    num_tokens: its tokens, without padding.
    seconds: wall-clock time of the step itself.
    parts: means over its sequences of what the loss logs beside itself.
    settled: whether no later step has begun, so that the weights are those of this step.
    signal: the number of a signal by which a process was told to stop, 0 where none was or a later step has begun.
    """

    step: int
    epoch: float
    loss: float
    learning_rate: float
    grad_norm: float
    num_examples: int
    num_tokens: int
    seconds: float
    parts: dict[str, float]
    settled: bool = True
    signal: int = 0

    def row(self) -> dict[str, float]:
        """Return the line for steps.jsonl, with the parts beside the other fields."""
        aside = ("parts", "settled", "signal")
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in aside} | self.parts


def optimizer_steps(
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    split: EncodedSplit,
    config: TrainConfig,
    *,
    collate: Collator,
    micro_batch_tokens: int,
    total_steps: int,
    first_step: int = 0,
    loss_fn: LossFn,
    graphs: Graphs | None = None,
    pause_after: Callable[[int], bool] = lambda step: True,
    signal: Callable[[], int] = lambda: 0,
) -> Generator[StepLog, None, None]:
    """Do steps `first_step` (from 0) to `total_steps` of the run, and yield the log of each.

    graphs: what does the forward and backward passes on a GPU by CUDA graphs; None: they are done one kernel after another
    pause_after: asked once after each step, by its number from 1, whether its log has to come before the next step begins, as it
        does where something is to be done with the weights. The same in all processes.
    signal: gives the number of the signal that told this process to stop, 0 where none did. All processes hear of it with the log
        that settles the step which has begun by then.

    Raises NotFiniteError where loss or gradient norm are not finite; the weights are those before that step.
    """
    lengths = split.lengths()
    run = _Run(
        accelerator=accelerator, model=model, optimizer=optimizer, config=config, loss_fn=loss_fn, graphs=graphs, guard=Guard()
    )
    at_once = accelerator.scaler is not None or not _may_run_behind(accelerator.device)
    behind: list[_Begun] = []

    def prepare(step: int) -> _Prepared:
        return _prepare(accelerator, split, lengths, config, collate, micro_batch_tokens, step)

    with closing(made_ahead(prepare, range(first_step, total_steps), accelerator.device)) as made:
        mark, told = time.perf_counter(), 0
        for prepared in made:
            if not behind:
                model.train()  # an evaluation may have been in between
            rate = learning_rate(prepared.step, config, total_steps)
            behind.append(_Begun(prepared=prepared, rate=rate, figures=_do(run, prepared, rate, signal)))
            number = prepared.step + 1
            settle = pause_after(number) or at_once or number == total_steps
            while len(behind) > (0 if settle else 1):
                begun = behind.pop(0)
                figures = begun.figures.read()
                check_finite(accelerator, begun.prepared.step, figures.sums["loss"], figures.grad_norm)
                told = max(told, figures.signal)
                settle = settle or told != 0
                now = time.perf_counter()
                log = begun.log(figures, config, len(split), seconds=now - mark)
                mark = now
                settled = not behind
                yield replace(log, settled=settled, signal=told if settled else 0)
                if settled:
                    mark = time.perf_counter()


def _may_run_behind(device: torch.device) -> bool:
    """Return whether the host may read the figures of a step while the next one computes: a CPU computes it itself."""
    return device.type == "cuda"


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What all steps share."""

    accelerator: Accelerator
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    config: TrainConfig
    loss_fn: LossFn
    graphs: Graphs | None
    guard: Guard


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """The sequences of a step that this process computes, on its device.

    step: the number of the step, from 0.
    num_examples, num_tokens: sequences of the step and their tokens, over all processes.
    batches: the micro-batches, with the seeds of the random numbers that a loss draws.
    weight: 1.0, or 0.0 where this process has no sequence and only takes part in the exchange of gradients.
    """

    step: int
    num_examples: int
    num_tokens: int
    batches: list[Batch]
    weight: float


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """A step that was begun, whose figures are on their way."""

    prepared: _Prepared
    rate: float
    figures: FiguresOnDevice

    def log(self, figures: Figures, config: TrainConfig, num_sequences: int, seconds: float) -> StepLog:
        """Return the log of the step, which took so many seconds."""
        prepared, count = self.prepared, self.prepared.num_examples
        means = {name: value / count for name, value in figures.sums.items()}
        return StepLog(
            step=prepared.step + 1,
            epoch=round((prepared.step + 1) / steps_per_epoch(num_sequences, config.train_batch_size), 6),
            loss=means.pop("loss"),
            learning_rate=self.rate,
            grad_norm=figures.grad_norm,
            num_examples=count,
            num_tokens=prepared.num_tokens,
            seconds=seconds,
            parts=means,
        )


def _prepare(
    accelerator: Accelerator,
    split: EncodedSplit,
    lengths: np.ndarray,
    config: TrainConfig,
    collate: Collator,
    micro_batch_tokens: int,
    step: int,
) -> _Prepared:
    """Choose the sequences of a step, cut them into micro-batches and put these on the device."""
    indices = by_length(step_examples(step, config.seed, len(split), config.train_batch_size), lengths)
    own = share(indices, lengths, accelerator.process_index, accelerator.num_processes)
    parts = micro_batches(own, lengths, micro_batch_tokens, packed=collate.packed) or [indices[-1:]]
    seed = step_seed(config.seed, step, ALL_PROCESSES)
    return _Prepared(
        step=step,
        num_examples=len(indices),
        num_tokens=int(lengths[indices].sum()),
        batches=[collate(split, part) | _noise(seed, part, indices, split, accelerator.device) for part in parts],
        weight=float(len(own) > 0),
    )


def _do(run: _Run, prepared: _Prepared, rate: float, signal: Callable[[], int]) -> FiguresOnDevice:
    """Enqueue a step, and return its figures on the device.

    With fp16's loss scale the host waits: an overflow halves the scale, and the same sequences are tried again.
    """
    optimizer, accelerator = plain_optimizer(run.optimizer), run.accelerator
    set_learning_rate(optimizer, rate)
    if isinstance(optimizer, AdamWithoutBiasCorrection):
        optimizer.updates = prepared.step
    while True:
        torch.manual_seed(step_seed(run.config.seed, prepared.step, accelerator.process_index))
        sums = _backward(run, prepared)
        if accelerator.scaler is None:
            figures = gathered(accelerator, sums, gradient_norm(optimizer), signal())
            guarded_update(optimizer, figures.grad_norm, run.config.max_grad_norm, run.guard.after(figures))
            run.graphs.zero() if run.graphs else optimizer.zero_grad(set_to_none=True)
            return figures
        norm = accelerator.clip_grad_norm_(run.model.parameters(), run.config.max_grad_norm)
        figures = gathered(accelerator, sums, norm, signal())
        read = figures.read()
        check_finite(accelerator, prepared.step, read.sums["loss"], read.grad_norm)
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        # Not accelerate's step_was_skipped: a fused optimizer is called on an overflow as well, and leaves the weights alone.
        if read.are_finite():
            return figures


def step_seed(seed: int, step: int, process: int) -> int:
    """Return a 63-bit seed for the random numbers of one step on one process."""
    return int(np.random.SeedSequence((seed, step, process)).generate_state(1, np.uint64)[0] >> 1)


def _backward(run: _Run, prepared: _Prepared) -> dict[str, torch.Tensor]:
    """Accumulate the gradient of the mean loss of the step.

    Returns `loss` and what else the loss logs, each summed over the sequences of this process.
    """
    accelerator, world = run.accelerator, run.accelerator.num_processes
    sums: dict[str, torch.Tensor] = {}
    for number, batch in enumerate(prepared.batches, start=1):
        last = number == len(prepared.batches)
        factor = prepared.weight * world / prepared.num_examples  # DistributedDataParallel averages over the processes
        if run.graphs:
            told = run.graphs.backward(batch, factor)
        else:
            with nullcontext() if last else accelerator.no_sync(run.model):
                loss, parts = run.loss_fn(run.model, batch)
                accelerator.backward(loss * factor)
            told = {"loss": loss.detach(), **parts}
        for name, value in told.items():
            part = value * prepared.weight
            sums[name] = sums[name] + part if name in sums else part
    return sums


def _noise(seed: int, examples_B: np.ndarray, indices: np.ndarray, split: EncodedSplit, device: torch.device) -> Batch:
    """Return what the random numbers of a batch are drawn from: `noise_seed`, (B,) int64, for a loss, `seeds` for the model.

    indices: all examples of the step
    """
    seeds_B = torch.from_numpy(examples_B.astype(np.int64) + (seed >> 1))
    return {
        "noise_seed": to_device(seeds_B, device),
        "seeds": NoiseSeeds(
            step=seed,
            examples_B=examples_B.astype(np.int64),
            places_B=places_in_step(examples_B, indices),
            lengths_S=split.lengths_of(indices),
        ),
    }
