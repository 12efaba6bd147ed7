"""Dropout masks of a packed batch.

On a CPU a mask is a function of (seed, step, example, forward pass, layer, place) alone, so that micro-batches, processes and a
resumed run drop the same numbers. numpy's generator draws them many times faster than torch's, which is serial on some CPUs. A
number is dropped where 16 random bits are below a threshold, so the rate is a multiple of 1 / 65,536 (0.1 becomes 6,554 / 65,536 =
0.100006); what is kept is divided by what that rate leaves, so the expectation is exact.

On a GPU torch draws; DeviceMasks says from what.

Legend: T tokens of the stream, H hidden size, N heads, n sequences of a group, L its padded length, B sequences.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Protocol

import numpy as np
import torch

from debft.data.packing import NoiseSeeds
from debft.models.attention.layout import Layout

VALUES = 1 << 16  # of 16 random bits
# Generators that belong to no layer: of the embeddings, of the convolution behind the first layer, of the head.
EMBEDDINGS, CONVOLUTION, HEAD = -1, -2, -3
OF_POSITIONS = 3  # the draw of relative positions, on a GPU
ALL_EXAMPLES = (1 << 63) - 1  # stands for the number of an example where all of them share a mask


@dataclass(frozen=True, kw_only=True)
class KernelDropout:
    """What a GPU's kernels draw the dropout of the probabilities of one layer from.

    seed: of the sequence in the first slot of the layout, (1,) int64 on the device.
    """

    rate: float
    seed: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class LayerMasks:
    """The masks of one layer, each 0 or 1 / (1 - rate), None where the rate is 0.

    attention: of the probabilities, (N, n, L, L) for each group of the layout, or what kernels draw them from.
    attention_output: of the projection behind the attention, (T, H).
    output: of the second product of the feed-forward network, likewise.
    """

    attention: tuple[torch.Tensor, ...] | KernelDropout | None = None
    attention_output: torch.Tensor | None = None
    output: torch.Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class ClsMasks:
    """The masks of a layer that is computed for [CLS] alone.

    attention: of the probabilities, (T, N).
    attention_output, output: as in LayerMasks, (B, H).
    """

    attention: torch.Tensor | None
    attention_output: torch.Tensor | None
    output: torch.Tensor | None


@dataclass(frozen=True, kw_only=True)
class ExampleMasks:
    """Masks that depend on the example and not on the batch that it is in.

    seeds: of the step and its examples, in the order of the layout.
    dtype: of the masks.
    """

    seeds: NoiseSeeds
    layout: Layout
    dtype: torch.dtype

    def rows(self, number: int, width: int, rate: float, *, per_token: bool = True, draw: int = 0) -> torch.Tensor | None:
        """Return a mask (T, width), or (B, width) without `per_token`, of the generators `number`.

        draw: tells masks of the same generators apart
        """
        if rate == 0.0:
            return None
        lengths = self.layout.lengths_B if per_token else np.ones_like(self.layout.lengths_B)
        bits = [self._bits((number, draw), int(example), int(length) * width) for example, length in self._examples(lengths)]
        return self._mask(np.concatenate(bits).reshape(-1, width), rate)

    def positions(self, layer: int, num_rows: int, width: int, rate: float) -> torch.Tensor | None:
        """Return the mask (num_rows, width) of the relative positions, which all sequences share."""
        if rate == 0.0:
            return None
        return self._mask(self._bits((layer,), ALL_EXAMPLES, num_rows * width).reshape(num_rows, width), rate)

    def layer(self, layer: int, num_heads: int, width: int, rates: tuple[float, float, float]) -> LayerMasks:
        """Return the masks of a whole layer. rates: of attention, attention_output and output."""
        layout, (of_attention, first_rate, second_rate) = self.layout, rates
        rows = np.empty((2, int(layout.lengths_B.sum()), width), dtype=np.int16)
        groups = [np.zeros((num_heads, len(g.lengths_n), g.length, g.length), dtype=np.int16) for g in layout.groups]
        places = [(square, i) for square in groups for i in range(square.shape[1])]
        start = 0
        for (square, i), (example, length) in zip(places, self._examples(layout.lengths_B), strict=True):
            hidden, end = length * width, start + length
            bits = self._bits((layer,), example, 2 * hidden + num_heads * length * length)
            rows[:, start:end] = bits[: 2 * hidden].reshape(2, length, width)
            square[:, i, :length, :length] = bits[2 * hidden :].reshape(num_heads, length, length)
            start = end
        return LayerMasks(
            attention=tuple(self._mask(square, of_attention) for square in groups) if of_attention else None,
            attention_output=self._mask(rows[0], first_rate) if first_rate else None,
            output=self._mask(rows[1], second_rate) if second_rate else None,
        )

    def _examples(self, lengths: np.ndarray) -> Iterator[tuple[int, int]]:
        return zip(self.seeds.examples_B.tolist(), lengths.tolist(), strict=True)

    def _bits(self, key: tuple[int, ...], example: int, count: int) -> np.ndarray:
        """Return `count` times 16 random bits, int16."""
        parts = (self.seeds.step, self.seeds.forward_pass, example, *(part + 3 for part in key))
        seed = reduce(lambda number, part: number << 64 | part, parts)  # numpy reads one number faster than several
        return np.random.SFC64(seed).random_raw(-(-count // 4)).view(np.int16)[:count]

    def _mask(self, bits: np.ndarray, rate: float) -> torch.Tensor:
        threshold = round(rate * VALUES)
        kept = torch.empty(bits.shape, dtype=self.dtype)
        # numpy compares and writes numbers in one pass, four times as fast as torch by way of truth values.
        np.greater_equal(bits, threshold - VALUES // 2, out=kept.numpy())
        return kept.mul_(VALUES / (VALUES - threshold)) if threshold < VALUES else kept


@dataclass(frozen=True, kw_only=True)
class DeviceMasks:
    """Masks that are drawn on the device of the batch.

    Those of tokens and sequences are parts of one mask of the whole optimizer step, from a generator of its own, so that neither
    micro-batches nor processes change them; a GPU of another model draws others. Those of attention come from torch's generator,
    and another micro-batch draws others.

    seeds: of the step; None draws everything from torch's generator.
    """

    layout: Layout
    dtype: torch.dtype
    seeds: NoiseSeeds | None = None

    def rows(self, number: int, width: int, rate: float, *, per_token: bool = True, draw: int = 0) -> torch.Tensor | None:
        """Return a mask (T, width), or (B, width) without `per_token`. number, draw: tell the masks of a pass apart."""
        if rate == 0.0:
            return None
        return scaled(self.kept_rows(number, width, rate, per_token=per_token, draw=draw), self.dtype, rate)

    def kept_rows(self, number: int, width: int, rate: float, *, per_token: bool = True, draw: int = 0) -> torch.Tensor:
        """Return what such a mask keeps, bool."""
        if self.seeds is None or self.seeds.lengths_S is None:
            lengths = self.layout.lengths_B
            return self._kept((int(lengths.sum()) if per_token else len(lengths), width), rate)
        lengths_S = self.seeds.lengths_S
        rows = int(lengths_S.sum()) if per_token else len(lengths_S)
        return self._kept((rows, width), rate, (number, draw))[self._own_tokens if per_token else self._own_examples]

    def positions(self, layer: int, num_rows: int, width: int, rate: float) -> torch.Tensor | None:
        """Return the mask (num_rows, width) of the relative positions, which all sequences share."""
        return None if rate == 0.0 else scaled(self.kept_positions(layer, num_rows, width, rate), self.dtype, rate)

    def kept_positions(self, layer: int, num_rows: int, width: int, rate: float) -> torch.Tensor:
        """Return what such a mask keeps, bool."""
        return self._kept((num_rows, width), rate, (layer, OF_POSITIONS))

    def layer(self, layer: int, num_heads: int, width: int, rates: tuple[float, float, float]) -> LayerMasks:
        """Return the masks of a whole layer. rates: of attention, attention_output and output."""
        return LayerMasks(
            attention=self._attention(layer, num_heads, rates[0]) if rates[0] else None,
            attention_output=self.rows(layer, width, rates[1], draw=1),
            output=self.rows(layer, width, rates[2], draw=2),
        )

    def _attention(self, layer: int, num_heads: int, rate: float) -> tuple[torch.Tensor, ...] | KernelDropout:
        groups = self.layout.groups
        shapes = [(num_heads, len(group.lengths_n), group.length, group.length) for group in groups]
        return tuple(scaled(self._kept(shape, rate), self.dtype, rate) for shape in shapes)

    @cached_property
    def _own_tokens(self) -> torch.Tensor | slice:
        """Return where the tokens of the batch lie among those of the step."""
        assert self.seeds is not None and self.seeds.lengths_S is not None and self.seeds.places_B is not None
        lengths_S, places_B = self.seeds.lengths_S, self.seeds.places_B
        starts_S = np.cumsum(lengths_S) - lengths_S
        own_T = np.concatenate([starts_S[place] + np.arange(lengths_S[place]) for place in places_B])
        return _rows_at(own_T, self.layout.device)

    @property
    def _own_examples(self) -> torch.Tensor | slice:
        """Return where the sequences of the batch lie among those of the step."""
        assert self.seeds is not None and self.seeds.places_B is not None
        return _rows_at(self.seeds.places_B, self.layout.device)

    def _kept(self, shape: tuple[int, ...], rate: float, key: tuple[int, ...] = ()) -> torch.Tensor:
        """Return what a mask keeps, drawn by the generator of the step that has this key, or by torch's own without one."""
        generator = None
        if key and self.seeds is not None:
            generator = torch.Generator(self.layout.device).manual_seed(_seed_of(self.seeds, key))
        return torch.empty(shape, dtype=torch.bool, device=self.layout.device).bernoulli_(1.0 - rate, generator=generator)


@dataclass(frozen=True, kw_only=True)
class KernelMasks(DeviceMasks):
    """Masks on a device whose kernels draw those of attention, from a seed that is the same however the step is cut."""

    def _attention(self, layer: int, num_heads: int, rate: float) -> KernelDropout:
        device = self.layout.device
        if self.seeds is None:
            return KernelDropout(rate=rate, seed=torch.randint(1 << 62, (1,), device=device))
        seed = attention_seed(self.seeds, layer, num_heads)
        return KernelDropout(rate=rate, seed=torch.full((1,), seed, device=device))  # filled there: nothing is copied


def attention_seed(seeds: NoiseSeeds, layer: int, num_heads: int) -> int:
    """Return the seed of the first sequence's dropout of the probabilities: the kernels add the slot and the head."""
    first = 0 if seeds.places_B is None else int(seeds.places_B[0])
    return _seed_of(seeds, (layer,)) + first * num_heads


def scaled(kept: torch.Tensor, dtype: torch.dtype, rate: float) -> torch.Tensor:
    """Return the mask of what is kept: 0 or 1 / (1 - rate)."""
    mask = kept.to(dtype)
    return mask.div_(1.0 - rate) if rate < 1.0 else mask


def _seed_of(seeds: NoiseSeeds, key: tuple[int, ...]) -> int:
    """Return 62 random bits for a mask of a forward pass."""
    entropy = (seeds.step, seeds.forward_pass, *(part + 3 for part in key))
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 2)


def _rows_at(places: np.ndarray, device: torch.device) -> torch.Tensor | slice:
    """Return what selects these rows: a slice where they are neighbours, which copies nothing."""
    if len(places) == places[-1] - places[0] + 1:
        return slice(int(places[0]), int(places[-1]) + 1)
    return torch.from_numpy(places).to(device, non_blocking=True)


@dataclass(frozen=True, kw_only=True)
class NoMasks:
    """Nothing is dropped, as in an evaluation."""

    def rows(self, number: int, width: int, rate: float, *, per_token: bool = True, draw: int = 0) -> torch.Tensor | None:
        return None

    def positions(self, layer: int, num_rows: int, width: int, rate: float) -> torch.Tensor | None:
        return None

    def layer(self, layer: int, num_heads: int, width: int, rates: tuple[float, float, float]) -> LayerMasks:
        return LayerMasks()


Masks = ExampleMasks | DeviceMasks | KernelMasks | NoMasks


class RowMasks(Protocol):
    """These are the masks of a pass, of whatever kind, as far as [CLS] alone needs them."""

    def rows(self, number: int, width: int, rate: float, *, per_token: bool = True, draw: int = 0) -> torch.Tensor | None:
        """Return a mask (T, width), or one for each sequence without `per_token`; None where the rate is 0."""


def cls_masks(masks: RowMasks, layer: int, num_heads: int, width: int, rates: tuple[float, float, float]) -> ClsMasks:
    """Return the masks of a layer that is computed for [CLS] alone. rates: of attention, attention_output and output."""
    return ClsMasks(
        attention=masks.rows(layer, num_heads, rates[0]),
        attention_output=masks.rows(layer, width, rates[1], per_token=False, draw=1),
        output=masks.rows(layer, width, rates[2], per_token=False, draw=2),
    )
