"""Labels that no model was trained on: the scores are those of transformers' zero-shot pipeline, and other models are refused."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import write_model_config, write_tsv
from transformers import AutoConfig, AutoModelForSequenceClassification, pipeline

from debft.cli import use
from debft.errors import InputError
from debft.models.files import find_model
from debft.models.tokens.tokenizer import build_tokenizer
from debft.scoring import zero_shot
from debft.scoring.inputs import examples_to_label
from debft.scoring.loading import load_used
from debft.scoring.zero_shot import Labels, find_inference_model, label_freely, labels_of, probabilities_of

TEXTS = ["the white fox slept in the garden .", "a dog"]
NAMES = ("fox", "red dog", "garden")
# The order of the outputs differs between the models that people use.
OUTPUTS = {
    "entailment first": ["entailment", "neutral", "contradiction"],
    "entailment last": ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"],
    "two outputs": ["entailment", "not_entailment"],
}


@pytest.fixture(scope="module")
def saved(demo_model, tmp_path_factory) -> dict[str, Path]:
    """Tiny models of another program, with outputs that differ much between texts."""
    made = {}
    for seed, (name, outputs) in enumerate(OUTPUTS.items()):
        made[name] = write_model_config(tmp_path_factory.mktemp(f"inference-{seed}"), demo_model)
        labels = {"id2label": dict(enumerate(outputs)), "label2id": {output: i for i, output in enumerate(outputs)}}
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(made[name], **labels))
        with torch.no_grad():
            model.classifier.weight.mul_(20)
        model.save_pretrained(made[name])
    return made


def ours(model: Path, labels: Labels) -> list[dict]:
    used = find_inference_model(str(model), None, "eager")
    examples = examples_to_label(TEXTS, zero_shot.task_of_texts())
    return list(label_freely(load_used(used, "fp32", "eager"), examples, labels))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", OUTPUTS)
def test_scores_are_those_of_transformers_zero_shot_pipeline(saved, name, several):
    template = "It is about {}, I think ."
    rows = ours(saved[name], Labels(names=NAMES, template=template, several=several))
    tokenizer = build_tokenizer(find_model(str(saved[name]), from_scratch=False))  # tokens have an oracle of their own elsewhere
    model = AutoModelForSequenceClassification.from_pretrained(saved[name])
    theirs = pipeline("zero-shot-classification", model=model, tokenizer=tokenizer, device="cpu")
    for row, text in zip(rows, TEXTS, strict=True):
        expected = theirs(text, list(NAMES), hypothesis_template=template, multi_label=several)
        # 1e-5: float32 logits of a few units, whose batches are padded otherwise; ours are rounded to six places
        assert row["scores"] == pytest.approx(dict(zip(expected["labels"], expected["scores"], strict=True)), abs=1e-5)
        best = expected["labels"][0]
        assert row["prediction"] == ([n for n in NAMES if row["scores"][n] >= 0.5] if several else best)
    spread = max(row["scores"]["fox"] for row in rows) - min(row["scores"]["fox"] for row in rows)
    assert spread > 1e-3, "the texts score alike: this test sees nothing"


def test_default_template_is_transformers_own():
    assert Labels(names=("fox",)).hypotheses == ("This example is fox.",)


def test_contradiction_is_found_by_its_name_whatever_its_place():
    logits = np.array([[[5.0, 1.0, 3.0]]])  # neutral, contradiction, entailment
    several = probabilities_of(logits, ("neutral", "contradiction", "entailment"), several=True)
    assert several == pytest.approx(np.array([[1 / (1 + np.exp(1.0 - 3.0))]]), abs=1e-12)


@pytest.mark.parametrize(
    ("typed", "template", "several", "message"),
    [
        ("a,,b", None, False, "--labels: expected names with commas between them, got 'a,,b'"),
        ("", None, False, "--labels: expected names with commas between them, got ''"),
        ("a\nb,y", None, False, r"--labels: expected names with commas between them, got 'a\nb,y'; put quotes"),
        ("a\rb,y", None, False, r"--labels: expected names with commas between them, got 'a\rb,y'; put quotes"),
        ("a, b,a", None, False, "--labels: expected each label once, got 'a' twice"),
        ("a", None, False, "--labels: expected two labels or more to choose from, got 'a'"),
        ("a,b", "no place", False, "--template: expected a sentence with one {} for the label, got 'no place'"),
        ("\udcff,y", None, False, r"--labels: expected text that UTF-8 can write, got '\udcff'"),
        ("a,b", "\udcff {}", False, r"--template: expected text that UTF-8 can write, got '\udcff {}'"),
        ("a,b", "{} or {}", False, "--template: expected a sentence with one {} for the label"),
        (None, "It is {}.", False, "--template: expected --labels with it, got none"),
        (None, None, True, "--multi-label: expected --labels with it, got none"),
    ],
)
def test_labels_that_cannot_be_chosen_among_are_refused(typed, template, several, message):
    with pytest.raises(InputError) as error:
        labels_of(typed, template, several)
    assert str(error.value).startswith(message)


def test_label_with_a_comma_or_a_line_break_stands_in_quotes():
    assert labels_of('"a\nb",y', None, False).names == ("a\nb", "y")
    assert labels_of('"sport, news" , art', None, False).names == ("sport, news", "art")


@pytest.mark.parametrize("outputs", [["bad", "good"], ["LABEL_0", "LABEL_1", "LABEL_2"]])
def test_model_that_infers_nothing_is_refused(saved, tmp_path, outputs):
    for file in saved["entailment first"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text()) | {"id2label": dict(enumerate(outputs))}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="--labels: expected a model of natural language inference"):
        find_inference_model(str(tmp_path), None, "auto")


def test_model_of_another_task_is_refused(saved):
    with pytest.raises(InputError, match="is one of qnli; it has labels of its own"):
        find_inference_model(str(saved["two outputs"]), "qnli", "auto")


@pytest.mark.parametrize("place", ["typed", "stdin", "file"])
def test_texts_come_typed_from_stdin_and_from_a_file_with_one_column(saved, tmp_path, monkeypatch, capsys, place):
    write_tsv(tmp_path / "x.tsv", ["id", "review"], [(f"r{i}", text) for i, text in enumerate(TEXTS)])
    stdin = SimpleNamespace(isatty=lambda: False, buffer=io.BytesIO("\n".join(TEXTS).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    words = {"typed": TEXTS, "stdin": None, "file": [str(tmp_path / "x.tsv")]}[place]
    use.predict(str(saved["entailment first"]), words, labels="fox,dog")
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["id"] for row in rows] == (["r0", "r1"] if place == "file" else ["0", "1"])
    assert all(set(row["scores"]) == {"fox", "dog"} and sum(row["scores"].values()) == pytest.approx(1, abs=2e-6) for row in rows)
    assert ("the texts are its column review" in err) == (place == "file")


def test_many_texts_keep_their_order_over_several_parts(saved, monkeypatch):
    labels = Labels(names=NAMES)
    whole = ours(saved["entailment first"], labels)
    monkeypatch.setattr(zero_shot, "PAIRS_ON_CPU", 3)
    for row, again in zip(whole, ours(saved["entailment first"], labels), strict=True):
        # 2e-5: a batch of other sequences rounds otherwise in float32
        assert row["id"] == again["id"] and row["scores"] == pytest.approx(again["scores"], abs=2e-5)
