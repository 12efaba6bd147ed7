"""Scores against scikit-learn, loaded as evaluate modules without a network."""

import evaluate
import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from debft import metrics
from debft.evaluation import probabilities


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    predictions, references = rng.integers(0, 3, 999), rng.integers(0, 3, 999)
    assert metrics.compute("accuracy", predictions, references) == accuracy_score(references, predictions)


@pytest.mark.parametrize("name", metrics.METRICS)
def test_module_loads_offline_with_evaluate_itself(name):
    assert evaluate.load(metrics.path(name)).compute(predictions=[1, 0], references=[1, 1]) == {name: 0.5}


def test_probabilities_are_a_softmax_that_does_not_overflow():
    from scipy.special import softmax

    logits = np.array([[1000.0, 0.0, -1000.0], [0.1, 0.2, 0.3]], dtype=np.float32)
    np.testing.assert_allclose(probabilities(logits), softmax(logits.astype(np.float64), axis=1), rtol=1e-6)
