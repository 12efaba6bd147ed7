"""Link 'weights' of the chain: float32 whatever the file holds, labels in the model's order, nothing random in silence."""

import json
from pathlib import Path

import pytest
import torch
import transformers
from conftest import write_model_config
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as USABLE

from debft.cli import doctor
from debft.errors import InputError
from debft.models.build import HEAD_DROPOUT, build_model
from debft.models.files import ModelFiles, find_model
from debft.models.names import MODELS, canonical_name, short_name
from debft.models.outputs import model_labels
from debft.models.positions import BEHIND_THE_PADDING, longest_input
from debft.models.settings import read_settings
from debft.models.tokens.tokenizer import build_tokenizer


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


def test_weights_that_the_configuration_has_no_place_for_are_told(saved, mnli, capsys):
    load(saved, mnli)
    assert "not used" not in capsys.readouterr().err
    edit_config(saved, num_hidden_layers=1)
    load(saved, mnli)
    said = capsys.readouterr().err
    assert "warning: " in said and "weights of the encoder have no place in config.json's model, deberta.encoder.layer.1." in said


def test_missing_head_is_new_seeded_and_said(saved, mnli, capsys):
    rewrite(saved, lambda tensors: {name: t for name, t in tensors.items() if not name.startswith("classifier")})
    one, two, other = load(saved, mnli, quiet=False), load(saved, mnli), load(saved, mnli, seed=1)
    assert "head new, random (classifier.bias, classifier.weight" in capsys.readouterr().err.replace("\n", "")
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
        "deberta-v3-xsmall",
        "deberta-v3-small",
        "deberta-v3-base",
        "deberta-v3-large",
        "mdeberta-v3-base",
        "deberta-v2-xxlarge",
        "deberta-base",
        "roberta-base",
        "xlnet-base",
        "electra-base",
        "xlm-roberta-base",
        "all-minilm-l6-v2",
    }
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
        ({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 0}, 512),  # its code takes no other padding than 1
        ({"model_type": "camembert", "max_position_embeddings": 514, "pad_token_id": 5}, 508),
        ({"model_type": "longformer", "max_position_embeddings": 4098, "attention_window": [512]}, 4096),
        ({"model_type": "esm", "max_position_embeddings": 1026, "position_embedding_type": "rotary"}, 1026),
        ({"model_type": "bart", "max_position_embeddings": 1024}, 1024),  # its table has the two rows more
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "mpt", "max_seq_len": 2048}, 2048),
        ({"model_type": "bert"}, 512),  # transformers' default
        ({"model_type": "t5"}, None),
    ],
)
def test_longest_input_is_what_the_model_has_positions_for(config, longest):
    assert longest_input(config) == longest


def takes(kind: str, length: int) -> bool:
    """Whether transformers' own model of this type, with 40 positions, takes so many tokens."""
    small = {
        "hidden_size": 12,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "vocab_size": 20,
        "pad_token_id": 1,
        "max_position_embeddings": 40,
    }
    boxes = {"coordinate_size": 2, "shape_size": 2, "visual_embed": False} if kind == "layoutlmv3" else {}
    more = {
        "luke": {"entity_vocab_size": 4, "entity_emb_size": 4},
        "lilt": {"channel_shrink_ratio": 1},
        "markuplm": {"max_depth": 2, "xpath_unit_hidden_size": 2},
        "longformer": {"attention_window": 8},
        "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    }
    config = AutoConfig.for_model(kind, **small, **boxes, **more.get(kind, {}))
    with torch.inference_mode():
        try:
            model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
            return model(input_ids=torch.full((1, length), 9)).logits.isfinite().all().item()
        except (IndexError, RuntimeError):
            return False


@pytest.mark.parametrize("kind", BEHIND_THE_PADDING)
def test_positions_behind_the_padding_are_those_of_transformers(kind):
    longest = longest_input({"model_type": kind, "max_position_embeddings": 40, "pad_token_id": 1})
    assert (longest, takes(kind, longest), takes(kind, longest + 1)) == (38, True, False)


def test_every_type_that_counts_behind_the_padding_is_known():
    """If this fails, a new type of transformers counts its positions so: add it to the list."""
    models = Path(transformers.__file__).parent / "models"
    marks = ("create_position_ids_from_input_ids", "padding_idx + 1")
    folders = {kind: kind.replace("-", "_") for kind in USABLE}
    folders["data2vec-text"] = "data2vec"
    kinds = {
        kind
        for kind, folder in folders.items()
        for file in models.glob(f"{folder}/modeling_*.py")
        if any(mark in file.read_text(encoding="utf-8") for mark in marks)
    }
    assert kinds == set(BEHIND_THE_PADDING)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "vit"}, "model_type: expected one that transformers can classify with, got 'vit'"),
        ({"model_type": 5}, "expected a transformers configuration with a 'model_type', found none"),
        ({"hidden_size": "64"}, "transformers refuses it: .*hidden_size"),
        ({"num_attention_heads": 7}, "transformers cannot build this model: The hidden size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers: expected a layer or more, got 0"),
        ({"dtype": ""}, "transformers refuses it: AttributeError: "),
        ({"dtype": "abs"}, "transformers refuses it: IndexError: "),
        ({"id2label": 0}, "transformers refuses it: AttributeError: "),
        ({"hidden_act": ""}, "transformers cannot build this model: KeyError: ''"),
        ({"norm_rel_ebd": 1}, "transformers cannot build this model: AttributeError: "),
        ({"id2label": {"a": "x", "b": "y"}}, "id2label: expected label names by number"),
        ({"id2label": ["x"]}, "id2label: expected label names by number"),
    ],
)
def test_bad_configuration_is_one_line_that_names_the_file(saved, mnli, changes, message):
    edit_config(saved, **changes)
    with pytest.raises(InputError, match=rf"config\.json: {message}"):
        load(saved, mnli, from_scratch=True)


@pytest.mark.parametrize("task", ["mnlii", ["mnli"], {"mnli": 1}, 1, None], ids=str)
def test_settings_that_name_no_task_are_refused(saved, task):
    edit_config(saved, debft={"task": task})
    with pytest.raises(InputError, match=r"config\.json: debft\.task: expected one of mnli, .*, got "):
        read_settings(saved)


@pytest.mark.parametrize("content", ["{", "{}"])
def test_damaged_tokenizer_json_is_an_input_error(demo_model, tmp_path, content):
    (tmp_path / "config.json").write_bytes((demo_model / "config.json").read_bytes())
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"the tokenizer cannot be read: .*; copy its files again"):
        build_tokenizer(ModelFiles(name="x", path=tmp_path))


def test_tokenizer_json_that_the_library_panics_at_is_an_input_error(demo_model, tmp_path):
    (tmp_path / "config.json").write_bytes((demo_model / "config.json").read_bytes())
    content = {
        "version": "1.0",
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": "%"},
        "model": {"type": "Unigram", "vocab": []},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"the tokenizer cannot be read: tokenizer\.json: Precompiled: .*; copy its files again"):
        build_tokenizer(ModelFiles(name="x", path=tmp_path))


# ---- weights in the forms that other programs leave ----


def pickled(files, content=None):
    """The same weights, or `content`, as pytorch_model.bin."""
    content = content or load_file(files.path / "model.safetensors")
    (files.path / "model.safetensors").unlink()
    torch.save(content, files.path / "pytorch_model.bin")
    return files.path / "pytorch_model.bin"


def sharded(files) -> list[Path]:
    """The same weights in two files with an index; returns the two."""
    stored = load_file(files.path / "model.safetensors")
    names, parts = sorted(stored), [files.path / f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for part, chosen in zip(parts, (names[::2], names[1::2]), strict=True):
        save_file({name: stored[name] for name in chosen}, part, metadata={"format": "pt"})
    places = {name: parts[i % 2].name for i, name in enumerate(names)}
    (files.path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (files.path / "model.safetensors").unlink()
    return parts


def refusal(files, **options) -> str:
    with pytest.raises(InputError) as error:
        find_model(str(files.path), **{"from_scratch": False} | options)
    assert len(error.value.problems) == 1 and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("whole", [True, False], ids=["zip", "before torch 1.6"])
def test_half_a_pickle_names_the_file(saved, whole):
    path = pickled(saved)
    if not whole:
        torch.save(torch.load(path, weights_only=True), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(saved).startswith(f"{path}: the weights cannot be read: ")
    assert refusal(saved).endswith("; copy the file again")


def test_half_of_a_safetensors_file_names_the_file(saved):
    path = saved.path / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert refusal(saved).startswith(f"{path}: the weights cannot be read: ")


def test_pickle_of_other_objects_is_refused_before_anything_is_trained(saved):
    path = pickled(saved, {"weights": {"a": torch.zeros(1)}, "made": Path("x")})
    assert refusal(saved).startswith(f"{path}: the weights cannot be read: it holds other objects than tensors")


def test_pickle_of_a_training_state_is_refused(saved):
    pickled(saved, {"state_dict": {"a": torch.zeros(1)}, "epoch": 3})
    assert "expected tensors by name, got the keys state_dict, epoch; save" in refusal(saved)


def test_sharded_weights_are_read_and_said(saved, mnli, capsys):
    expected = load_file(saved.path / "model.safetensors")
    sharded(saved)
    find_model(str(saved.path), from_scratch=False)
    model = load(saved, mnli, quiet=False)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert "weights    F32 -> float32" in capsys.readouterr().err


def test_weights_in_half_precision_in_a_pickle_are_said(saved, mnli, capsys):
    pickled(saved, {name: tensor.half() for name, tensor in load_file(saved.path / "model.safetensors").items()})
    load(saved, mnli, quiet=False)
    assert "weights    F16 -> float32" in capsys.readouterr().err


def test_missing_shard_is_named(saved):
    sharded(saved)[1].unlink()
    assert "expected model-00002-of-00002.safetensors (named in model.safetensors.index.json) in the directory" in refusal(saved)


def test_damaged_index_is_named(saved):
    sharded(saved)
    (saved.path / "model.safetensors.index.json").write_text('{"weight_map": []}')
    assert "model.safetensors.index.json: expected a weight_map of tensors to files, got []" in refusal(saved)


QUANTIZED = {
    "int8": {"deberta.encoder.layer.0.output.dense.weight": torch.zeros(2, 2, dtype=torch.int8)},
    "bitsandbytes": {"deberta.encoder.layer.0.output.dense.SCB": torch.zeros(2)},
    "gptq": {"deberta.encoder.layer.0.output.dense.qweight": torch.zeros(2, 2, dtype=torch.int32)},
    "fp8": {"deberta.encoder.layer.0.output.dense.weight": torch.zeros(2, 2).to(torch.float8_e4m3fn)},
}


@pytest.mark.parametrize("kind", QUANTIZED)
def test_quantized_tensors_are_refused_by_name(saved, kind):
    rewrite(saved, lambda tensors: tensors | QUANTIZED[kind])
    assert f"got {next(iter(QUANTIZED[kind]))} of type " in refusal(saved)


@pytest.mark.parametrize("from_scratch", [True, False])
def test_quantized_configuration_is_refused(saved, from_scratch):
    edit_config(saved, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    assert "quantization_config: expected weights as floating-point numbers, got quantized ones (bitsandbytes)" in refusal(
        saved, from_scratch=from_scratch
    )


def test_whole_numbers_that_are_no_weights_are_no_quantization(saved):
    """Old checkpoints store the numbers of their positions, and masks."""
    rewrite(saved, lambda tensors: tensors | {"embeddings.position_ids": torch.arange(4), "h.0.attn.bias": torch.ones(2).byte()})
    assert find_model(str(saved.path), from_scratch=False).path == saved.path


def test_adapter_beside_the_weights_is_refused_and_not_left_out(saved):
    (saved.path / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "a/b"}')
    assert "adapter_config.json: an adapter lies beside the weights and would be left out; merge it first" in refusal(saved)
    find_model(str(saved.path), from_scratch=True)  # nothing is left out of random weights


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adapter_config.json", "adapter_config.json is there: an adapter of a/b, which has to be merged into it first"),
        ("tf_model.h5", "tf_model.h5 is there: weights of TensorFlow, which are not read"),
        ("flax_model.msgpack", "flax_model.msgpack is there: weights of Flax, which are not read"),
        ("weights.safetensors", "weights.safetensors is there: expected the name model.safetensors"),
        ("other.txt", "or --from-scratch for random ones"),
    ],
)
def test_directory_without_weights_says_what_is_there(saved, name, message):
    (saved.path / "model.safetensors").unlink()
    (saved.path / name).write_text('{"base_model_name_or_path": "a/b"}')
    assert message in refusal(saved)


def found_by_doctor(files) -> tuple[str, str]:
    return next((finding.state, finding.found) for finding in doctor._model(str(files.path)) if finding.what == "weights")


def test_doctor_reads_the_headers_of_weights_in_any_form(saved):
    parts = sharded(saved)
    assert found_by_doctor(saved) == ("ok", "F32 in 2 files; trained in float32")
    parts[0].unlink()
    assert found_by_doctor(saved)[0] == "bad" and parts[0].name in found_by_doctor(saved)[1]


def test_doctor_finds_an_adapter_beside_the_weights(saved):
    (saved.path / "adapter_config.json").write_text("{}")
    assert found_by_doctor(saved)[0] == "bad" and "an adapter lies beside the weights" in found_by_doctor(saved)[1]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_pointer_of_git_lfs_is_no_file(saved, name):
    (saved.path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    assert f"{name}: expected the file itself, got a pointer of Git LFS; run `git lfs pull`" in refusal(saved)
