"""Which examples meet in which optimizer step, and how a step is cut into micro-batches.

Step k of a run is a function of (seed, k, batch size) alone: no sampler has a state that a checkpoint must carry, and
neither the number of processes nor the micro-batches change who meets whom.

Legend: B sequences in a micro-batch, L its padded length.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from debft.data.encoding import EncodedSplit

if TYPE_CHECKING:
    import torch


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """The order of the examples in an epoch (from 0), from a private generator. Read-only, (N,) int64."""
    order = np.random.default_rng((seed, epoch)).permutation(num_examples)
    order.setflags(write=False)
    return order


def steps_per_epoch(num_examples: int, batch_size: int) -> int:
    """The last step of an epoch may be smaller; its loss is the mean of what it has."""
    return -(-num_examples // batch_size)


def step_examples(step: int, seed: int, num_examples: int, batch_size: int) -> np.ndarray:
    """The examples of optimizer step `step` (from 0), over all processes."""
    epoch, index = divmod(step, steps_per_epoch(num_examples, batch_size))
    return epoch_order(seed, epoch, num_examples)[index * batch_size : (index + 1) * batch_size]


def share(indices: np.ndarray, lengths: np.ndarray, rank: int, world: int) -> np.ndarray:
    """What process `rank` takes of a step, longest first, dealt in turn so that all have alike to do. May be empty."""
    return by_length(indices, lengths)[rank::world]


def by_length(indices: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Longest first; equal lengths stay in their order."""
    return indices[np.argsort(-lengths[indices], kind="stable")]


def micro_batches(indices: np.ndarray, lengths: np.ndarray, max_tokens: int) -> list[np.ndarray]:
    """`indices` (longest first) cut so that B x L stays within `max_tokens`, one sequence at least."""
    batches, start = [], 0
    while start < len(indices):
        size = max(1, max_tokens // int(lengths[indices[start]]))
        batches.append(indices[start : start + size])
        start += size
    return batches


@dataclass(frozen=True, kw_only=True)
class Collator:
    """Puts examples side by side: tensors `names` (B, L) and labels on `device`; `left` pads in front.

    Labels are (B,), or positions (B, 2), which move with the padding.
    """

    pad_id: int
    names: tuple[str, ...]
    device: "torch.device"
    left: bool = False

    def __call__(self, split: EncodedSplit, indices: np.ndarray) -> dict[str, "torch.Tensor"]:
        import torch

        rows = [split.example(int(i)) for i in indices]
        longest = max(len(ids) for ids, _ in rows)
        arrays = {name: np.zeros((len(rows), longest), dtype=np.int64) for name in self.names}
        arrays["input_ids"] += self.pad_id
        for row, (ids, types) in enumerate(rows):
            place = slice(longest - len(ids), longest) if self.left else slice(0, len(ids))
            for name, values in (("input_ids", ids), ("token_type_ids", types), ("attention_mask", 1)):
                if name in arrays:
                    arrays[name][row, place] = values
        arrays["labels"] = split.labels_N[indices]
        if self.left and arrays["labels"].ndim == 2:
            arrays["labels"] = arrays["labels"] + np.array([[longest - len(ids)] for ids, _ in rows])
        return {name: torch.from_numpy(array).to(self.device, non_blocking=True) for name, array in arrays.items()}
