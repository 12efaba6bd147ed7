"""What a run gets wrong, against scikit-learn and by hand: classes, calibration, kinds of answers, the worst rows."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sklearn.calibration
import sklearn.metrics
from json_schemas import wrong

from debft.config.schema import descriptions, schema
from debft.data.encoding import encode, whole_lengths
from debft.data.examples import Examples
from debft.errors import InputError
from debft.models.files import find_model
from debft.models.tokens.tokenizer import build_tokenizer
from debft.runs.analysis import Analysis, analysis_from_json
from debft.runs.directory import RunDirectory
from debft.scoring.analysis import analysis_of, answer_kind, calibration, class_scores, confusion
from debft.tasks import TASKS

LABELS = ("a", "b", "c")


def labelled_rows(count=200, seed=0):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([1, 1, 1], count)
    labels = np.where(rng.random(count) < 0.6, probabilities.argmax(1), rng.integers(0, 3, count))
    return [
        {
            "id": str(i),
            "label": LABELS[label],
            "prediction": LABELS[int(p.argmax())],
            "scores": {name: round(float(value), 6) for name, value in zip(LABELS, p, strict=True)},
        }
        for i, (label, p) in enumerate(zip(labels, probabilities, strict=True))
    ]


def examples_of(texts, labels=None):
    ids = [str(i) for i in range(len(texts))]
    return Examples(texts=texts, labels=[0] * len(texts) if labels is None else labels, ids=ids, empty_texts=0, source="rows.tsv")


def no_tokens(texts):
    return [(len(text), False) for text in texts]


def analysed(task, rows, texts=None, labels=None):
    texts = texts or [tuple(f"{key} {i}" for key in TASKS[task].text_keys) for i in range(len(rows))]
    return analysis_of(TASKS[task], rows, examples_of(texts, labels), no_tokens)


def test_class_scores_equal_scikit_learn():
    rows = labelled_rows()
    oracle = sklearn.metrics.precision_recall_fscore_support(
        [row["label"] for row in rows], [row["prediction"] for row in rows], labels=LABELS, zero_division=0
    )
    found = class_scores(rows, LABELS)
    for name, values in zip(("precision", "recall", "f1"), oracle[:3], strict=True):
        assert [getattr(one, name) for one in found] == pytest.approx(list(100 * values), abs=1e-3)
    assert [one.support for one in found] == list(oracle[3])


def test_class_scores_of_several_labels_equal_scikit_learn():
    rng = np.random.default_rng(1)
    true, predicted = rng.random((80, 3)) < 0.4, rng.random((80, 3)) < 0.4
    rows = [
        {"label": [LABELS[c] for c in np.flatnonzero(one)], "prediction": [LABELS[c] for c in np.flatnonzero(other)]}
        for one, other in zip(true, predicted, strict=True)
    ]
    oracle = sklearn.metrics.precision_recall_fscore_support(true, predicted, zero_division=0)
    found = class_scores(rows, LABELS)
    assert [one.f1 for one in found] == pytest.approx(list(100 * oracle[2]), abs=1e-3)
    assert [one.support for one in found] == list(oracle[3])


def test_label_that_is_neither_true_nor_predicted_has_zeros():
    (one,) = class_scores([{"label": "a", "prediction": "a"}], ["b"])
    assert (one.precision, one.recall, one.f1, one.support, one.predicted) == (0, 0, 0, 0, 0)


def test_confusion_matrix_equals_scikit_learn():
    rows = labelled_rows()
    oracle = sklearn.metrics.confusion_matrix([row["label"] for row in rows], [row["prediction"] for row in rows], labels=LABELS)
    found = np.zeros((3, 3), int)
    for cell in confusion(rows, LABELS):
        found[LABELS.index(cell.label), LABELS.index(cell.prediction)] = cell.rows
    assert (found == oracle).all()


def test_calibration_bins_equal_scikit_learn():
    rng = np.random.default_rng(2)
    probability = rng.random(500)
    right = (rng.random(500) < probability**2).astype(float)
    share, mean = sklearn.calibration.calibration_curve(right, probability, n_bins=10)
    found = [one for one in calibration(probability, right).bins if one.predictions]
    assert [one.right for one in found] == pytest.approx(list(100 * share), abs=1e-3)
    assert [one.probability for one in found] == pytest.approx(list(100 * mean), abs=1e-3)


def test_calibration_error_is_the_mean_distance_over_the_predictions():
    """Three predictions of 90 % of which two are right, one of 60 % that is right: (3 * 23.33 + 40) / 4."""
    found = calibration(np.array([0.9, 0.9, 0.9, 0.6]), np.array([1.0, 1.0, 0.0, 1.0]))
    assert found.error == pytest.approx((3 * (90 - 200 / 3) + 40) / 4, abs=1e-3)


def test_worst_rows_are_those_with_the_largest_loss_and_have_their_texts():
    rows = labelled_rows(120)
    losses = [-math.log(max(row["scores"][row["label"]], 5e-7)) for row in rows]
    found = analysed("mnli", rows).worst
    assert [row.id for row in found] == [str(i) for i in sorted(range(120), key=lambda i: -losses[i])[:50]]
    assert found[0].loss == pytest.approx(max(losses), abs=1e-5)
    assert found[0].texts == {"premise": f"premise {found[0].id}", "hypothesis": f"hypothesis {found[0].id}"}


def test_row_that_is_no_longer_probable_at_all_has_a_finite_loss():
    rows = [{"id": "0", "label": "a", "prediction": "b", "scores": {"a": 0.0, "b": 1.0}}]
    assert analysed("rte", rows).worst[0].loss == pytest.approx(-math.log(5e-7), abs=1e-5)


def test_score_has_residuals_and_its_largest_errors():
    rows = [{"id": str(i), "label": float(i), "prediction": i + error, "scores": {}} for i, error in enumerate((1.0, -3.0, 0.5))]
    found = analysed("stsb", rows)
    assert (found.residuals.mean, found.residuals.mean_absolute) == (-0.5, 1.5)
    assert found.residuals.root_mean_square == pytest.approx(((1 + 9 + 0.25) / 3) ** 0.5)
    assert sum(one.rows for one in found.residuals.bins) == 3
    assert [row.id for row in found.worst] == ["1", "0", "2"]


@pytest.mark.parametrize(
    ("prediction", "start", "gold", "kind"),
    [
        ("red house", 4, (("red house", 4),), "correct"),
        ("the red house", 0, (("red house", 4),), "correct"),  # articles do not count
        ("red house", 40, (("red house", 4),), "correct"),  # elsewhere, with the same words
        ("house", 8, (("red house", 4),), "boundary"),
        ("red house there", 4, (("blue", 60), ("red house", 4)), "boundary"),
        ("tree", 30, (("red house", 4),), "wrong_span"),
        ("tree", 13, (("red house", 4),), "wrong_span"),  # begins where the gold one ends
        ("", None, (("red house", 4),), "missed_answer"),
        ("tree", 30, (), "answered_unanswerable"),
        ("", None, (), "correct"),
    ],
)
def test_answer_kind(prediction, start, gold, kind):
    end = None if start is None else start + len(prediction)
    assert answer_kind({"prediction": prediction, "start": start, "end": end}, gold) == kind


def test_answers_are_counted_by_kind_and_the_most_certain_wrong_ones_come_first():
    gold = [(("red", 0),), (("red", 0),), (), (("red", 0),)]
    predictions = [("red", 0.9, 0.1), ("", 0.2, 0.8), ("red", 0.95, 0.05), ("blue", 0.6, 0.4)]
    rows = [
        {"id": str(i), "prediction": text, "start": 50, "end": 54, "scores": {"answer": p, "no_answer": none}, "label": []}
        for i, (text, p, none) in enumerate(predictions)
    ]
    found = analysed("squad2", rows, labels=gold)
    assert {one.kind: one.questions for one in found.answers} == {
        "correct": 1,
        "boundary": 0,
        "wrong_span": 1,
        "missed_answer": 1,
        "answered_unanswerable": 1,
    }
    assert [row.id for row in found.worst] == ["2", "1", "3"]
    assert next(one for one in found.answers if one.kind == "correct").examples == []


def test_whole_lengths_tell_which_rows_were_cut(demo_model):
    tokenizer = build_tokenizer(find_model(str(demo_model), from_scratch=True), TASKS["mnli"])
    texts = [("the white fox", "the fox"), ("the white fox slept in the garden", "the fox was not white"), ("fox", "fox")]
    examples = examples_of(texts, np.zeros(3, np.int64))
    whole = encode(
        examples, tokenizer, max_seq_length=512, truncation="longest_first", seed=0, what="rows", cached=False, show=False
    )
    assert whole_lengths(texts, tokenizer) == whole.lengths().tolist()
    longest = sorted(whole.lengths())[1]
    cut = encode(
        examples, tokenizer, max_seq_length=int(longest), truncation="longest_first", seed=0, what="rows", cached=False, show=False
    )
    assert sum(length > longest for length in whole_lengths(texts, tokenizer)) == cut.truncated == 1


def test_very_long_text_is_shown_in_part():
    rows = [{"id": "0", "label": "a", "prediction": "a", "scores": {"a": 1.0}}]
    found = analysed("sst2", rows, [("x" * 5000,)]).worst[0].texts["sentence"]
    assert len(found) < 2100
    assert found.endswith("(5,000 characters in all)")


def test_analysis_is_read_as_it_was_written_and_fits_its_schema(tmp_path):
    analysis = Analysis(splits={"validation": analysed("mnli", labelled_rows()), "scores": analysed("stsb", [ROW])})
    run = RunDirectory(tmp_path)
    run.write_analysis(analysis)
    assert run.analysis() == analysis

    assert wrong(json.loads(analysis.to_json()), schema(Analysis, closed=True)) == []
    assert all(descriptions(Analysis).values())


ROW = {"id": "0", "label": 1.0, "prediction": 2.0, "scores": {"score": 2.0}}


KIND = '{"splits": {"a": {"rows": 1, "answers": [{"kind": "x", "questions": 1, "examples": []}]}}}'


@pytest.mark.parametrize("content", ["[]", "{}", '{"splits": 1}', "not JSON", '{"format_version": 1, "splits": {"a": {}}}', KIND])
def test_damaged_analysis_is_named(tmp_path, content):
    (tmp_path / "analysis.json").write_text(content)
    with pytest.raises(InputError, match=r"analysis\.json: expected the analysis of a run"):
        RunDirectory(tmp_path).analysis()


def test_newer_analysis_is_refused_by_its_number():
    with pytest.raises(InputError, match="format 99 is newer"):
        analysis_from_json('{"format_version": 99}', "analysis.json")


def test_committed_schema_is_that_of_the_code():
    committed = Path(__file__).parents[2] / "docs" / "analysis.schema.json"
    assert json.loads(committed.read_text(encoding="utf-8")) == schema(Analysis, closed=False)


def test_rows_of_several_labels_have_classes_and_a_calibration_and_no_confusion_matrix():
    task = replace(TASKS["text"], labels=LABELS, multilabel=True)
    rows = [
        {"id": "0", "label": ["a", "b"], "prediction": ["a"], "scores": {"a": 0.9, "b": 0.4, "c": 0.1}},
        {"id": "1", "label": [], "prediction": ["c"], "scores": {"a": 0.2, "b": 0.2, "c": 0.95}},
    ]
    found = analysis_of(task, rows, examples_of([("x",), ("y",)]), no_tokens)
    assert found.label_counts == {"a": 1, "b": 1}
    assert [(one.label, one.support, one.predicted) for one in found.classes] == [("a", 1, 1), ("b", 1, 0), ("c", 0, 1)]
    assert found.confusion == []
    assert sum(one.predictions for one in found.calibration.bins) == 6
    losses = [-(math.log(0.9) + math.log(0.4) + math.log(0.9)) / 3, -(2 * math.log(0.8) + math.log(0.05)) / 3]
    assert [row.loss for row in found.worst] == pytest.approx(losses[::-1], abs=1e-5)
    assert found.loss == pytest.approx(sum(losses) / 2)
