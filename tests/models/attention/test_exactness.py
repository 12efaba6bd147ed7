"""Every attention backend computes what transformers' eager code computes: outputs and every gradient, against float64.

Two questions: is the mathematics the same (float64 beside float64: only its rounding is left), and does float32 round no worse
than transformers' own float32 does.
"""

import pytest
import torch
from on_device import DEVICES, require, require_kernels
from small_deberta import BASE, KINDS, QUICK, Measured, batch_of, build, errors, measure, oracle, run, size

from debft.models.attention.availability import HEAD_SIZES
from debft.models.attention.distances import distances
from debft.models.attention.use import use_attention
from debft.runtime.deterministic import deterministic_kernels

BACKENDS = ("torch",)  # that compute in float64; the kernels of `triton` do not
PRECISIONS = ("fp32", "bf16")
MOST_UNLIKE = ("v3", "no buckets", "own projections of positions", "c2p alone", "p2c alone", "a head of 128", "convolution")
HEADS = ("classes", "spans")
LENGTHS = (1, 2, 3, 17, 63, 64, 65, 127, 128, 129, 200, 255, 256, 257, 400, 511, 512)
# Relative to the size of all gradients. float64 keeps 1e-16; sums of some thousand products in two orders differ by less than
# 1e-13, and a term that were wrong would show at its own size.
SAME_MATHEMATICS = 1e-11
# Of eager's own error. Two correct programs in float32 differ in the order of their sums, and so in their luck.
LUCK = 4.0
ROUNDING = {"fp32": 2.0**-24, "bf16": 2.0**-9}
CPU = torch.device("cpu")


def packed(head: str, backend: str, **changes) -> torch.nn.Module:
    model = build(head, **changes)
    use_attention(model, backend)
    return model


def device_for(backend: str, device: str, monkeypatch, **changes) -> torch.device:
    """The device, where the backend computes such a model on it; else the test is skipped with the reason."""
    if backend != "triton":
        return require(device)
    sizes = BASE | changes
    if sizes["hidden_size"] // sizes["num_attention_heads"] not in HEAD_SIZES:
        pytest.skip(f"the kernels take heads of {HEAD_SIZES}")
    return require_kernels(device, monkeypatch)


def assert_same_mathematics(head: str, backend: str, batch, truth: Measured | None = None, **changes) -> None:
    truth = truth or oracle(head, batch, **changes)
    got = measure(packed(head, backend, **changes).double(), batch, is_packed=True)
    assert got.gradients.keys() == truth.gradients.keys()
    limit = SAME_MATHEMATICS * size(truth)
    assert {name: error for name, error in errors(got, truth).items() if not error <= limit} == {}


def assert_rounds_like_eager(
    head: str, backend: str, batch, device=CPU, precision: str = "fp32", truth: Measured | None = None, **changes
) -> None:
    """Both on the same device in the same precision, each beside float64."""
    truth = truth or oracle(head, batch, **changes)
    eager = errors(measure(build(head, **changes).to(device), batch, is_packed=False, precision=precision), truth)
    got = errors(measure(packed(head, backend, **changes).to(device), batch, is_packed=True, precision=precision), truth)
    # A gradient that is zero in exact arithmetic, as that of the keys' bias is with c2p alone, has only rounding to compare.
    least = ROUNDING[precision] * size(truth)
    assert {name: (got[name], eager[name]) for name in got if not got[name] <= LUCK * max(eager[name], least)} == {}


def assert_both(head: str, backend: str, batch, **changes) -> None:
    truth = oracle(head, batch, **changes)
    assert_same_mathematics(head, backend, batch, truth=truth, **changes)
    assert_rounds_like_eager(head, backend, batch, truth=truth, **changes)


def lengths_of(kind: str) -> tuple[int, ...]:
    """All for the kinds that are most unlike; the others share them in threes."""
    return LENGTHS if kind in MOST_UNLIKE else LENGTHS[list(KINDS).index(kind) % 3 :: 3]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_packed_forward_and_gradients_match_hf_eager_in_float64(kind, backend):
    """The heads take turns; the sweep has each kind with both."""
    head = HEADS[list(KINDS).index(kind) % 2]
    assert_same_mathematics(head, backend, batch_of(40, 33, 33, 3, 1), **QUICK | KINDS[kind])


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_model_that_was_evaluated_first_can_be_trained(backend, monkeypatch):
    """What an evaluation keeps of the distances serves a step; no other test may have filled the cache with these lengths."""
    device, batch = device_for(backend, "cpu", monkeypatch, **QUICK), batch_of(23, 5)
    distances.cache_clear()
    model = packed("classes", backend, **QUICK).to(device)
    with torch.inference_mode():
        run(model, batch)
    assert measure(model, batch, is_packed=True).gradients


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("head", HEADS)
def test_packed_forward_and_gradients_round_no_worse_than_hf_eager(head, precision):
    assert_rounds_like_eager(head, "torch", batch_of(65, 40, 17, 17, 3, 1), precision=precision)


@pytest.mark.parametrize("head", HEADS)
def test_kernels_in_a_model_round_no_worse_than_hf_eager(head, monkeypatch):
    """In Triton's interpreter, where that is installed."""
    device = device_for("triton", "cpu", monkeypatch)
    assert_rounds_like_eager(head, "triton", batch_of(20, 9, 1), device, **QUICK)


@pytest.mark.sweep
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", KINDS)
def test_kernels_in_a_model_of_any_kind_round_no_worse_than_hf_eager(kind, head, monkeypatch):
    device = device_for("triton", "cpu", monkeypatch, **KINDS[kind])
    assert_rounds_like_eager(head, "triton", batch_of(40, 33, 9, 1), device, **QUICK | KINDS[kind])


@pytest.mark.gpu
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("backend", ("torch", "triton"))
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", [kind if kind in MOST_UNLIKE else pytest.param(kind, marks=pytest.mark.sweep) for kind in KINDS])
def test_packed_forward_on_a_gpu_rounds_no_worse_than_hf_eager_there(kind, head, backend, precision, monkeypatch):
    device = device_for(backend, "cuda", monkeypatch, **KINDS[kind])
    assert_rounds_like_eager(head, backend, batch_of(257, 128, 65, 64, 17, 17, 1), device, precision, **KINDS[kind])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ("eager", "torch", "triton"))
@pytest.mark.parametrize("head", HEADS)
def test_gradients_are_the_same_bits_five_times_with_deterministic_kernels(head, backend, device, monkeypatch):
    device = device_for(backend, device, monkeypatch)
    if device.type == "cpu" and backend == "triton":
        pytest.skip("the interpreter says nothing about a GPU's bits")
    model, batch = packed(head, backend, **QUICK).to(device), batch_of(65, 40, 17, 17, 3, 1)
    with deterministic_kernels(True):
        first, *others = (measure(model, batch, is_packed=backend != "eager").tensors() for _ in range(5))
    for other in others:
        assert [name for name in first if not torch.equal(first[name], other[name])] == []


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("length", (1, 2, 129, 300))
def test_packed_forward_matches_hf_eager_at_one_length(length, backend):
    assert_same_mathematics("spans", backend, batch_of(length), num_hidden_layers=1)


@pytest.mark.sweep
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "length"), [(kind, length) for kind in KINDS for length in lengths_of(kind)])
def test_packed_forward_matches_hf_eager_at_every_length(kind, length, backend):
    """The heads, which read what the encoder gives, take turns: each has every kind, and every length with half of the kinds."""
    head = HEADS[(LENGTHS.index(length) + list(KINDS).index(kind)) % 2]
    batch = batch_of(length, length, seed=length)
    assert_both(head, backend, batch, **KINDS[kind])


@pytest.mark.sweep
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("kind", "head"), [(kind, HEADS[at % len(HEADS)]) for at, kind in enumerate(MOST_UNLIKE)])
def test_packed_forward_matches_hf_eager_for_all_lengths_in_one_batch(kind, head, backend):
    assert_both(head, backend, batch_of(*sorted(LENGTHS, reverse=True)), **KINDS[kind])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("backend", ("torch", "triton"))
@pytest.mark.parametrize("head", HEADS)
def test_model_trains_on_lengths_that_it_was_evaluated_on_before(head, backend, device, monkeypatch):
    """Whatever is kept for a length is made in an evaluation first, where torch forbids later gradients through it."""
    device = device_for(backend, device, monkeypatch)
    model, batch = packed(head, backend, **QUICK | {"position_buckets": 30}).to(device), batch_of(23, 6)
    with torch.inference_mode():
        run(model, batch)
    assert measure(model, batch, is_packed=True).gradients


@pytest.mark.parametrize("backend", BACKENDS)
def test_sequences_of_a_batch_do_not_see_each_other(backend):
    """The gradient of one sequence's outputs with respect to another's embeddings is nothing at all, not only little."""
    model, batch = packed("spans", backend, **KINDS["convolution"]), batch_of(9, 8, 8, 1)
    with torch.no_grad():
        together = run(model, batch)["start_logits"]
        starts = torch.tensor([0, *batch["lengths"].cumsum(0)[:-1]])
        for row, (start, length) in enumerate(zip(starts, batch["lengths"], strict=True)):
            other = {name: tensor.clone() for name, tensor in batch.items()}
            other["input_ids"][:] = 5
            other["input_ids"][start : start + length] = batch["input_ids"][start : start + length]
            assert torch.equal(run(model, other)["start_logits"][row], together[row])


@pytest.mark.parametrize("backend", BACKENDS)
def test_span_logits_at_padding_are_the_lowest_float32(backend):
    outputs = run(packed("spans", backend), batch_of(7, 3))
    lowest = torch.finfo(torch.float32).min
    for name in ("start_logits", "end_logits"):
        assert outputs[name].shape == (2, 7)
        assert (outputs[name][1, 3:] == lowest).all() and (outputs[name][1, :3] > lowest).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_use_attention_leaves_the_state_dict_as_it_is(backend):
    plain, fast = build("classes"), packed("classes", backend)
    assert list(fast.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in fast.state_dict().items())
