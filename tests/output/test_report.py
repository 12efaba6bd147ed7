"""The last table of a run: our score beside the published one, or why not."""

import json
import shlex
import shutil
import sys
from dataclasses import asdict, replace

import pytest
import terminal
from rich.console import Console

from debft import console
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.output import layout
from debft.output.terminal import command_name, print_result
from debft.published.comparison import beside_published
from debft.published.load import load_published
from debft.runs.result import RowsOfRun, RunResult, Timing
from debft.tasks import TASKS
from debft.tasks.titles import score_title, task_title

SCORES = {"validation_matched/accuracy": 88.2, "validation_mismatched/accuracy": 88.0}


@pytest.fixture
def result(mnli):
    recipe = load_recipe(recipe_path("mnli/deberta-v3-small"))
    return RunResult(
        task="mnli",
        model=recipe.model,
        status="complete",
        scores=SCORES,
        published=beside_published(recipe, mnli, SCORES),
        not_compared=None,
        num_examples={"validation_matched": 9815, "validation_mismatched": 9832},
        intervals={"validation_matched/accuracy": [87.56, 88.84], "validation_mismatched/accuracy": [87.36, 88.64]},
        num_train_examples=1,
        num_tokens=1,
        steps=10,
        peak_memory_bytes=2**30,
        data=RowsOfRun(source="hub", fingerprints={}),
        timing=Timing(train_seconds=75.0, eval_seconds=5.0, examples_per_second=9480.0, tokens_per_second=1.0),
        recipe=asdict(recipe),
        environment={},
    )


def shown(result, tmp_path, capsys):
    (tmp_path / "model").mkdir(exist_ok=True)
    (tmp_path / "model" / "config.json").write_text(json.dumps({"debft": {"text_columns": 'review,"a, b"'}}))
    print_result(result, tmp_path)
    out, err = capsys.readouterr()
    assert out == ""
    return [" ".join(line.split()) for line in err.splitlines()]


def test_published_score_difference_and_note_stand_beside_ours(result, tmp_path, capsys):
    lines = shown(result, tmp_path, capsys)
    assert "ours 95 % interval rows published diff" in lines
    assert "MNLI-m 88.20 [87.56, 88.84] 9,815 88.3 -0.1 undecided (1 seed)" in lines
    assert "MNLI-mm 88.00 [87.36, 88.64] 9,832 87.7 +0.3 undecided (1 seed)" in lines
    assert any(line.startswith("note on the published cell: the DeBERTa paper") for line in lines)
    assert any(line.startswith("one seed decides nothing: debft reproduce deberta-v3 --row ") for line in lines)
    assert "time 10 steps in 1:15, 9,480 examples/s; evaluation 0:05; peak memory 1.0 GiB" in lines


@pytest.mark.parametrize("task", TASKS)
def test_last_line_is_a_command_with_a_row_that_the_task_reads(result, tmp_path, capsys, task):
    scores = {f"{TASKS[task].evals[0].name}/{TASKS[task].metrics[0]}": 50.0}
    last = shown(replace(result, task=task, scores=scores, published=[], not_compared="demo data"), tmp_path, capsys)[-1]
    words = shlex.split(last.removeprefix("next "))
    assert words[:3] == ["debft", "predict", str(tmp_path)] and all(words[3:])
    assert len(words[3:]) == (2 if task == "text" else len(TASKS[task].text_keys))


def test_last_line_names_debft_by_its_path_where_the_shell_does_not_find_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", [".venv/bin/debft", "mnli"])
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert command_name() == ".venv/bin/debft"
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/debft")
    assert command_name() == "debft"


def test_run_that_may_not_be_compared_says_why_and_shows_no_published_number(result, tmp_path, capsys):
    lines = shown(replace(result, published=[], not_compared="demo data is never compared"), tmp_path, capsys)
    assert "ours 95 % interval rows" in lines and "MNLI-m 88.20 [87.56, 88.84] 9,815" in lines  # no empty columns
    assert "not compared: demo data is never compared" in lines
    assert not any("88.3" in line for line in lines)


def test_languages_have_the_interval_of_the_compared_split_and_say_their_rows(result, tmp_path, capsys):
    scores = {"validation.fr/accuracy": 80.0, "test.fr/accuracy": 79.0}
    rows = {"validation.fr": 2490, "test.fr": 5010}
    intervals = {"validation.fr/accuracy": [78.4, 81.6], "test.fr/accuracy": [77.9, 80.1]}
    lines = shown(replace(result, scores=scores, num_examples=rows, intervals=intervals, published=[]), tmp_path, capsys)
    assert "fr 80.00 79.00 [77.90, 80.10]" in lines
    assert "rows of each language: validation 2,490, test 5,010; the interval is that of test" in lines


def test_own_data_has_no_word_of_published_numbers(result, tmp_path, capsys):
    own = replace(result, task="text", scores={"validation/macro_f1": 90.0}, num_examples={"validation": 40}, published=[])
    lines = shown(replace(own, not_compared="no published number for demo on text"), tmp_path, capsys)
    assert lines[:2] == ["ours 95 % interval rows", "validation macro F1 90.00 - 40"]
    assert not any("published" in line or "compared" in line for line in lines)


@pytest.fixture
def frozen_run(result):
    """A run with the recipe and the rows of the frozen demo table, a standard deviation below its mean on the matched rows."""
    table = load_published("demo")
    (cell,) = (row.cells["mnli"] for row in table.rows if row.name == "MNLI")
    scores = {"validation_matched/accuracy": cell[0].value - cell[0].sd, "validation_mismatched/accuracy": cell[1].value}
    recipe = asdict(load_recipe(recipe_path("mnli/quick")))
    rows = RowsOfRun(source="demo", fingerprints=table.fingerprints["mnli"])
    return replace(result, model="demo", scores=scores, published=[], not_compared="demo data", data=rows, recipe=recipe)


def test_run_of_a_frozen_recipe_stands_beside_our_frozen_number_which_is_not_called_published(frozen_run, tmp_path, capsys):
    lines = shown(frozen_run, tmp_path, capsys)
    assert lines[:2] == ["ours 95 % interval rows frozen diff", "MNLI-m 94.52 [87.56, 88.84] 9,815 95.4 +/- 0.8 -0.8 as usual"]
    assert any(line.startswith("frozen: the mean of 12 runs of ours") and "not a published number" in line for line in lines)


def test_score_beyond_three_deviations_of_the_frozen_one_is_unusual(frozen_run, tmp_path, capsys):
    lines = shown(replace(frozen_run, scores={"validation_matched/accuracy": 60.0}), tmp_path, capsys)
    assert "MNLI-m 60.00 [87.56, 88.84] 9,815 95.4 +/- 0.8 -35.4 unusual" in lines


@pytest.mark.parametrize(
    "change",
    [
        lambda run: replace(run, data=replace(run.data, fingerprints=dict.fromkeys(run.data.fingerprints, "0" * 16))),
        lambda run: replace(run, recipe=run.recipe | {"train": run.recipe["train"] | {"learning_rate": 0.5}}),
    ],
    ids=["other rows", "another recipe"],
)
def test_run_on_other_rows_or_of_another_recipe_stands_beside_no_frozen_number(frozen_run, tmp_path, capsys, change):
    lines = shown(change(frozen_run), tmp_path, capsys)
    assert lines[0] == "ours 95 % interval rows" and "not compared: demo data" in lines


NAMES = {
    ("mnli", "validation_matched/accuracy"): "MNLI-m",
    ("mnli", "test_mismatched/accuracy"): "MNLI-mm test",
    ("cola", "validation/matthews_correlation"): "CoLA Matthews",
    ("squad2", "validation/exact_match"): "SQuAD 2.0 EM",
    ("xnli", "test.avg/accuracy"): "XNLI test avg",
    ("text", "test/macro_f1"): "test macro F1",
}


@pytest.mark.parametrize(("task", "score"), NAMES)
def test_score_title_is_the_name_that_papers_print(task, score):
    assert score_title(task, score) == NAMES[task, score]


def test_every_task_has_a_title_of_its_own():
    assert len({task_title(name) for name in TASKS}) == len(TASKS) and not set(map(task_title, TASKS)) & set(TASKS)


@pytest.mark.parametrize("columns", [80, 100, 120])
@pytest.mark.parametrize("task", ["mnli", "xnli", "squad2"])
def test_result_fits_the_terminal_and_breaks_no_number(result, tmp_path, monkeypatch, columns, task):
    out = terminal.Screen()
    shown_on = Console(file=out, width=columns, highlight=False)
    for module in (console, layout):
        monkeypatch.setattr(module, "console", shown_on)
    scores = dict.fromkeys(TASKS[task].score_names(), 88.25)
    compared = [replace(one, verdict="undecided (1 seed, our recipe)") for one in result.published] if task == "mnli" else []
    rows = {split.name: 123_456 for split in TASKS[task].evals}
    print_result(replace(result, task=task, scores=scores, published=compared, num_examples=rows), tmp_path)
    lines = terminal.plain(out.getvalue())
    assert all(len(line) <= columns or str(tmp_path) in line for line in lines)
    assert out.getvalue().split().count("88.25") == len(scores)
