"""`--folds K`: every row is scored once, by a run that was not trained on it. Runs are stand-ins but for one test."""

import csv
import json
import shutil
from collections import Counter

import numpy as np
import processes
import pytest
import sklearn.metrics
from fake_runs import start_forked
from json_schemas import wrong
from sealing import seal_recipe

from debft.config.recipe import Recipe, with_train, with_values
from debft.config.recipe_hash import recipe_hash
from debft.config.schema import schema
from debft.errors import InputError
from debft.library.resolving import resolve
from debft.several.folds import plan_folds, run_folds
from debft.several.summary import Summary
from debft.training.plan import make_plan

# Stands in for `python -m debft`: reads the rows of the fold as the run would, predicts every label but that of every fifth row, and
# leaves what a run leaves.
FAKE = """
import json, sys
from pathlib import Path
from debft.library.resolving import resolve
from debft.config.reading import parse_set
from debft.config.recipe import to_dict
from debft.runs.directory import RunDirectory
from debft.runs.environment import code_digest, moving_versions
from debft.training.plan import make_plan
arguments = sys.argv[1:]
def given(name):
    return arguments[arguments.index(name) + 1]
recipe = resolve("text", {}, recipe=given("--recipe"), assignments=[given("--set")])
plan, run = make_plan(recipe), RunDirectory(Path(given("--output")))
run.create(recipe)
rows, names = plan.examples["validation"], plan.task.labels
right = [names[label] for label in rows.labels.tolist()]
predicted = [names[0] if i % 5 == 0 else name for i, name in enumerate(right)]
run.write_predictions("validation", [{"id": i, "label": l, "prediction": p, "scores": {}} for i, l, p in zip(rows.ids, right, predicted)], {})
run.logs.append("steps.jsonl", {"step": 1, "loss": 1.0, "grad_norm": 1.0, "learning_rate": 1e-3, "num_tokens": 9})
accuracy = 100 * sum(l == p for l, p in zip(right, predicted)) / len(right)
content = dict(format_version=1, task="text", model="demo", status="complete", published=[], not_compared="own data", num_examples={},
    num_train_examples=len(plan.train), num_tokens=9, steps=1, peak_memory_bytes=1, recipe=to_dict(recipe),
    data={"source": "directory", "fingerprints": plan.fingerprints}, environment={**moving_versions(), "code": code_digest()},
    timing={"train_seconds": 1.0, "eval_seconds": 1.0, "examples_per_second": 1.0, "tokens_per_second": 1.0},
    scores={"validation/accuracy": accuracy, "validation/macro_f1": accuracy})
(run.path / ".result").write_text(json.dumps(content))
(run.path / ".result").replace(run.path / "result.json")
"""


def write_rows(directory, rows, name="train.csv", header=("id", "text", "label")):
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return directory


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """40 rows of two labels, six of them with a text that is there already."""
    rows = [(f"r{n}", f"text number {n % 34}", "yes" if n % 34 % 4 == 0 else "no") for n in range(40)]
    return write_rows(tmp_path_factory.mktemp("own"), rows)


def recipe_for(data, folds=4, **train):
    recipe = resolve("text", {"model": "demo", "data": str(data), "own.folds": folds})
    return with_train(recipe, from_scratch=True, **{"max_steps": 3, **train})


@pytest.fixture(scope="module")
def four_folds(tmp_path_factory, data):
    """The directory of four folds that are done. Not to be changed."""
    directory = tmp_path_factory.mktemp("folds")
    with pytest.MonkeyPatch.context() as patch:
        start_forked(patch, FAKE)
        assert run_folds(plan_folds(recipe_for(data), directory), 2)[1] == 0
    return directory


def out_of_fold(directory):
    return [json.loads(line) for line in (directory / "out-of-fold.jsonl").read_text().splitlines()]


def test_folds_are_disjoint_and_complete_and_nothing_is_trained_on_that_is_scored(data):
    scored = []
    for fold in (1, 2, 3, 4):
        plan = make_plan(with_values(recipe_for(data), {"own.fold": fold}))
        train, held_out = plan.examples["train"], plan.examples["validation"]
        assert len(train) + len(held_out) == 40
        assert not set(train.ids) & set(held_out.ids)
        assert not set(train.texts) & set(held_out.texts)
        scored += held_out.ids
    assert sorted(scored) == sorted(f"r{n}" for n in range(40))


def test_every_row_is_predicted_once_with_its_id_and_its_fold(four_folds, data):
    rows = out_of_fold(four_folds)
    assert [row["id"] for row in rows] == [f"r{n}" for n in range(40)]  # in the order of the file
    assert [row["fold"] for row in rows] == plan_folds(recipe_for(data), four_folds).fold_N.tolist()
    assert set(Counter(row["fold"] for row in rows)) == {1, 2, 3, 4}
    assert wrong(json.loads((four_folds / "summary.json").read_text()), schema(Summary)) == []


def test_pooled_scores_are_those_of_all_rows_together(four_folds):
    rows, pooled = out_of_fold(four_folds), json.loads((four_folds / "summary.json").read_text())["pooled"]
    labels, predictions = [row["label"] for row in rows], [row["prediction"] for row in rows]
    assert pooled["n"] == 40
    assert pooled["scores"] == pytest.approx(
        {
            "validation/accuracy": 100 * sklearn.metrics.accuracy_score(labels, predictions),
            "validation/macro_f1": 100 * sklearn.metrics.f1_score(labels, predictions, average="macro"),
        }
    )
    low, high = pooled["intervals"]["validation/accuracy"]
    assert low < pooled["scores"]["validation/accuracy"] < high


def test_same_command_repeats_nothing_and_gives_no_interval_of_students(four_folds, tmp_path, data, capfd):
    shutil.copytree(four_folds, tmp_path, dirs_exist_ok=True)
    plan = plan_folds(recipe_for(data), tmp_path)
    assert plan.repetition.missing() == []
    summary, code = run_folds(plan, 1)
    spread = summary.scores["validation/accuracy"]
    assert (code, spread.n, spread.interval) == (0, 4, None) and spread.sd is not None
    assert "Bengio and Grandvalet" in summary.rule and "no t interval" in capfd.readouterr().err


def test_another_number_of_folds_is_refused(four_folds, data):
    with pytest.raises(InputError, match=r"fold-1: holds a different run: own\.folds is 4 there and 2 here"):
        plan_folds(recipe_for(data, folds=2), four_folds)


def test_rows_that_changed_make_every_fold_damaged_and_no_pooled_score(tmp_path, four_folds, data, capfd):
    shutil.copytree(four_folds, tmp_path / "out")
    shutil.copytree(data, tmp_path / "own")
    text = (data / "train.csv").read_text().replace("text number", "other text")
    (tmp_path / "own" / "train.csv").write_text(text)
    for path in (tmp_path / "out").rglob("*.yaml"):
        if path.name == "recipe.yaml" and path.parent.name.startswith("fold-"):
            seal_recipe(path.parent, str(data), str(tmp_path / "own"))
        else:
            path.write_text(path.read_text().replace(str(data), str(tmp_path / "own")))
    summary, code = run_folds(plan_folds(recipe_for(tmp_path / "own"), tmp_path / "out"), 1)
    assert code == 2 and {run.status for run in summary.runs} == {"damaged"}
    assert summary.pooled is None and not (tmp_path / "out" / "out-of-fold.jsonl").exists()
    assert "not written, it takes every fold" in capfd.readouterr().err


def test_predictions_of_other_rows_are_named_and_not_pooled(tmp_path, four_folds, data, capfd):
    shutil.copytree(four_folds, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "fold-3" / "predictions" / "validation.jsonl"
    path.write_text(path.read_text().replace('"id": "r', '"id": "x'))
    summary, code = run_folds(plan_folds(recipe_for(data), tmp_path), 1)
    assert code == 2 and summary.pooled is None
    assert "expected the predictions of the 10 rows of fold 3" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("folds", "files", "message"),
    [
        (4, ["validation.csv"], r"--folds 4: cuts the training rows, but .*validation\.csv is there as well"),
        (41, [], "--folds 41: expected at least as many rows, got 40"),
    ],
)
def test_rows_that_cannot_be_cut_are_one_line(tmp_path, folds, files, message):
    own = write_rows(tmp_path / "own", [(f"r{n}", f"text {n}", "yes" if n % 4 else "no") for n in range(40)])
    for name in files:
        write_rows(own, [("a", "b", "yes")], name)
    with pytest.raises(InputError, match=message):
        plan_folds(recipe_for(own, folds), tmp_path / "out")


def test_rows_cut_off_while_evaluating_are_refused(tmp_path, data):
    with pytest.raises(InputError, match="--folds: does not go with --max-eval-samples"):
        plan_folds(recipe_for(data, max_eval_samples=5), tmp_path)


def test_label_with_fewer_rows_than_folds_is_said(tmp_path, capfd):
    own = write_rows(tmp_path / "own", [(f"r{n}", f"text {n}", "rare" if n < 2 else "often") for n in range(20)])
    plan_folds(recipe_for(own), tmp_path / "out")
    assert "labels with fewer rows than folds, which some folds lack: rare 2" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"own.fold": 2}, "own.fold: expected own.folds beside it, got 2"),
        ({"own.folds": 3, "own.fold": 4}, "own.fold: expected at most the 3 of own.folds, got 4"),
        ({"own.folds": 3}, "own.folds: expected a fold for a single run"),
    ],
)
def test_fold_that_cannot_be_is_refused(data, own, message):
    with pytest.raises(InputError) as error:
        make_plan(with_values(recipe_for(data, folds=None), own))
    assert message in str(error.value)


def test_folds_are_for_own_data_alone(tmp_path):
    done = processes.run("mnli", "--data", "demo", "--set", "own.folds=3", "--output", tmp_path / "x")
    assert done.returncode == 2 and "own.folds: is for own data" in done.stderr


def test_folds_and_seeds_do_not_go_together(tmp_path, data):
    done = processes.run(
        "text", "--data", data, "--model", "demo", "--from-scratch", "--folds", 3, "--seeds", 2, "--output", tmp_path / "x"
    )
    assert done.returncode == 2 and "--seeds: does not go with --folds" in done.stderr


def test_recipe_without_folds_keeps_its_hash():
    """Runs of older versions are known by it."""
    recipe = Recipe(task="text", model="demo", data="x")
    assert recipe_hash(recipe) == "5f9db23fc4d115e8"
    assert recipe_hash(with_values(recipe, {"own.folds": 3})) != recipe_hash(recipe)


@pytest.mark.sweep
def test_whole_way_of_three_folds(tmp_path, data):
    """Real runs: the out-of-fold predictions are those that each run leaves, and `debft text` of one fold is one of the runs."""
    usual = ["text", "--data", data, "--model", "demo", "--from-scratch", "--max-steps", 3, "--json"]
    done = processes.run(*usual, "--folds", 3, "--output", tmp_path / "folds", code=processes.FORKING)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    alone = processes.run(*usual, "--folds", 3, "--set", "own.fold=2", "--output", tmp_path / "alone")
    assert json.loads(alone.stdout)["scores"] == content["runs"][1]["scores"]
    rows = [json.loads(line) for line in (tmp_path / "folds" / "out-of-fold.jsonl").read_text().splitlines()]
    right = np.mean([row["label"] == row["prediction"] for row in rows])
    assert content["pooled"]["scores"]["validation/accuracy"] == pytest.approx(100 * right)
