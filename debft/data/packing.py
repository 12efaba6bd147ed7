"""Encoded sequences become the tensors that a model reads.

Legend: B sequences in a batch, L its padded length.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from debft.data.encoding import EncodedSplit
from debft.runtime.memory import to_device

if TYPE_CHECKING:
    import torch

# The tensors of a batch by name: `input_ids`, `attention_mask` and `token_type_ids`, int64 (B, L), as far as the model reads them;
# `labels`, (B,), or (B, 2) for the positions of a span's start and end.
Batch = dict[str, "torch.Tensor"]


@dataclass(frozen=True, kw_only=True)
class Collator:
    """A collator puts sequences side by side and pads them to the longest.

    pad_id: the token id of the padding
    names: the tensors that the model reads
    left: the padding is in front of the text, and positions in `labels` move with it
    """

    pad_id: int
    names: tuple[str, ...]
    device: "torch.device"
    left: bool = False

    def __call__(self, split: EncodedSplit, indices: np.ndarray) -> Batch:
        """Return the batch of the sequences `indices`, on `device`."""
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
        arrays["labels"] = split.labels_S[indices]
        if self.left and arrays["labels"].ndim == 2:
            arrays["labels"] = arrays["labels"] + np.array([[longest - len(ids)] for ids, _ in rows])
        return {name: to_device(torch.from_numpy(array), self.device) for name, array in arrays.items()}
