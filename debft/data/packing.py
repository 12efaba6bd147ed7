"""Encoded sequences become the tensors that a model reads.

Legend: B sequences in a batch, L its padded length, T tokens of all its sequences.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from debft.data.encoding import EncodedSplit
from debft.data.windows import EncodedWindows
from debft.runtime.memory import to_device

if TYPE_CHECKING:
    import torch

# What a batch holds by name. Padded: `input_ids`, `attention_mask` and `token_type_ids`, int64 (B, L), as far as the model reads
# them. Packed: `input_ids` and `token_type_ids`, int64 (T,), the sequences end to end without padding, and their `lengths`, a numpy
# array (B,). Both: `labels`, (B,), (B, C) for sets of labels, or (B, 2) for the positions of a span's start and end; where they
# count for more or less than one, `weights`, float32 (B,); in training also `noise_seed` (B,) and `seeds`, a NoiseSeeds.
Batch = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class NoiseSeeds:
    """What the random numbers of a batch are drawn from; the same whatever micro-batch or process an example is in.

    step: the seed of the optimizer step.
    examples_B: the number of each example in its split.
    places_B: the place of each example in the step, the longest first; None where it is not known.
    lengths_S: the tokens of all examples of the step, in the order of their places; None where they are not known.
    forward_pass: tells the forward passes of one step apart, where a loss does several.
    """

    step: int
    examples_B: np.ndarray
    places_B: np.ndarray | None = None
    lengths_S: np.ndarray | None = None
    forward_pass: int = 0


@dataclass(frozen=True, kw_only=True)
class Collator:
    """A collator puts sequences side by side, and pads them to the longest, or end to end.

    pad_id: the token id of the padding
    names: the tensors that the model reads
    left: the padding is in front of the text, and positions in `labels` move with it
    packed: the sequences lie end to end, without padding
    """

    pad_id: int
    names: tuple[str, ...]
    device: "torch.device"
    left: bool = False
    packed: bool = False

    def __call__(self, split: EncodedSplit, indices: np.ndarray) -> Batch:
        """Return the batch of the sequences `indices`, on `device`."""
        import torch

        rows = [split.example(int(i)) for i in indices]
        arrays, others = self._packed(rows) if self.packed else self._padded(rows)
        arrays["labels"] = split.labels_S[indices]
        if split.weights is not None:
            arrays["weights"] = split.weights[indices]
        if self.left and isinstance(split, EncodedWindows):
            longest = max(len(ids) for ids, _ in rows)
            arrays["labels"] = arrays["labels"] + np.array([[longest - len(ids)] for ids, _ in rows])
        return others | {name: to_device(torch.from_numpy(array), self.device) for name, array in arrays.items()}

    def _packed(self, rows: list[tuple[np.ndarray, np.ndarray]]) -> tuple[dict[str, np.ndarray], Batch]:
        """Return (arrays of the tensors, what is no tensor)."""
        arrays = {"input_ids": np.concatenate([ids for ids, _ in rows]).astype(np.int64)}
        if "token_type_ids" in self.names:
            arrays["token_type_ids"] = np.concatenate([types for _, types in rows]).astype(np.int64)
        return arrays, {"lengths": np.array([len(ids) for ids, _ in rows], dtype=np.int64)}

    def _padded(self, rows: list[tuple[np.ndarray, np.ndarray]]) -> tuple[dict[str, np.ndarray], Batch]:
        """Return (arrays of the tensors, what is no tensor)."""
        longest = max(len(ids) for ids, _ in rows)
        arrays = {name: np.zeros((len(rows), longest), dtype=np.int64) for name in self.names}
        arrays["input_ids"] += self.pad_id
        for row, (ids, types) in enumerate(rows):
            place = slice(longest - len(ids), longest) if self.left else slice(0, len(ids))
            for name, values in (("input_ids", ids), ("token_type_ids", types), ("attention_mask", 1)):
                if name in arrays:
                    arrays[name][row, place] = values
        return arrays, {}
