"""Models that another program saved: what their outputs are called, and types that read texts in their own way."""

import json
from pathlib import Path

import pytest
import torch
from conftest import write_model_config
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModelForSequenceClassification, pipeline

from debft.data.rows import check_rows, check_texts
from debft.data.sources.table import DataTable
from debft.errors import InputError
from debft.models.files import ModelFiles
from debft.models.tokens import foreign as foreign_tokenizers
from debft.models.tokens.tokenizer import build_tokenizer
from debft.scoring import inference, loading

TEXTS = ["the fox slept", "a dog in the garden"]


@pytest.fixture(scope="module")
def saved(demo_model, tmp_path_factory) -> dict[int, Path]:
    """A tiny DeBERTa-v2 with so many outputs, which it calls LABEL_0, LABEL_1, ...; saved by transformers alone."""
    made = {}
    for outputs in (1, 2, 3):
        made[outputs] = write_model_config(tmp_path_factory.mktemp(f"of-{outputs}"), demo_model)
        torch.manual_seed(outputs)
        config = AutoConfig.from_pretrained(made[outputs], num_labels=outputs)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(made[outputs])
    return made


def named(directory: Path, target: Path, names: list[str] | None, **changes) -> str:
    """A copy whose outputs have other names, or none."""
    target.mkdir()
    for file in directory.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    config = json.loads((target / "config.json").read_text()) | changes
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}} if names else {}
    (target / "config.json").write_text(json.dumps(config))
    return str(target)


def table(**columns: list) -> DataTable:
    return DataTable(columns=columns, path="rows", lines=range(len(next(iter(columns.values())))))


def scores(predictor, **columns: list) -> list[dict]:
    rows = inference.predict(predictor, {"rows": check_texts(table(**columns), predictor.loaded.task)})["rows"]
    return [row["scores"] for row in rows]


def test_outputs_without_names_keep_their_numbers_and_it_is_said(saved, capsys):
    rows = scores(loading.load_predictor(str(saved[2]), "text", "fp32"), text=TEXTS)
    assert [set(row) for row in rows] == [{"LABEL_0", "LABEL_1"}] * 2
    assert "names no labels: the outputs are called LABEL_0, LABEL_1, and 0, 1, ... in a file" in capsys.readouterr().err


def test_labels_by_number_are_those_of_outputs_without_names(saved):
    predictor = loading.load_predictor(str(saved[2]), "text", "fp32")
    rows = check_rows(table(text=TEXTS, label=[0, 1]), predictor.loaded.task)
    assert rows.labels.tolist() == [0, 1]


def test_own_names_of_a_model_of_another_program_are_used(saved, tmp_path, capsys):
    model = named(saved[2], tmp_path / "m", ["spam", "ham"])
    ours, plain = (loading.load_predictor(where, "text", "fp32") for where in (model, str(saved[2])))
    assert [list(row.values()) for row in scores(ours, text=TEXTS)] == [list(row.values()) for row in scores(plain, text=TEXTS)]
    assert list(scores(ours, text=TEXTS)[0]) == ["spam", "ham"]


def test_single_output_is_a_score(saved):
    predictor = loading.load_predictor(str(saved[1]), "text", "fp32")
    assert predictor.loaded.task.is_regression and list(scores(predictor, text=TEXTS)[0]) == ["score"]


@pytest.mark.parametrize("task", ["mnli", "xnli"])
def test_order_of_outputs_without_names_is_told(saved, capsys, task):
    loading.load_predictor(str(saved[3]), task, "fp32")
    told = capsys.readouterr().err.replace("\n", " ")
    assert f"its outputs are taken for entailment, neutral, contradiction, in the order of {task}, which may not be" in told


def test_named_outputs_are_taken_by_name_without_a_word(saved, tmp_path, capsys):
    model = named(saved[3], tmp_path / "m", ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"])
    assert list(scores(loading.load_predictor(model, "mnli", "fp32"), premise=["a"], hypothesis=["b"])[0]) == [
        "contradiction",
        "neutral",
        "entailment",
    ]
    assert "names no labels" not in capsys.readouterr().err


def test_model_of_several_labels_a_text_is_refused_where_the_task_has_one(saved, tmp_path):
    model = named(saved[3], tmp_path / "m", None, problem_type="multi_label_classification")
    with pytest.raises(InputError, match="problem_type: expected one label for each text, got multi_label_classification"):
        loading.load_predictor(model, "mnli", "fp32")


@pytest.mark.parametrize("names", [None, ["price", "service", "delivery"]])
def test_model_of_several_labels_a_text_gives_what_its_pipeline_gives(saved, tmp_path, names):
    """Without thresholds of its own each label is predicted from one half on."""
    model = named(saved[3], tmp_path / "m", names, problem_type="multi_label_classification")
    predictor = loading.load_predictor(model, "text", "fp32")
    ours = inference.predict(predictor, {"rows": check_texts(table(text=TEXTS), predictor.loaded.task)})["rows"]
    plain = AutoModelForSequenceClassification.from_pretrained(model)
    classify = pipeline("text-classification", model=plain, tokenizer=predictor.loaded.tokenizer, top_k=None)
    for row, given in zip(ours, classify(TEXTS), strict=True):
        expected = {one["label"]: one["score"] for one in given}
        assert row["scores"] == pytest.approx(expected, abs=2e-6)  # ours are rounded to six digits
        assert row["prediction"] == [name for name in row["scores"] if expected[name] >= 0.5]


def test_sets_of_numbers_are_those_of_outputs_without_names(saved, tmp_path):
    model = named(saved[3], tmp_path / "m", None, problem_type="multi_label_classification")
    predictor = loading.load_predictor(model, "text", "fp32")
    rows = check_rows(table(text=TEXTS, label=["[0, 2]", ""]), predictor.loaded.task)
    assert rows.labels.tolist() == [[1, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("names", [{"1": "a", "2": "b"}, {"0": "a", "1": "a"}])
def test_names_that_leave_an_output_out_or_come_twice_are_refused(saved, tmp_path, names):
    model = named(saved[2], tmp_path / "m", None, id2label=names)
    with pytest.raises(InputError, match=r"config\.json: id2label: expected a name of its own for each output from 0 on"):
        loading.load_predictor(model, "text", "fp32")


# ---- types of model that FAMILIES does not have ----

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "a", "the", "in", "of", "to", "fox", "slept", "dog", "[E1]", "<eos>"]
SMALL = {
    "hidden_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 40,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
NAMES = {
    "cls_token": "<s>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "bos_token": "<s>",
    "eos_token": "</s>",
}


def word_level(template: str | None = "<s> $A </s>", pair: str = "<s> $A </s> </s> $B </s>") -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(WORDS[:4])
    if template:
        special = [("<s>", 0), ("</s>", 2)]
        tokenizer.post_processor = processors.TemplateProcessing(single=template, pair=pair, special_tokens=special)
    return tokenizer


def model_of(kind: str, directory: Path, tokenizer: Tokenizer | None = None, **changes) -> ModelFiles:
    """A tiny model of a type with a tokenizer.json of whole words, which any class of transformers takes."""
    config = AutoConfig.for_model(kind, **SMALL | changes.pop("config", {}))
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(directory)
    (directory / "tokenizer.json").write_text((tokenizer or word_level()).to_str())
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **NAMES} | changes
    (directory / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in settings.items() if v is not None}))
    return ModelFiles(name=kind, path=directory)


@pytest.fixture(autouse=True)
def said_again():
    """Lines that are said once in a run are said in each test."""
    foreign_tokenizers._say_once.cache_clear()


def ids(files: ModelFiles, *texts: str) -> list[int]:
    return build_tokenizer(files)(*[[text] for text in texts])["input_ids"][0]


@pytest.mark.parametrize("kind", ["camembert", "mpnet", "distilbert"])
def test_tokenizer_json_of_another_type_is_read_as_it_stands(kind, tmp_path):
    files = model_of(
        kind, tmp_path, config={"dim": 12, "n_heads": 2, "n_layers": 1, "hidden_dim": 8} if kind == "distilbert" else {}
    )
    assert ids(files, "a fox", "the dog") == [0, 4, 9, 2, 2, 5, 11, 2]
    predictor = loading.load_predictor(str(tmp_path), "text", "fp32")
    assert len(scores(predictor, text=TEXTS)) == 2


def test_tokens_of_the_user_are_found_in_texts_of_another_type(tmp_path):
    tokenizer = word_level()
    tokenizer.add_special_tokens(["[E1]"])
    files = model_of("mpnet", tmp_path, tokenizer)
    assert ids(files, "a[E1]fox") == [0, 4, 12, 9, 2]


def test_tokenizer_that_puts_nothing_around_a_text_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"tokenizer\.json: expected <s> and </s> around a text, it puts nothing there"):
        build_tokenizer(model_of("camembert", tmp_path, word_level(None)))


def test_tokenizer_without_padding_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a token for padding, found none; name one as pad_token in tokenizer_config"):
        build_tokenizer(model_of("mpnet", tmp_path, pad_token=None))


def test_pair_without_a_token_in_between_is_refused_for_a_task_of_pairs(tmp_path, mnli):
    files = model_of("mpnet", tmp_path, word_level("<s> $A", "<s> $A $B"))
    build_tokenizer(files)
    with pytest.raises(InputError, match="expected a special token between two texts, it puts none there: not for mnli"):
        build_tokenizer(files, mnli)


GPT = {"n_embd": 12, "n_layer": 1, "n_head": 2, "n_positions": 40}


@pytest.mark.parametrize(("pad", "message"), [(None, "does not take texts of this tokenizer: Cannot handle batch"), (13, None)])
def test_model_that_would_read_padding_as_text_is_refused(tmp_path, pad, message):
    """GPT-2's class looks for the last token by its own idea of padding."""
    model_of("gpt2", tmp_path, config=GPT | {"pad_token_id": pad})
    with pytest.raises(InputError, match=message or "pad_token_id: expected 1, the tokenizer's <pad>, got 13"):
        loading.load_predictor(str(tmp_path), "text", "fp32")


def test_model_whose_padding_fits_is_used(tmp_path):
    model_of("gpt2", tmp_path, config=GPT)
    assert len(scores(loading.load_predictor(str(tmp_path), "text", "fp32"), text=TEXTS)) == 2


def test_padding_that_moves_the_logits_is_told(tmp_path, capsys):
    """FNet mixes all tokens and has no mask."""
    model_of("fnet", tmp_path, config={"use_tpu_fourier_optimizations": False})
    loading.load_predictor(str(tmp_path), "text", "fp32")
    assert "FNetForSequenceClassification: padding moves its logits by" in capsys.readouterr().err


def test_model_that_needs_more_than_texts_is_refused(tmp_path):
    model_of("xmod", tmp_path, config={"languages": ["en_XX", "de_DE"], "default_language": None})
    with pytest.raises(InputError, match="XmodForSequenceClassification does not take texts of this tokenizer: Input language"):
        loading.load_predictor(str(tmp_path), "text", "fp32")


@pytest.mark.parametrize("kind", ["mpnet", "bert"])
def test_tokenizer_of_its_own_code_is_refused(tmp_path, kind):
    files = model_of(kind, tmp_path, auto_map={"AutoTokenizer": ["tokenization_x.XTokenizer", None]})
    with pytest.raises(InputError, match=r"auto_map: the tokenizer is code of its own \(tokenization_x\.XTokenizer\)"):
        build_tokenizer(files)


def test_model_of_its_own_code_is_refused(tmp_path):
    files = model_of("bert", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | {"auto_map": {"AutoModel": "modeling_x.XModel"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"auto_map: the model is code of its own \(modeling_x\.XModel\), which is not run"):
        build_tokenizer(files)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": "2.0"}, r"tokenizer\.json is of version 2\.0, expected 1\.0; install a newer tokenizers"),
        ({"model": {"type": "Later", "vocab": {}}}, r"the tokenizer cannot be read: tokenizer\.json: .*; copy its files again"),
    ],
)
@pytest.mark.parametrize("kind", ["mpnet", "bert"])
def test_tokenizer_json_of_another_version_is_one_line(tmp_path, kind, changes, message):
    files = model_of(kind, tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text()) | changes
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        build_tokenizer(files)


def test_tokenizer_that_is_python_alone_is_refused(tmp_path):
    files = model_of("esm", tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_text("\n".join(["<cls>", "<pad>", "<eos>", "<unk>", "A", "C", "<mask>"]))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "EsmTokenizer"}')
    with pytest.raises(InputError, match="got EsmTokenizer, which is Python code: a esm cannot be used here"):
        build_tokenizer(files)
