"""Learning rates of layers: the exponents of ELECTRA's code, and updates beside torch's own AdamW with a group for each weight."""

import copy

import pytest
import torch
from small_deberta import BASE
from transformers import (
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForQuestionAnswering,
)

from debft.config.recipe import TrainConfig
from debft.errors import InputError
from debft.training.layer_rates import rate_factors
from debft.training.optimization import build_optimizer, set_learning_rate

SMALL = {"vocab_size": 37, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 24}


def electra():
    return ElectraForSequenceClassification(ElectraConfig(**SMALL, embedding_size=8, num_labels=3))


def test_factors_are_those_of_electras_code():
    """Of three layers: _get_layer_lrs gives decay^5 to the embeddings, ^4, ^3 and ^2 to the layers, and ^0 to the task's weights."""
    factors = rate_factors(electra(), 0.8)
    exponents = {
        "electra.embeddings.word_embeddings.weight": 5,
        "electra.embeddings.LayerNorm.bias": 5,
        "electra.embeddings_project.weight": 5,
        "electra.encoder.layer.0.attention.self.query.weight": 4,
        "electra.encoder.layer.1.output.LayerNorm.weight": 3,
        "electra.encoder.layer.2.output.dense.bias": 2,
        "classifier.dense.weight": 0,
        "classifier.out_proj.bias": 0,
    }
    assert {name: factors[name] for name in exponents} == {name: 0.8**power for name, power in exponents.items()}
    assert set(factors.values()) == {0.8**power for power in (5, 4, 3, 2, 0)}


def test_what_the_layers_of_deberta_share_has_the_rate_of_the_embeddings():
    factors = rate_factors(DebertaV2ForSequenceClassification(DebertaV2Config(**BASE)), 0.5)
    assert factors["deberta.encoder.rel_embeddings.weight"] == factors["deberta.embeddings.word_embeddings.weight"] == 0.5**4
    assert factors["pooler.dense.weight"] == factors["classifier.weight"] == 1.0


def test_outputs_for_spans_have_the_whole_rate():
    factors = rate_factors(RobertaForQuestionAnswering(RobertaConfig(**SMALL, pad_token_id=1)), 0.9)
    assert factors["qa_outputs.weight"] == 1.0 and factors["roberta.encoder.layer.2.output.dense.weight"] == 0.9**2


def test_model_without_numbered_layers_is_refused():
    model = electra()
    model.electra.encoder.layer = torch.nn.Sequential()
    with pytest.raises(InputError, match=r"train\.layerwise_lr_decay: expected a model with numbered layers, electra has none"):
        rate_factors(model, 0.8)


def test_without_a_decay_there_are_the_two_groups_of_ever():
    first, second = build_optimizer(electra(), TrainConfig(weight_decay=0.1)).param_groups
    assert (first["weight_decay"], second["weight_decay"]) == (0.1, 0.0)


def test_updates_equal_those_of_torch_with_a_group_for_each_weight():
    ours, rates = electra(), [0.0, 1e-2, 7e-3, 4e-3]
    theirs = copy.deepcopy(ours)
    config = TrainConfig(layerwise_lr_decay=0.8, weight_decay=0.1, adam_epsilon=1e-6)
    optimizer, factors = build_optimizer(ours, config), rate_factors(theirs, 0.8)
    plain = torch.optim.AdamW(
        [
            {"params": [p], "weight_decay": 0.0 if "bias" in name or "LayerNorm" in name else 0.1, "name": name}
            for name, p in theirs.named_parameters()
        ],
        eps=1e-6,
    )
    generator = torch.Generator().manual_seed(0)
    for rate in rates:
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad = p.grad.clone()
        set_learning_rate(optimizer, rate)
        for group in plain.param_groups:
            group["lr"] = rate * factors[group["name"]]
        optimizer.step()
        plain.step()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        # the fused update rounds in another order
        torch.testing.assert_close(p, q, rtol=2e-6, atol=2e-7, msg=lambda m, name=name: f"{name}: {m}")
