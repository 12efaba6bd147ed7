"""A packed batch lies in memory that stays where it is, so that one CUDA graph serves every step of about its size.

The stream is filled up to one of few sizes with sequences of its own, the fillers, whose outputs nobody reads: they attend to
themselves alone, and what comes back to them is a gradient of zero. So a loss and its gradient are those of the real sequences, in
products of other shapes, which round otherwise.

Legend: T tokens of the stream with its fillers, B real sequences, S sequences with the fillers, R distances.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from debft.data.packing import Batch, NoiseSeeds
from debft.models.attention.distances import Distances
from debft.models.attention.layout import Layout
from debft.models.attention.masks import KernelDropout, KernelMasks, LayerMasks, attention_seed, scaled
from debft.runtime.memory import to_device

LONGEST = (
    64,
    128,
)  # the longest sequence is taken for one of these, or for a multiple of the last: there are few tables of distances
PARTS = 16  # a stream is filled up by at most one part in about so many
FILLER = 32  # tokens of a filler, about


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a batch with its fillers.

    tokens: of the stream.
    sequences: the real ones.
    fillers: sequences behind them.
    longest: tokens that the longest one may have.
    """

    tokens: int
    sequences: int
    fillers: int
    longest: int


def size_of(lengths_B: np.ndarray) -> Size:
    """Return the size that a batch of such sequences is filled up to: every filler has a token at least."""
    tokens = int(lengths_B.sum())
    granule = max(FILLER, 1 << max(tokens // PARTS, 1).bit_length() - 1)
    fillers = granule // FILLER
    return Size(
        tokens=-(-(tokens + fillers) // granule) * granule,
        sequences=len(lengths_B),
        fillers=fillers,
        longest=_rounded_up(int(lengths_B.max())),
    )


def _rounded_up(longest: int) -> int:
    return next((length for length in LONGEST if longest <= length), -(-longest // LONGEST[-1]) * LONGEST[-1])


def filled_lengths(lengths_B: np.ndarray, size: Size) -> np.ndarray:
    """Return the tokens of the sequences and of the fillers behind them, (S,) int64."""
    left = size.tokens - int(lengths_B.sum())
    parts = np.full(size.fillers, left // size.fillers, dtype=np.int64)
    parts[: left % size.fillers] += 1
    return np.concatenate([lengths_B, parts])


@dataclass(frozen=True, kw_only=True)
class StaticLayout(Layout):
    """A layout whose tensors stay where they are; `describe` writes those of other sequences into them.

    size: that of the batch.
    """

    size: Size

    @property
    def longest(self) -> int:
        """Return the tokens that the longest sequence may have."""
        return self.size.longest

    def describe(self, lengths_S: np.ndarray) -> None:
        """Be the layout of sequences of these lengths."""
        self.lengths_B[:] = lengths_S
        new = Layout(lengths_B=self.lengths_B, device=self.device)
        kept = vars(self)
        kept.pop("groups", None)  # they are of no graph
        for name in ("starts", "boundaries", "places", "sequences"):
            tensor = getattr(new, name)
            kept.setdefault(name, tensor).copy_(tensor, non_blocking=True)


@dataclass(frozen=True, kw_only=True)
class StaticMasks:
    """The masks of a pass, in memory that stays where it is: those that KernelMasks would draw, and `draw` draws them anew.

    layout: that of the batch.
    dtype: of the masks.
    """

    layout: StaticLayout
    dtype: torch.dtype
    num_layers: int
    kept: dict[tuple, torch.Tensor] = field(default_factory=dict)

    @cached_property
    def attention_seeds(self) -> torch.Tensor:
        """Return the seed of the attention of each layer, int64."""
        return torch.zeros(self.num_layers, dtype=torch.int64, device=self.layout.device)

    def rows(self, number: int, width: int, rate: float, *, per_token: bool = True, draw: int = 0) -> torch.Tensor | None:
        """Return a mask (T, width), or (S, width) without `per_token`. number, draw: tell the masks of a pass apart."""
        rows = self.layout.size.tokens if per_token else len(self.layout.lengths_B)
        return self._mask(("rows", number, width, rate, per_token, draw), (rows, width), rate)

    def positions(self, layer: int, num_rows: int, width: int, rate: float) -> torch.Tensor | None:
        """Return the mask (num_rows, width) of the relative positions, which all sequences share."""
        return self._mask(("positions", layer, num_rows, width, rate), (num_rows, width), rate)

    def layer(self, layer: int, num_heads: int, width: int, rates: tuple[float, float, float]) -> LayerMasks:
        """Return the masks of a whole layer. rates: of attention, attention_output and output."""
        return LayerMasks(
            attention=KernelDropout(rate=rates[0], seed=self.attention_seeds[layer : layer + 1]) if rates[0] else None,
            attention_output=self.rows(layer, width, rates[1], draw=1),
            output=self.rows(layer, width, rates[2], draw=2),
        )

    def draw(self, seeds: NoiseSeeds, lengths_B: np.ndarray, num_heads: int) -> None:
        """Draw all masks of a pass over the real sequences. seeds: of the step and its examples."""
        layout = Layout(lengths_B=lengths_B, device=self.layout.device, places_B=seeds.places_B)
        drawn = KernelMasks(layout=layout, dtype=self.dtype, seeds=seeds)
        for (kind, *arguments), kept in self.kept.items():
            if kind == "rows":
                number, width, rate, per_token, draw = arguments
                mask = drawn.kept_rows(number, width, rate, per_token=per_token, draw=draw)
            else:
                mask = drawn.kept_positions(*arguments)
            kept[: len(mask)].copy_(mask)
        seeds_N = np.array([attention_seed(seeds, layer, num_heads) for layer in range(self.num_layers)], dtype=np.int64)
        self.attention_seeds.copy_(to_device(torch.from_numpy(seeds_N), self.layout.device))

    def _mask(self, key: tuple, shape: tuple[int, int], rate: float) -> torch.Tensor | None:
        if rate == 0.0:
            return None
        if key not in self.kept:
            self.kept[key] = torch.ones(shape, dtype=torch.bool, device=self.layout.device)
        return scaled(self.kept[key], self.dtype, rate)


@dataclass(frozen=True, kw_only=True)
class StaticBatch:
    """The tensors of a batch of some size, as a model reads them (`static`); `fill` writes another batch of this size into them.

    tensors: what a batch holds, with `static` itself beside.
    distances: those of the longest sequence, held here for the graph that reads them.
    """

    size: Size
    layout: StaticLayout
    masks: StaticMasks
    tensors: Batch
    distances: list[Distances] = field(default_factory=list)

    def fill(self, batch: Batch, num_heads: int) -> None:
        """Take the place of a batch."""
        size = self.size
        self.layout.describe(filled_lengths(batch["lengths"], size))
        for name in _streams(batch):
            self.tensors[name][: len(batch[name])].copy_(batch[name])
        for name in _of_sequences(batch):
            self.tensors[name].copy_(batch[name])
        self.masks.draw(batch["seeds"], batch["lengths"], num_heads)


def static_batch(batch: Batch, *, dtype: torch.dtype, num_layers: int) -> StaticBatch:
    """Return memory for batches of the size of this one. dtype: of the masks"""
    size, device = size_of(batch["lengths"]), batch["input_ids"].device
    lengths_S = filled_lengths(batch["lengths"], size)
    layout = StaticLayout(lengths_B=lengths_S, device=device, size=size)
    masks = StaticMasks(layout=layout, dtype=dtype, num_layers=num_layers)
    tensors: Batch = {name: batch[name].new_zeros(size.tokens) for name in _streams(batch)}
    tensors |= {name: torch.zeros_like(batch[name]) for name in _of_sequences(batch)}
    made = StaticBatch(size=size, layout=layout, masks=masks, tensors=tensors)
    made.tensors.update(lengths=layout.lengths_B, static=made)
    return made


def _streams(batch: Batch) -> list[str]:
    """Return the names of the tensors that have an element for each token."""
    return [name for name in ("input_ids", "token_type_ids") if name in batch]


def _of_sequences(batch: Batch) -> list[str]:
    """Return the names of the tensors that a loss reads: they have an element or a row for each sequence."""
    return [name for name in ("labels", "weights") if name in batch]
