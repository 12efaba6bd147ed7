"""Steps that are recorded and replayed beside steps that are not. A CPU records nothing and runs the same pass anew instead."""

import numpy as np
import pytest
import torch
from on_device import require_kernels
from small_deberta import QUICK, batch_of, build
from torch.nn.functional import cross_entropy

from debft.config.recipe import Recipe
from debft.data.packing import NoiseSeeds
from debft.models.attention.masks import KernelMasks
from debft.models.attention.static import FILLER, LONGEST, StaticMasks, filled_lengths, size_of
from debft.models.attention.use import use_attention
from debft.training.graphs import Graphs, Recorder
from debft.training.opening import takes_graphs

# The backend `torch` takes no dropout of the probabilities from kernels.
DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.0}
HEADS = ("classes", "spans")
STEPS = ((40, 33, 9, 3), (40, 31, 10, 4), (38, 33, 9, 2), (12, 9, 9, 1), (40, 33, 9, 3))


def head_loss(model, batch):
    outputs = model(
        **{name: batch[name] for name in ("input_ids", "lengths", "token_type_ids", "seeds", "static") if name in batch}
    )
    if "logits" in outputs:
        return cross_entropy(outputs["logits"], batch["labels"], reduction="sum"), {}
    labels = batch["labels"] % 1  # a place that every sequence has
    return sum(cross_entropy(outputs[name], labels, reduction="sum") for name in ("start_logits", "end_logits")), {}


def batch_for(step: int, lengths, device="cpu"):
    """Other tokens for each step."""
    batch = batch_of(*lengths)
    generator = torch.Generator().manual_seed(step)
    tensors = {"input_ids": torch.randint(1, 30, batch["input_ids"].shape, generator=generator)}
    tensors |= {"token_type_ids": batch["token_type_ids"], "labels": torch.arange(len(lengths)) % 3}
    lengths_S = np.array(lengths)
    seeds = NoiseSeeds(step=step + 1, examples_B=np.arange(len(lengths)), places_B=np.arange(len(lengths)), lengths_S=lengths_S)
    return {name: tensor.to(device) for name, tensor in tensors.items()} | {"lengths": lengths_S, "seeds": seeds}


def model_of(head, backend="torch", device="cpu", dtype=torch.float64, **changes):
    model = build(head, **QUICK | DROPOUT | changes).to(device, dtype).train()
    use_attention(model, backend)
    return model


@pytest.fixture
def drawn_as_on_a_gpu(monkeypatch):
    """A CPU draws by example otherwise, which no memory that stays where it is could hold."""
    import debft.models.attention.forward

    monkeypatch.setattr(
        debft.models.attention.forward,
        "_masks",
        lambda model, backend, layout, seeds: KernelMasks(layout=layout, dtype=torch.float64, seeds=seeds),
    )


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same(model, recorded: Graphs, steps, device="cpu", rtol=1e-10) -> None:
    """Loss and gradients of each step, with and without."""
    for number, lengths in enumerate(steps):
        batch = batch_for(number, lengths, device)
        told = float(recorded.backward(batch, 0.25)["loss"])
        found = gradients(model)
        recorded.zero()
        held = {weight: weight.grad for weight in model.parameters()}
        model.zero_grad(set_to_none=True)
        loss, _ = head_loss(model, batch)
        (loss * 0.25).backward()
        assert told == pytest.approx(float(loss.detach()), rel=rtol)
        expected = gradients(model)
        del loss  # a graph that is alive holds on to the stream that it was made on
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert float((tensor - found[name]).norm()) <= rtol * (1.0 + float(tensor.norm())), (number, name)
        for weight, gradient in held.items():
            weight.grad = gradient


@pytest.mark.parametrize("kind", ({}, {"conv_kernel_size": 3, "conv_act": "gelu"}, {"pos_att_type": ["c2p"]}), ids=str)
@pytest.mark.parametrize("head", HEADS)
def test_replayed_step_has_the_loss_and_gradient_of_a_plain_one(head, kind, drawn_as_on_a_gpu):
    """In float64, with the same dropout: what fills the batch up changes nothing."""
    model = model_of(head, **kind)
    replayed = []
    recorded = Graphs(model, model, head_loss, record=lambda run: replayed.append(run) or run)
    assert_same(model, recorded, STEPS)
    assert len(recorded.sizes) == 2 and len(replayed) == 1  # four steps of one size; the other came once


def test_gradients_of_micro_batches_add_up_in_their_place(drawn_as_on_a_gpu):
    model = model_of("classes")
    recorded = Graphs(model, model, head_loss, record=lambda run: run)
    for number, lengths in enumerate(STEPS[:3]):
        recorded.backward(batch_for(number, lengths), 1.0)
    places = {name: weight.grad.data_ptr() for name, weight in model.named_parameters() if weight.grad is not None}
    together = gradients(model)
    recorded.zero()
    expected = {name: torch.zeros_like(tensor) for name, tensor in together.items()}
    for number, lengths in enumerate(STEPS[:3]):
        recorded.backward(batch_for(number, lengths), 1.0)
        expected = {name: tensor + gradients(model)[name] for name, tensor in expected.items()}
        recorded.zero()
    assert all(torch.allclose(tensor, expected[name], rtol=1e-10, atol=1e-12) for name, tensor in together.items())
    assert places == {name: weight.grad.data_ptr() for name, weight in model.named_parameters() if weight.grad is not None}


def test_weights_that_were_put_elsewhere_are_recorded_anew(drawn_as_on_a_gpu):
    model, made = model_of("classes"), []
    recorded = Graphs(model, model, head_loss, record=lambda run: made.append(run) or run)
    for number in range(3):
        recorded.backward(batch_for(number, STEPS[0]), 1.0)
    weight = model.classifier.weight
    weight.data = weight.data * 2.0
    recorded.zero()
    assert_same(model, recorded, (STEPS[0],) * 2)
    assert len(made) == 2


def test_graphs_that_were_given_up_for_memory_record_no_more_and_give_the_same(drawn_as_on_a_gpu):
    model, made = model_of("classes"), []
    recorded = Graphs(model, model, head_loss, record=lambda run: made.append(run) or run)
    for number in range(2):
        recorded.backward(batch_for(number, STEPS[0]), 1.0)
    recorded.give_up()
    recorded.zero()
    assert_same(model, recorded, (STEPS[0],) * 3)
    assert len(made) == 1


def test_gradients_may_be_forgotten_before_there_are_any(drawn_as_on_a_gpu):
    """As where the memory is not enough for the first pass of all."""
    model = model_of("classes")
    Graphs(model, model, head_loss, record=lambda run: run).zero()
    assert all(weight.grad is None for weight in model.parameters())


def test_weight_that_no_gradient_reaches_has_none(drawn_as_on_a_gpu):
    """An optimizer decays a weight whose gradient is zero, and leaves one without a gradient alone."""
    model = model_of("classes")
    model.unused = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    recorded = Graphs(model, model, head_loss, record=lambda run: run)
    for number in range(3):
        recorded.backward(batch_for(number, STEPS[0]), 1.0)
        recorded.zero()
    assert model.unused.grad is None and model.classifier.weight.grad is not None


@pytest.mark.parametrize("lengths", ((1,), (512,), (2,) * 64, tuple(range(200, 0, -3)), (384,) * 48))
def test_every_filler_has_tokens_and_none_is_longer_than_the_longest(lengths):
    lengths_B = np.array(lengths)
    size = size_of(lengths_B)
    lengths_S = filled_lengths(lengths_B, size)
    assert lengths_S.sum() == size.tokens and max(lengths) <= size.longest < max(lengths) + LONGEST[-1]
    assert lengths_S[len(lengths) :].min() >= 1 and lengths_S[len(lengths) :].max() <= FILLER + 2
    assert size.tokens - lengths_B.sum() <= max(2 * FILLER, lengths_B.sum() / 8)


def test_masks_that_stay_in_place_are_those_that_kernels_would_draw():
    batch = batch_for(3, STEPS[0])
    from debft.models.attention.layout import Layout
    from debft.models.attention.static import static_batch

    static = static_batch(batch, dtype=torch.float32, num_layers=2)
    ask = [lambda masks: masks.rows(0, 8, 0.1, draw=1), lambda masks: masks.positions(1, 16, 8, 0.1)]
    for one in ask:
        one(static.masks)
    static.fill(batch, num_heads=2)
    drawn = KernelMasks(
        layout=Layout(lengths_B=batch["lengths"], device=torch.device("cpu")), dtype=torch.float32, seeds=batch["seeds"]
    )
    for one in ask:
        assert torch.equal(one(static.masks)[: len(one(drawn))], one(drawn))
    assert isinstance(static.masks, StaticMasks)
    for layer in range(2):
        dropout = static.masks.layer(layer, 2, 8, (0.1, 0.0, 0.0)).attention
        assert torch.equal(dropout.seed, drawn.layer(layer, 2, 8, (0.1, 0.0, 0.0)).attention.seed)


@pytest.mark.gpu
@pytest.mark.parametrize("head", HEADS)
def test_recorded_step_on_a_gpu_has_the_loss_and_gradient_of_a_plain_one(head, monkeypatch):
    """All dropouts, in float32; the products have other shapes, hence the tolerance."""
    device = require_kernels("cuda", monkeypatch)
    sizes = {"hidden_size": 64, "num_attention_heads": 2}
    model = model_of(head, "triton", device, torch.float32, attention_probs_dropout_prob=0.2, **sizes)
    made, record = [], Recorder()
    recorded = Graphs(model, model, head_loss, record=lambda run: made.append(record(run)) or made[-1])
    assert_same(model, recorded, STEPS * 2, device, rtol=2e-5)
    assert len(made) == 2


def test_graphs_are_for_one_process_and_several_are_told(capsys):
    assert takes_graphs(Recipe(), "bf16", "triton", 1)
    assert not takes_graphs(Recipe(), "fp16", "triton", 2)
    assert "CUDA graphs" not in capsys.readouterr().err
    assert not takes_graphs(Recipe(), "bf16", "triton", 2)
    assert "no CUDA graphs with several processes" in capsys.readouterr().err
