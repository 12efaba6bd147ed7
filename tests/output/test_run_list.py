"""`debft runs`: a line a run with what it has otherwise, sorted, within the terminal, and what cannot be read named at the end."""

import csv
import io
import json
import os
import re
from pathlib import Path

import pytest

from debft.cli.runs import runs as command
from debft.config.recipe import Recipe, to_dict, with_train
from debft.errors import InputError
from debft.output.run_list import list_runs, printed
from debft.runs.directory import RunDirectory
from debft.runs.result import RowsOfRun, RunResult, Timing


def made(folder, score=90.0, *, task="rte", model="demo", seconds=60.0, finished=None, interval=None, scores=None, **train):
    """A complete run that scored this."""
    folder.mkdir(parents=True)
    recipe = with_train(Recipe(task=task, model=model, data="demo"), **train)
    result = RunResult(
        task=task,
        model=model,
        status="complete",
        scores=scores or {"validation/accuracy": score},
        intervals={} if interval is None else {"validation/accuracy": interval},
        published=[],
        not_compared="demo",
        num_examples={"validation": 277},
        num_train_examples=10,
        num_tokens=100,
        steps=5,
        timing=Timing(train_seconds=seconds, eval_seconds=0.0, examples_per_second=1.0, tokens_per_second=1.0),
        peak_memory_bytes=1,
        data=RowsOfRun(source="demo", fingerprints={}),
        recipe=to_dict(recipe),
        environment={},
        finished=finished,
    )
    RunDirectory(folder).create(recipe)
    RunDirectory(folder).write_result(result)
    return str(folder)


def lines_of(places, sort="date", width=80):
    return [" ".join(line.split()) for line in printed(list_runs(places, sort), width)]


def test_run_has_a_line_with_score_interval_rows_time_and_date(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made(Path("a"), 91.5, interval=[88.25, 94.5], seconds=75.4, finished="2026-03-04T05:06:07+00:00")
    assert lines_of(["a"]) == [
        "run seed percent 95 % interval rows time date",
        "a 42 91.50 [88.25, 94.50] 277 1:15 2026-03-04",
        "demo",
        "RTE accuracy",
    ]


def test_what_a_run_has_otherwise_stands_below_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        made(Path(name))
    made(Path("c"), learning_rate=3e-5, num_train_epochs=5.0)
    changed = {run.run: run.changed for run in list_runs(["a", "b", "c"], "date").runs}
    assert changed == {"a": {}, "b": {}, "c": {"train.learning_rate": 3e-5, "train.num_train_epochs": 5.0}}
    lines = lines_of(["a", "b", "c"])
    assert "learning_rate 3e-05" in lines


def test_two_runs_that_differ_both_say_what_they_have(tmp_path):
    places = [made(tmp_path / name, learning_rate=rate) for name, rate in (("a", 1e-5), ("b", 2e-5))]
    assert [run.changed for run in list_runs(places, "date").runs if run.run == places[0]] == [{"train.learning_rate": 1e-5}]
    assert all(run.changed for run in list_runs(places, "date").runs)


def test_runs_of_another_task_do_not_count_as_the_usual_ones(tmp_path):
    places = [made(tmp_path / "a", learning_rate=1e-5), *(made(tmp_path / name, task="qnli") for name in "bc")]
    assert not any(run.changed for run in list_runs(places, "date").runs)


@pytest.mark.parametrize(("sort", "order"), [("date", "bca"), ("score", "cab"), ("time", "abc")])
def test_runs_are_sorted(tmp_path, sort, order):
    made(tmp_path / "a", 80.0, seconds=90, finished="2026-01-01T00:00:00+00:00")
    made(tmp_path / "b", 70.0, seconds=60, finished="2026-03-01T00:00:00+00:00")
    made(tmp_path / "c", 95.0, seconds=30, finished="2026-02-01T00:00:00+00:00")
    assert "".join(Path(run.run).name for run in list_runs([str(tmp_path)], sort).runs) == order


def test_run_that_says_no_date_has_that_of_its_result(tmp_path):
    made(tmp_path / "a")
    os.utime(tmp_path / "a" / "result.json", (1_000_000_000, 1_000_000_000))
    assert list_runs([str(tmp_path)], "date").runs[0].finished == "2001-09-09T01:46:40+00:00"


def test_what_all_runs_share_is_said_once(tmp_path):
    for name in "ab":
        made(tmp_path / name)
    lines = lines_of([str(tmp_path)])
    assert lines[0] == "all: model demo, score RTE accuracy"
    assert not any("demo" in line for line in lines[1:])


def test_mean_over_languages_stands_for_a_run(tmp_path):
    scores = {"validation.en/accuracy": 80.0, "validation.avg/accuracy": 75.0, "test.en/accuracy": 79.0, "test.avg/accuracy": 74.0}
    (run,) = list_runs([made(tmp_path / "a", task="xnli", scores=scores)], "date").runs
    assert (run.score, run.value) == ("test.avg/accuracy", 74.0)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_lines_fit_the_terminal_and_cut_no_number(tmp_path, monkeypatch, width):
    monkeypatch.chdir(tmp_path)
    for name, model in (("a", "microsoft/deberta-v3-large-with-a-long-name"), ("b", "demo")):
        place = Path("runs") / "a-very-long-name-of-a-directory-of-runs" / f"{name}{'x' * 40}"
        made(place, 100.0, model=model, seconds=86_400, interval=[99.25, 100.0], learning_rate=3e-5 if name == "a" else 2e-5)
    lines = printed(list_runs(["runs"], "date"), width)
    assert max(map(len, lines)) <= width
    numbers = [line for line in lines if re.search(r"100\.00 +\[99\.25, 100\.00\] +277 +24:00:00 ", line)]
    assert len(numbers) == 2
    assert "".join(lines).replace(" ", "").count("x") >= 80


def test_damaged_and_unfinished_runs_are_named_at_the_end(tmp_path):
    made(tmp_path / "a")
    RunDirectory(tmp_path / "b").create(Recipe(task="rte"))
    made(tmp_path / "c")
    (tmp_path / "c" / "result.json").write_text("{}")
    lines = lines_of([str(tmp_path)], width=400)
    assert lines[-2] == f"not complete: {tmp_path / 'b'}"
    assert lines[-1].startswith(f"damaged: {tmp_path / 'c' / 'result.json'}: expected the result of a complete run")


def test_command_ends_with_the_damaged_runs_after_the_others(tmp_path, capsys):
    made(tmp_path / "a", 91.5)
    made(tmp_path / "c")
    (tmp_path / "c" / "result.json").write_text("{}")
    with pytest.raises(InputError, match=r"c/result\.json: expected the result"):
        command([str(tmp_path)], sort="date", form=None, as_json=False)
    assert "91.50" in capsys.readouterr().out


def test_json_and_csv_have_every_run(tmp_path, capsys):
    made(tmp_path / "a", 91.5, interval=[88.0, 94.0])
    command([str(tmp_path)], sort="date", form=None, as_json=True)
    assert json.loads(capsys.readouterr().out)["runs"][0]["interval"] == [88.0, 94.0]
    command([str(tmp_path)], sort="date", form="csv", as_json=False)
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["value"], row["low"], row["high"], row["score"]) == ("91.5", "88.0", "94.0", "validation/accuracy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sort": "name"}, "--sort name: expected date, score, time"),
        ({"form": "xml"}, "--format xml: expected terminal, csv, json"),
        ({"form": "csv", "as_json": True}, "--format csv: --json is given as well"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    made(tmp_path / "a")
    with pytest.raises(InputError, match=message):
        command([str(tmp_path)], **{"sort": "date", "form": None, "as_json": False} | options)


def test_result_of_another_program_is_not_to_be_removed(tmp_path):
    made(tmp_path / "a")
    for name in "bc":
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "result.json").write_text('{"accuracy": 0.5}')
    RunDirectory(tmp_path / "c").create(Recipe(task="rte"))
    (tmp_path / "c" / "result.json").write_text('{"accuracy": 0.5}')
    foreign, own = list_runs([str(tmp_path)], "date").damaged
    assert "remove" not in foreign and "name the runs and leave this directory out" in foreign
    assert f"remove {tmp_path / 'c'} to run it again" in own


def test_place_without_a_run_is_named(tmp_path):
    with pytest.raises(
        InputError, match=r"expected a run directory or one that holds runs.*; give the directory that --output named"
    ):
        list_runs([str(tmp_path)], "date")
