"""A run keeps the weights that are best by one score or loss, and ends where nothing better comes for as long as it waits."""

import json
import re

import numpy as np
import pytest
import torch
from conftest import write_mnli
from interrupting import interrupted_after
from processes import start_two
from safetensors.torch import load_file
from sklearn.metrics import log_loss

import debft.training.evaluations
import debft.training.run
import debft.training.train
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import TrainConfig
from debft.errors import InputError
from debft.runs.directory import RunDirectory
from debft.scoring.heads.label import cross_entropy
from debft.scoring.heads.multilabel import cross_entropy_of_sets
from debft.tasks import TASKS
from debft.tasks.rules import check_recipe
from debft.training.choice import check_choice, check_rhythm, ends_early, evaluation_due
from debft.training.run import finetune

# What the evaluations of a run of 20 steps find, by step: 4 is best, 6 is worse and 8 no better, so that two are waited for.
FOUND = {2: 40.0, 4: 70.0, 6: 60.0, 8: 70.0, 10: 90.0}


def recipe_of(data, **changes):
    settings = {"task": "mnli", "data": str(data), "train.max_steps": 20, "train.eval_steps": 2, "train.train_batch_size": 8}
    return load_recipe(recipe_path("demo"), settings | {"train.patience": 2} | changes)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights(run):
    return load_file(run.path / "model" / "model.safetensors")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_mnli(tmp_path_factory.mktemp("early") / "data", train=60, dev=6)


@pytest.fixture
def found(monkeypatch):
    """Let the evaluations of a run find what FOUND says."""
    evaluate = debft.training.evaluations.scores_of

    def scripted(session, state, stop, splits, known=debft.training.evaluations.evaluate_and_log):
        monkeypatch.setattr(
            debft.training.evaluations,
            "scores_of",
            lambda task, assessed: dict.fromkeys(evaluate(task, assessed), FOUND[state.step]),
        )
        return known(session, state, stop, splits)

    monkeypatch.setattr(debft.training.train, "evaluate_and_log", scripted)
    return FOUND


def test_run_ends_after_so_many_evaluations_without_a_better_one(data, tmp_path, found, capsys):
    run = RunDirectory(tmp_path / "run")
    result = finetune(recipe_of(data), run.path)
    early = result.stopped_early
    assert (result.steps, early.step, early.of, early.best_step) == (8, 8, 20, 4)
    assert early.reason.startswith("2 evaluations without a better one than step 4 (highest mean of validation_matched/accuracy, ")
    assert "after step 8 of 20: 2 evaluations" in capsys.readouterr().err
    assert [row["step"] for row in lines(run.path / "evaluations.jsonl")] == [2, 4, 6, 8]
    rates = [row["learning_rate"] for row in lines(run.path / "steps.jsonl")]
    assert len(rates) == 8 and rates[-1] > max(rates) / 2  # the schedule is that of 20 steps
    best = load_file(run.checkpoints / "best-000004" / "model.safetensors")
    assert all(torch.equal(best[name], tensor) for name, tensor in weights(run).items())
    assert RunDirectory(run.path).result() == result


def test_every_line_of_scores_says_over_how_many_rows_they_are(data, tmp_path, found, capsys):
    finetune(recipe_of(data), tmp_path / "run")
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("scores ")]
    assert len(said) == 4
    assert all(re.search(r"\(\d+ \+ \d+ rows\)$", line) for line in said), said


def test_better_evaluation_lets_the_run_wait_anew(data, tmp_path, found, monkeypatch):
    """A worse one before the best must not count among those that came behind it."""
    for step, score in {2: 40.0, 4: 30.0, 6: 50.0, 8: 45.0, 10: 44.0}.items():
        monkeypatch.setitem(found, step, score)
    result = finetune(recipe_of(data), tmp_path / "run")
    assert (result.steps, result.stopped_early.best_step) == (10, 6)


@pytest.mark.parametrize("stop_after", [*(pytest.param(step, marks=pytest.mark.sweep) for step in (3, 6)), 8])
def test_early_end_is_the_same_for_a_run_that_was_interrupted(data, tmp_path, found, stop_after):
    through, broken = RunDirectory(tmp_path / "through"), RunDirectory(tmp_path / "broken")
    expected = finetune(recipe_of(data), through.path)
    with interrupted_after(stop_after):
        finetune(recipe_of(data), broken.path)
    result = finetune(recipe_of(data), broken.path, resume=True)
    assert (result.steps, result.scores, result.stopped_early) == (8, expected.scores, expected.stopped_early)
    assert lines(through.path / "evaluations.jsonl") == lines(broken.path / "evaluations.jsonl")
    assert all(torch.equal(weights(through)[name], tensor) for name, tensor in weights(broken).items())


def test_run_that_ended_early_trains_no_more_when_its_result_is_lost(data, tmp_path, found):
    run = RunDirectory(tmp_path / "run")
    expected = finetune(recipe_of(data), run.path)
    (run.path / "result.json").unlink()
    result = finetune(recipe_of(data), run.path, resume=True)
    assert (result.steps, result.scores, result.stopped_early) == (8, expected.scores, expected.stopped_early)
    assert [row["step"] for row in lines(run.path / "evaluations.jsonl")] == [2, 4, 6, 8]


@pytest.mark.sweep
def test_two_processes_end_early_together(data, tmp_path):
    """The rate is so low that no prediction changes: no evaluation is better than the first one."""
    (tmp_path / "asked").mkdir()
    RunDirectory(tmp_path / "asked").create(recipe_of(data, **{"train.learning_rate": 1e-12}))
    processes = start_two("mnli", "--recipe", tmp_path / "asked" / "recipe.yaml", "--output", tmp_path / "two")
    said = [process.communicate() for process in processes]
    assert not any(process.returncode for process in processes), said
    assert RunDirectory(tmp_path / "two").result().stopped_early.step == 6


def test_loss_of_each_evaluation_is_logged_and_is_no_score(data, tmp_path):
    result = finetune(recipe_of(data, **{"train.metric": "loss", "train.max_steps": 4}), tmp_path / "run")
    rows = lines(tmp_path / "run" / "evaluations.jsonl")
    assert all(0 < row[f"{split}/loss"] < 9 for row in rows for split in ("validation_matched", "validation_mismatched"))
    assert not any("loss" in name for name in [*result.scores, *rows[0]["scores"]])


def test_loss_on_dev_rows_equals_that_of_scikit_learn_and_torch():
    random = np.random.default_rng(0)
    logits_NC, labels_N = random.normal(0, 3, (200, 3)).astype(np.float32), random.integers(0, 3, 200)
    probabilities = torch.from_numpy(logits_NC).double().softmax(1).numpy()
    assert cross_entropy(logits_NC, labels_N) == pytest.approx(log_loss(labels_N, probabilities, labels=range(3)), rel=1e-9)
    sets_NC = random.integers(0, 2, (200, 3))
    theirs = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(logits_NC).double(), torch.from_numpy(sets_NC).double()
    )
    assert cross_entropy_of_sets(logits_NC, sets_NC) == pytest.approx(float(theirs), rel=1e-9)


def test_metric_chooses_among_splits_and_turns_a_loss_around():
    mnli, scores = TASKS["mnli"], {"validation_matched/accuracy": 80.0, "validation_mismatched/accuracy": 60.0}
    losses = {"validation_matched/loss": 0.5, "validation_mismatched/loss": 0.7}
    assert mnli.selection_score(scores) == mnli.selection_score(scores, "accuracy") == 70.0
    assert mnli.selection_score(scores, "validation_mismatched/accuracy") == 60.0
    assert mnli.selection_score(losses, "loss") == pytest.approx(-0.6)


@pytest.mark.parametrize(
    ("task", "metric", "message"),
    [
        ("mnli", "acuracy", "train.metric: unknown metric 'acuracy'; did you mean 'accuracy'?"),
        ("mnli", "test/accuracy", "unknown metric 'test/accuracy'"),
        ("mrpc", "acuracy", "unknown metric 'acuracy'; did you mean 'accuracy'?"),
        ("squad2", "loss", "expected one of f1, exact_match"),
    ],
)
def test_unknown_metric_is_named_with_those_that_there_are(task, metric, message):
    with pytest.raises(InputError) as error:
        check_choice(TASKS[task], load_recipe(recipe_path("demo"), {"task": task, "train.metric": metric}))
    assert message in str(error.value)


def test_patience_implies_the_best_weights_and_a_rhythm():
    train = load_recipe(recipe_path("default"), {"train.patience": 3}).train
    assert (train.checkpoint, train.eval_each_epoch) == ("best", True)
    train = load_recipe(recipe_path("default"), {"train.patience": 3, "train.eval_steps": 50}).train
    assert (train.checkpoint, train.eval_steps, train.eval_each_epoch) == ("best", 50, False)
    assert load_recipe(recipe_path("default"), {"train.metric": "loss"}).train.checkpoint == "best"


def test_patience_beside_the_last_weights_is_refused():
    settings = {"task": "mnli", "train.patience": 3, "train.checkpoint": "last"}
    with pytest.raises(InputError, match=r"train\.patience: needs the best weights, train\.checkpoint is last"):
        check_recipe(load_recipe(recipe_path("demo"), settings))


def test_patience_without_a_second_evaluation_is_refused_before_training():
    once = TrainConfig(patience=3, checkpoint="best", eval_each_epoch=True, train_batch_size=10)
    with pytest.raises(InputError, match=r"expected at least 2 evaluations in the 40 steps of this run, got 1; give --eval-steps"):
        check_rhythm(once, total_steps=40, num_sequences=400)
    check_rhythm(once, total_steps=80, num_sequences=400)


def test_evaluation_of_the_last_step_is_no_early_end():
    config = TrainConfig(patience=1, checkpoint="best", eval_steps=5)
    assert [step for step in range(1, 21) if evaluation_due(config, step, 20, 1000)] == [5, 10, 15]
    assert ends_early(config, 15, 20, waited=1) and not ends_early(config, 20, 20, waited=1)
