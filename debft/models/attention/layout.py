"""Sequences that lie end to end in a stream of tokens are put side by side for attention, in groups of nearly equal length.

Legend: T tokens of the stream, B its sequences, n sequences of a group, L its padded length.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch

from debft.runtime.memory import to_device

# Lengths are rounded up to a multiple of this before sequences are grouped, so that a step has few groups.
GRANULE = 16


@dataclass(frozen=True, kw_only=True)
class Group:
    """Neighbours in the stream whose attention is computed as one padded batch.

    first: the place of the first sequence among those of the stream.
    start: the place of the first token in the stream.
    lengths_n: the tokens of each sequence.
    """

    first: int
    start: int
    lengths_n: np.ndarray
    device: torch.device

    @property
    def length(self) -> int:
        """Return L, the tokens of the longest sequence."""
        return int(self.lengths_n.max())

    @property
    def end(self) -> int:
        """Return the place behind the last token in the stream."""
        return self.start + int(self.lengths_n.sum())

    @cached_property
    def equal(self) -> bool:
        """Return whether all sequences have the same length, so that there is no padding."""
        return bool((self.lengths_n == self.length).all())

    @cached_property
    def real(self) -> torch.Tensor:
        """Return the place in (n * L) of each token of the group, int64."""
        offsets = np.arange(len(self.lengths_n)) * self.length
        places = np.concatenate([o + np.arange(k) for o, k in zip(offsets, self.lengths_n, strict=True)])
        return to_device(torch.from_numpy(places), self.device)

    @cached_property
    def is_padding(self) -> torch.Tensor:
        """Return where (n, L) is padding, bool."""
        places = np.arange(self.length)[None, :] >= self.lengths_n[:, None]
        return to_device(torch.from_numpy(places), self.device)

    def padded(self, stream_TX: torch.Tensor) -> torch.Tensor:
        """Return the group's rows of a stream as (n, L, X), zero at padding."""
        rows, size = stream_TX[self.start : self.end], (len(self.lengths_n), self.length, stream_TX.shape[-1])
        if self.equal:
            return rows.view(size)
        return stream_TX.new_zeros(size[0] * size[1], size[2]).index_copy_(0, self.real, rows).view(size)

    def write(self, stream_TX: torch.Tensor, padded_nLX: torch.Tensor) -> None:
        """Write (n, L, X) without its padding into the group's rows of a stream."""
        rows = padded_nLX.reshape(-1, stream_TX.shape[-1])
        stream_TX[self.start : self.end] = rows if self.equal else rows.index_select(0, self.real)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The sequences of a stream. Neighbours of nearly equal length are computed together, so that sorted ones are fastest.

    lengths_B: the tokens of each, int64.
    places_B: the place of each in the optimizer step, of which this is a part; None where only one part is known.
    """

    lengths_B: np.ndarray
    device: torch.device
    places_B: np.ndarray | None = None

    @property
    def longest(self) -> int:
        """Return the tokens of the longest sequence."""
        return int(self.lengths_B.max())

    @cached_property
    def starts(self) -> torch.Tensor:
        """Return the place in the stream of the first token of each sequence, int64."""
        return to_device(torch.from_numpy(np.cumsum(self.lengths_B) - self.lengths_B), self.device)

    @cached_property
    def slots(self) -> np.ndarray:
        """Return a slot for each sequence, from 0, with empty ones between for those of the step that are elsewhere."""
        slots_B = np.arange(len(self.lengths_B)) if self.places_B is None else self.places_B - self.places_B[0]
        assert (np.diff(slots_B) > 0).all(), "the sequences lie in the order of their places"
        return slots_B

    @cached_property
    def boundaries(self) -> torch.Tensor:
        """Return where each slot begins in the stream, and where the last one ends, int32."""
        ends = np.zeros(self.slots[-1] + 2, dtype=np.int32)
        ends[self.slots + 1] = np.cumsum(self.lengths_B)
        return to_device(torch.from_numpy(np.maximum.accumulate(ends)), self.device)

    @cached_property
    def places(self) -> torch.Tensor:
        """Return the place of each token in its own sequence, int64."""
        return to_device(torch.from_numpy(np.concatenate([np.arange(length) for length in self.lengths_B])), self.device)

    @cached_property
    def sequences(self) -> torch.Tensor:
        """Return the number of the sequence that each token belongs to, int64."""
        return to_device(torch.from_numpy(np.repeat(np.arange(len(self.lengths_B)), self.lengths_B)), self.device)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Return groups of neighbours of nearly equal length."""
        return tuple(self._grouped())

    def _grouped(self) -> Iterator[Group]:
        sizes = -(-self.lengths_B // GRANULE)
        borders = [0, *(np.flatnonzero(np.diff(sizes)) + 1).tolist(), len(sizes)]
        starts = np.cumsum(self.lengths_B) - self.lengths_B
        for first, end in pairwise(borders):
            yield Group(first=first, start=int(starts[first]), lengths_n=self.lengths_B[first:end], device=self.device)

    def padded(self, stream_TX: torch.Tensor, fill: float = 0.0) -> torch.Tensor:
        """Return a stream as (B, longest, X), `fill` at padding."""
        padded = stream_TX.new_full((len(self.lengths_B), self.longest, stream_TX.shape[-1]), fill)
        return padded.index_put((self.sequences, self.places), stream_TX)
