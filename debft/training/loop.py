"""The loop is a generator that yields once per optimizer step.

The loss of a step is the mean over all its sequences, however they are cut: over micro-batches, over processes, and
also where the last step of an epoch is smaller. Step k draws its dropout masks from a generator seeded by
(seed, k, process), so a resumed run on the CPU continues bit for bit without saved random states.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, fields

import numpy as np
import torch
from accelerate import Accelerator

from debft.config.recipe import TrainConfig
from debft.data.batches import by_length, micro_batches, places_in_step, share, step_examples, steps_per_epoch
from debft.data.encoding import EncodedSplit
from debft.data.packing import Batch, Collator, NoiseSeeds
from debft.training.guards import check_finite
from debft.training.schedule import learning_rate

# A loss: `(model, batch) -> (summed loss, extra sums to log)`, float32. Summed, not averaged, so that micro-batches add up.
LossFn = Callable[[torch.nn.Module, dict[str, torch.Tensor]], tuple[torch.Tensor, dict[str, torch.Tensor]]]
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

    def row(self) -> dict[str, float]:
        """Return the line for steps.jsonl, with the parts beside the other fields."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "parts"} | self.parts


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
) -> Iterator[StepLog]:
    """Do steps `first_step` (from 0) to `total_steps` of the run, and yield the log of each.

    Raises NotFiniteError as soon as loss or gradient norm are not finite, before the weights are touched.
    """
    lengths = split.lengths()
    per_epoch = steps_per_epoch(len(split), config.train_batch_size)
    for step in range(first_step, total_steps):
        started = time.perf_counter()
        rate = learning_rate(step, config, total_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        indices = by_length(step_examples(step, config.seed, len(split), config.train_batch_size), lengths)
        own = share(indices, lengths, accelerator.process_index, accelerator.num_processes)
        batches = micro_batches(own, lengths, micro_batch_tokens, packed=collate.packed)
        model.train()
        applied = False
        while not applied:  # fp16: an overflow halves the loss scale and the same sequences are tried again
            torch.manual_seed(step_seed(config.seed, step, accelerator.process_index))
            noise_seed = step_seed(config.seed, step, ALL_PROCESSES)
            sums = _backward(accelerator, model, split, batches, indices, collate, loss_fn, noise_seed)
            grad_norm = float(accelerator.clip_grad_norm_(model.parameters(), config.max_grad_norm))
            check_finite(accelerator, step, sums["loss"], grad_norm)
            optimizer.step()
            # Not accelerate's step_was_skipped: a fused optimizer is called on an overflow as well, and leaves the weights alone.
            applied = math.isfinite(grad_norm)
            optimizer.zero_grad(set_to_none=True)
        yield StepLog(
            step=step + 1,
            epoch=round((step + 1) / per_epoch, 6),
            loss=sums.pop("loss") / len(indices),
            learning_rate=rate,
            grad_norm=grad_norm,
            num_examples=len(indices),
            num_tokens=int(lengths[indices].sum()),
            seconds=time.perf_counter() - started,
            parts={name: value / len(indices) for name, value in sums.items()},
        )


def step_seed(seed: int, step: int, process: int) -> int:
    """Return a 63-bit seed for the random numbers of one step on one process."""
    return int(np.random.SeedSequence((seed, step, process)).generate_state(1, np.uint64)[0] >> 1)


def _backward(accelerator, model, split, batches, indices, collate, loss_fn, seed) -> dict[str, float]:
    """Accumulate the gradient of the mean loss of the step.

    Returns `loss` and what else the loss logs, each summed over the sequences of all processes.
    """
    world = accelerator.num_processes
    sums: dict[str, torch.Tensor] = {}
    weights = [1.0] * len(batches)
    if not batches:  # fewer sequences than processes: this one adds zero, but takes part in the exchange of gradients
        batches, weights = [indices[-1:]], [0.0]
    for number, (batch, weight) in enumerate(zip(batches, weights, strict=True), start=1):
        last = number == len(batches)
        with nullcontext() if last else accelerator.no_sync(model):
            loss, parts = loss_fn(model, collate(split, batch) | _noise(seed, batch, indices, split, accelerator.device))
            # DistributedDataParallel averages over the processes, hence the factor.
            accelerator.backward(loss * (weight * world / len(indices)))
        for name, value in {"loss": loss.detach(), **parts}.items():
            sums[name] = sums.get(name, 0.0) + value * weight
    reduced = accelerator.reduce(torch.stack([value.float() for value in sums.values()]), reduction="sum").tolist()
    return dict(zip(sums, reduced, strict=True))


def _noise(seed: int, examples_B: np.ndarray, indices: np.ndarray, split: EncodedSplit, device: torch.device) -> Batch:
    """Return what the random numbers of a batch are drawn from: `noise_seed`, (B,) int64, for a loss, `seeds` for the model.

    indices: all examples of the step
    """
    seeds_B = torch.from_numpy(examples_B.astype(np.int64) + (seed >> 1))
    return {
        "noise_seed": seeds_B.to(device, non_blocking=True),
        "seeds": NoiseSeeds(
            step=seed,
            examples_B=examples_B.astype(np.int64),
            places_B=places_in_step(examples_B, indices),
            lengths_S=split.lengths_of(indices),
        ),
    }
