"""Sets of labels: loss against transformers, scores against scikit-learn, thresholds against every one that can be tried."""

import json
import random
from dataclasses import replace

import evaluate
import numpy as np
import pytest
import sklearn.metrics
import torch
from conftest import random_texts, table_of, write_model_config
from transformers import AutoModelForSequenceClassification, pipeline

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import QuestionConfig
from debft.data.encoding import EncodedSplit, encode
from debft.data.examples import Examples
from debft.data.packing import Collator
from debft.data.rows import check_rows
from debft.errors import InputError
from debft.models.build import build_model
from debft.models.files import ModelFiles
from debft.models.tokens.tokenizer import build_tokenizer
from debft.scoring import inference, loading
from debft.scoring.formats import FORMATS
from debft.scoring.heads import MultiLabelHead, head_of, model_inputs
from debft.scoring.heads.multilabel import sigmoid
from debft.scoring.metrics import by_name
from debft.scoring.metrics.export import modules
from debft.scoring.metrics.sets import best_thresholds
from debft.tasks import TEXT, Split
from debft.training.plan import make_plan
from debft.training.run import finetune

TASK = replace(TEXT, labels=("a", "b", "c"), multilabel=True, metrics=("micro_f1", "macro_f1"))
HEAD = MultiLabelHead(task=TASK, labels=TASK.labels)


def split_of(labels):
    return EncodedSplit(ids_T=None, types_T=None, ends_S=np.arange(len(labels)), labels_S=labels, truncated=0)


def examples_of(labels):
    count = len(labels)
    return Examples(texts=[("a",)] * count, labels=labels, ids=list(map(str, range(count))), empty_texts=0, source="rows")


@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
def test_scores_equal_scikit_learn(shift):
    """At 3.0 the last label is neither true nor predicted, and takes no part in the mean."""
    rng = np.random.default_rng(0)
    references, predictions = (rng.normal(size=(99, 5)) + shift * (np.arange(5) == 0) > 0 for _ in range(2))
    if shift > 0:
        references[:, 4] = predictions[:, 4] = False
    oracle = {
        "micro_f1": sklearn.metrics.f1_score(references, predictions, average="micro"),
        "macro_f1": sklearn.metrics.f1_score(references, predictions, average="macro", zero_division=np.nan),
        "subset_accuracy": sklearn.metrics.accuracy_score(references, predictions),
    }
    ours = {name: by_name.compute(name, predictions, references) for name in by_name.OF_SETS}
    assert ours == pytest.approx(oracle, rel=1e-12)
    module = evaluate.load(modules.path("sets_of_labels"))
    assert module.compute(predictions=predictions.astype(int).tolist(), references=references.astype(int).tolist()) == ours


def test_scores_of_rows_without_labels_are_zero_and_none_is_right():
    nothing = np.zeros((3, 2), dtype=np.int64)
    assert [by_name.compute(name, nothing, nothing) for name in by_name.OF_SETS] == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.sweep) for seed in range(1, 4))])
def test_thresholds_are_the_best_of_all(seed):
    """No threshold gives scikit-learn's F1 of a label a higher value; few different probabilities, so that many are equal.

    Between two neighbours every threshold predicts the same, so one in each of the gaps stands for all.
    """
    rng = np.random.default_rng(seed)
    probabilities, labels = rng.integers(0, 12, (40, 3)) / 11, rng.random((40, 3)) < [0.1, 0.5, 0.8]
    labels[0] = True
    for c, threshold in enumerate(best_thresholds(labels, probabilities)):
        reached = sklearn.metrics.f1_score(labels[:, c], probabilities[:, c] >= threshold)
        others = [sklearn.metrics.f1_score(labels[:, c], probabilities[:, c] >= t) for t in (np.arange(13) - 0.5) / 11]
        assert reached == pytest.approx(max(others), rel=1e-12)


# labels, probabilities, the threshold
THRESHOLDS = {
    "half way between the two that it parts": ([1, 0, 0], [0.9, 0.6, 0.1], 0.75),
    "one half where nothing is better": ([1, 0, 0], [0.9, 0.4, 0.1], 0.5),
    "below one half": ([1, 1, 0], [0.9, 0.4, 0.1], 0.25),
    "all rows": ([1, 1, 1], [0.4, 0.2, 0.1], 0.05),
    "the nearest to one half of equally good ones": ([1, 0, 1, 0, 0, 0], [0.99, 0.95, 0.9, 0.8, 0.7, 0.6], 0.85),
    "equal probabilities are not parted": ([1, 0, 1, 0], [0.3, 0.3, 0.3, 0.1], 0.2),
    "no row has the label": ([0, 0, 0], [0.9, 0.8, 0.7], 0.5),
    "neighbours among the floats": ([1, 0], [np.nextafter(0.75, 1.0), 0.75], np.nextafter(0.75, 1.0)),
}


@pytest.mark.parametrize("name", THRESHOLDS)
def test_threshold_of_a_label_is_defined_for_every_case(name):
    labels, probabilities, expected = THRESHOLDS[name]
    (threshold,) = best_thresholds(np.array(labels)[:, None], np.array(probabilities)[:, None])
    assert threshold == pytest.approx(expected, rel=1e-15)


def test_loss_of_a_batch_is_that_of_transformers(demo_model, tmp_path):
    """transformers' mean over sequences and labels is our sum over the sequences of a step, divided by their number."""
    files = ModelFiles(name="tiny", path=write_model_config(tmp_path / "tiny", demo_model, initializer_range=0.2))
    labels = [[name for name in TASK.labels if bits >> "abc".index(name) & 1] for bits in range(8)]
    examples = check_rows(table_of(text=random_texts(8, 3), label=labels), TASK)
    split = encode(examples, build_tokenizer(files), max_seq_length=64, truncation="longest_first", seed=0, what="x", show=False)
    model = build_model(files, TASK, from_scratch=True, head_dropout=None, seed=1, quiet=True).eval()
    assert model.config.problem_type == "multi_label_classification"
    collate = Collator(pad_id=0, names=("input_ids", "attention_mask"), device=torch.device("cpu"))
    whole, halves = collate(split, np.arange(8)), [collate(split, np.arange(8)[part]) for part in (slice(0, 3), slice(3, 8))]
    with torch.inference_mode():
        theirs = float(model(**model_inputs(whole), labels=whole["labels"]).loss)
        ours = [float(HEAD.loss(HEAD.outputs(model, batch), batch)) for batch in halves]
    assert sum(ours) / 8 == pytest.approx(theirs, rel=1e-6)


def test_left_padding_leaves_sets_of_labels_alone():
    """The columns of spans move with the padding; these are labels."""
    labels = np.array([[1, 0], [0, 1]], dtype=np.float32)
    split = replace(split_of(labels), ids_T=np.arange(4, dtype=np.int32), types_T=np.zeros(4, np.int8), ends_S=np.array([1, 4]))
    batch = Collator(pad_id=9, names=("input_ids",), device=torch.device("cpu"), left=True)(split, np.array([0, 1]))
    assert batch["labels"].tolist() == labels.tolist()


def test_columns_of_a_prepared_split_are_in_the_order_of_the_outputs():
    head = MultiLabelHead(task=TASK, labels=("c", "a", "b"))
    prepared = head.prepare(split_of(np.array([[1, 0, 0], [0, 1, 1]], dtype=np.float32)))
    assert prepared.labels_S.tolist() == [[0, 1, 0], [1, 0, 1]]


def test_probabilities_are_sigmoids_that_do_not_overflow():
    from scipy.special import expit

    logits = np.array([[1000.0, 0.0, -1000.0], [0.1, -20.0, 0.3]], dtype=np.float32)
    np.testing.assert_allclose(sigmoid(logits), expit(logits.astype(np.float64)), rtol=1e-12)


LOGITS = np.array([[3.0, -0.5, -4.0], [2.0, -3.0, -4.0], [-2.0, -0.6, -4.0], [-2.0, -3.0, -4.0]], dtype=np.float32)
GIVEN = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=np.float32)


def test_assessment_scores_at_the_chosen_thresholds_and_at_one_half():
    assessed = HEAD.assess(LOGITS, split_of(GIVEN), examples_of(GIVEN))
    assert assessed.scores == {
        "micro_f1": 100.0,
        "macro_f1": 100.0,
        "subset_accuracy": 100.0,
        "micro_f1_at_0.5": pytest.approx(200 / 3),
        "macro_f1_at_0.5": 50.0,
        "subset_accuracy_at_0.5": 50.0,
    }
    thresholds = assessed.settings["label_thresholds"]
    assert (thresholds["a"], thresholds["c"]) == (0.5, 0.5) and sigmoid(LOGITS)[1, 1] < thresholds["b"] < sigmoid(LOGITS)[2, 1]
    assert [row["prediction"] for row in assessed.rows] == [row["label"] for row in assessed.rows] == [["a", "b"], ["a"], ["b"], []]
    assert list(assessed.rows[0]["scores"]) == ["a", "b", "c"]


def test_head_with_chosen_thresholds_chooses_no_others():
    head = HEAD.with_chosen({"label_thresholds": {"a": 0.5, "b": 0.5}})
    assessed = head.assess(LOGITS, split_of(GIVEN), examples_of(GIVEN))
    assert assessed.settings == {"label_thresholds": {"a": 0.5, "b": 0.5, "c": 0.5}}
    assert assessed.scores["micro_f1"] == assessed.scores["micro_f1_at_0.5"]
    assert [row["prediction"] for row in head.predict(LOGITS, examples_of(GIVEN))] == [["a"], ["a"], [], []]


def test_task_of_several_labels_gets_its_head():
    assert isinstance(head_of(TASK, QuestionConfig(), TASK.labels), MultiLabelHead)


def test_tsv_has_lists_as_json():
    row = {"id": "1", "prediction": ["a", "b"], "scores": {"a": 0.9, "b": 0.8}}
    assert list(FORMATS["tsv"](iter([row]))) == ["id\tprediction\ta\tb", '1\t["a", "b"]\t0.9\t0.8']


# whole runs
WORDS = {"price": ("cheap", "dear"), "service": ("friendly", "rude"), "delivery": ("parcel", "courier")}


def write_rows(directory, **counts):
    """Rows with any of three labels, each with a word of its own; delivery is rare."""
    for split, count in counts.items():
        rng = random.Random(split)
        lines = []
        for _ in range(count):
            labels = [label for label, share in zip(WORDS, (0.6, 0.4, 0.15), strict=True) if rng.random() < share]
            words = [rng.choice(WORDS[label]) for label in labels] + rng.choices(["fox", "cat", "the"], k=3)
            lines.append(json.dumps({"text": " ".join(rng.sample(words, len(words))), "labels": labels}) + "\n")
        directory.mkdir(exist_ok=True)
        (directory / f"{split}.jsonl").write_text("".join(lines))
    return directory


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on lists of labels: (result, run directory, data)."""
    root = tmp_path_factory.mktemp("sets")
    data = write_rows(root / "data", train=160, validation=60)
    overrides = {"task": "text", "data": str(data), "train.max_steps": 60}
    return finetune(load_recipe(recipe_path("demo"), overrides), root / "run"), root / "run", data


def test_run_learns_lists_of_labels(trained):
    result, run, _ = trained
    assert result.scores["validation/micro_f1"] > 80
    rows = [json.loads(line) for line in (run / "predictions" / "validation.jsonl").read_text().splitlines()]
    hot = [[[name in row[key] for name in sorted(WORDS)] for row in rows] for key in ("label", "prediction")]
    assert result.scores["validation/micro_f1"] == pytest.approx(100 * sklearn.metrics.f1_score(*hot, average="micro"))
    assert result.scores["validation/micro_f1"] >= result.scores["validation/micro_f1_at_0.5"]


def test_saved_model_has_its_thresholds_and_transformers_kind_of_problem(trained):
    config = json.loads((trained[1] / "model" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    assert config["debft"]["problem"] == "multilabel" and list(config["debft"]["label_thresholds"]) == sorted(WORDS)
    assert all(0 < threshold < 1 for threshold in config["debft"]["label_thresholds"].values())


def test_evaluate_and_predict_use_the_thresholds_of_the_run(trained):
    result, run, data = trained
    predictor = loading.load_predictor(str(run), None, "auto")
    assert inference.evaluate(predictor, None)["scores"] == result.scores
    of_run = [json.loads(line) for line in (run / "predictions" / "validation.jsonl").read_text().splitlines()]
    rows = list(inference.label(predictor, str(data / "validation.jsonl")))
    assert rows == [{key: value for key, value in row.items() if key != "label"} for row in of_run]


def test_pipeline_of_transformers_gives_the_probabilities(trained):
    _, run, data = trained
    predictor = loading.load_predictor(str(run), None, "auto")
    texts = [json.loads(line)["text"] for line in (data / "validation.jsonl").read_text().splitlines()[:5]]
    plain = AutoModelForSequenceClassification.from_pretrained(run / "model")
    classify = pipeline("text-classification", model=plain, tokenizer=predictor.loaded.tokenizer, top_k=None)
    rows = list(inference.label(predictor, str(data / "validation.jsonl")))
    for row, given in zip(rows, classify(texts), strict=False):
        assert row["scores"] == pytest.approx({one["label"]: one["score"] for one in given}, abs=1e-5)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        (0.5, "debft.label_thresholds: expected a number by label, got 0.5"),
        ({"price": "high"}, "expected a number for one of delivery, price, service, got 'high' for 'price'"),
        ({"prise": 0.5}, "expected a number for one of delivery, price, service, got 0.5 for 'prise'"),
    ],
)
def test_damaged_thresholds_of_a_model_are_one_clear_line(trained, tmp_path, thresholds, message):
    for file in (trained[1] / "model").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["debft"]["label_thresholds"] = thresholds
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError) as error:
        loading.load_predictor(str(tmp_path), None, "auto")
    assert message in str(error.value)


def test_test_split_is_scored_at_the_thresholds_of_validation(tmp_path, monkeypatch):
    """Chosen on the test rows themselves they would flatter it."""
    data = write_rows(tmp_path / "data", train=60, validation=30, test=30)
    recipe = load_recipe(recipe_path("demo"), {"task": "text", "data": str(data), "train.max_steps": 3})
    plan = make_plan(recipe)
    task = replace(plan.task, evals=(*plan.task.evals, Split("test", "", "test")), selection=("validation",))
    monkeypatch.setattr("debft.training.plan.task_for", lambda *_: task)
    result = finetune(recipe, tmp_path / "run")
    chosen = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["debft"]["label_thresholds"]
    for split in ("validation", "test"):
        rows = [json.loads(line) for line in (tmp_path / "run" / "predictions" / f"{split}.jsonl").read_text().splitlines()]
        at_chosen = [[label for label in chosen if row["scores"][label] >= round(chosen[label], 6)] for row in rows]
        assert [row["prediction"] for row in rows] == at_chosen
    assert "test/micro_f1" in result.scores
