"""A step is prepared: its sequences are chosen, cut into micro-batches and put on the device."""

from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator

from debft.config.recipe import TrainConfig
from debft.data.batches import by_length, halved, micro_batches, places_in_step, share, step_examples
from debft.data.encoding import EncodedSplit
from debft.data.packing import Batch, Collator, NoiseSeeds
from debft.runtime.memory import to_device

ALL_PROCESSES = 2**31  # stands for the number of a process where all of them draw the same


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The sequences of a step that this process computes, on its device.

    step: the number of the step, from 0.
    tokens: the limit by which it was cut into micro-batches.
    fewer: the limit by which it is cut next, where the memory is not enough; 0: each micro-batch is one sequence already.
    sequences: the places of its sequences in the split, over all processes.
    num_tokens: their tokens.
    batches: the micro-batches, with the seeds of the random numbers that a loss draws.
    weight: 1.0, or 0.0 where this process has no sequence and only takes part in the exchange of gradients.
    fillers: what this process computes beside them where all have to do as many passes; it counts for nothing.
    """

    step: int
    tokens: int
    fewer: int
    sequences: np.ndarray
    num_tokens: int
    batches: list[Batch]
    weight: float
    fillers: list[Batch]

    @property
    def passes(self) -> list[tuple[Batch, float]]:
        """Return each batch that is computed, with the weight that it counts by."""
        return [*((batch, self.weight) for batch in self.batches), *((batch, 0.0) for batch in self.fillers)]

    @property
    def num_examples(self) -> int:
        """Return the number of its sequences, over all processes."""
        return len(self.sequences)


def prepare_step(
    accelerator: Accelerator,
    split: EncodedSplit,
    lengths: np.ndarray,
    config: TrainConfig,
    collate: Collator,
    tokens: int,
    step: int,
    *,
    together: bool = False,
) -> Prepared:
    """Choose the sequences of a step, cut them into micro-batches and put these on the device.

    together: whether all processes have to do as many passes, as those of a sharded model, which wait for each other in each
    """
    indices = by_length(step_examples(step, config.seed, len(split), config.train_batch_size), lengths)
    own = share(indices, lengths, accelerator.process_index, accelerator.num_processes)
    parts = micro_batches(own, lengths, tokens, packed=collate.packed) or [indices[-1:]]
    fillers = 0
    if together:
        shares = [share(indices, lengths, rank, accelerator.num_processes) for rank in range(accelerator.num_processes)]
        fillers = max(len(micro_batches(one, lengths, tokens, packed=collate.packed)) for one in shares) - len(parts)
    seed = step_seed(config.seed, step, ALL_PROCESSES)

    def batch_of(part: np.ndarray) -> Batch:
        return collate(split, part) | _noise(seed, part, indices, split, accelerator.device)

    return Prepared(
        step=step,
        tokens=tokens,
        fewer=halved(tokens, parts, lengths, packed=collate.packed),
        sequences=indices,
        num_tokens=int(lengths[indices].sum()),
        batches=[batch_of(part) for part in parts],
        weight=float(len(own) > 0),
        fillers=[batch_of(indices[-1:]) for _ in range(fillers)],
    )


def step_seed(seed: int, step: int, process: int) -> int:
    """Return a 63-bit seed for the random numbers of one step on one process."""
    return int(np.random.SeedSequence((seed, step, process)).generate_state(1, np.uint64)[0] >> 1)


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
