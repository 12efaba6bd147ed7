"""`--seeds N`: what is run and what is not, what is refused, the statistics and their table. Runs are stand-ins but for one."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import processes
import pytest
import scipy.stats
from conftest import write_mnli
from fake_runs import start_fake
from json_schemas import wrong

from debft.config.recipe import with_train
from debft.config.schema import schema
from debft.console import console
from debft.errors import InputError
from debft.library.resolving import resolve
from debft.output.layout import print_table
from debft.runs.directory import RunDirectory
from debft.several.repeat import show_plan
from debft.several.seeds import plan_seeds, run_seeds
from debft.several.summary import Summary, spread_of, spread_table

MATCHED, MISMATCHED = "validation_matched/accuracy", "validation_mismatched/accuracy"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """MNLI with the demo's model on a few rows, three steps, from seed 1 on."""
    data = write_mnli(tmp_path_factory.mktemp("data"), train=32, dev=10)
    return with_train(resolve("mnli", {"model": "demo", "data": str(data)}), seed=1, max_steps=3, from_scratch=True)


@pytest.fixture
def fake_debft(monkeypatch, recipe, tmp_path):
    return start_fake(monkeypatch, plan_seeds(recipe, tmp_path / "none", 1).runs[1].fingerprints)


def run(recipe, directory, count, jobs=1):
    return run_seeds(plan_seeds(recipe, directory, count), jobs)


def test_seeds_are_run_beside_each_other_and_summed_up(tmp_path, recipe, fake_debft):
    summary, code = run(recipe, tmp_path, 3)
    assert code == 0
    assert [RunDirectory(tmp_path / f"seed-{seed}").result().recipe["train"]["seed"] for seed in (1, 2, 3)] == [1, 2, 3]
    spread = summary.scores[MATCHED]  # the stand-in scores 90 and its seed
    assert (spread.n, spread.mean, spread.sd) == (3, 92.0, 1.0)
    assert spread.by_run == {"1": 91.0, "2": 92.0, "3": 93.0}
    assert json.loads((tmp_path / "summary.json").read_text()) == json.loads(json.dumps(summary.as_dict()))
    assert wrong(json.loads((tmp_path / "summary.json").read_text()), schema(Summary)) == []


def test_interval_of_the_seeds_matches_scipy():
    scores = {"1": 84.2, "2": 85.9, "3": 83.1, "4": 86.0, "5": 85.2}
    values = list(scores.values())
    spread = spread_of(MATCHED, scores)
    assert spread.interval == pytest.approx(
        scipy.stats.t.interval(0.95, len(values) - 1, loc=spread.mean, scale=scipy.stats.sem(values)), abs=1e-9
    )
    assert spread.sd == pytest.approx(scipy.stats.tstd(values), abs=1e-12)


@pytest.mark.parametrize("scores", [{"1": 84.0}, {"1": 84.0, "2": 84.0}], ids=["one", "equal"])
def test_runs_without_spread_have_no_interval(scores):
    assert spread_of(MATCHED, scores).interval is None


@pytest.mark.parametrize(
    ("score", "bounds"), [("validation/accuracy", (0, 100)), ("validation/pearson", (-100, 100)), ("train/loss", (0, None))]
)
def test_interval_of_the_seeds_stays_within_what_the_score_can_be(score, bounds):
    """Of two seeds far apart Student's interval reaches from below -500 to above 600."""
    low, high = spread_of(score, {"1": 10.0, "2": 100.0}).interval
    unbounded = scipy.stats.t.interval(0.95, 1, loc=55.0, scale=scipy.stats.sem([10.0, 100.0]))[1]
    assert (low, high) == (bounds[0], pytest.approx(unbounded if bounds[1] is None else bounds[1]))


def test_same_command_repeats_nothing_and_a_larger_number_adds_seeds(tmp_path, recipe, fake_debft):
    run(recipe, tmp_path, 2)
    before = (tmp_path / "seed-1" / "result.json").stat().st_mtime_ns
    assert plan_seeds(recipe, tmp_path, 2).missing() == []
    summary, _ = run(recipe, tmp_path, 3)
    assert summary.scores[MATCHED].n == 3
    assert (tmp_path / "seed-1" / "result.json").stat().st_mtime_ns == before


def test_run_of_a_single_seed_that_is_there_is_counted(tmp_path, recipe, fake_debft):
    """What `debft mnli` made alone, with its default name, is one of the seeds."""
    run(recipe, tmp_path, 1)
    (tmp_path / "seeds.yaml").unlink()
    assert [planned.id for planned in plan_seeds(recipe, tmp_path, 2).missing()] == ["seed-2"]


def test_another_recipe_is_refused_for_each_seed_before_anything_runs(tmp_path, recipe, fake_debft):
    run(recipe, tmp_path, 2)
    with pytest.raises(InputError) as error:
        plan_seeds(with_train(recipe, learning_rate=1e-3), tmp_path, 3)
    assert [problem.partition(": ")[0] for problem in error.value.problems] == [
        f"--output {tmp_path / name}" for name in ("seed-1", "seed-2")
    ]
    assert all("train.learning_rate is" in problem for problem in error.value.problems)


def test_other_seeds_of_another_recipe_are_refused_beside_those_that_are_there(tmp_path, recipe, fake_debft):
    run(recipe, tmp_path, 1)
    with pytest.raises(InputError, match=r"holds a different run: train\.learning_rate is"):
        plan_seeds(with_train(recipe, seed=5, learning_rate=1e-3), tmp_path, 2)


@pytest.mark.parametrize("file", ["seed-1/notes.txt", "recipe.yaml"])
def test_directory_with_something_else_is_refused(tmp_path, recipe, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    with pytest.raises(InputError, match=r"--output .*: expected a"):
        plan_seeds(recipe, tmp_path, 2)


def test_damaged_run_is_named_and_not_counted_and_the_others_are_run(tmp_path, recipe, fake_debft, capfd):
    run(recipe, tmp_path, 2)
    path = tmp_path / "seed-1" / "result.json"
    path.write_text(path.read_text()[:40])
    summary, code = run(recipe, tmp_path, 3)
    assert code == 2
    assert [entry.status for entry in summary.runs] == ["damaged", "complete", "complete"]
    assert summary.scores[MATCHED].by_run == {"2": 92.0, "3": 93.0}
    assert str(path) in capfd.readouterr().err
    path = tmp_path / "seed-2" / "result.json"  # without a score that the others have
    content = json.loads(path.read_text())
    del content["scores"][MATCHED]
    path.write_text(json.dumps(content))
    summary, _ = run(recipe, tmp_path, 3)
    assert (summary.scores[MATCHED].by_run, summary.scores[MISMATCHED].n) == ({"3": 93.0}, 2)


def test_failing_run_does_not_stop_the_others_and_is_named(tmp_path, recipe, fake_debft, monkeypatch, capfd):
    monkeypatch.setenv("FAILS", "2")
    summary, code = run(recipe, tmp_path, 3)
    assert code == 3
    assert [entry.status for entry in summary.runs] == ["complete", "failed", "complete"]
    assert "seed-2: failed, not counted: out of luck" in capfd.readouterr().err


def test_run_of_other_code_is_counted_and_named(tmp_path, recipe, fake_debft, monkeypatch, capfd):
    run(recipe, tmp_path, 1)
    monkeypatch.setattr("debft.reproduce.identity.code_digest", lambda: "0123456789abcdef")
    summary, code = run(recipe, tmp_path, 1)
    assert (code, summary.scores[MATCHED].n) == (0, 1)
    assert "seed-1: made by code" in capfd.readouterr().err and summary.runs[0].made_by


def test_ctrl_c_lets_the_running_one_save_and_the_same_command_goes_on(tmp_path, recipe, fake_debft, monkeypatch):
    monkeypatch.setenv("PAUSE", "100")  # the signal ends it
    watch = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import os, time, pathlib\nwhile not list(pathlib.Path({str(tmp_path)!r}).rglob('steps.jsonl')): time.sleep(0.05)\n"
            f"time.sleep(0.3); os.kill({os.getpid()}, {int(signal.SIGINT)})",
        ]
    )
    summary, code = run(recipe, tmp_path, 2)
    watch.wait()
    assert code == 130
    assert [entry.status for entry in summary.runs] == ["interrupted", "not run"]
    assert (tmp_path / "seed-1" / "checkpoint").exists()
    assert len(plan_seeds(recipe, tmp_path, 2).missing()) == 2


def test_dry_run_shows_every_run_and_writes_nothing(tmp_path, recipe, capfd):
    content, code = show_plan(plan_seeds(recipe, tmp_path / "out", 3), 2)
    assert code == 0 and not (tmp_path / "out").exists()
    assert [(entry["number"], entry["status"], entry["steps"]) for entry in content["runs"]] == [
        (n, "missing", 3) for n in (1, 2, 3)
    ]
    shown = capfd.readouterr().err
    assert "3 runs of seeds 1 to 3: 0 complete, 3 to run, 2 runs at a time" in shown
    assert "in all    about " in shown and "9 optimizer steps in all" in shown
    estimate = content["estimate"]
    one = estimate["train_seconds"] + estimate["eval_seconds"]
    assert one > 0 and estimate["seconds_of_all"] == pytest.approx(3 * one)  # a CPU's cores are shared


def summary_of(names, seeds, published=None):
    spread = spread_of(MATCHED, {str(seed): 70.0 + seed % 7 for seed in range(seeds)}, published=published)
    return Summary(over="seed", task="t", model="m", scores=dict.fromkeys(names, spread), rule="", runs=[], recipe={})


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("seeds", [2, 5, 12])
@pytest.mark.parametrize("published", [None, 88.1])
@pytest.mark.parametrize(
    "names",
    [[MATCHED, MISMATCHED], ["validation/f1", "validation/exact_match"], [f"test.{code}/accuracy" for code in ("avg", "en", "zh")]],
    ids=["mnli", "squad", "xnli"],
)
def test_table_fits_the_width_and_breaks_no_number(names, seeds, published, width, monkeypatch, capfd):
    summary = summary_of(names, seeds, published)
    monkeypatch.setattr("debft.output.layout.on_terminal", lambda: True)
    monkeypatch.setattr(console, "_width", width)
    print_table(spread_table(summary))
    lines = capfd.readouterr().err.splitlines()
    assert max(map(len, lines)) <= width
    words = [word for line in lines for word in line.split()]
    spread = summary.scores[names[0]]
    assert words.count(f"{spread.mean:.2f}") >= len(names)
    each = [f"{score:.2f}" for score in spread.by_run.values()]
    assert all(words.count(text) >= len(names) * each.count(text) for text in each)  # every seed is shown, whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "2", "--num-processes", "2"], "--num-processes: does not go with --seeds"),
        (
            ["--seeds", "2", "--num-machines", "2", "--machine-rank", "1", "--main-process-ip", "127.0.0.1"],
            "--num-machines: does not go with --seeds",
        ),
        (["--seeds", "2", "--overwrite"], "--overwrite: does not go with --seeds"),
        (["--jobs", "2"], "--jobs: needs --seeds"),
        (["--seeds", "0"], "--seeds"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(options, message, tmp_path):
    done = processes.run("mnli", "--data", "demo", "--output", tmp_path / "x", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and "Traceback" not in done.stderr


def test_seeds_of_a_group_of_processes_are_refused(tmp_path, recipe, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="--seeds: starts processes of its own"):
        plan_seeds(recipe, tmp_path, 2)


@pytest.mark.sweep
def test_whole_way_of_two_seeds_and_the_same_command_again(tmp_path):
    """Real runs: each is what the single run of that seed is, down to its scores."""
    usual = ["mnli", "--data", "demo", "--max-steps", 3, "--max-train-samples", 96, "--max-eval-samples", 30, "--json"]
    command = [*usual, "--seeds", 2, "--seed", 5, "--output", tmp_path / "two"]
    done = processes.run(*command)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content == json.loads((tmp_path / "two" / "summary.json").read_text())
    alone = processes.run(*usual, "--seed", 6, "--output", tmp_path / "alone")
    assert content["runs"][1]["scores"] == json.loads(alone.stdout)["scores"]
    again = processes.run(*command)
    assert "2 complete, 0 to run" in again.stderr and json.loads(again.stdout)["scores"] == content["scores"]


def test_summary_of_no_complete_run_has_no_scores(tmp_path, recipe, fake_debft, monkeypatch):
    monkeypatch.setenv("FAILS", "1")
    summary, code = run(replace(recipe), tmp_path, 1)
    assert (summary.scores, code) == ({}, 3)


def test_schema_of_the_summary_is_the_committed_one():
    """`python docs/schemas.py` writes it."""
    committed = Path(__file__).parents[2] / "docs" / "summary.schema.json"
    assert json.loads(committed.read_text(encoding="utf-8")) == schema(Summary, closed=False)
