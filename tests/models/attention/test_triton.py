"""The backend `triton`: its kernels beside the same attention in float64, their dropout, and when it is not there.

On a machine without a GPU the kernels run in Triton's interpreter, where that is installed.
"""

import re
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import pytest
import torch
from on_device import DEVICES, require_kernels
from small_deberta import distance
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position

from debft.data.packing import NoiseSeeds
from debft.errors import InputError
from debft.models.attention import availability, triton
from debft.models.attention.backends import attention_for, why_not
from debft.models.attention.distances import Distances, distances
from debft.models.attention.layout import Layout
from debft.models.attention.masks import KernelDropout, KernelMasks

CPU = torch.device("cpu")
BUCKETS, LONGEST_DISTANCE = 8, 64
RATE = 0.3
LUCK = 4.0  # two correct programs in float32 differ in the order of their sums


@dataclass(frozen=True, kw_only=True)
class Case:
    """Random queries, keys, values and projected rows of positions.

    rate: of dropout; places: of the sequences in the step; rounded: the inputs have the digits of this dtype.
    """

    lengths: tuple[int, ...] = (20, 7, 1)
    heads: int = 2
    size: int = 32
    c2p: bool = True
    p2c: bool = True
    buckets: int = BUCKETS
    rate: float = 0.0
    places: tuple[int, ...] | None = None
    seed: int = 5
    rounded: torch.dtype = torch.float32

    @property
    def scale(self) -> float:
        return 1.0 / sqrt(self.size * (1 + self.c2p + self.p2c))

    def used(self, device=CPU) -> Distances:
        span = self.buckets if self.buckets > 0 else LONGEST_DISTANCE
        return distances(max(self.lengths), span, self.buckets, LONGEST_DISTANCE, device)

    def layout(self, device=CPU) -> Layout:
        places = None if self.places is None else np.array(self.places)
        return Layout(lengths_B=np.array(self.lengths), device=device, places_B=places)

    def tensors(self, device, dtype=torch.float32) -> list[torch.Tensor | None]:
        """(qkv, positions as keys, positions as queries), which want gradients."""
        generator = torch.Generator().manual_seed(0)
        width = self.heads * self.size
        shapes = [(sum(self.lengths), 3 * width), *[(len(self.used().rows_U), width)] * 2]
        drawn = [torch.randn(shape, generator=generator).to(self.rounded) for shape in shapes]
        drawn = [tensor.to(device, dtype).requires_grad_() for tensor in drawn]
        return [drawn[0], drawn[1] if self.c2p else None, drawn[2] if self.p2c else None]


def kernels(case: Case, device, dtype=torch.float32) -> list[torch.Tensor]:
    """The context of the kernels, and the gradients of a fixed sum of it."""
    tensors = case.tensors(device, dtype)
    dropout = KernelDropout(rate=case.rate, seed=torch.tensor([case.seed], device=device)) if case.rate else None
    used = case.used(device) if case.c2p or case.p2c else None
    context = triton.kernel_attention(*tensors, used, case.layout(device), dropout, case.heads, case.scale)
    return with_gradients(context, tensors)


def plain(case: Case, dtype, keep=None) -> list[torch.Tensor]:
    """The same sequence by sequence, as the paper writes it. keep: where a probability stays, by slot * heads + head."""
    tensors = case.tensors(CPU, dtype)
    qkv, c2p, p2c = (tensor if tensor is None or index == 0 else heads_of(tensor, case) for index, tensor in enumerate(tensors))
    contexts, start, longest = [], 0, max(case.lengths)
    for length, slot in zip(case.lengths, case.layout().slots, strict=True):
        rows = qkv[start : start + length].view(length, 3, case.heads, case.size).permute(1, 2, 0, 3)
        q, k, v = rows
        place = torch.arange(length)
        row = case.used().p2c_R[place[:, None] - place + longest - 1].expand(case.heads, -1, -1)
        scores = q @ k.mT
        if c2p is not None:
            scores = scores + (q @ c2p.mT).gather(2, row)
        if p2c is not None:
            scores = scores + (k @ p2c.mT).gather(2, row.mT).mT
        probabilities = (scores * case.scale).softmax(-1)
        if keep is not None:
            kept = keep[slot * case.heads : (slot + 1) * case.heads, :length, :length]
            probabilities = probabilities * kept / (1 - case.rate)
        contexts.append((probabilities @ v).transpose(0, 1).reshape(length, -1))
        start += length
    return with_gradients(torch.cat(contexts), tensors)


def heads_of(rows_UH: torch.Tensor, case: Case) -> torch.Tensor:
    return rows_UH.unflatten(-1, (case.heads, case.size)).transpose(0, 1)


def with_gradients(context, tensors) -> list[torch.Tensor]:
    weights = torch.randn(context.shape, generator=torch.Generator().manual_seed(1)).to(context)
    wanted = [tensor for tensor in tensors if tensor is not None]
    return [context.detach(), *torch.autograd.grad((context * weights).sum(), wanted)]


def kept_by_kernels(case: Case, device) -> torch.Tensor:
    """(slots * heads, L, L): the package's own account of its dropout."""
    from disentangled_flash.training._kernels import dropout_keep_mask

    streams = (int(case.layout().slots[-1]) + 1) * case.heads
    seed = torch.tensor([case.seed], device=device)
    keep = dropout_keep_mask(seed, stream_start=0, streams=streams, length=max(case.lengths), dropout_p=case.rate)
    return keep.cpu()


def assert_exact(case: Case, device) -> None:
    keep = kept_by_kernels(case, device) if case.rate else None
    truth, single = plain(case, torch.float64, keep), plain(case, torch.float32, keep)
    # A sequence of one token has no gradient to its query and key: only rounding is left to compare.
    least = 2.0**-24 * sqrt(sum(float(tensor.norm()) ** 2 for tensor in truth))
    for got, wanted, other in zip(kernels(case, device), truth, single, strict=True):
        assert distance(got, wanted) <= LUCK * max(distance(other, wanted), least)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", [Case(), Case(rate=RATE, lengths=(9, 4))])
def test_triton_context_and_gradients_match_float64(case, device, monkeypatch):
    assert_exact(case, require_kernels(device, monkeypatch))


@pytest.mark.sweep
@pytest.mark.parametrize("lengths", [(1,), (2, 1), (65, 33, 32, 31, 3), (129, 100)], ids=str)
@pytest.mark.parametrize("terms", [(True, True), (True, False), (False, True), (False, False)], ids=("both", "c2p", "p2c", "none"))
@pytest.mark.parametrize("size", (32, 64, 128))
@pytest.mark.parametrize("buckets", (BUCKETS, -1))
def test_triton_matches_float64_for_every_kind(lengths, terms, size, buckets, monkeypatch):
    device = require_kernels("cpu", monkeypatch)
    assert_exact(Case(lengths=lengths, c2p=terms[0], p2c=terms[1], size=size, buckets=buckets, heads=1), device)


@pytest.mark.gpu
@pytest.mark.parametrize("length", (1, 2, 3, 17, 63, 64, 65, 127, 128, 129, 200, 255, 256, 257, 400, 511, 512))
@pytest.mark.parametrize("rate", (0.0, RATE))
def test_triton_matches_float64_at_every_length_on_a_gpu(length, rate, monkeypatch):
    assert_exact(Case(lengths=(length, length, 5), size=64, rate=rate), require_kernels("cuda", monkeypatch))


@pytest.mark.gpu
@pytest.mark.parametrize("terms", [(True, True), (True, False), (False, True), (False, False)], ids=("both", "c2p", "p2c", "none"))
@pytest.mark.parametrize("size", (32, 64, 128))
def test_triton_matches_float64_for_every_kind_on_a_gpu(terms, size, monkeypatch):
    device = require_kernels("cuda", monkeypatch)
    assert_exact(Case(lengths=(100, 64, 5), c2p=terms[0], p2c=terms[1], size=size, rate=RATE), device)


@pytest.mark.gpu
@pytest.mark.sweep
@pytest.mark.parametrize("length", (1, 2, 3, 17, 63, 64, 65, 127, 128, 129, 200, 255, 256, 257, 400, 511, 512))
@pytest.mark.parametrize("terms", [(True, True), (True, False), (False, True)], ids=("both", "c2p", "p2c"))
@pytest.mark.parametrize("size", (32, 64, 128))
@pytest.mark.parametrize("rate", (0.0, RATE))
def test_triton_matches_float64_for_every_kind_and_length_on_a_gpu(length, terms, size, rate, monkeypatch):
    device = require_kernels("cuda", monkeypatch)
    assert_exact(Case(lengths=(length, length, 5), c2p=terms[0], p2c=terms[1], size=size, rate=rate), device)


@pytest.mark.parametrize(
    ("device", "dtype"),  # the interpreter multiplies no bfloat16
    [("cpu", torch.float16), *[pytest.param("cuda", half, marks=pytest.mark.gpu) for half in (torch.bfloat16, torch.float16)]],
)
def test_triton_in_half_precision_is_as_near_as_its_digits(device, dtype, monkeypatch):
    """Beside float64 on the same rounded inputs: the kernels add up in float32, so what is left is rounding a few times."""
    device = require_kernels(device, monkeypatch)
    case = Case(lengths=(200, 64, 5) if device.type == "cuda" else (20, 5), rate=RATE, rounded=dtype)
    truth = plain(case, torch.float64, kept_by_kernels(case, device))
    for got, wanted in zip(kernels(case, device, dtype), truth, strict=True):
        assert distance(got, wanted) <= LUCK * torch.finfo(dtype).eps * float(wanted.norm())


@pytest.mark.parametrize("device", DEVICES)
def test_triton_dropout_does_not_depend_on_how_a_step_is_cut(device, monkeypatch):
    """Five sequences at once; then those that one of two processes holds, in two micro-batches."""
    device = require_kernels(device, monkeypatch)
    whole = Case(lengths=(9, 8, 5, 3, 2), rate=RATE, heads=2)
    ends, inputs = np.cumsum(whole.lengths), whole.tensors(device)
    together = attend(whole, inputs, np.arange(5), whole.used(device))
    for places in ([1], [2, 4]):
        part = replace(whole, lengths=tuple(whole.lengths[place] for place in places), places=tuple(places))
        tokens = torch.cat([torch.arange(ends[place] - whole.lengths[place], ends[place]) for place in places]).to(device)
        used = part.used(device)
        rows = torch.isin(whole.used(device).rows_U, used.rows_U)
        context = attend(part, [inputs[0][tokens], inputs[1][rows], inputs[2][rows]], np.array(places), used)
        assert torch.allclose(context, together[tokens], rtol=1e-5, atol=1e-6)  # other blocks, other sums


def attend(case: Case, tensors, places, used) -> torch.Tensor:
    """The context with the dropout that the masks of a step give to layer 3."""
    device, seeds = used.rows_U.device, NoiseSeeds(step=11, examples_B=places * 7, places_B=places)
    masks = KernelMasks(layout=case.layout(device), dtype=torch.float32, seeds=seeds)
    dropout = masks.layer(3, case.heads, 8, (case.rate, 0.0, 0.0)).attention
    return triton.kernel_attention(*tensors, used, masks.layout, dropout, case.heads, case.scale).detach()


@pytest.mark.parametrize("device", DEVICES)
def test_triton_dropout_has_its_rate_and_its_masks_are_independent(device, monkeypatch):
    """2 layers x 4 streams x 96 x 96 draws: the mean of n draws lies within 6 standard deviations, sqrt(p (1 - p) / n)."""
    device = require_kernels(device, monkeypatch)
    case = Case(lengths=(96,) * 4, heads=1, rate=RATE)
    one, other = (kept_by_kernels(replace(case, seed=seed), device).double() for seed in (5, 10_007))
    pairs = [(one, other), (one[1:], one[:-1]), (one[:, 1:], one[:, :-1]), (one[:, :, 1:], one[:, :, :-1])]
    assert abs(one.mean() - (1 - RATE)) < 6 * sqrt(RATE * (1 - RATE) / one.numel())
    for left, right in pairs:
        covariance = ((left - left.mean()) * (right - right.mean())).mean()
        assert abs(covariance) < 6 * RATE * (1 - RATE) / sqrt(left.numel())


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16))
def test_triton_gives_the_same_bits_five_times(dtype, monkeypatch):
    device, case = require_kernels("cuda", monkeypatch), Case(lengths=(300, 200, 64, 64, 5), rate=RATE)
    first = kernels(case, device, dtype)
    for _ in range(4):
        assert all(torch.equal(one, other) for one, other in zip(first, kernels(case, device, dtype), strict=True))


def test_both_kinds_of_scores_of_a_pair_take_the_row_that_transformers_takes():
    """The kernels have one table of rows for both."""
    for buckets, longest_distance in ((256, 512), (8, 40), (7, 512), (-1, 512), (-1, 24)):
        span = buckets if buckets > 0 else longest_distance
        for length in (1, 2, 3, 17, 64, 129, 257, 512):
            used = distances(length, span, buckets, longest_distance, CPU)
            layer = torch.zeros(1, length, 1)
            position = build_relative_position(layer, layer, buckets, longest_distance)[0]
            place = torch.arange(length)
            rows = used.rows_U[used.p2c_R[place[:, None] - place + length - 1]]
            assert torch.equal(used.p2c_R, used.c2p_R.flip(0))
            assert torch.equal(rows, (position + span).clamp(0, 2 * span - 1))
            assert torch.equal(rows, (-position + span).clamp(0, 2 * span - 1).T)


def test_kernels_are_launched_alike_whatever_else_is_in_the_micro_batch(monkeypatch):
    """A choice by measurement, or by the number of sequences, would round the same sequence otherwise from call to call."""
    tuning = pytest.importorskip("disentangled_flash.tuning", reason="disentangled-flash is not installed")
    monkeypatch.setattr(tuning.HardwareSpec, "current", lambda *_: tuning.HardwareSpec("cuda", "a GPU", (9, 0)))
    monkeypatch.setattr(tuning.CompilerSpec, "current", lambda *_: None)
    monkeypatch.setattr(tuning.DeviceResources, "current", lambda *_: tuning.DeviceResources(232_448, 132, (9, 0)))
    short, long = torch.zeros(6, 30, 64, dtype=torch.bfloat16), torch.zeros(6, 3000, 64, dtype=torch.bfloat16)
    table = torch.zeros(6, 512, 64)
    few, many = (triton._launch_settings(query, 200, [table, table], True) for query in (short, long))
    assert few == many and sorted(few) == ["dkv_config", "dq_config", "forward_config"]


def test_layout_leaves_empty_slots_for_the_sequences_of_others():
    layout = Layout(lengths_B=np.array([5, 3, 2]), device=CPU, places_B=np.array([4, 6, 9]))
    assert layout.boundaries.tolist() == [0, 5, 5, 8, 8, 8, 10]
    assert (layout.slots.tolist(), layout.boundaries.dtype) == ([0, 2, 5], torch.int32)


def test_layout_without_places_has_no_empty_slots():
    assert Layout(lengths_B=np.array([5, 3]), device=CPU).boundaries.tolist() == [0, 5, 8]


def test_seed_of_the_kernels_is_another_for_each_layer_step_and_pass():
    """Further apart than there are streams in a step, so that no two of them meet."""
    layout = Layout(lengths_B=np.array([5, 3]), device=CPU)
    seeds = [
        KernelMasks(layout=layout, dtype=torch.float32, seeds=NoiseSeeds(step=step, examples_B=np.arange(2), forward_pass=number))
        .layer(layer, 12, 8, (0.1, 0.0, 0.0))
        .attention.seed.item()
        for step in (1, 2)
        for number in (0, 1)
        for layer in range(24)
    ]
    assert np.diff(sorted(seeds)).min() > 2**20 and min(seeds) >= 0


@pytest.mark.parametrize(
    ("tokens", "slots", "said"),
    [
        (2**20, 10, "fewer than 2,147,483,648 in a micro-batch, got 6,442,450,944 scores"),
        (9, 9000, "at most 65,535 .* got 108,000"),
    ],
)
def test_micro_batch_beyond_the_kernels_numbers_is_refused(tokens, slots, said):
    """Beyond, the kernels' own 32-bit products would wrap around and read elsewhere, without a word."""
    layout = Layout(lengths_B=np.ones(slots, dtype=np.int64), device=CPU)
    with pytest.raises(InputError, match=f"^--attention triton: expected {said}.*lower runtime.micro_batch_tokens"):
        triton._check_size(layout, 12, tokens, 512)


XSMALL = {"model_type": "deberta-v2", "hidden_size": 384, "num_attention_heads": 6}


@pytest.mark.parametrize(
    ("config", "device", "said"),
    [
        (XSMALL, "cpu", "it needs an NVIDIA GPU, the device is cpu"),
        (None, "cpu", "it needs an NVIDIA GPU, the device is cpu"),
        (XSMALL | {"num_attention_heads": 16}, "cuda", "its kernels take heads of 32, 64, 128, this model has heads of 24"),
        (XSMALL | {"attention_head_size": 16}, "cuda", "its kernels take heads of 32, 64, 128, this model has heads of 16"),
    ],
)
def test_triton_is_unavailable_without_a_gpu_or_for_other_heads(gpu_machine, config, device, said):
    assert why_not("triton", config, device) == said


@pytest.fixture
def gpu_machine(monkeypatch):
    """A machine that has all that the backend needs."""
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    monkeypatch.setattr(availability, "version", lambda name: "1.1.1")
    monkeypatch.setattr(availability.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("CC", "cc")
    monkeypatch.setattr(availability.Path, "is_file", lambda path: True)
    return monkeypatch


def absent(name):
    raise availability.PackageNotFoundError(name)


def test_triton_is_what_auto_takes_where_nothing_is_missing(gpu_machine):
    assert attention_for("auto", XSMALL, "cuda") == ("triton", "")


@pytest.mark.parametrize(
    ("where", "name", "value", "said"),
    [
        (torch.version, "cuda", None, "this torch is built for another kind"),
        (torch.cuda, "get_device_capability", lambda *_: (7, 5), "compute capability 8.0 or newer, this one has 7.5"),
        (availability, "version", absent, r"disentangled-flash is not installed: pip install 'debft\[gpu\]'"),
        (availability, "version", lambda name: "1.0.9", r"disentangled-flash >= 1.1.1, < 1.2, found 1.0.9: pip install"),
        (availability, "version", lambda name: "1.2.0", r">= 1.1.1, < 1.2, found 1.2.0"),
        (availability.importlib.util, "find_spec", lambda name: None, "triton is not installed"),
        (availability.Path, "is_file", lambda path: False, "needs Python's headers and finds no .*Python.h"),
    ],
)
def test_what_triton_lacks_is_said_with_what_to_do(gpu_machine, where, name, value, said):
    gpu_machine.setattr(where, name, value)
    assert_refused(said)


def test_triton_without_a_c_compiler_is_unavailable(gpu_machine):
    gpu_machine.delenv("CC")
    gpu_machine.setenv("PATH", "")
    assert_refused("needs a C compiler, gcc or clang")


def assert_refused(said: str) -> None:
    """`auto` takes torch and says why; asked for, triton is an error that says so too."""
    backend, remark = attention_for("auto", XSMALL, "cuda")
    assert backend == "torch" and re.search(said, remark)
    with pytest.raises(
        InputError, match=f"^--attention triton: expected a backend that works here, .*{said}.*; give auto or eager$"
    ):
        attention_for("triton", XSMALL, "cuda")
