"""Activations that are computed anew for the backward pass give the same gradients, and take less memory."""

from dataclasses import asdict

import pytest
import torch
from conftest import write_mnli, write_model_config
from test_finetune import tiny_recipe
from test_sift import Parts
from transformers import XLNetConfig, XLNetForSequenceClassification

from debft.errors import InputError
from debft.models.activations import checkpoint_activations, checkpoints_activations, computed_anew
from debft.models.files import ModelFiles
from debft.scoring.heads import plain_loss
from debft.training.run import finetune


@pytest.fixture(scope="module")
def files(demo_model, tmp_path_factory):
    """A model of twelve layers with dropout in every place."""
    path = write_model_config(
        tmp_path_factory.mktemp("m") / "deep",
        demo_model,
        num_hidden_layers=12,
        hidden_dropout_prob=0.2,
        attention_probs_dropout_prob=0.2,
        initializer_range=0.02,
    )
    return ModelFiles(name="deep", path=path)


def kept_bytes_and_gradients(parts, loss_fn):
    """Bytes that a forward pass keeps for the backward pass, each storage once, and the gradients that this gives."""
    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in parts.model.parameters()}
    parts.model.train()
    torch.manual_seed(7)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss, _ = loss_fn(parts.model, parts.batch())
    loss.backward()
    return sum(size for place, size in storages.items() if place not in weights), [p.grad for p in parts.model.parameters()]


@pytest.mark.parametrize("sift", [False, True])
def test_gradients_are_the_same_and_a_fraction_is_kept(files, sift):
    """SiFT takes a gradient to the embeddings through it as well."""
    whole, less = Parts(files, "mnli"), Parts(files, "mnli")
    checkpoint_activations(less.model)
    (kept, expected), (kept_less, gradients) = (
        kept_bytes_and_gradients(parts, parts.loss if sift else plain_loss(parts.loss.head)) for parts in (whole, less)
    )
    assert checkpoints_activations(less.model) and not checkpoints_activations(whole.model)
    assert kept_less < kept / 8  # the input of each of twelve layers instead of a dozen tensors
    for a, b in zip(gradients, expected, strict=True):
        # the same operations on the same numbers and masks, summed in another order where a tensor is used twice
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


def test_layer_of_our_own_is_computed_anew_with_the_same_masks():
    layer, calls = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5)), []
    layer.register_forward_pre_hook(lambda *_: calls.append(1))
    gradients = []
    for compute in (layer, lambda x: computed_anew(layer, x)):
        torch.manual_seed(3)
        x = torch.ones(2, 4, requires_grad=True)
        compute(x).sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients) and len(calls) == 3


def test_model_that_cannot_is_refused_in_one_line():
    model = XLNetForSequenceClassification(XLNetConfig(vocab_size=9, d_model=8, n_layer=1, n_head=2, d_inner=8))
    with pytest.raises(
        InputError, match=r"^runtime.checkpoint_activations: expected .* transformers' xlnet is none; leave it out$"
    ):
        checkpoint_activations(model)


def test_run_with_checkpointed_activations_is_the_same_run_and_records_it(tmp_path, tiny_data):
    write_mnli(tiny_data)
    runs = [
        finetune(tiny_recipe(tiny_data, **{"runtime.checkpoint_activations": asked, "train.max_steps": 3}), tmp_path / str(asked))
        for asked in (False, True)
    ]
    assert [asdict(run.paths)["checkpointed_activations"] for run in runs] == [False, True]
    assert runs[0].scores == runs[1].scores
