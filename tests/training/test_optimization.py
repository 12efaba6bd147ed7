"""Both forms of AdamW against a literal float64 computation of their update rules."""

import math

import pytest
import torch

from debft.config.recipe import TrainConfig
from debft.training.optimization import AdamWithoutBiasCorrection, build_optimizer, gradient_norm, guarded_update


def gradients(steps, shapes):
    generator = torch.Generator().manual_seed(3)
    return [[torch.randn(shape, generator=generator) * 10 ** (-(k % 5)) for shape in shapes] for k in range(steps)]


def literal(weights, grads, rates, decays, *, bias_correction, eps, beta1=0.9, beta2=0.999):
    """The published rule, one scalar formula per line, in float64."""
    weights = [w.double().clone() for w in weights]
    m = [torch.zeros_like(w) for w in weights]
    v = [torch.zeros_like(w) for w in weights]
    for t, (step_grads, lr) in enumerate(zip(grads, rates, strict=True), start=1):
        for i, g in enumerate(step_grads):
            g = g.double()
            m[i] = beta1 * m[i] + (1 - beta1) * g
            v[i] = beta2 * v[i] + (1 - beta2) * g * g
            c1, c2 = (1 - beta1**t, 1 - beta2**t) if bias_correction else (1.0, 1.0)
            update = (m[i] / c1) / (torch.sqrt(v[i] / c2) + eps) + decays[i] * weights[i]
            weights[i] = weights[i] - lr * update
    return weights


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.dense = torch.nn.Linear(5, 4)
        self.LayerNorm = torch.nn.LayerNorm(4)
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator))


@pytest.mark.parametrize("bias_correction", [True, False])
def test_update_equals_float64_rule(bias_correction):
    config = TrainConfig(bias_correction=bias_correction, adam_epsilon=1e-6, weight_decay=0.01, learning_rate=1e-2)
    net = Net()
    start = [p.detach().clone() for p in net.parameters()]
    optimizer = build_optimizer(net, config)
    assert isinstance(optimizer, AdamWithoutBiasCorrection) is not bias_correction
    grads = gradients(60, [p.shape for p in net.parameters()])
    rates = [0.0, *[1e-2 * (1 - k / 60) for k in range(1, 60)]]  # the first update of a warm-up has rate 0
    for step_grads, lr in zip(grads, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = lr
        for p, g in zip(net.parameters(), step_grads, strict=True):
            p.grad = g.clone()
        optimizer.step()
        assert all(group["lr"] == lr and group["eps"] == 1e-6 for group in optimizer.param_groups)
    decays = [0.01, 0.0, 0.0, 0.0]  # dense.weight; dense.bias, LayerNorm.weight, LayerNorm.bias
    expected = literal(start, grads, rates, decays, bias_correction=bias_correction, eps=1e-6)
    for p, e in zip(net.parameters(), expected, strict=True):
        # float32 rounding of 60 updates
        torch.testing.assert_close(p.double(), e, rtol=2e-6, atol=2e-7)


def test_without_bias_correction_the_first_update_is_smaller():
    """sqrt(0.001) / 0.1 = 0.316: Adam without correction starts with 3.2 times the corrected step, which must show."""
    updates = {}
    for bias_correction in (True, False):
        net = torch.nn.Linear(1, 1, bias=False)
        optimizer = build_optimizer(net, TrainConfig(bias_correction=bias_correction, learning_rate=1e-3))
        before = net.weight.detach().clone()
        net.weight.grad = torch.ones_like(net.weight)
        optimizer.param_groups[0]["lr"] = 1e-3
        optimizer.step()
        updates[bias_correction] = float((before - net.weight).item())
    assert updates[False] / updates[True] == pytest.approx(0.1 / math.sqrt(0.001), rel=1e-3)


@pytest.mark.parametrize("max_norm", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("bias_correction", [True, False])
def test_guarded_update_clips_as_torch_does(bias_correction, max_norm):
    config = TrainConfig(bias_correction=bias_correction, adam_epsilon=1e-6, weight_decay=0.01, learning_rate=1e-2)
    ours, theirs = Net(), Net()
    guarded, plain = build_optimizer(ours, config), build_optimizer(theirs, config)
    for step_grads in gradients(8, [p.shape for p in ours.parameters()]):
        for net in (ours, theirs):
            for p, g in zip(net.parameters(), step_grads, strict=True):
                p.grad = g.clone()
        norm = gradient_norm(guarded)
        guarded_update(guarded, norm, max_norm, torch.zeros(()))
        assert float(norm) == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs.parameters(), max_norm)), rel=1e-6)
        plain.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        # one more rounding of each gradient: it is divided, where torch multiplies by the inverse
        torch.testing.assert_close(p, q, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("bias_correction", [True, False])
def test_update_that_is_not_finite_leaves_weights_moments_and_count_alone(bias_correction):
    net = Net()
    optimizer = build_optimizer(net, TrainConfig(bias_correction=bias_correction))
    first, second = gradients(2, [p.shape for p in net.parameters()])
    for p, g in zip(net.parameters(), first, strict=True):
        p.grad = g
    guarded_update(optimizer, gradient_norm(optimizer), 1.0, torch.zeros(()))
    before = [t.clone() for p in net.parameters() for t in (p.detach(), *optimizer.state[p].values())]
    for p, g in zip(net.parameters(), second, strict=True):
        p.grad = g * float("nan")
    guarded_update(optimizer, gradient_norm(optimizer), 1.0, torch.ones(()))
    after = [t for p in net.parameters() for t in (p.detach(), *optimizer.state[p].values())]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_updates_that_are_counted_by_the_loop_are_those_that_the_state_counts():
    config, nets = TrainConfig(bias_correction=False), (Net(), Net())
    told, counted = (build_optimizer(net, config) for net in nets)
    for number, step_grads in enumerate(gradients(5, [p.shape for p in nets[0].parameters()])):
        told.updates = number
        for net, optimizer in zip(nets, (told, counted), strict=True):
            for p, g in zip(net.parameters(), step_grads, strict=True):
                p.grad = g.clone()
            optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True))


def test_decay_groups_are_weights_against_biases_and_layer_norms(demo_model, mnli):
    from debft.models.build import build_model
    from debft.models.files import ModelFiles

    model = build_model(ModelFiles(name="demo", path=demo_model), mnli, from_scratch=True, head_dropout=None, seed=0, quiet=True)
    optimizer = build_optimizer(model, TrainConfig(weight_decay=0.01))
    names = {p: name for name, p in model.named_parameters()}
    decay, no_decay = ({names[p] for p in group["params"]} for group in optimizer.param_groups)
    assert decay | no_decay == set(names.values())
    norms = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    assert no_decay == {name for name in names.values() if name.endswith("bias")} | norms
