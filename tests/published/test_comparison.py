"""A number stands beside a published one only if nothing that moves the score differs."""

import json
from dataclasses import replace

import pytest

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, to_dict, with_train
from debft.published.comparison import beside_published, why_not_compared
from debft.runs.directory import RunDirectory
from debft.runs.result import RowsOfRun, RunResult, Timing
from debft.runs.result_file import from_json
from debft.tasks import TASKS

ALL_ROWS = {"train": 392_702, "validation_matched": 9_815, "validation_mismatched": 9_832}


@pytest.fixture
def recipe():
    return load_recipe(recipe_path("mnli/deberta-v3-xsmall"))


@pytest.mark.parametrize("name", ["deberta-v3-xsmall", "deberta-v3-small-repo", "deberta-base", "deberta-v3-large"])
def test_published_recipe_on_all_rows_is_compared_whatever_the_seed(name, mnli):
    recipe = with_train(load_recipe(recipe_path(f"mnli/{name}")), seed=7)
    assert why_not_compared(recipe, mnli, ALL_ROWS) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"learning_rate": 1e-5}, "not the published recipe: train.learning_rate differs"),
        ({"num_train_epochs": 1.0}, "not the published recipe: train.num_train_epochs differs"),
        ({"max_steps": 10}, "not the published recipe: train.max_steps differs"),
        ({"schedule": "linear_unshifted"}, "not the published recipe: train.schedule differs"),
        ({"from_scratch": True}, "random weights"),
    ],
)
def test_changed_run_is_not_compared_and_the_reason_is_said(recipe, mnli, change, reason):
    assert reason in why_not_compared(with_train(recipe, **change), mnli, ALL_ROWS)


def test_demo_subset_and_unknown_models_are_not_compared(recipe, mnli):
    assert "demo data" in why_not_compared(replace(recipe, data="demo"), mnli, ALL_ROWS)
    assert "has 10,014 rows, the published benchmark 392,702" in why_not_compared(recipe, mnli, ALL_ROWS | {"train": 10_014})
    assert "no published number for mine" in why_not_compared(replace(recipe, model="mine"), mnli, ALL_ROWS)


def test_default_recipe_is_not_a_published_one(mnli):
    recipe = load_recipe(recipe_path("default"), {"model": "roberta-base"})
    reason = why_not_compared(recipe, mnli, ALL_ROWS)
    assert reason.startswith("not the published recipe: train.num_train_epochs, train.learning_rate")
    assert "text.max_seq_length" in reason


def mnli_run(directory, **changes):
    there = load_recipe(recipe_path("mnli/deberta-v2-xxlarge-sift"), changes)
    RunDirectory(directory).create(there)
    return str(directory)


def test_recipe_that_starts_from_another_is_compared_only_behind_a_run_of_that_one(tmp_path):
    rte, rows = load_recipe(recipe_path("rte/deberta-v2-xxlarge-sift")), {"train": 2_490, "validation": 277}
    reasons = [
        why_not_compared(replace(rte, init_from=init_from), TASKS["rte"], rows)
        for init_from in (None, mnli_run(tmp_path / "a"), mnli_run(tmp_path / "b", **{"train.learning_rate": 1e-5}))
    ]
    assert reasons == [
        "the published run starts from the run of mnli/deberta-v2-xxlarge-sift, this one from the pre-trained model",
        None,
        "not the published recipe: init_from differs",
    ]


def test_difference_is_in_points(recipe, mnli):
    scores = {"validation_matched/accuracy": 88.2, "validation_mismatched/accuracy": 88.0}
    matched, mismatched = beside_published(recipe, mnli, scores)
    assert (matched.value, matched.difference, matched.cell) == (88.1, 0.1, "88.1/88.3")
    assert mismatched.difference == -0.3
    assert matched.verdict == "undecided (1 seed)"


def test_squad_has_a_recipe_of_ours_which_is_said_beside_the_published_cell():
    recipe = load_recipe(recipe_path("squad2/deberta-v3-xsmall"))
    rows = {"train": 130_319, "validation": 11_873}
    assert why_not_compared(recipe, TASKS["squad2"], rows) is None
    f1, exact_match = beside_published(recipe, TASKS["squad2"], {"validation/f1": 84.0, "validation/exact_match": 82.0})
    assert (f1.value, f1.difference, exact_match.difference) == (84.8, -0.8, 0.0)
    assert f1.verdict == "undecided (1 seed, our recipe)"


def test_score_that_the_card_does_not_print_has_no_difference(recipe, mnli):
    rows = beside_published(load_recipe(recipe_path("mnli/electra-base")), mnli, {"validation_mismatched/accuracy": 88.0})
    assert (rows[1].value, rows[1].difference, rows[1].cell) == (None, None, "88.8/")


def test_score_that_only_a_repeating_table_prints_stands_beside_no_run():
    f1, exact_match = beside_published(load_recipe(recipe_path("squad2/electra-base")), TASKS["squad2"], {})
    assert (f1.value, exact_match.value, f1.table) == (None, 80.5, "deberta-v3")


def test_xlm_r_is_compared_on_the_test_rows():
    recipe = load_recipe(recipe_path("xnli/xlm-roberta-base"))
    rows = {split.name: split.num_rows for split in TASKS["xnli"].splits}
    assert why_not_compared(recipe, TASKS["xnli"], rows) is None
    french = next(row for row in beside_published(recipe, TASKS["xnli"], {"test.fr/accuracy": 79.9}) if row.ours is not None)
    assert (french.value, french.difference, french.verdict) == (79.7, 0.2, "undecided (1 seed, our recipe)")


def test_compared_scores_are_read_back_from_result_json(recipe, mnli):
    compared = beside_published(recipe, mnli, {"validation_matched/accuracy": 88.2})
    result = RunResult(
        task="mnli",
        model="m",
        status="complete",
        scores={"validation_matched/accuracy": 88.2},
        published=compared,
        not_compared=None,
        num_examples={},
        num_train_examples=1,
        num_tokens=1,
        steps=1,
        peak_memory_bytes=1,
        recipe=to_dict(recipe),
        environment={},
        timing=Timing(train_seconds=1.0, eval_seconds=1.0, examples_per_second=1.0, tokens_per_second=1.0),
        data=RowsOfRun(source="hub", fingerprints={}),
    )
    assert from_json(result.to_json(), "result.json").published == compared
    assert list(json.loads(result.to_json())["published"][0]) == [
        "score",
        "ours",
        "value",
        "difference",
        "verdict",
        "table",
        "row",
        "cell",
        "source",
        "note",
    ]


def test_own_data_is_not_compared_since_nobody_published_a_number_for_it():
    own = Recipe(task="text", model="deberta-v3-xsmall", data="reviews.csv")
    reason = "nobody published a number for data of your own"
    rows = {"train": 180, "validation": 20}
    assert (
        why_not_compared(own, TASKS["text"], rows)
        == why_not_compared(with_train(own, from_scratch=True), TASKS["text"], rows)
        == reason
    )
