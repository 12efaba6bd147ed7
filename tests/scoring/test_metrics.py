"""Scores against their formulas, scikit-learn and scipy; the evaluate modules beside them give the same without a network."""

import subprocess
import sys
import warnings
from dataclasses import replace

import evaluate
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from sklearn.metrics import accuracy_score

from debft.data.encoding import EncodedSplit
from debft.data.examples import Examples
from debft.scoring.heads import LabelHead, probabilities
from debft.scoring.metrics import by_name
from debft.scoring.metrics.export import modules
from debft.tasks import TASKS


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_equals_scikit_learn_and_counting(seed):
    rng = np.random.default_rng(seed)
    predictions, references = rng.integers(0, 3, 999), rng.integers(0, 3, 999)
    assert by_name.compute("accuracy", predictions, references) == accuracy_score(references, predictions)
    right = sum(guess == true for guess, true in zip(predictions, references, strict=True))
    assert by_name.compute("accuracy", predictions, references) == pytest.approx(right / 999, rel=1e-12)


@pytest.mark.parametrize("name", by_name.METRICS)
def test_module_loads_offline_with_evaluate_itself(name):
    scores = evaluate.load(modules.path(name)).compute(predictions=[1, 0, 1, 1], references=[1, 0, 0, 1])
    correlation = 1 / 3**0.5
    by_hand = {"accuracy": 0.75, "f1": 0.8, "macro_f1": (0.8 + 2 / 3) / 2}
    assert scores == {name: pytest.approx(by_hand.get(name, correlation))}


@pytest.mark.parametrize("name", by_name.METRICS)
def test_evaluate_module_gives_the_same_digits_as_the_plain_function(name):
    """Float32 predictions included, as a model gives them: both widen them to float64."""
    rng = np.random.default_rng(1)
    if name in by_name.OF_NUMBERS:
        predictions, references = rng.normal(size=99).astype(np.float32), rng.uniform(0, 5, 99).round(1)
    else:
        predictions, references = rng.integers(0, 2, 99), rng.integers(0, 2, 99)
    module = evaluate.load(modules.path(name), keep_in_memory=True)
    assert by_name.compute(name, predictions, references) == module.compute(predictions=predictions, references=references)[name]


@pytest.mark.parametrize("name", by_name.METRICS)
def test_score_needs_no_folder_of_another_library(name, monkeypatch):
    """Its cache may be a place where nothing can be written, which would be found out after the last step."""
    monkeypatch.setattr(evaluate, "load", lambda *_, **__: pytest.fail("a run scored through evaluate"))
    assert 0 < by_name.compute(name, [1, 0, 1, 1], [1, 0, 0, 1]) < 1


@pytest.mark.parametrize("name", ["pearson", "spearmanr"])
def test_correlation_equals_scipy_and_is_zero_for_a_constant(name):
    rng = np.random.default_rng(0)
    predictions, references = rng.normal(size=99), rng.integers(0, 6, 99).astype(float)
    oracle = {"pearson": scipy.stats.pearsonr, "spearmanr": scipy.stats.spearmanr}[name](predictions, references).statistic
    assert by_name.compute(name, predictions, references) == pytest.approx(oracle, rel=1e-12)
    ranks = [[(one < one[i]).sum() + (one == one[i]).sum() / 2 for i in range(99)] for one in (predictions, references)]
    by_formula = np.corrcoef(*(ranks if name == "spearmanr" else (predictions, references)))[0, 1]
    assert oracle == pytest.approx(by_formula, rel=1e-10)
    assert by_name.compute(name, np.ones(99), references) == 0.0


def test_macro_f1_equals_scikit_learn():
    rng = np.random.default_rng(0)
    predictions, references = rng.integers(0, 5, 99), rng.integers(0, 5, 99)
    assert by_name.compute("macro_f1", predictions, references) == sklearn.metrics.f1_score(
        references, predictions, average="macro"
    )


@pytest.mark.parametrize("name", ["f1", "matthews_correlation"])
def test_binary_score_equals_scikit_learn(name):
    rng = np.random.default_rng(0)
    predictions, references = rng.integers(0, 2, 99), rng.integers(0, 2, 99)
    oracle = {"f1": sklearn.metrics.f1_score, "matthews_correlation": sklearn.metrics.matthews_corrcoef}[name](
        references, predictions
    )
    assert by_name.compute(name, predictions, references) == oracle
    tp, fp, fn, tn = (
        int(((predictions == guess) & (references == true)).sum()) for guess, true in ((1, 1), (1, 0), (0, 1), (0, 0))
    )
    by_formula = {
        "f1": 2 * tp / (2 * tp + fp + fn),
        "matthews_correlation": (tp * tn - fp * fn) / ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5,
    }
    assert oracle == pytest.approx(by_formula[name], rel=1e-12)


@pytest.mark.parametrize("labels", range(1, 7))
def test_scores_of_labels_equal_scikit_learn_to_the_last_digit(labels):
    """Also of few rows, of labels that only one side has, and where one side is constant."""
    rng = np.random.default_rng(labels)
    for rows in (1, 2, 5, *rng.integers(1, 400, 6)):
        references, guesses = rng.integers(0, labels, rows), rng.integers(0, labels, rows)
        predictions = np.where(rng.random(rows) < 0.7, references, guesses)
        with warnings.catch_warnings(action="ignore"):  # of a single label
            oracle = {
                "accuracy": accuracy_score(references, predictions),
                "macro_f1": sklearn.metrics.f1_score(references, predictions, average="macro", zero_division=0),
                "matthews_correlation": sklearn.metrics.matthews_corrcoef(references, predictions),
            }
            if labels <= 2:
                oracle["f1"] = sklearn.metrics.f1_score(references, predictions, zero_division=0)
        assert {name: by_name.compute(name, predictions, references) for name in oracle} == oracle


def test_scores_of_labels_load_no_library_that_takes_seconds():
    names = [name for name in by_name.METRICS if name not in by_name.OF_NUMBERS]
    lines = "from debft.scoring.metrics import by_name", f"for name in {names}: by_name.compute(name, [0, 1], [1, 1])"
    show = "import sys; print([name for name in sys.modules if name.split('.')[0] in ('sklearn', 'scipy', 'pandas')])"
    done = subprocess.run([sys.executable, "-c", "\n".join((*lines, show))], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_f1_is_that_of_the_tasks_label_1_whatever_the_model_calls_its_outputs():
    """The same predictions from a model whose first output is `equivalent`."""
    mrpc = TASKS["mrpc"]
    logits = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], dtype=np.float32)
    split = EncodedSplit(ids_T=None, types_T=None, ends_S=None, labels_S=np.array([1, 0, 0, 1]), truncated=0)
    swapped = replace(split, labels_S=1 - split.labels_S)
    examples = Examples(texts=[("a", "b")] * 4, labels=split.labels_S, ids=list("0123"), empty_texts=0, source="rows.tsv")
    in_order = LabelHead(task=mrpc, labels=mrpc.labels).assess(logits, split, examples)
    swapped_order = LabelHead(task=mrpc, labels=mrpc.labels[::-1]).assess(logits[:, ::-1], swapped, examples)
    assert in_order.scores == swapped_order.scores == {"accuracy": 75.0, "f1": 80.0}
    assert [row["prediction"] for row in in_order.rows] == [row["prediction"] for row in swapped_order.rows]


def test_probabilities_are_a_softmax_that_does_not_overflow():
    from scipy.special import softmax

    logits = np.array([[1000.0, 0.0, -1000.0], [0.1, 0.2, 0.3]], dtype=np.float32)
    np.testing.assert_allclose(probabilities(logits), softmax(logits.astype(np.float64), axis=1), rtol=1e-6)
