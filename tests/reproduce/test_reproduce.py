"""Reproducing a table: what is planned, what runs, what is kept, what fails. Only the test of the whole way trains."""

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import processes
import pytest
from conftest import write_mnli
from fake_runs import FAKE, start_fake, start_forked
from json_schemas import wrong
from processes import DEBFT, Command

from debft.config import yaml12
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import with_train
from debft.config.recipe_hash import recipe_hash
from debft.config.schema import schema
from debft.errors import InputError, MachineError
from debft.models.files import find_model
from debft.models.size import count_parameters
from debft.output.pages.records import Cell, Report
from debft.published import load as published
from debft.reproduce.collect import collect, curve
from debft.reproduce.cost import cost_of, total_cost
from debft.reproduce.estimate import FACTS, H100, estimate
from debft.reproduce.identity import made_key, run_key
from debft.reproduce.jobs import command_of, jobs_at_a_time, local, run_all, signal_that_ended
from debft.reproduce.options import RunOptions
from debft.reproduce.other_runs import other_runs
from debft.reproduce.plan import make_table_plan
from debft.reproduce.run import dry_run, lost_cells, reproduce, worst_code
from debft.reproduce.search import Grid, grid_of, points, search, trial_options
from debft.runs.directory import RunDirectory
from debft.runs.environment import code_digest, moving_versions
from debft.tasks import TASKS

pytestmark = pytest.mark.usefixtures("rows_made_once")
TINY = RunOptions(max_steps=3, max_train_samples=96, max_eval_samples=30)


@pytest.fixture(scope="module")
def demo_rows(tmp_path_factory):
    return plan_of(tmp_path_factory.mktemp("none")).runs[0].fingerprints


@pytest.fixture
def fake_debft(monkeypatch, demo_rows):
    return start_fake(monkeypatch, demo_rows)


@pytest.fixture(scope="module")
def two_fake_runs(tmp_path_factory, demo_rows):
    """The directory of a plan whose two runs are done. Not to be changed."""
    directory = tmp_path_factory.mktemp("two")
    with pytest.MonkeyPatch.context() as patch:
        start_fake(patch, demo_rows)
        run(plan_of(directory / "out"), directory / "out")
    return directory / "out"


@pytest.fixture
def forked(monkeypatch):
    """The test of the whole way starts its run as it is."""
    return start_forked(monkeypatch, DEBFT)


@pytest.fixture
def meeting(tmp_path_factory):
    return tmp_path_factory.mktemp("meeting")


def plan_of(output, *, seeds=(1, 2), options=TINY, rows=("MNLI",), table="demo"):
    return make_table_plan(table, output, rows=rows, seeds=seeds, options=options)


def run(plan, output, number=1):
    return run_all(plan.missing(), number, [], output / "logs")


# --- the plan


def test_plan_has_a_run_per_recipe_and_seed_whose_command_says_all_of_it(tmp_path):
    plan = make_table_plan("demo", tmp_path, options=TINY)
    assert list(plan.recipes) == ["mnli/quick", "mnli/quick-sift", "squad2/quick", "xnli/quick"]
    assert [run.seed for run in plan.runs] == [1, 2, 3] * 4
    first = plan.runs[0]
    assert first.command == (
        f"debft mnli --recipe mnli/quick --seed 1 --data demo --max-steps 3 --max-train-samples 96 --max-eval-samples 30 "
        f"--output {first.directory} --resume"
    )
    assert len({run.directory for run in plan.runs}) == 12


def key_of(recipe, rows, options=TINY):
    return run_key(recipe, rows, options.runtime())


def test_key_changes_with_everything_that_moves_the_score_and_with_nothing_else(monkeypatch):
    recipe, rows = load_recipe(recipe_path("mnli/quick")), {"train": "aa", "validation_matched": "bb"}
    key = key_of(recipe, rows)
    assert key_of(replace(recipe, source="elsewhere", runtime=replace(recipe.runtime, save_steps=3)), rows) == key
    others = [
        key_of(with_train(recipe, seed=7), rows),
        key_of(with_train(recipe, learning_rate=1e-4), rows),
        key_of(replace(recipe, sift=replace(recipe.sift, weight=1.0)), rows),
        key_of(recipe, rows | {"train": "cc"}),
        key_of(recipe, rows, replace(TINY, precision="bf16")),
        key_of(recipe, rows, replace(TINY, precision="fp32")),
    ]
    assert len({key, *others}) == 7


def test_made_key_changes_with_code_versions_and_the_revision_and_weights_of_the_model(monkeypatch):
    keys = [made_key(None, {}), made_key("abc", {}), made_key(None, {"model.safetensors": "ab"})]
    with monkeypatch.context() as patch:
        patch.setattr("debft.reproduce.identity.code_digest", lambda: "0123456789abcdef")
        keys.append(made_key(None, {}))
    monkeypatch.setattr("debft.reproduce.identity.moving_versions", lambda: {"torch": "9.9"})
    assert len({*keys, made_key(None, {})}) == 5


def test_key_follows_the_rows_of_a_directory_not_its_path():
    recipe, rows = load_recipe(recipe_path("mnli/quick")), {"train": "aa"}
    assert key_of(replace(recipe, data="/a"), rows) == key_of(replace(recipe, data="/b"), rows)


@pytest.mark.parametrize(
    ("table", "rows", "tasks", "problem"),
    [
        ("deberta", (), (), "table deberta: no such table; did you mean 'deberta-"),
        ("demo", ("MNL",), (), "--row MNL: the table has no such row; did you mean 'MNLI'?"),
        ("demo", (), ("mnlI",), "--task mnlI: the table has no such task; did you mean 'mnli'?"),
        ("demo", ("MNLI",), ("xnli",), "^demo: no cell of MNLI has a number and a recipe"),
    ],
)
def test_wrong_table_row_or_task_is_one_clear_line(tmp_path, table, rows, tasks, problem):
    with pytest.raises(InputError, match=problem.replace("?", r"\?")):
        make_table_plan(table, tmp_path, rows=rows, tasks=tasks, options=TINY)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (RunOptions(changed={"train.seed": 3}), "--set train.seed: expected another key"),
        (RunOptions(max_steps=3, changed={"train.max_steps": 2}), "--set train.max_steps: is given as --max-steps as well"),
    ],
)
def test_key_that_is_given_twice_is_refused_before_anything_runs(tmp_path, options, problem):
    with pytest.raises(InputError, match=problem):
        make_table_plan("demo", tmp_path, options=options)


def test_output_that_is_a_file_is_one_clear_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a directory that can be written"):
        make_table_plan("demo", tmp_path / "file" / "below", options=TINY)


def test_recipe_that_cannot_run_is_said_and_does_not_stop_the_others(tmp_path, capfd, fake_debft, monkeypatch):
    write_mnli(tmp_path / "data")
    options = replace(TINY, data=str(tmp_path / "data"))
    plan = make_table_plan("demo", tmp_path / "out", rows=["MNLI", "SQuAD 2.0"], seeds=[1], options=options)
    assert "squad2/quick cannot run: --data" in capfd.readouterr().err
    monkeypatch.setenv("FINGERPRINTS", json.dumps(plan.runs[0].fingerprints))
    report, code = reproduce(
        plan, tmp_path / "out", executor=local(1, tmp_path / "out" / "logs"), check=False, command="debft reproduce demo"
    )
    assert {cell.row: cell.verdict for cell in report.cells} == {"MNLI": "labelled", "SQuAD 2.0": "not run"}
    assert code == 2
    assert (
        reproduce(plan, tmp_path / "out", executor=local(1, tmp_path / "out" / "logs"), check=True, command="")[1] == 2
    )  # worse than a lost cell


# --- running


def test_what_is_complete_is_never_run_again(tmp_path, fake_debft):
    plan = plan_of(tmp_path)
    assert run(plan, tmp_path) == ({}, 0)
    times = [planned.result().environment["time"] for planned in plan.runs]
    assert plan_of(tmp_path).missing() == []
    more = plan_of(tmp_path, seeds=(1, 2, 3))
    assert [planned.seed for planned in more.missing()] == [3]
    run(more, tmp_path)
    assert [planned.result().environment["time"] for planned in more.runs[:2]] == times


def test_failing_run_does_not_stop_the_others_and_its_last_line_is_kept(tmp_path, fake_debft, monkeypatch, capfd):
    monkeypatch.setenv("FAILS", "1")
    plan = plan_of(tmp_path, seeds=(1, 2, 3))
    failures, _ = run(plan, tmp_path)
    assert [planned.seed for planned in plan.missing()] == [1]
    (failure,) = failures.values()
    assert (failure.code, failure.error) == (3, "out of luck")
    assert "failed with exit code 3: out of luck" in capfd.readouterr().err
    report = collect(plan, failures, command="", directory=tmp_path / "report")
    assert [entry.status for entry in report.runs] == ["failed", "complete", "complete"]
    assert report.cells[0].n == 2


@pytest.mark.parametrize(
    ("script", "code", "error"),
    [
        ("print('well', file=sys.stderr)", 1, "exit code 0, but left no result.json"),
        ("print('well', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)", 137, "ended by SIGKILL; its last line: well"),
    ],
)
def test_process_that_leaves_no_result_is_a_failure_whatever_it_ended_with(tmp_path, fake_debft, capfd, script, code, error):
    fake_debft[0] = f"import os, sys\n{script}"
    plan = plan_of(tmp_path, seeds=(1,))
    report, exit_code = reproduce(plan, tmp_path, executor=local(1, tmp_path / "logs"), check=False, command="")
    assert exit_code != 0
    assert report.runs[0].status == "failed" and error in report.runs[0].error
    assert f"failed with exit code {code}: " in capfd.readouterr().err


def test_jobs_run_at_the_same_time_and_share_the_cores(tmp_path, fake_debft, meeting, monkeypatch):
    monkeypatch.setenv("MEET", str(meeting))
    plan = plan_of(tmp_path, seeds=(1, 2))
    assert run(plan, tmp_path, number=2) == ({}, 0)
    threads = str(max(1, os.cpu_count() // 2))
    assert {planned.result().environment["threads"] for planned in plan.runs} == {threads}


def test_jobs_are_spread_over_the_devices(tmp_path, fake_debft, meeting, monkeypatch):
    monkeypatch.setenv("MEET", str(meeting))
    plan = plan_of(tmp_path, seeds=(1, 2, 3, 4))
    run_all(plan.missing(), 2, ["3", "5"], tmp_path / "logs")
    assert sorted(planned.result().environment["device"] for planned in plan.runs) == ["3", "3", "5", "5"]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_signal_lets_the_running_ones_save_and_starts_no_more(tmp_path, fake_debft, monkeypatch, number):
    monkeypatch.setenv("PAUSE", "100")  # the signal ends it
    plan = plan_of(tmp_path, seeds=(1, 2, 3))
    watch = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import os, time, pathlib\nwhile not list(pathlib.Path({str(tmp_path)!r}).rglob('steps.jsonl')): time.sleep(0.05)\n"
            f"time.sleep(0.3); os.kill({os.getpid()}, {int(number)})",
        ]
    )
    failures, stopped_by = run(plan, tmp_path)
    watch.wait()
    assert stopped_by == number
    assert [(tmp_path / planned.id / "checkpoint").exists() for planned in plan.runs] == [True, False, False]
    assert [failure.code for failure in failures.values()] == [128 + number]
    report = collect(plan, failures, command="", directory=tmp_path / "report")
    assert [entry.status for entry in report.runs] == ["interrupted", "not run", "not run"]


def test_signal_that_came_while_the_last_run_ended_has_ended_nothing(two_fake_runs, tmp_path):
    """As for a single run, whose result is written all the same."""
    assert signal_that_ended(signal.SIGTERM, plan_of(two_fake_runs).runs) == 0
    assert signal_that_ended(signal.SIGTERM, plan_of(tmp_path).runs) == signal.SIGTERM


@pytest.mark.parametrize(
    "code", [processes.FORKING, pytest.param(processes.DEBFT, marks=pytest.mark.sweep)], ids=["forked", "anew"]
)
def test_whole_way_of_a_small_table(tmp_path, code):
    """A real run, then the same command again, which trains nothing; a subset never counts."""
    command = [
        "reproduce",
        "demo",
        "--row",
        "MNLI",
        "--seeds",
        1,
        "--max-steps",
        3,
        "--max-train-samples",
        96,
        "--max-eval-samples",
        30,
        "--output",
        tmp_path,
        "--check",
        "--json",
    ]
    done = processes.run(*command, code=code)
    assert done.returncode == 4, done.stderr
    content = json.loads(done.stdout)
    assert content == json.loads((tmp_path / "report" / "report.json").read_text())
    cell = content["cells"][0]
    assert (cell["n"], cell["verdict"]) == (1, "labelled")
    assert cell["labels"] == ["max_steps 3", "max_train_samples 96", "max_eval_samples 30"]
    for entry in content["runs"]:
        directory = (tmp_path / "report" / entry["directory"]).resolve()
        result = json.loads((directory / "result.json").read_text())
        assert entry["scores"]["validation_matched/accuracy"] == result["scores"]["validation_matched/accuracy"]
        assert entry["fingerprints"] == result["data"]["fingerprints"]
        assert entry["recipe_hash"] and str(directory) in entry["command"]
    again = processes.run(*command)
    assert "1 complete, 0 to run" in again.stderr
    assert json.loads(again.stdout)["cells"] == content["cells"]


@pytest.mark.sweep
def test_recorded_command_makes_the_same_run(tmp_path, forked):
    """What the report prints beside a number is what ran: into another directory it gives the same scores."""
    plan = plan_of(tmp_path / "a", seeds=(1,))
    run(plan, tmp_path / "a")
    (first,) = plan.runs
    arguments = [*first.arguments[: first.arguments.index("--output")], "--output", str(tmp_path / "b")]
    assert processes.run(*arguments).returncode == 0
    other = json.loads((tmp_path / "b" / "result.json").read_text())
    assert other["scores"] == first.result().scores


def test_precision_asked_for_is_another_run_and_stands_in_its_command(tmp_path):
    usual, bf16 = (plan_of(tmp_path, seeds=(1,), options=replace(TINY, precision=asked)).runs[0] for asked in (None, "bf16"))
    assert usual.id != bf16.id
    assert "--precision bf16" in bf16.command and "--precision" not in usual.command


def test_command_of_a_run_can_be_pasted(tmp_path, fake_debft):
    """Also with a space in the path: it is read as the words of the run, and goes on where that stands."""
    plan = plan_of(tmp_path / "my runs", seeds=(1,))
    (run,) = plan.runs
    assert shlex.split(run.command) == ["debft", *run.arguments, "--resume"]


DAMAGES = {
    "a broken line": ("steps.jsonl", lambda text: text.replace('"loss": 1.0', '"loss": ', 1)),
    "no text": ("steps.jsonl", lambda text: "\udcff\n" + text),
    "lines cut off": ("steps.jsonl", lambda text: text.split("\n")[0] + "\n"),
    "no steps": ("steps.jsonl", lambda text: ""),
    "an evaluation that is none": ("evaluations.jsonl", lambda text: "[1]\n"),
    "half a file": ("result.json", lambda text: text[:40]),
    "a score in words": ("result.json", lambda text: text.replace("91.0", '"high"')),
    "a score that is no number": ("result.json", lambda text: text.replace("91.0", "NaN")),
    "scores in a list": ("result.json", lambda text: text.replace('"scores": {', '"scores": [], "x": {')),
    "a speed in words": ("result.json", lambda text: text.replace('"examples_per_second": 1.0', '"examples_per_second": "x"')),
    "not complete": ("result.json", lambda text: text.replace('"complete"', '"running"')),
    "another seed": ("result.json", lambda text: text.replace('"seed": 1}', '"seed": 2}')),
    "another recipe": ("result.json", lambda text: text.replace('"max_grad_norm": 1.0', '"max_grad_norm": 2.0')),
    "another strength of SiFT": ("result.json", lambda text: text.replace('"weight": 0.0', '"weight": 1.0')),
    "other code": ("result.json", lambda text: text.replace(code_digest(), "0123456789abcdef")),
    "another version": ("result.json", lambda text: text.replace(f'"torch": "{version("torch")}"', '"torch": "1.0"')),
    "other rows": ("result.json", lambda text: text.replace('"fingerprints": {', '"fingerprints": {"more": "0", ')),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_run_is_named_and_neither_counted_nor_trained_over(tmp_path, two_fake_runs, damage):
    shutil.copytree(two_fake_runs, tmp_path, dirs_exist_ok=True)
    plan = plan_of(tmp_path, seeds=(1, 2))
    assert plan.missing() == []
    file, change = DAMAGES[damage]
    path = plan.runs[0].directory / file
    text = path.read_text() if path.exists() else ""
    assert change(text) != text
    path.write_text(change(text), errors="surrogateescape")
    ((name, problem),) = plan.damaged().items()
    assert name == plan.runs[0].id and str(plan.runs[0].directory) in problem and "remove" in problem
    assert plan.missing() == []


def test_damaged_run_is_reported_and_the_others_are_run_and_counted(tmp_path, fake_debft, capfd):
    run(plan_of(tmp_path, seeds=(1, 2)), tmp_path)
    plan = plan_of(tmp_path, seeds=(1, 2, 3))
    path = plan.runs[0].directory / "steps.jsonl"
    path.write_text("no step\n")
    report, code = reproduce(plan, tmp_path, executor=local(1, tmp_path / "logs"), check=False, command="debft reproduce demo")
    assert code == 2
    assert [entry.status for entry in report.runs] == ["damaged", "complete", "complete"]
    assert report.cells[0].n == 2
    assert wrong(json.loads((tmp_path / "report" / "report.json").read_text()), schema(Report)) == []
    assert str(path) in report.runs[0].error and str(path) in capfd.readouterr().err
    assert path.read_text() == "no step\n"
    assert "damaged" in (tmp_path / "report" / "report.md").read_text()


def test_broken_log_of_a_run_that_is_not_complete_is_resumed_and_reported(tmp_path, fake_debft, monkeypatch):
    """What a crash of the machine left of the log is dropped when the run goes on; until then there is no curve."""
    plan = plan_of(tmp_path, seeds=(1,))
    plan.runs[0].directory.mkdir(parents=True)
    (plan.runs[0].directory / "steps.jsonl").write_text("\0\0\0\n")
    assert plan.missing() == plan.runs
    (entry,) = collect(plan, {}, command="", directory=tmp_path).runs
    assert entry.curve.step == []


def test_log_that_is_a_directory_is_one_line_of_the_disk(tmp_path, fake_debft):
    plan = plan_of(tmp_path, seeds=(1,))
    command_of(plan.runs[0], tmp_path / "logs").log.mkdir(parents=True)
    with pytest.raises(MachineError, match=r"\.log: cannot be written: Is a directory"):
        run(plan, tmp_path)


@pytest.mark.parametrize(("cores", "gpus", "most", "here"), [(2, 0, 16, "2 cores"), (64, 8, 256, "64 cores"), (4, 8, 32, "8 GPUs")])
def test_more_runs_at_a_time_than_a_machine_is_meant_for_are_refused(monkeypatch, cores, gpus, most, here):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    monkeypatch.setattr("debft.reproduce.jobs.devices_here", lambda: ["0"] * gpus)
    assert jobs_at_a_time(most, None) == most
    assert jobs_at_a_time(None, "demo") == (gpus or cores) and jobs_at_a_time(None, None) == (gpus or 1)
    with pytest.raises(InputError, match=f"^--jobs: expected at most {most} on this machine of {here}, got 1000000; give fewer$"):
        jobs_at_a_time(1_000_000, None)


# --- other code


def test_run_of_other_code_is_shown_and_neither_counted_nor_touched(tmp_path, fake_debft, monkeypatch, capfd):
    run(plan_of(tmp_path, seeds=(1,)), tmp_path)
    (before,) = plan_of(tmp_path, seeds=(1,)).runs
    text = (before.directory / "result.json").read_text()
    monkeypatch.setattr("debft.reproduce.identity.code_digest", lambda: "0123456789abcdef")
    plan = plan_of(tmp_path, seeds=(1,))
    assert plan.missing() == plan.runs and plan.runs[0].id != before.id
    report, _ = reproduce(plan, tmp_path, executor=local(1, tmp_path / "logs"), check=False, command="debft reproduce demo")
    (other,) = report.others
    assert (other.id, other.status, other.beside) == (before.id, "complete", plan.runs[0].id)
    assert other.made_by == f"code {code_digest()}"
    assert "1 to run" in (lines := capfd.readouterr().err)
    assert f"made by code {code_digest()}; not counted, not resumed, they stay: {before.id} (complete)" in lines
    assert all(before.id in (tmp_path / "report" / name).read_text() for name in ("index.html", "report.md"))
    assert (before.directory / "result.json").read_text() == text


def test_run_of_other_versions_names_those_that_differ(tmp_path, fake_debft, monkeypatch):
    run(plan_of(tmp_path, seeds=(1,)), tmp_path)
    monkeypatch.setattr("debft.reproduce.identity.moving_versions", lambda: moving_versions() | {"torch": "9.9"})
    plan = plan_of(tmp_path, seeds=(1,))
    assert plan.missing() == plan.runs
    (other,) = other_runs(plan)
    assert other.made_by == f"this code, torch {version('torch')} (here 9.9)"


def test_interrupted_run_of_other_code_is_named_and_a_new_one_begins(tmp_path, fake_debft, monkeypatch):
    (before,) = plan_of(tmp_path, seeds=(1,)).runs
    before.directory.mkdir(parents=True)
    (before.directory / "steps.jsonl").write_text('{"step": 2}\n')
    monkeypatch.setattr("debft.reproduce.identity.code_digest", lambda: "0123456789abcdef")
    plan = plan_of(tmp_path, seeds=(1,))
    assert [(other.id, other.status) for other in other_runs(plan)] == [(before.id, "interrupted after step 2")]
    run(plan, tmp_path)
    assert (before.directory / "steps.jsonl").read_text() == '{"step": 2}\n'


def test_run_from_before_code_was_recorded_is_named(tmp_path, fake_debft):
    """Its directory ends with the key, which is computed as it was then."""
    plan = plan_of(tmp_path, seeds=(1,))
    (planned,) = plan.runs
    assert (
        planned.key
        == hashlib.sha256(
            json.dumps([recipe_hash(planned.recipe), planned.fingerprints, "0.1.0"], sort_keys=True).encode()
        ).hexdigest()[:8]
    )
    run(plan, tmp_path)
    old = planned.directory.rename(planned.directory.with_name(f"seed-1-{planned.key}"))
    text = (old / "result.json").read_text()
    (old / "result.json").write_text(text.replace('"code"', '"was"'))
    (other,) = other_runs(plan)
    assert (other.directory, other.made_by) == (str(old), "code that was not recorded")
    assert plan.missing() == plan.runs


def test_code_that_changes_while_runs_are_going_is_a_failure_of_those(tmp_path, fake_debft, monkeypatch):
    """A child that starts later imports what is on the disk by then."""
    monkeypatch.setattr("debft.reproduce.identity.code_digest", lambda: "0123456789abcdef")
    plan = plan_of(tmp_path, seeds=(1,))
    failures, _ = run(plan, tmp_path)
    (failure,) = failures.values()
    assert failure.code == 1 and f"holds a run of other code or versions (code {code_digest()})" in failure.error


# --- a run that starts from another


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """A table of one cell, MNLI again, whose recipe `mnli/second` starts from the run of `mnli/first`, on the demo's model."""
    train = "train: {max_steps: 3, train_batch_size: 8, warmup_steps: 0, from_scratch: true}"
    recipes = tmp_path / "recipes"
    (recipes / "mnli").mkdir(parents=True)
    (recipes / "mnli" / "first.yaml").write_text(f"model: demo\ntask: mnli\n{train}\n")
    (recipes / "mnli" / "second.yaml").write_text(f"model: demo\ntask: mnli\nstarts_from: mnli/first\n{train}\n")
    tables = tmp_path / "tables"
    tables.mkdir()
    (tables / "chain.yaml").write_text(
        "name: chain\ntitle: T\nsource: S\nmargin: 0.5\nmargin_source: chosen\ncolumns:\n  mnli: {header: M, scores: [validation_matched/accuracy]}\n"
        "rows:\n  - {row: R, model: second, mnli: 50.0}\n"
    )
    monkeypatch.setattr("debft.published.load.DIRECTORY", tables)
    monkeypatch.setattr("debft.config.packaged.RECIPES_DIR", recipes)
    return replace(TINY, data="demo", max_steps=None)


def test_run_that_starts_from_another_is_planned_behind_the_one_of_its_seed(tmp_path, chain):
    plan = make_table_plan("chain", tmp_path / "out", seeds=(1, 2), options=chain)
    assert list(plan.recipes) == ["mnli/first", "mnli/second"]
    first, second = plan.recipes["mnli/first"].runs, plan.recipes["mnli/second"].runs
    assert [run.starts_from for run in second] == list(first) and [run.seed for run in first] == [1, 2]
    assert f"--init-from {first[1].directory}" in second[1].command
    assert "--init-from" not in first[1].command


def test_key_of_a_run_that_starts_from_another_follows_that_one_and_not_the_output(tmp_path, chain):
    here, there, other = (
        make_table_plan("chain", tmp_path / name, seeds=(1,), options=options).runs[-1]
        for name, options in (("a", chain), ("b", chain), ("c", replace(chain, max_train_samples=64)))
    )
    assert here.id == there.id != other.id


@pytest.mark.sweep
def test_run_starts_from_the_weights_of_the_run_before_it(tmp_path, chain, forked):
    """Real runs, in two processes that know the recipes of the test."""
    recipes = f"Path({str(tmp_path / 'recipes')!r})"
    forked[0] = f"from pathlib import Path\nimport debft.config.packaged\ndebft.config.packaged.RECIPES_DIR = {recipes}\n{DEBFT}"
    plan = make_table_plan("chain", tmp_path / "out", seeds=(1,), options=chain)
    report, code = reproduce(
        plan, tmp_path / "out", executor=local(2, tmp_path / "out" / "logs"), check=False, command="debft reproduce chain"
    )
    first, second = plan.runs
    assert code == 0 and report.cells[0].n == 1
    result = second.result()
    assert result.recipe["init_from"] == str(first.directory) and result.recipe["train"]["from_scratch"] is False
    assert report.runs[1].starts_from == first.id
    assert plan.missing() == [] == list(plan.damaged())


def test_run_whose_run_before_it_failed_is_not_run_and_says_why(tmp_path, chain, monkeypatch, capfd):
    plan = make_table_plan("chain", tmp_path / "out", seeds=(1,), options=chain)
    start_fake(monkeypatch, plan.runs[0].fingerprints, fails=1)
    report, code = reproduce(
        plan, tmp_path / "out", executor=local(2, tmp_path / "out" / "logs"), check=False, command="debft reproduce chain"
    )
    assert [entry.status for entry in report.runs] == ["failed", "failed"]
    assert f"it starts from {plan.runs[0].id}, which has no result" in report.runs[1].error
    assert code == 3 and not plan.runs[1].directory.exists()


def test_recipe_that_starts_from_one_that_cannot_run_says_so(tmp_path, chain, capfd):
    (tmp_path / "recipes" / "mnli" / "first.yaml").write_text("model: ./nowhere\ntask: mnli\n")
    plan = make_table_plan("chain", tmp_path / "out", seeds=(1,), options=chain)
    assert plan.runs == []
    assert "mnli/second cannot run: it starts from the run of mnli/first, which cannot run: --model" in capfd.readouterr().err


def test_output_that_cannot_be_written_is_refused_at_once():
    with pytest.raises(InputError, match="--output /proc/x: expected a directory that can be written"):
        make_table_plan("demo", Path("/proc/x"), options=TINY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--search", "--seeds", "2"], "--search: does not go with --seeds"),
        (["--search", "--check"], "--search: does not go with --check"),
        (["--search", "--dry-run"], "--search: does not go with --dry-run"),
        (["--dry-run", "--check"], "--dry-run: does not go with --check"),
        (["--trials", "3"], "--trials: needs --search"),
        (["--search", "--set", "train.learning_rate=1e-5"], "--set train.learning_rate: --search chooses it"),
        (["--precision", "fp8"], "--precision: expected"),
        (["--set", "train.learning_rate=fast"], "--set train.learning_rate: expected a number"),
        (["--set", "train.max_steps=4", "--max-steps", "5"], "--set train.max_steps: is given as --max-steps as well"),
    ],
)
def test_options_that_do_not_go_together_or_make_no_sense(options, message, tmp_path):
    done = processes.run("reproduce", "demo", "--output", tmp_path / "x", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def no_hub(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_dry_run_without_the_hub_estimates_every_recipe_and_is_no_error(tmp_path, no_hub, capfd):
    plan = make_table_plan("deberta-v3", tmp_path, tasks=("mnli",), rows=("DeBERTa-v3-xsmall",), seeds=(1, 2), options=RunOptions())
    content, code = dry_run(plan, 2)
    assert code == 0
    (one,) = content["estimates"]
    assert content["recipes"] == [] and content["total"]["hours"] is None and "seconds" not in one
    assert (one["estimate"], one["missing"], one["steps"]) == (True, 2, 18408)  # 3 epochs of ceil(392,702 / 64)
    tokens = 38.4 * 392_702 * 3  # 38.4 measured on 10,014 real pairs
    evaluated = 19 * (37.9 * 9815 + 42.1 * 9832)  # every 1,000 steps and at the end
    assert one["num_tokens"] == pytest.approx(tokens, rel=1e-3)
    assert one["flops"] == pytest.approx(21_490_944 * (6 * tokens + 2 * evaluated), rel=1e-3)
    assert one["seconds_here"] > 0 and one["seconds_h100"] > 0
    lines = capfd.readouterr().err
    assert "estimate of time: " in lines and "on this machine, 1 run at a time" in lines and "on one H100" in lines
    assert "need the hub: nyu-mll/glue, microsoft/deberta-v3-xsmall" in lines


def test_estimate_counts_the_rows_of_a_directory_and_the_limits(tmp_path, no_hub):
    write_mnli(tmp_path / "data")
    options = RunOptions(data=str(tmp_path / "data"), changed={"train.warmup_steps": 0}, max_eval_samples=10)
    plan = plan_of(tmp_path / "out", rows=("DeBERTa-v3-base",), table="deberta-v3", seeds=(1,), options=options)
    one = estimate("base", plan.recipes["mnli/deberta-v3-base"].recipe, 1, H100)
    assert one.cost.steps == 6 and one.cost.num_tokens == round(38.4 * 100 * 3)
    assert one.cost.eval_tokens == round(10 * 37.9 + 10 * 42.1)


def test_estimate_says_what_nobody_measured(tmp_path, no_hub):
    plan = make_table_plan("glue", tmp_path, tasks=("qqp",), rows=("DeBERTa-v3-large",), seeds=(1,), options=RunOptions())
    (remark,) = estimate("large", plan.recipes["qqp/deberta-v3-large"].recipe, 1, H100).remarks
    assert remark.startswith("qqp: tokens per row assumed")


def test_every_recipe_of_a_published_table_can_be_estimated(tmp_path, no_hub):
    for name in ("deberta-v3", "mdeberta-v3", "glue"):
        plan = make_table_plan(name, tmp_path, seeds=(1,), options=RunOptions())
        assert all(
            estimate(recipe_plan.name, recipe_plan.recipe, 1, H100).seconds_h100 > 0 for recipe_plan in plan.recipes.values()
        )


def test_schedule_that_cannot_be_is_said_by_the_estimate_too(tmp_path, no_hub, capfd):
    options = RunOptions(max_train_samples=640)
    plan = make_table_plan("deberta-v3", tmp_path, rows=("DeBERTa-v3-xsmall",), tasks=("mnli",), seeds=(1,), options=options)
    content, code = dry_run(plan, 1)
    assert code == 2 and content["estimates"] == []
    assert "mnli/deberta-v3-xsmall cannot run: train.warmup_steps: expected less than the 30 steps" in capfd.readouterr().err


def test_dry_run_with_a_problem_that_the_hub_does_not_mend_is_an_error(tmp_path, no_hub):
    write_mnli(tmp_path / "data")
    options = RunOptions(data=str(tmp_path / "data"), changed={"train.warmup_steps": 0.1})
    plan = make_table_plan("deberta-v3", tmp_path / "out", rows=("DeBERTa-v3-xsmall",), seeds=(1,), options=options)
    content, code = dry_run(plan, 1)
    assert code == 2 and list(content["problems"]) == ["squad2/deberta-v3-xsmall", "mnli/deberta-v3-xsmall"]
    assert [one["name"] for one in content["estimates"]] == ["mnli/deberta-v3-xsmall"]


@pytest.mark.parametrize(
    ("model", "millions"),
    [
        ("deberta-v3-xsmall", 21.5),
        ("deberta-v3-small", 42.9),
        ("deberta-v3-base", 85.4),
        ("deberta-v3-large", 302.8),
        ("mdeberta-v3-base", 85.4),
        ("deberta-base", 100),
        ("roberta-base", 86),
        ("xlnet-base", 92),
        ("electra-base", 86),
    ],
)
def test_packaged_sizes_are_those_of_the_cards(model, millions):
    """The cards print whole millions; those of the v3 models were counted. ELECTRA's 86 counts 85.05 and its embeddings' LayerNorm."""
    size = yaml12.load(FACTS)["models"][model]
    assert size["backbone"] / 1e6 == pytest.approx(millions, abs=1.0)


def test_dry_run_in_which_nothing_can_run_fails_as_the_real_one(tmp_path):
    plan = replace(plan_of(tmp_path), recipes={})
    with pytest.raises(InputError, match="found none"):
        dry_run(plan, None)


def test_interrupted_reproduction_says_so_once(tmp_path, demo_rows):
    """And not that no step was trained."""
    (tmp_path / "fake.py").write_text(FAKE)
    fake = f"import sys\nfrom debft.reproduce import process\nprocess.DEBFT = (sys.executable, {str(tmp_path / 'fake.py')!r})\n"
    running = Command(
        "reproduce",
        "demo",
        "--row",
        "MNLI",
        "--seeds",
        1,
        "--output",
        tmp_path,
        code=fake + DEBFT,
        FINGERPRINTS=json.dumps(demo_rows),
        PAUSE="100",
    )
    while running.poll() is None and not [path for path in tmp_path.rglob("steps.jsonl") if path.stat().st_size]:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    lines = running.communicate()[1]
    assert running.returncode == 130
    assert "before the first training step" not in lines
    (entry,) = json.loads((tmp_path / "report" / "report.json").read_text())["runs"]
    assert (entry["status"], entry["error"]) == ("interrupted", None) and entry["steps"] > 0


# --- what it costs


def test_dry_run_probes_shows_the_cost_and_leaves_nothing(tmp_path):
    done = processes.run(
        "reproduce",
        "demo",
        "--row",
        "MNLI",
        "--seeds",
        2,
        "--max-train-samples",
        96,
        "--max-eval-samples",
        30,
        "--output",
        tmp_path / "out",
        "--jobs",
        1,
        "--dry-run",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    (cost,) = content["recipes"]
    assert (cost["missing"], cost["steps"]) == (2, 18)
    assert cost["seconds"] > 0
    assert content["total"]["hours"] == pytest.approx(2 * cost["seconds"] / 3600)
    assert "on this machine, 1 run at a time (probe of 20 steps each)" in done.stderr
    assert content["estimates"] == [] and "estimate" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_cost_counts_the_tokens_of_the_run(tmp_path, forked):
    """Against the tokens that a run of one epoch says it trained on."""
    options = RunOptions(max_train_samples=96, max_eval_samples=30, changed={"train.num_train_epochs": 1.0})
    plan = plan_of(tmp_path, seeds=(1,), options=options)
    cost = cost_of(plan.recipes["mnli/quick"])
    run(plan, tmp_path)
    result = plan.runs[0].result()
    assert cost.num_tokens == result.num_tokens
    assert cost.steps == result.steps
    files = find_model("demo", from_scratch=True)
    assert cost.flops == pytest.approx(count_parameters(files)[1] * (6 * cost.num_tokens + 2 * cost.eval_tokens))
    size = sum(path.stat().st_size for path in plan.runs[0].directory.rglob("*.safetensors"))
    assert size == pytest.approx(cost.disk_bytes, rel=0.05)  # the model; the checkpoints are gone


def test_hours_are_shared_by_what_really_runs_at_the_same_time(tmp_path):
    one = replace(cost_of(plan_of(tmp_path).recipes["mnli/quick"]), missing=4, seconds=3600.0)
    assert [total_cost([one], jobs=2, devices=devices).hours for devices in (0, 1, 2)] == [2, 4, 2]


def test_disk_is_that_of_all_models_and_of_the_checkpoints_of_what_runs_at_a_time(tmp_path):
    few = cost_of(plan_of(tmp_path).recipes["mnli/quick"])
    small, large = (replace(few, missing=2, disk_bytes=size, running_bytes=10 * size) for size in (1, 7))
    assert total_cost([small, large], jobs=3).disk_bytes == 2 * 1 + 2 * 7 + 70 + 70 + 10
    checkpoints = few.running_bytes / few.disk_bytes
    assert checkpoints == 3 * 3 + 0  # two kept and one half-written, each with two moments; the last step, not the best, is scored


# --- collecting


def test_labels_of_a_published_table_say_subset_and_change(tmp_path, monkeypatch):
    """On a directory of 100 rows, with a changed warm-up, under the recipe of a published cell and the demo's model in its place."""
    write_mnli(tmp_path / "data")
    options = RunOptions(data=str(tmp_path / "data"), changed={"train.warmup_steps": 0.1})
    monkeypatch.setattr("debft.training.plan.find_model", lambda model, from_scratch: find_model("demo", True))
    plan = plan_of(tmp_path / "out", rows=("DeBERTa-v3-xsmall",), table="deberta-v3", seeds=(1,), options=options)
    report = collect(plan, {}, command="", directory=tmp_path / "report")
    (entry,) = report.runs
    assert entry.labels == [
        "train: 100 of 392,702 rows",
        "validation_matched: 20 of 9,815 rows",
        "validation_mismatched: 20 of 9,832 rows",
        "warmup_steps 0.1, not 1000.0",
    ]
    on_demo = replace(plan.runs[0], recipe=replace(plan.runs[0].recipe, data="demo"))
    from debft.reproduce.labels import labels_of

    assert labels_of(on_demo, plan.recipes["mnli/deberta-v3-xsmall"], plan)[0] == "demo data"


def test_precision_that_was_asked_for_is_labelled_where_the_recipe_says_another(tmp_path, fake_debft):
    labels = [
        collect(plan_of(tmp_path, seeds=(1,), options=replace(TINY, precision=asked)), {}, command="", directory=tmp_path)
        .runs[0]
        .labels
        for asked in (None, "auto", "bf16")
    ]
    assert labels[0] == labels[1] and labels[2] == [*labels[0], "precision bf16, not auto"]


def test_seeds_of_a_recipe_share_its_hash(tmp_path, fake_debft):
    plan = plan_of(tmp_path, seeds=(1, 2))
    other = plan_of(tmp_path, seeds=(1, 2), options=replace(TINY, changed={"train.learning_rate": 1e-5}))
    hashes = [{entry.recipe_hash for entry in collect(p, {}, command="", directory=tmp_path).runs} for p in (plan, other)]
    assert [len(of_plan) for of_plan in hashes] == [1, 1] and hashes[0] != hashes[1]


def test_frozen_table_on_other_rows_is_labelled(tmp_path, fake_debft):
    """The demo's recipe on a directory of its own: the rows, not the settings, are other ones."""
    write_mnli(tmp_path / "data")
    plan = plan_of(tmp_path, seeds=(1,), options=RunOptions(data=str(tmp_path / "data")))
    (entry,) = collect(plan, {}, command="", directory=tmp_path).runs
    assert entry.labels == ["not on the frozen rows: train, validation_matched, validation_mismatched"]
    usual = collect(plan_of(tmp_path, seeds=(1,), rows=("SQuAD 2.0",), options=RunOptions()), {}, command="", directory=tmp_path)
    assert [entry.labels for entry in usual.runs] == [[]]
    assert "1256840" in {cell.cell for cell in usual.cells}  # not 1.25684e+06


@pytest.mark.parametrize("name", [name for name in published.table_names() if published.load_published(name).kind == "measured"])
def test_frozen_table_knows_its_rows(name):
    table = published.load_published(name)
    assert set(table.fingerprints) == {column.task for column in table.columns}
    for task, fingerprints in table.fingerprints.items():
        assert set(fingerprints) == {split.name for split in TASKS[task].splits}
        assert all(isinstance(text, str) for text in fingerprints.values())


def judged(kind, *words):
    """A report with a cell for each of these verdicts, and one that prints no number."""
    unknown = dict.fromkeys(field.name for field in fields(Cell))
    cells = [Cell(**unknown | {"verdict": word, "value": 1.0, "row": word}) for word in words]
    return SimpleNamespace(table=SimpleNamespace(kind=kind), cells=[*cells, Cell(**unknown | {"verdict": "no number", "row": "-"})])


VERDICTS = ("reproduced", "above", "below", "undecided", "labelled", "not run")


@pytest.mark.parametrize("kind", ["published", "measured"])
def test_check_fails_on_every_verdict_but_reproduced_and_of_a_published_number_above(kind):
    good = {"reproduced", "above"} if kind == "published" else {"reproduced"}
    for word in VERDICTS:
        assert bool(lost_cells(judged(kind, word))) == (word not in good), word
    assert [cell.row for cell in lost_cells(judged(kind, *VERDICTS))] == [word for word in VERDICTS if word not in good]


@pytest.mark.parametrize(
    ("codes", "worst"),
    [
        ((), 0),
        ((4,), 4),
        ((4, 2), 2),
        ((2, 3, 4), 3),
        ((3, 5), 5),
        ((5, 1, 3), 1),
        ((137, 3), 5),
        ((139, 4), 5),
        ((77, 5), 1),
        ((143, 129), 129),
        ((143, 2), 2),
        ((0,), 1),
    ],
)
def test_exit_code_of_several_failures_is_the_worst(codes, worst):
    """1 a bug, 5 the machine, 3 a loss that is not finite, 2 the input, 4 a cell that is not reproduced; a signal is the machine."""
    assert worst_code(codes) == worst


@pytest.fixture
def card(tmp_path, monkeypatch, fake_debft):
    """`reproduce` of RTE's cell, 92.7, with the seeds scoring what the test says; nothing is trained, nothing is labelled."""
    monkeypatch.setattr("debft.reproduce.collect.labels_of", lambda run, recipe_plan, table_plan: [])

    def check(scores, table="glue"):
        monkeypatch.setattr("debft.training.plan.find_model", lambda model, from_scratch: find_model("demo", True))
        data = tmp_path / "data" / "rte"
        data.mkdir(parents=True, exist_ok=True)
        for split in ("train", "validation"):
            lines = [f"a fox sat .\ta fox sat {number} .\t{number % 2}" for number in range(40)]
            (data / f"{split}.tsv").write_text("sentence1\tsentence2\tlabel\n" + "\n".join(lines) + "\n")
        plan = make_table_plan(
            table,
            tmp_path / "out",
            rows=["DeBERTa-v3-large"],
            tasks=["rte"],
            seeds=range(1, len(scores) + 1),
            options=RunOptions(data=str(tmp_path / "data"), changed={"train.warmup_steps": 0}),
        )
        monkeypatch.setenv("FINGERPRINTS", json.dumps(plan.runs[0].fingerprints))
        monkeypatch.setenv("SCORES", json.dumps(scores))
        report, code = reproduce(plan, tmp_path / "out", executor=local(2, tmp_path / "out" / "logs"), check=True, command="")
        return report.cells[0].verdict, code

    return check


@pytest.mark.parametrize(
    ("scores", "verdict", "code"),
    [
        ([54.9], "undecided", 4),
        ([92.2, 92.7, 93.2], "undecided", 4),
        ([92.65, 92.7, 92.75], "reproduced", 0),
        ([54.8, 54.9, 55.0], "below", 4),
        ([98.8, 98.9, 99.0], "above", 0),
    ],
)
def test_check_ends_with_4_unless_every_cell_is_reproduced_or_above(card, scores, verdict, code):
    """54.9 of one seed is RTE with random labels."""
    assert card(scores) == (verdict, code)


def test_run_that_fails_decides_the_exit_code_before_a_lost_cell(card, monkeypatch):
    monkeypatch.setenv("FAILS", "2")
    assert card([92.65, 92.7, 92.75]) == ("undecided", 3)


def test_training_scores_and_curve_come_from_the_step_log(tmp_path):
    rows = [
        {"step": step, "loss": 10.0 - step * 0.01, "grad_norm": float(step), "learning_rate": 1e-3, "num_tokens": 7}
        for step in range(1, 501)
    ]
    (tmp_path / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 501, "lo')
    complete = SimpleNamespace(steps=500, num_tokens=3500)
    scores = RunDirectory(tmp_path).logs.training_scores(complete)
    assert scores == {
        "train/loss": pytest.approx(sum(row["loss"] for row in rows) / 500),
        "train/grad_norm": pytest.approx(250.5),
        "train/learning_rate": pytest.approx(1e-3),
        "train/num_tokens": 3500,
    }
    points_of = curve(RunDirectory(tmp_path))
    assert points_of.step[-1] == 500 and len(points_of.step) <= 200
    assert points_of.loss[0] == pytest.approx((9.99 + 9.98 + 9.97) / 3)


# --- the parameters of the tables


@pytest.mark.parametrize(
    ("layers", "hidden", "heads", "intermediate", "millions"), [(12, 384, 6, 1536, 21.5), (6, 768, 12, 3072, 42.9)]
)
def test_backbone_is_counted_as_in_the_cards(tmp_path, demo_model, layers, hidden, heads, intermediate, millions):
    """21.5 and 42.9 M: counted over the encoders of v3-xsmall and v3-small without their word embeddings."""
    from conftest import write_model_config

    directory = write_model_config(
        tmp_path / "model",
        demo_model,
        num_hidden_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        vocab_size=128100,
        position_buckets=256,
        max_position_embeddings=512,
        pooler_hidden_size=hidden,
    )
    every, backbone = count_parameters(find_model(str(directory), from_scratch=True))
    assert backbone / 1e6 == pytest.approx(millions, abs=0.05)
    assert (every - backbone) / 1e6 == pytest.approx(128100 * hidden / 1e6, rel=0.01)


# --- the search


def test_search_records_every_trial_and_writes_the_best_as_a_recipe(tmp_path, fake_debft, monkeypatch):
    write_mnli(tmp_path / "data")
    monkeypatch.setattr("debft.training.plan.find_model", lambda model, from_scratch: find_model("demo", True))
    asked = RunOptions(data=str(tmp_path / "data"), max_train_samples=96, max_eval_samples=30, changed={"train.weight_decay": 0.5})
    options = trial_options(asked)
    plan = plan_of(tmp_path, rows=("RoBERTa-base",), table="deberta-v3", options=options)
    monkeypatch.setenv("FINGERPRINTS", json.dumps(plan.runs[0].fingerprints))
    plan = replace(plan, recipes={name: recipe_plan for name, recipe_plan in plan.recipes.items() if name.startswith("mnli")})
    content, code = search(plan, tmp_path, options, executor=local(1, tmp_path / "logs"), trials=3)
    assert code == 0
    lines = [json.loads(line) for line in (tmp_path / "search" / "mnli-roberta-base.jsonl").read_text().splitlines()]
    assert len(lines) == 3 and len({line["command"] for line in lines}) == 3
    assert all("train.weight_decay=0.5" in line["command"] for line in lines)
    best = content["search"]["mnli/roberta-base"]["best"]
    assert best["score"] == max(line["score"] for line in lines)
    recipe = load_recipe(tmp_path / "search" / "mnli-roberta-base.yaml")
    assert (recipe.train.learning_rate, recipe.train.train_batch_size) == (best["learning_rate"], best["train_batch_size"])
    assert recipe.train.weight_decay == 0.5
    assert recipe.source.startswith("ours: best of 3 points of the grid of the RoBERTa paper")
    assert recipe.reproduces is None


def test_points_of_a_grid_are_different_in_the_grid_and_the_same_every_time(tmp_path):
    grid = Grid(source="s", values={"learning_rate": [1, 2, 3], "train_batch_size": [16, 32]})
    chosen = points(grid, 4)
    assert chosen == points(grid, 4)
    assert len({tuple(point.values()) for point in chosen}) == 4
    assert len(points(grid, 100)) == 6


def test_search_without_a_recipe_of_ours_is_refused(tmp_path):
    plan = plan_of(tmp_path)
    with pytest.raises(InputError, match="--search tries recipes of ours with a grid"):
        search(plan, tmp_path, TINY, executor=local(1, tmp_path / "logs"), trials=2)
    assert grid_of(plan.recipes["mnli/quick"]) is None


# --- the whole


def test_every_published_table_can_be_planned(tmp_path, monkeypatch):
    """On no data at all each recipe has a problem, and it is the data that is missing: no recipe is broken."""
    for name in published.table_names():
        table = published.load_published(name)
        if table.kind == "published":
            plan = make_table_plan(name, tmp_path, options=RunOptions(data=str(tmp_path)))
            assert plan.recipes and all("--data" in recipe_plan.problem for recipe_plan in plan.recipes.values()), name


def test_frozen_table_is_never_called_a_printed_one(tmp_path, fake_debft):
    plan = plan_of(tmp_path)
    report, _ = reproduce(plan, tmp_path, executor=local(1, tmp_path / "logs"), check=False, command="debft reproduce demo")
    page = Path(tmp_path / "report" / "index.html").read_text()
    assert report.table.kind == "measured"
    assert "published" not in page.lower()
