"""Every attention backend computes what transformers' eager code computes: outputs and every gradient, against float64.

Two questions: is the mathematics the same (float64 beside float64: only its rounding is left), and does float32 round no worse
than transformers' own float32 does.
"""

import pytest
import torch
from small_deberta import KINDS, QUICK, batch_of, build, errors, measure, oracle, run, size

from debft.models.attention.use import use_attention

BACKENDS = ("torch",)
HEADS = ("classes", "spans")
LENGTHS = (1, 2, 3, 17, 63, 64, 65, 127, 128, 129, 200, 255, 256, 257, 400, 511, 512)
# Relative to the size of all gradients. float64 keeps 1e-16; sums of some thousand products in two orders differ by less than
# 1e-13, and a term that were wrong would show at its own size.
SAME_MATHEMATICS = 1e-11
# Of eager's own error. Two correct programs in float32 differ in the order of their sums, and so in their luck.
LUCK = 4.0
FLOAT32 = 2.0**-24


def packed(head: str, backend: str, **changes) -> torch.nn.Module:
    model = build(head, **changes)
    use_attention(model, backend)
    return model


def assert_same_mathematics(head: str, backend: str, batch, **changes) -> None:
    truth = oracle(head, batch, **changes)
    got = measure(packed(head, backend, **changes).double(), batch, is_packed=True)
    assert got.gradients.keys() == truth.gradients.keys()
    limit = SAME_MATHEMATICS * size(truth)
    assert {name: error for name, error in errors(got, truth).items() if not error <= limit} == {}


def assert_rounds_like_eager(head: str, backend: str, batch, **changes) -> None:
    truth = oracle(head, batch, **changes)
    eager = errors(measure(build(head, **changes), batch, is_packed=False), truth)
    got = errors(measure(packed(head, backend, **changes), batch, is_packed=True), truth)
    # A gradient that is zero in exact arithmetic, as that of the keys' bias is with c2p alone, has only rounding to compare.
    least = FLOAT32 * size(truth)
    assert {name: (got[name], eager[name]) for name in got if not got[name] <= LUCK * max(eager[name], least)} == {}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
def test_packed_forward_and_gradients_match_hf_eager_in_float64(kind, backend):
    """The heads take turns; the sweep has each kind with both."""
    head = HEADS[list(KINDS).index(kind) % 2]
    assert_same_mathematics(head, backend, batch_of(40, 33, 33, 3, 1), **QUICK | KINDS[kind])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("head", HEADS)
def test_packed_forward_and_gradients_in_float32_round_no_worse_than_hf_eager(head, backend):
    assert_rounds_like_eager(head, backend, batch_of(65, 40, 17, 17, 3, 1))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("length", (1, 2, 129, 300))
def test_packed_forward_matches_hf_eager_at_one_length(length, backend):
    assert_same_mathematics("spans", backend, batch_of(length), num_hidden_layers=1)


@pytest.mark.sweep
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_packed_forward_matches_hf_eager_at_every_length(kind, length, head, backend):
    batch = batch_of(length, length, seed=length)
    assert_same_mathematics(head, backend, batch, **KINDS[kind])
    assert_rounds_like_eager(head, backend, batch, **KINDS[kind])


@pytest.mark.sweep
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", KINDS)
def test_packed_forward_matches_hf_eager_for_all_lengths_in_one_batch(kind, head, backend):
    batch = batch_of(*sorted(LENGTHS, reverse=True))
    assert_same_mathematics(head, backend, batch, **KINDS[kind])
    assert_rounds_like_eager(head, backend, batch, **KINDS[kind])


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
