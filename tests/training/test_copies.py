"""Steps with copies of the weights in half precision beside plain autocast's: the same bits, and each weight is rounded once a step.

Both sides do the same operations in one process, so that equal bits are no matter of the machine.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES
from conftest import write_model_config
from test_sift import CONFIG, Parts
from torch.utils._python_dispatch import TorchDispatchMode

from debft.models.activations import checkpoint_activations
from debft.models.attention.use import is_packed, use_attention
from debft.models.copies import WeightCopies
from debft.models.files import ModelFiles
from debft.runtime.accelerator import build_accelerator
from debft.scoring.heads import plain_loss
from debft.training.loop import optimizer_steps
from debft.training.optimization import build_optimizer

KINDS = [(attention, sift) for attention in ("eager", "torch") for sift in ("plain", "SiFT")]


@pytest.fixture(scope="module")
def files(demo_model, tmp_path_factory):
    """A tiny DeBERTa-v2 with dropout in every place, whose keys project the positions as well."""
    size = {"hidden_size": 16, "intermediate_size": 24, "pooler_hidden_size": 16, "num_hidden_layers": 3, "initializer_range": 0.1}
    rates = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.1)
    path = write_model_config(tmp_path_factory.mktemp("m") / "m", demo_model, share_att_key=True, **size, **rates)
    return ModelFiles(name="m", path=path)


def trained(files, attention="torch", sift="plain", *, copies, steps=2, checkpointed=False):
    """The losses, norms of gradients and weights of a run in bf16 whose steps are of several micro-batches."""
    parts = Parts(files, "mnli")
    plain = parts.model
    use_attention(plain, attention)
    if checkpointed:
        checkpoint_activations(plain)
    accelerator, _ = build_accelerator("bf16")
    logs = optimizer_steps(
        accelerator,
        accelerator.prepare_model(plain, evaluation_mode=True),
        accelerator.prepare_optimizer(build_optimizer(plain, CONFIG)),
        parts.split,
        CONFIG,
        collate=parts.collator(is_packed(attention)),
        micro_batch_tokens=150,
        total_steps=steps,
        loss_fn=plain_loss(parts.head) if sift == "plain" else parts.loss,
        copies=WeightCopies(plain, "bf16") if copies else None,
    )
    numbers = [(log.loss, log.grad_norm) for log in logs]
    return SimpleNamespace(numbers=numbers, weights=plain.state_dict(), model=plain)


def assert_same_bits(one, other):
    assert one.numbers == other.numbers
    assert one.weights.keys() == other.weights.keys()
    assert [name for name, weight in one.weights.items() if not torch.equal(weight, other.weights[name])] == []


@pytest.mark.parametrize("steps", (2, pytest.param(20, marks=pytest.mark.sweep)))
@pytest.mark.parametrize(("attention", "sift"), KINDS)
def test_losses_gradients_and_weights_are_those_of_plain_autocast_to_the_last_bit(files, attention, sift, steps):
    assert_same_bits(*(trained(files, attention, sift, copies=copies, steps=steps) for copies in (False, True)))


def test_activations_that_are_computed_anew_give_the_same_bits(files):
    assert_same_bits(*(trained(files, copies=copies, checkpointed=True) for copies in (False, True)))


class Roundings(TorchDispatchMode):
    """How often each weight was rounded, by its place in memory."""

    def __init__(self):
        super().__init__()
        self.counts = {}

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if function.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten._foreach_copy_):
            for tensor in arguments[1] if len(arguments) > 1 else arguments[:1]:
                self.counts[tensor.data_ptr()] = self.counts.get(tensor.data_ptr(), 0) + 1
        return function(*arguments, **options or {})


@pytest.mark.parametrize("copies", (True, False))
def test_weights_of_linear_layers_are_rounded_once_a_step(files, copies):
    """Of the step's micro-batches each has three passes."""
    with Roundings() as seen:
        model = trained(files, sift="SiFT", copies=copies, steps=1).model
    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    counts = {name: seen.counts.get(weight.data_ptr(), 0) for name, weight in model.named_parameters()}
    of_linear = [count for name, count in counts.items() if name.rpartition(".")[0] in linear]
    made = 1 if copies else 0  # that of the memory
    assert {count - made for count in of_linear} == {1} if copies else max(of_linear) >= 6
    assert {count for name, count in counts.items() if name.rpartition(".")[0] not in linear} == {0}


def pass_of(parts, copies=None):
    """The logits and gradients of one forward and backward pass in bf16."""
    parts.model.zero_grad()
    torch.manual_seed(7)
    with torch.autocast("cpu", torch.bfloat16):
        logits = parts.head.outputs(parts.model, parts.batch())
    logits.sum().backward()
    return [logits.detach(), *(weight.grad for weight in parts.model.parameters() if weight.grad is not None)]


@pytest.mark.sweep
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
def test_every_encoder_gives_the_same_bits(architecture, tmp_path):
    parts = Parts(ModelFiles(name="m", path=architecture.write(tmp_path / "m")), "mnli")
    expected = pass_of(parts)
    with WeightCopies(parts.model, "bf16").in_use():
        found = pass_of(parts)
    assert len(found) == len(expected) and all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_copies_follow_the_weights_in_the_same_memory(files):
    """Where a recorded step finds them."""
    parts = Parts(files, "mnli")
    copies = WeightCopies(parts.model, "bf16")
    places = [copy.rounded.data_ptr() for copy in copies.copies]
    with torch.no_grad():
        for weight in parts.model.parameters():
            weight.mul_(3.0)
    with copies.in_use():
        for copy in copies.copies:
            assert torch.equal(copy.rounded, torch.cat([weight.detach().bfloat16() for weight in copy.weights]))
    assert [copy.rounded.data_ptr() for copy in copies.copies] == places


def test_model_has_its_own_weights_outside_of_a_pass_and_outside_of_the_steps(files, monkeypatch):
    parts = Parts(files, "mnli")
    copies, layer = WeightCopies(parts.model, "bf16"), parts.model.classifier
    names = parts.model.state_dict().keys()
    during = []
    layer.register_forward_pre_hook(lambda module, inputs: during.append("forward" in vars(module)))
    with copies.in_use():
        assert "forward" not in vars(layer)
        pass_of(parts)
        assert "forward" not in vars(layer)
        with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
            patch.setattr(parts.model.deberta.encoder, "forward", lambda *_, **__: 1 / 0)
            pass_of(parts)
        assert "forward" not in vars(layer)
    pass_of(parts)
    assert during == [True, False]
    assert parts.model.state_dict().keys() == names


def test_frozen_weights_get_no_gradient(files):
    parts = Parts(files, "mnli")
    frozen = parts.model.deberta.encoder.layer[0].attention.self.value_proj.weight.requires_grad_(False)
    copies = WeightCopies(parts.model, "bf16")
    with copies.in_use():
        pass_of(parts)
    assert frozen.grad is None and np.isfinite(float(parts.model.classifier.weight.grad.norm()))
