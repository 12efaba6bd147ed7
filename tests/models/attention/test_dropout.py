"""Dropout of the packed forward: its rate, masks that have nothing to do with each other, the same mask forward and backward, and
the same numbers however an optimizer step is cut.

Statistics: the mean of n independent draws of variance v lies within 6 sqrt(v / n) of its expectation but for one time in 10^9.
"""

from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
import torch
from on_device import DEVICES, require, require_kernels
from small_deberta import KINDS, QUICK, batch_of, build, is_real, run

from debft.data.packing import NoiseSeeds
from debft.models.attention.distances import distances
from debft.models.attention.layout import Layout
from debft.models.attention.masks import EMBEDDINGS, DeviceMasks, ExampleMasks, NoMasks, cls_masks
from debft.models.attention.scores import disentangled_attention
from debft.models.attention.use import use_attention

CPU = torch.device("cpu")
RATES = (0.1, 0.1, 0.1)
DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.3, "pooler_dropout": 0.2, "cls_dropout": 0.2}
HEADS = ("classes", "spans")


def layout_of(*lengths: int) -> Layout:
    return Layout(lengths_B=np.array(lengths), device=CPU)


def masks_of(*lengths: int, step: int = 1, forward_pass: int = 0, first: int = 0) -> ExampleMasks:
    """The masks of the examples `first`, `first` + 1, ..."""
    seeds = NoiseSeeds(step=step, examples_B=np.arange(first, first + len(lengths)), forward_pass=forward_pass)
    return ExampleMasks(seeds=seeds, layout=layout_of(*lengths), dtype=torch.float32)


def assert_rate(mask: torch.Tensor, rate: float) -> None:
    assert set(mask.flatten()[:10_000].unique().tolist()) <= {0.0, float(np.float32(1 / (1 - rate)))}
    dropped = float((mask == 0).double().mean())
    assert abs(dropped - rate) <= 6 * sqrt(rate * (1 - rate) / mask.numel())


def assert_independent(one: torch.Tensor, other: torch.Tensor) -> None:
    """Neither equal nor related: the correlation of n independent pairs has variance 1 / n."""
    pair = torch.stack([one.flatten(), other.flatten()])
    assert abs(float(torch.corrcoef(pair.double())[0, 1])) <= 6 / sqrt(one.numel())


@pytest.mark.parametrize("rate", (0.1, 0.5, 0.05))
def test_rate_is_the_nearest_multiple_of_1_in_65536(rate):
    """12.6 million draws."""
    assert_rate(masks_of(*[256] * 128).rows(EMBEDDINGS, 384, rate), round(rate * 65_536) / 65_536)


def test_rates_0_and_1_keep_and_drop_everything():
    assert masks_of(8).rows(EMBEDDINGS, 16, 0.0) is None
    assert not masks_of(8).rows(EMBEDDINGS, 16, 1.0).any()


@pytest.mark.sweep
def test_rate_holds_over_a_hundred_million_draws():
    masks = [masks_of(*[256] * 128, step=step).rows(EMBEDDINGS, 384, 0.1) for step in range(8)]
    assert_rate(torch.stack(masks), 6_554 / 65_536)


def layer_masks(layer: int = 0, **seeds) -> list[torch.Tensor]:
    """What one layer draws for 8 sequences of 200: (4 heads, 8, 200, 200), (1600, 256) twice."""
    masks = masks_of(*[200] * 8, **seeds).layer(layer, 4, 256, RATES)
    return [masks.attention[0], masks.attention_output, masks.output]


@pytest.mark.parametrize(
    "other",
    [
        {"layer": 1},
        {"step": 2},
        {"step": 1 + 2**62},
        {"forward_pass": 1},
        pytest.param({"first": 8}, id="other examples"),
        pytest.param({"first": 1}, id="the neighbour's place"),
    ],
    ids=str,
)
def test_masks_of_layers_steps_passes_and_examples_are_independent(other):
    """1.3 million draws of attention and 0.8 million others, twice."""
    for one, two in zip(layer_masks(), layer_masks(**other), strict=True):
        assert_rate(two, 6_554 / 65_536)
        assert_independent(one, two)


def test_masks_of_heads_sequences_queries_keys_and_places_are_independent():
    attention, first, second = layer_masks()
    assert_independent(first, second)
    for dimension in range(4):
        size = attention.shape[dimension]
        assert_independent(attention.narrow(dimension, 0, size - 1), attention.narrow(dimension, 1, size - 1))
    for dimension in range(2):
        size = first.shape[dimension]
        assert_independent(first.narrow(dimension, 0, size - 1), first.narrow(dimension, 1, size - 1))


@pytest.mark.sweep
def test_masks_are_independent_over_a_hundred_million_draws():
    """Of 40 consecutive steps each with the next, and each layer with the next."""
    drawn = [[layer_masks(layer, step=step)[0] for layer in range(2)] for step in range(41)]
    for this, following in pairwise(drawn):
        assert_independent(this[0], this[1])
        assert_independent(this[0], following[0])
    first, second = (torch.stack([step[layer] for step in drawn]) for layer in range(2))
    assert_independent(first, second)
    assert_independent(first[1:], first[:-1])


def device_masks(*places: int, step: int = 1, forward_pass: int = 0) -> DeviceMasks:
    """The masks, as on a GPU, of some of the 32 examples of a step."""
    lengths_S, places_B = np.arange(232, 200, -1), np.array(places or range(32))
    seeds = NoiseSeeds(step=step, examples_B=places_B, places_B=places_B, lengths_S=lengths_S, forward_pass=forward_pass)
    return DeviceMasks(layout=layout_of(*lengths_S[places_B]), dtype=torch.float32, seeds=seeds)


def test_masks_on_a_device_have_the_rate():
    """2.7 million draws of the step's generators, and of torch's own."""
    torch.manual_seed(0)
    assert_rate(device_masks().rows(EMBEDDINGS, 384, 0.1), 0.1)
    assert_rate(DeviceMasks(layout=layout_of(*[256] * 32), dtype=torch.float32).rows(EMBEDDINGS, 384, 0.1), 0.1)


def test_masks_on_a_device_do_not_depend_on_how_a_step_is_cut():
    """Parts of a micro-batch, and of a process that holds every other example."""
    ends = np.cumsum(np.arange(232, 200, -1))
    for places in ((0, 1, 2), (3,), (1, 3, 5), (0, 31)):
        tokens = np.concatenate([np.arange(ends[place] - (232 - place), ends[place]) for place in places])
        part, whole = device_masks(*places), device_masks()
        assert torch.equal(part.rows(EMBEDDINGS, 64, 0.1), whole.rows(EMBEDDINGS, 64, 0.1)[tokens])
        assert torch.equal(part.rows(0, 64, 0.1, per_token=False), whole.rows(0, 64, 0.1, per_token=False)[list(places)])
        assert torch.equal(part.positions(2, 16, 64, 0.1), whole.positions(2, 16, 64, 0.1))
        assert torch.equal(part.layer(1, 2, 64, RATES).output, whole.layer(1, 2, 64, RATES).output[tokens])
        of_cls = cls_masks(part, 1, 2, 64, RATES).output, cls_masks(whole, 1, 2, 64, RATES).output
        assert torch.equal(of_cls[0], of_cls[1][list(places)])


def test_masks_on_a_device_are_independent():
    """0.4 million draws each."""
    first = device_masks().rows(0, 64, 0.1, draw=1)
    others = [device_masks().rows(number, 64, 0.1, draw=draw) for number, draw in ((0, 0), (0, 2), (1, 1), (EMBEDDINGS, 1))]
    others += [device_masks(**more).rows(0, 64, 0.1, draw=1) for more in ({"step": 2}, {"forward_pass": 1})]
    for other in others:
        assert_independent(first, other)


def test_evaluation_draws_no_masks():
    masks = NoMasks()
    assert (masks.rows(EMBEDDINGS, 8, 0.1), masks.positions(0, 4, 8, 0.1), masks.layer(0, 2, 8, RATES).attention) == (None,) * 3


def training(head: str, dtype=torch.float32, **changes) -> torch.nn.Module:
    model = build(head, **QUICK | DROPOUT | changes).to(dtype).train()
    use_attention(model, "torch")
    return model


def seeds_of(*examples: int, step: int = 1, forward_pass: int = 0) -> NoiseSeeds:
    return NoiseSeeds(step=step, examples_B=np.array(examples), forward_pass=forward_pass)


def outputs(model, batch, seeds) -> list[torch.Tensor]:
    """(B, C), or per sequence the logits of its tokens."""
    results = run(model, batch, seeds=seeds)
    if "logits" in results:
        return list(results["logits"])
    return [results["start_logits"][row, :length] for row, length in enumerate(batch["lengths"])]


def part_of(batch: dict[str, torch.Tensor], *rows: int) -> dict[str, torch.Tensor]:
    """Some sequences of a packed batch."""
    ends = batch["lengths"].cumsum(0)
    places = torch.cat([torch.arange(ends[row] - batch["lengths"][row], ends[row]) for row in rows])
    tensors = {name: batch[name][places] for name in ("input_ids", "token_type_ids")}
    return tensors | {"lengths": batch["lengths"][list(rows)]}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ("v3", "convolution", "absolute positions too", "own projections of positions"))
def test_outputs_of_a_training_step_do_not_depend_on_how_it_is_cut(head, kind):
    """float64: only the order of sums is left between a sequence among others and alone."""
    model, batch = training(head, torch.float64, **KINDS[kind]), batch_of(40, 33, 33, 9, 1)
    with torch.no_grad():
        whole = outputs(model, batch, seeds_of(7, 3, 1_000_000, 0, 5))
        for rows in ((0,), (1, 3), (2, 4)):
            examples = [(7, 3, 1_000_000, 0, 5)[row] for row in rows]
            for row, alone in zip(rows, outputs(model, part_of(batch, *rows), seeds_of(*examples)), strict=True):
                assert torch.allclose(alone, whole[row], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("head", HEADS)
def test_outputs_of_the_kernels_do_not_depend_on_how_a_step_is_cut(head, device, monkeypatch):
    """All dropouts of the model, in Triton's interpreter where there is no GPU. float32: other blocks, other sums."""
    device = require_kernels(device, monkeypatch)
    model, batch = build(head, **QUICK | DROPOUT).train().to(device), batch_of(9, 8, 5, 1)
    use_attention(model, "triton")
    lengths_S = batch["lengths"].numpy()
    with torch.no_grad():
        whole = outputs(model, batch, NoiseSeeds(step=1, examples_B=lengths_S, places_B=np.arange(4), lengths_S=lengths_S))
        for rows in ((0,), (1, 3)):
            seeds = NoiseSeeds(step=1, examples_B=lengths_S[list(rows)], places_B=np.array(rows), lengths_S=lengths_S)
            for row, alone in zip(rows, outputs(model, part_of(batch, *rows), seeds), strict=True):
                assert torch.allclose(alone, whole[row], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("other", [{"step": 2}, {"forward_pass": 1}], ids=str)
def test_steps_and_passes_have_masks_of_their_own(head, other):
    model, batch = training(head), batch_of(9, 5)
    with torch.no_grad():
        first, again, others = (outputs(model, batch, seeds_of(0, 1, **more)) for more in ({}, {}, other))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(torch.allclose(one, two) for one, two in zip(first, others, strict=True))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("kind", ("v3", "convolution", "c2p alone", "p2c alone", "own projections of positions"))
def test_gradient_under_dropout_is_the_slope_of_the_same_masks(head, kind):
    """Along a random direction of all weights, by central differences in float64, whose own error is 1e-9 here."""
    model, batch, seeds = training(head, torch.float64, **KINDS[kind]), batch_of(12, 9, 9, 1), seeds_of(4, 2, 9, 1)
    generator = torch.Generator().manual_seed(2)
    weights = list(model.parameters())
    direction = [torch.randn(weight.shape, generator=generator, dtype=torch.float64) * 0.1 for weight in weights]

    def loss() -> torch.Tensor:
        return sum(output.sin().sum() for output in outputs(model, batch, seeds))

    loss().backward()
    slope = sum((weight.grad * along).sum() for weight, along in zip(weights, direction, strict=True) if weight.grad is not None)
    step, seen = 1e-6, []
    with torch.no_grad():
        for factor in (step, -2 * step):
            for weight, along in zip(weights, direction, strict=True):
                weight.add_(along, alpha=factor)
            seen.append(float(loss()))
    assert float(slope) == pytest.approx((seen[0] - seen[1]) / (2 * step), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("half", (torch.bfloat16, torch.float16))
def test_half_precision_has_the_gradient_of_the_same_masks(half, device):
    """The attention of the backend `torch` under autocast, beside float64. Each number keeps 8 bits at least, 2^-8 = 4e-3 of it."""
    where, lengths = require(device), np.array([20, 17, 7, 3])
    layout, used = Layout(lengths_B=lengths, device=where), distances(20, 32, 32, 64, where)
    generator = torch.Generator().manual_seed(0)
    shapes = [(int(lengths.sum()), 3 * 64), *[(len(used.rows_U), 64)] * 2]
    drawn = [torch.randn(shape, generator=generator).to(half).double() for shape in shapes]
    sizes = [(2, len(group.lengths_n), group.length, group.length) for group in layout.groups]
    kept = [torch.rand(size, generator=generator) >= 0.1 for size in sizes]

    def gradients(dtype, of_masks) -> list[torch.Tensor]:
        tensors = [tensor.to(where, dtype).requires_grad_() for tensor in drawn]
        masks = [mask.to(where, of_masks) / 0.9 for mask in kept]
        with torch.autocast(where.type, half, enabled=dtype == half):
            context = disentangled_attention(*tensors, used, layout, masks, 2, 0.1)
        weights = torch.linspace(-1.0, 1.0, context.numel(), dtype=torch.float64).view(context.shape).to(context)
        return [context.detach(), *torch.autograd.grad((context.float() if dtype == half else context).mul(weights).sum(), tensors)]

    for found, truth in zip(gradients(half, torch.float32), gradients(torch.float64, torch.float64), strict=True):
        assert found.dtype == half
        assert float((found.double() - truth).norm() / truth.norm()) < 0.03


@pytest.mark.parametrize("head", HEADS)
def test_gradient_under_dropout_in_bf16_is_that_of_float32_to_its_digits(head):
    """The masks are float32 and the products bf16, whose steps are 2^-8: some twenty of them in a row stay below 2^-4."""
    gradients = []
    for enabled in (False, True):
        model, batch = training(head), batch_of(12, 9, 9, 1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = sum(output.float().sin().sum() for output in outputs(model, batch, seeds_of(4, 2, 9, 1)))
        loss.backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]))
    exact, rounded = gradients
    assert 0 < float((rounded - exact).norm() / exact.norm()) < 2**-4


def test_masks_of_a_sequence_hold_nothing_at_padding():
    """Padding in a group of nearly equal lengths drops nothing and shifts nothing."""
    masks = masks_of(20, 18).layer(0, 2, 8, RATES).attention[0]
    alone = masks_of(18, first=1).layer(0, 2, 8, RATES).attention[0]
    assert masks.shape == (2, 2, 20, 20)
    assert torch.equal(masks[:, 1, :18, :18], alone[:, 0])
    assert is_real(torch.tensor([20, 18])).sum() == 38
