"""Link 'weights' of the chain: float32 whatever the file holds, labels in the model's order, nothing random in silence."""

import json

import pytest
import torch
from conftest import write_model_config
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from debft.errors import InputError
from debft.models import (
    HEAD_DROPOUT,
    MODELS,
    ModelFiles,
    build_model,
    build_tokenizer,
    canonical_name,
    find_model,
    longest_input,
    model_labels,
    short_name,
)


@pytest.fixture
def saved(demo_model, mnli, tmp_path):
    """A saved tiny model with weights, as a pre-trained checkpoint would be."""
    directory = write_model_config(tmp_path / "saved", demo_model)
    files = ModelFiles(name="saved", path=directory)
    build_model(files, mnli, from_scratch=True, head_dropout=None, seed=3, quiet=True).save_pretrained(directory)
    return files


def rewrite(files, change):
    path = files.path / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def edit_config(files, **changes):
    path = files.path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def load(files, mnli, **options):
    return build_model(files, mnli, **{"from_scratch": False, "head_dropout": None, "seed": 0, "quiet": True} | options)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_weights_are_float32_whatever_the_file_holds(saved, mnli, dtype):
    rewrite(saved, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    edit_config(saved, dtype=str(dtype).removeprefix("torch."))
    model = load(saved, mnli)
    assert {p.dtype for p in model.parameters()} | {b.dtype for b in model.buffers() if b.is_floating_point()} == {torch.float32}
    stored = load_file(saved.path / "model.safetensors")
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, stored[name].float()), name


def test_plain_transformers_would_spring_the_trap(saved, mnli):
    rewrite(saved, lambda tensors: {name: tensor.half() for name, tensor in tensors.items()})
    edit_config(saved, dtype="float16")
    assert AutoModelForSequenceClassification.from_pretrained(saved.path).dtype == torch.float16


def test_missing_encoder_weights_are_an_error_and_not_random(saved, mnli):
    rewrite(saved, lambda tensors: {name: t for name, t in tensors.items() if "layer.1.attention.self.query_proj" not in name})
    with pytest.raises(InputError, match=r"expected the weights of the encoder, 2 are missing"):
        load(saved, mnli)


def test_missing_head_is_new_seeded_and_said(saved, mnli, capsys):
    rewrite(saved, lambda tensors: {name: t for name, t in tensors.items() if not name.startswith("classifier")})
    one, two, other = load(saved, mnli, quiet=False), load(saved, mnli), load(saved, mnli, seed=1)
    assert "head new (classifier.bias, classifier.weight" in capsys.readouterr().err.replace("\n", "")
    assert torch.equal(one.classifier.weight, two.classifier.weight)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)


def test_head_of_another_number_of_labels_is_new(saved, mnli):
    edit_config(saved, id2label={"0": "no", "1": "yes"}, label2id={"no": 0, "yes": 1})
    rewrite(
        saved,
        lambda t: (
            t | {"classifier.weight": t["classifier.weight"][:2].clone(), "classifier.bias": t["classifier.bias"][:2].clone()}
        ),
    )
    model = load(saved, mnli)
    assert model.config.id2label == {0: "entailment", 1: "neutral", 2: "contradiction"}
    assert model.classifier.weight.shape[0] == 3


def test_label_order_of_a_fine_tuned_checkpoint_is_kept(saved, mnli):
    names = ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"]  # as microsoft/deberta-*-mnli has them
    edit_config(saved, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
    assert model_labels(saved, mnli) == ("contradiction", "neutral", "entailment")
    assert load(saved, mnli).config.id2label == {0: "contradiction", 1: "neutral", 2: "entailment"}


@pytest.mark.parametrize("names", [["LABEL_0", "LABEL_1", "LABEL_2"], ["a", "b"], None])
def test_other_label_names_give_the_tasks_order(saved, mnli, names):
    edit_config(saved, id2label=dict(enumerate(names)) if names else None)
    assert model_labels(saved, mnli) == mnli.labels


def test_head_dropout_of_the_recipe_is_the_one_before_the_classifier(demo_model, mnli):
    model = build_model(ModelFiles(name="demo", path=demo_model), mnli, from_scratch=True, head_dropout=0.3, seed=0, quiet=True)
    assert model.dropout.p == 0.3
    default = build_model(ModelFiles(name="demo", path=demo_model), mnli, from_scratch=True, head_dropout=None, seed=0, quiet=True)
    assert default.dropout.p == default.config.hidden_dropout_prob


def test_every_alias_of_the_tables_is_there():
    assert set(MODELS) == {
        "deberta-v3-xsmall", "deberta-v3-small", "deberta-v3-base", "deberta-v3-large", "mdeberta-v3-base",
        "deberta-v2-xxlarge", "deberta-base", "roberta-base", "xlnet-base", "electra-base", "xlm-roberta-base",
        "all-minilm-l6-v2",
    }  # fmt: skip
    assert set(HEAD_DROPOUT) >= {"deberta-v2", "deberta", "roberta", "xlnet", "electra", "xlm-roberta"}


def test_names_of_models(tmp_path):
    assert canonical_name("microsoft/deberta-v3-small") == "deberta-v3-small"
    assert canonical_name("someone/else") == "someone/else"
    assert short_name("someone/else") == "else"
    (tmp_path / "mine").mkdir()
    assert short_name(str(tmp_path / "mine")) == "mine"


@pytest.mark.parametrize(
    ("files", "from_scratch", "message"),
    [
        ({}, True, "expected a config.json in the directory, found none"),
        ({"config.json": '{"model_type": "deberta-v2"}'}, True, r"expected a tokenizer \(spm.model, tokenizer.json"),
        (
            {"config.json": '{"model_type": "deberta-v2"}', "spm.model": ""},
            False,
            "expected weights .* or --from-scratch for random ones",
        ),
        ({"config.json": "{", "spm.model": ""}, True, r"config\.json: expected JSON"),
        ({"config.json": "{}", "spm.model": ""}, True, "configuration with a 'model_type', found none"),
    ],
)
def test_incomplete_directory_is_one_clear_line(tmp_path, files, from_scratch, message):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        find_model(str(tmp_path), from_scratch)


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(InputError, match="no such directory or alias; did you mean 'deberta-v3-xsmall'"):
        find_model("deberta-v3-xsmal", from_scratch=False)


def test_alias_wins_over_a_directory_of_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert (find_model("demo", from_scratch=True).path / "spm.model").is_file()


def test_saved_tokenizer_json_without_spm_model_is_read_as_it_was_saved(demo_model, tmp_path):
    original = build_tokenizer(ModelFiles(name="demo", path=demo_model))
    original.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes((demo_model / "config.json").read_bytes())
    again = build_tokenizer(ModelFiles(name="again", path=tmp_path))
    texts = ["the fox slept", "ﬁ ＡＢ e\u0301 我", "a[SEP]b"]
    assert again(texts)["input_ids"] == original(texts)["input_ids"]


def test_weights_that_cannot_be_read_are_an_input_error(saved, mnli):
    path = saved.path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"the weights cannot be read: .*; copy the file again"):
        load(saved, mnli)


def test_pickle_with_code_is_refused(saved, mnli):
    """pytorch_model.bin is read with weights_only: what it would run does not run."""
    (saved.path / "model.safetensors").unlink()
    marker = saved.path / "ran"

    class Harmful:
        def __reduce__(self):
            return (marker.touch, ())

    torch.save({"x": Harmful()}, saved.path / "pytorch_model.bin")
    with pytest.raises(InputError, match="the weights cannot be read"):
        load(saved, mnli)
    assert not marker.exists()


def test_unknown_model_type_is_an_input_error(saved):
    edit_config(saved, model_type="deberta-v9")
    with pytest.raises(
        InputError, match=r"config\.json: model_type: expected one that transformers can classify with, got 'deberta-v9'"
    ):
        build_tokenizer(saved)


def test_head_dropout_of_an_unknown_architecture_is_an_input_error(saved, mnli):
    edit_config(saved, model_type="distilbert")
    with pytest.raises(InputError, match=r"train\.head_dropout: expected a model of type deberta-v2, .*, got distilbert"):
        load(saved, mnli, head_dropout=0.1)


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        ({"model_type": "deberta-v2", "max_position_embeddings": 512, "position_biased_input": False}, None),
        ({"model_type": "deberta-v2", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "electra", "max_position_embeddings": 512}, 512),
        ({"model_type": "xlnet"}, None),
    ],
)
def test_longest_input_is_what_the_model_has_positions_for(config, longest):
    assert longest_input(config) == longest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "vit"}, "model_type: expected one that transformers can classify with, got 'vit'"),
        ({"model_type": 5}, "expected a transformers configuration with a 'model_type', found none"),
        ({"hidden_size": "64"}, "transformers refuses it: .*hidden_size"),
        ({"num_attention_heads": 7}, "transformers cannot build this model: The hidden size"),
        ({"id2label": {"a": "x", "b": "y"}}, "id2label: expected label names by number"),
        ({"id2label": ["x"]}, "id2label: expected label names by number"),
    ],
)
def test_bad_configuration_is_one_line_that_names_the_file(saved, mnli, changes, message):
    edit_config(saved, **changes)
    with pytest.raises(InputError, match=rf"config\.json: {message}"):
        load(saved, mnli, from_scratch=True)


@pytest.mark.parametrize("content", ["{", "{}"])
def test_damaged_tokenizer_json_is_an_input_error(demo_model, tmp_path, content):
    (tmp_path / "config.json").write_bytes((demo_model / "config.json").read_bytes())
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"the tokenizer cannot be read: .*; copy its files again"):
        build_tokenizer(ModelFiles(name="x", path=tmp_path))
