"""Gradients travel while the backward pass computes; a process whose memory was not enough keeps what it has sent.

The other process is one that has the same gradients: what travels comes back doubled. Real ones are compared in test_worlds.
"""

from types import SimpleNamespace

import pytest
import torch
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

from debft.training import exchange
from debft.training.exchange import Exchange

SMALL = {"vocab_size": 60, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 20, "max_position_embeddings": 32}
RELATIVE = {"relative_attention": True, "position_buckets": 4, "pos_att_type": ["c2p", "p2c"], "norm_rel_ebd": "layer_norm"}
IDS = torch.arange(4, 24).view(2, 10)


class Wire:
    """What was given to it, and which parameters had a gradient by then."""

    def __init__(self, model):
        self.model, self.sent, self.had = model, [], []

    def __call__(self, numbers, async_op):
        assert async_op, "the backward pass would wait"
        self.sent.append(numbers)
        self.had.append({name for name, parameter in self.model.named_parameters() if parameter.grad is not None})

        def wait():
            numbers.mul_(2)

        return SimpleNamespace(wait=wait)


@pytest.fixture
def model(monkeypatch):
    """A model of three layers with buckets of about half a layer; one weight is read by no loss."""
    monkeypatch.setattr(exchange, "NUMBERS_AT_ONCE", 1000)
    torch.manual_seed(0)
    made = DebertaV2ForSequenceClassification(DebertaV2Config(**SMALL, **RELATIVE, num_hidden_layers=3, num_labels=3)).eval()
    made.unread = torch.nn.Parameter(torch.ones(3))
    return made


@pytest.fixture
def wire(model, monkeypatch):
    wire = Wire(model)
    monkeypatch.setattr("torch.distributed.all_reduce", wire)
    return wire


def backward(model, ids=IDS):
    model(input_ids=ids).logits.square().sum().backward()


def gradients(model):
    return {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


def forget(model):
    for parameter in model.parameters():
        parameter.grad = None


def summed_of_two(model):
    """What two micro-batches give in two processes."""
    backward(model)
    backward(model, IDS + 20)
    expected = {name: None if gradient is None else 2 * gradient for name, gradient in gradients(model).items()}
    forget(model)
    return expected


def assert_same(got, expected):
    for name, gradient in expected.items():
        assert (got[name] is None) is (gradient is None), name
        if gradient is not None:
            torch.testing.assert_close(got[name], gradient, msg=name)


def test_buckets_leave_during_the_last_backward_pass_and_come_back_summed(model, wire):
    del model.unread  # it comes first and would hold up the others
    expected, several = summed_of_two(model), Exchange(model, 2)
    with several.sending(final=False):
        backward(model)
    assert not wire.sent
    forget(model)  # as if each gradient came to this pass alone, to see when it is there
    with several.sending(final=True):
        backward(model)
    assert len(wire.sent) == len(several.buckets) > 6
    assert not any(name.startswith("deberta.embeddings") for name in wire.had[0]), "the first bucket waited for the whole pass"
    assert any(name.startswith("deberta.encoder.layer.0") for name in wire.had[-1])
    several.finish()
    with several.sending(final=False):
        forget(model)
        backward(model)
    with several.sending(final=True):
        backward(model, IDS + 20)
    several.finish()
    assert_same(gradients(model), expected)


def test_gradients_lie_in_their_buckets_and_nowhere_else(model, wire):
    del model.unread
    several = Exchange(model, 2)
    with several.sending(final=True):
        backward(model)
    for arrived in (False, True):
        if arrived:
            several.finish()
        buckets = {numbers.untyped_storage().data_ptr() for numbers in wire.sent}
        assert {p.grad.untyped_storage().data_ptr() for p in model.parameters()} == buckets, arrived
    assert not several.travelling


def test_gradient_that_is_absent_stays_absent_and_holds_up_nothing_for_good(model, wire):
    expected, several = summed_of_two(model), Exchange(model, 2)
    backward(model)
    with several.sending(final=True):
        backward(model, IDS + 20)
    several.finish()
    assert model.unread.grad is None
    assert_same(gradients(model), expected)
    assert len(wire.sent) == len(several.buckets)


def test_pass_that_fails_half_way_and_is_done_again_sends_each_bucket_once(model, wire):
    """The second try has more micro-batches; what the first one has sent is not sent again, and its sum is the step's."""
    del model.unread
    expected, several = summed_of_two(model), Exchange(model, 2)

    class Full(Exception):
        pass

    def fail(_):
        raise Full

    handle = model.deberta.encoder.layer[0].output.dense.weight.register_hook(fail)
    with pytest.raises(Full), several.sending(final=True):  # both in one micro-batch
        backward(model, torch.cat([IDS, IDS + 20]))
    handle.remove()
    before = len(wire.sent)
    assert 0 < before < len(several.buckets)
    forget(model)
    with several.sending(final=False):
        backward(model)
    with several.sending(final=True):
        backward(model, IDS + 20)
    several.finish()
    assert len(wire.sent) == len(several.buckets)
    assert_same(gradients(model), expected)


def test_process_without_memory_sends_zeros(model, wire):
    several = Exchange(model, 2)
    several.finish()
    assert len(wire.sent) == len(several.buckets) and not any(numbers.any() for numbers in wire.sent)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_one_process_sends_nothing(model, wire):
    alone = Exchange(model, 1)
    with alone.sending(final=True):
        backward(model)
    alone.finish()
    assert not wire.sent
