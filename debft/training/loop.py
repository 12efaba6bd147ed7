"""The loop is a generator that yields once per optimizer step.

The loss of a step is the mean over all its sequences, however they are cut: over micro-batches, over processes, and
also where the last step of an epoch is smaller. Step k draws its dropout masks from generators seeded by (seed, k) and the example,
with eager attention by (seed, k, process), so a resumed run on the CPU continues bit for bit without saved random states.

On a GPU the host only enqueues a step, and reads the figures of the one before while it computes; a step that is not finite leaves
the weights alone by itself, and so do those behind it.
"""

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing, nullcontext
from dataclasses import dataclass, fields, replace

import torch
from accelerate import Accelerator

from debft.config.recipe import TrainConfig
from debft.data.batches import steps_per_epoch
from debft.data.encoding import EncodedSplit
from debft.data.packing import Batch, Collator
from debft.errors import first_line
from debft.models.copies import WeightCopies
from debft.models.shards import check_may_cut, is_sharded
from debft.runs.result import MemoryCut
from debft.runtime.memory import give_back_memory, is_out_of_memory
from debft.training.exchange import Exchange
from debft.training.figures import Figures, FiguresOnDevice, gathered
from debft.training.graphs import Graphs
from debft.training.guards import Guard, check_finite
from debft.training.memory import Memory
from debft.training.optimization import AdamWithoutBiasCorrection, gradient_norm, guarded_update, plain_optimizer, set_learning_rate
from debft.training.prefetch import made_ahead
from debft.training.prepared import Prepared, prepare_step, step_seed
from debft.training.schedule import learning_rate

# A loss: `(model, batch) -> (summed loss, extra sums to log)`, float32. Summed, not averaged, so that micro-batches add up.
LossFn = Callable[[torch.nn.Module, Batch], tuple[torch.Tensor, dict[str, torch.Tensor]]]


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
    overflows: how often fp16's gradient overflowed and the loss scale was lowered before the step was done; None: not in fp16.
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
    overflows: int | None = None
    settled: bool = True
    signal: int = 0

    def row(self) -> dict[str, float]:
        """Return the line for steps.jsonl, with the parts beside the other fields."""
        aside = ("parts", "settled", "signal", *(["overflows"] if self.overflows is None else []))
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
    copies: WeightCopies | None = None,
    pause_after: Callable[[int], bool] = lambda step: True,
    signal: Callable[[], int] = lambda: 0,
    cuts: list[MemoryCut] | None = None,
    logs: tuple[str, ...] = (),
) -> Generator[StepLog, None, None]:
    """Do steps `first_step` (from 0) to `total_steps` of the run, and yield the log of each.

    graphs: what does the forward and backward passes on a GPU by CUDA graphs; None: they are done one kernel after another
    copies: of the weights in half precision, which the passes of a step compute with; None: autocast makes them in each pass
    pause_after: asked once after each step, by its number from 1, whether its log has to come before the next step begins, as it
        does where something is to be done with the weights. The same in all processes.
    signal: gives the number of the signal that told this process to stop, or another one for a reason to settle, 0 where there is
        none. All processes hear of the largest with the log that settles the step which has begun by then.
    cuts: where the memory was not enough so far; a step for which it is not is done again in smaller parts, and added.
    logs: what the loss logs beside itself, for the message of a process that could not compute it.

    Raises NotFiniteError where loss or gradient norm are not finite, and TooLittleMemoryError where the memory is not enough for
    one sequence; the weights are those before that step.
    """
    lengths = split.lengths()

    def prepare(step: int, tokens: int) -> Prepared:
        return prepare_step(accelerator, split, lengths, config, collate, tokens, step, together=is_sharded(model))

    memory = Memory(asked=micro_batch_tokens, cuts=[] if cuts is None else cuts, main=accelerator.is_main_process)
    run = _Run(
        accelerator=accelerator,
        model=model,
        optimizer=optimizer,
        config=config,
        loss_fn=loss_fn,
        graphs=graphs,
        copies=copies,
        exchange=Exchange(model, accelerator.num_processes),
        guard=Guard(),
        memory=memory,
        logs=logs,
        prepare=prepare,
    )
    at_once = accelerator.scaler is not None or not _may_run_behind(accelerator.device)
    behind: list[_Begun] = []
    numbers = range(first_step, total_steps)
    with closing(made_ahead(lambda step: prepare(step, memory.tokens), numbers, accelerator.device)) as made:
        mark, told = time.perf_counter(), 0
        for prepared in made:
            if not behind:
                model.train()  # an evaluation may have been in between
            rate = learning_rate(prepared.step, config, total_steps)
            behind.append(_begin(run, prepared, rate, signal))
            number = prepared.step + 1
            settle = pause_after(number) or at_once or number == total_steps
            while len(behind) > (0 if settle else 1):
                begun = behind.pop(0)
                figures = begun.figures.read()
                memory.agree(begun.prepared.step + 1, figures.tokens)
                _check(accelerator, begun.prepared, figures)
                told = max(told, figures.signal)
                settle = settle or told != 0
                now = time.perf_counter()
                log = begun.log(figures, config, len(split), seconds=now - mark)
                mark = now
                settled = not behind
                yield replace(log, settled=settled, signal=told if settled else 0)
                if settled:
                    mark = time.perf_counter()


def _check(accelerator: Accelerator, prepared: Prepared, figures: Figures) -> None:
    """Raise StepNotFiniteError where the figures of a step are not finite."""
    check_finite(accelerator, prepared.step, figures.sums["loss"], figures.grad_norm, prepared.sequences)


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
    copies: WeightCopies | None
    exchange: Exchange
    guard: Guard
    memory: Memory
    logs: tuple[str, ...]
    prepare: Callable[[int, int], Prepared]


@dataclass(frozen=True, kw_only=True)
class _Begun:
    """A step that was begun, whose figures are on their way. overflows: as its log has them"""

    prepared: Prepared
    rate: float
    figures: FiguresOnDevice
    overflows: int | None = None

    def log(self, figures: Figures, config: TrainConfig, num_sequences: int, seconds: float) -> StepLog:
        """Return the log of the step, which took so many seconds."""
        prepared = self.prepared
        means = {name: value / prepared.num_examples for name, value in figures.sums.items()}
        return StepLog(
            step=prepared.step + 1,
            epoch=round((prepared.step + 1) / steps_per_epoch(num_sequences, config.train_batch_size), 6),
            loss=means.pop("loss"),
            learning_rate=self.rate,
            grad_norm=figures.grad_norm,
            num_examples=prepared.num_examples,
            num_tokens=prepared.num_tokens,
            seconds=seconds,
            parts=means,
            overflows=self.overflows,
        )


def _begin(run: _Run, prepared: Prepared, rate: float, signal: Callable[[], int]) -> _Begun:
    """Enqueue a step, with its figures on the device.

    With fp16's loss scale the host waits: an overflow halves the scale, and the same sequences are tried again.
    """
    optimizer, accelerator = plain_optimizer(run.optimizer), run.accelerator
    set_learning_rate(optimizer, rate)
    if isinstance(optimizer, AdamWithoutBiasCorrection):
        optimizer.updates = prepared.step
    overflows = 0
    while True:
        prepared, sums = _backward_in_memory(run, prepared)
        tokens = run.memory.told()
        if accelerator.scaler is None or not tokens:
            figures = gathered(accelerator, sums, gradient_norm(optimizer), signal(), tokens)
            guarded_update(optimizer, figures.grad_norm, run.config.max_grad_norm, run.guard.after(figures))
            _forget_gradients(run)
            break
        norm = accelerator.clip_grad_norm_(run.model.parameters(), run.config.max_grad_norm)
        figures = gathered(accelerator, sums, norm, signal(), tokens)
        read = figures.read()
        run.memory.agree(prepared.step + 1, read.tokens)
        _check(accelerator, prepared, read)
        run.optimizer.step()
        run.optimizer.zero_grad(set_to_none=True)
        # Not accelerate's step_was_skipped: a fused optimizer is called on an overflow as well, and leaves the weights alone.
        if read.are_finite():
            break
        overflows += 1
    return _Begun(prepared=prepared, rate=rate, figures=figures, overflows=overflows if accelerator.scaler is not None else None)


def _backward_in_memory(run: _Run, prepared: Prepared) -> tuple[Prepared, dict[str, torch.Tensor]]:
    """Accumulate the gradient of the mean loss of the step, over all processes, and return the step as it was cut and its sums.

    Where the memory is not enough, the sequences of this process are cut into smaller micro-batches and done again, from the same
    weights and random numbers; the other processes wait. Where one sequence is too much, the sums are not a number, so that no
    process updates its weights. Raises MachineError where the model is sharded.
    """
    memory, sums = run.memory, None
    while sums is None and memory.tokens:
        if prepared.tokens != memory.tokens:  # also where it was made while the step before it was cut
            prepared = run.prepare(prepared.step, memory.tokens)
        torch.manual_seed(step_seed(run.config.seed, prepared.step, run.accelerator.process_index))
        try:
            with run.copies.in_use() if run.copies else nullcontext():
                sums = _backward(run, prepared)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            check_may_cut(run.model, f"step {prepared.step + 1:,}", prepared.tokens, prepared.fewer, error)
            memory.cut_to(prepared.fewer, first_line(error))
        if sums is None:  # outside of the handler: the error holds on to all that the passes have computed
            if run.graphs:
                run.graphs.give_up()
            _forget_gradients(run)
            give_back_memory()
    if sums is None:
        sums = dict.fromkeys(("loss", *run.logs), torch.full((), math.nan, device=run.accelerator.device))
    run.exchange.finish()
    return prepared, sums


def _forget_gradients(run: _Run) -> None:
    """Let go of the gradients; those that graphs add to stay in their place and become zeros."""
    run.graphs.zero() if run.graphs else run.optimizer.zero_grad(set_to_none=True)


def _backward(run: _Run, prepared: Prepared) -> dict[str, torch.Tensor]:
    """Accumulate this process' part of the gradient of the mean loss of the step.

    Returns `loss` and what else the loss logs, each summed over the sequences of this process.
    """
    sums: dict[str, torch.Tensor] = {}
    for batch, weight in prepared.passes:
        if run.graphs:
            told = run.graphs.backward(batch, weight / prepared.num_examples)
        else:
            loss, parts = run.loss_fn(run.model, batch)
            with run.exchange.sending(final=batch is prepared.batches[-1]):
                run.accelerator.backward(loss * (weight / prepared.num_examples))
            told = {"loss": loss.detach(), **parts}
        for name, value in told.items():
            sums[name] = sums[name] + value * weight if name in sums else value * weight
    return sums
