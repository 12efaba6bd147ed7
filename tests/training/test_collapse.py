"""A run that has learned nothing says so; one that has, and data that leaves nothing to tell apart, do not."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from conftest import write_mnli

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, SiftConfig
from debft.output.terminal import print_result
from debft.runs.directory import RunDirectory
from debft.scoring.heads import Assessment
from debft.tasks import TASKS
from debft.training.collapse import collapse_warnings
from debft.training.run import finetune

ENTAILED, NEUTRAL = "entailment", "neutral"


def warnings_of(task, labels, predictions, losses=(), **plan):
    rows = [{"label": label, "prediction": prediction} for label, prediction in zip(labels, predictions, strict=True)]
    asked = {"task": task, "recipe": Recipe(), "class_weights": {}} | plan
    return collapse_warnings(SimpleNamespace(**asked), {"validation": Assessment(scores={}, rows=rows)}, list(losses))


def test_one_label_for_everything_is_said():
    (line,) = warnings_of(TASKS["mnli"], [ENTAILED, NEUTRAL, NEUTRAL, NEUTRAL], [ENTAILED] * 4)
    assert line.startswith("validation: all of 4 rows are predicted entailment, as 25% of them should be; ")


@pytest.mark.parametrize(
    ("task", "labels", "predictions", "words"),
    [
        ("text", [["a"], [], ["a", "b"]], [[], [], []], "predicted without a label"),
        ("squad2", [["x"], [], ["y"]], ["", "", ""], "left without an answer, as 33%"),
        ("squad2", [["x"], [], ["y"]], ["a", "b", "c"], "are answered, as 67%"),
        ("stsb", [0.0, 2.5, 5.0], [2.5, 2.501, 2.5], "predicted about 2.50, though their scores differ"),
    ],
)
def test_every_kind_of_task_tells_its_collapse(task, labels, predictions, words):
    task = replace(TASKS[task], multilabel=True) if task == "text" else TASKS[task]
    (line,) = warnings_of(task, labels, predictions)
    assert words in line


def test_nearly_one_label_for_everything_is_said_where_it_is_no_better_than_the_most_frequent_label():
    labels = [ENTAILED] * 30 + [NEUTRAL] * 70
    (line,) = warnings_of(TASKS["mnli"], labels, [NEUTRAL] * 2 + [ENTAILED] * 98)
    assert line.startswith(
        "validation: 98 of 100 rows are predicted entailment, and 28% of all rows right, where neutral for every row would be right "
        "for 70%; "
    )


def test_rare_label_that_is_found_at_all_says_nothing():
    labels = [NEUTRAL] * 97 + [ENTAILED] * 3
    assert warnings_of(TASKS["mnli"], labels, [NEUTRAL] * 98 + [ENTAILED] * 2) == []


@pytest.mark.parametrize(
    ("task", "labels", "predictions"),
    [
        ("mnli", [ENTAILED, NEUTRAL], [ENTAILED, NEUTRAL]),
        ("mnli", [ENTAILED, ENTAILED], [ENTAILED, ENTAILED]),
        ("mnli", [ENTAILED], [NEUTRAL]),
        ("squad", [["x"], ["y"]], ["a", "b"]),
        ("stsb", [1.0, 2.0], [1.2, 1.9]),
        ("stsb", [2.0, 2.0], [2.0, 2.0]),
    ],
)
def test_predictions_that_differ_or_are_right_say_nothing(task, labels, predictions):
    assert warnings_of(TASKS[task], labels, predictions) == []


def test_last_losses_above_that_of_a_guess_are_said():
    chance = math.log(3)
    right = [ENTAILED, NEUTRAL]
    (line,) = warnings_of(TASKS["mnli"], right, right, [9.0] * 40 + [chance + 0.1, chance + 0.2] * 25)
    assert line.startswith("training: the loss of the last 50 steps is 1.249, that of a guess 1.099; ")
    for losses, plan in (
        ([chance + 0.3] * 9, {}),
        ([chance - 0.1] * 50, {}),
        ([chance + 0.5, chance - 0.48] * 25, {}),
        ([2 * chance] * 50, {"recipe": Recipe(sift=SiftConfig(weight=1.0))}),
        ([2 * chance] * 50, {"class_weights": {ENTAILED: 2.0}}),
    ):
        assert warnings_of(TASKS["mnli"], right, right, losses, **plan) == []


def test_collapsed_run_says_so_at_its_end_and_in_its_result(tmp_path, capsys):
    settings = {"task": "mnli", "data": str(write_mnli(tmp_path / "data", train=40, dev=12)), "train.max_steps": 12}
    result = finetune(load_recipe(recipe_path("demo"), settings | {"train.learning_rate": 50.0}), tmp_path / "run")
    print_result(result, tmp_path / "run")
    assert any("rows are predicted" in line for line in result.warnings)
    assert RunDirectory(tmp_path / "run").result().warnings == result.warnings
    assert f"warning: {result.warnings[0]}" in capsys.readouterr().err
