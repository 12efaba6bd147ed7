"""Reproducing a table: what is planned, what runs, what is kept, what fails. Only the test of the whole way trains."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import write_mnli

from debft import published
from debft.errors import InputError
from debft.models import count_parameters, find_model
from debft.recipe import load_recipe, recipe_path, with_train
from debft.reproduce import jobs
from debft.reproduce.collect import collect, curve
from debft.reproduce.cost import cost_of, total
from debft.reproduce.jobs import run_all
from debft.reproduce.plan import Options, make_table_plan, run_key
from debft.reproduce.reproduction import dry_run, lost_cells, reproduce
from debft.reproduce.search import grid_of, points, search, trial_options
from debft.results import RunDirectory
from debft.tasks import TASKS

TINY = Options(max_steps=3, max_train_samples=96, max_eval_samples=30)

# Stands in for `python -m debft`: logs STEPS steps into --output and leaves like a run, or fails as the test says.
FAKE = """
import json, os, signal, sys, time
from pathlib import Path
arguments = sys.argv[1:]
out = Path(arguments[arguments.index("--output") + 1])
seed = int(arguments[arguments.index("--seed") + 1])
assert "--resume" in arguments
def leave(number, _):
    (out / "checkpoint").write_text("saved")
    sys.exit(128 + number)
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM): signal.signal(number, leave)
if seed == int(os.environ.get("FAILS", -1)):
    print("out of luck", file=sys.stderr); sys.exit(3)
out.mkdir(parents=True, exist_ok=True)
(out / "recipe.yaml").touch()
with (out / "steps.jsonl").open("a") as log:
    for step in range(1, 4):
        log.write(json.dumps({"step": step, "loss": 1.0, "grad_norm": 1.0, "learning_rate": 1e-3, "num_tokens": 9}) + "\\n"); log.flush()
        time.sleep(float(os.environ.get("PAUSE", 0)))
fields = dict(format_version=1, task="mnli", model="demo", status="complete", published=[], not_compared=None, num_examples={},
    num_train_examples=96, num_tokens=27, steps=3, peak_memory_bytes=1, recipe={"train": {"seed": seed}},
    data={"source": "demo", "fingerprints": json.loads(os.environ["FINGERPRINTS"])}, environment={"threads": os.environ.get("OMP_NUM_THREADS"),
    "device": os.environ.get("CUDA_VISIBLE_DEVICES"), "time": [time.time()]}, timing={"train_seconds": 1.0, "eval_seconds": 1.0,
    "examples_per_second": 1.0, "tokens_per_second": 1.0}, scores={"validation_matched/accuracy": 90.0 + seed, "validation_mismatched/accuracy": 70.0})
(out / "result.json").write_text(json.dumps(fields))
"""


@pytest.fixture
def fake_debft(tmp_path, monkeypatch):
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    monkeypatch.setattr(jobs, "DEBFT", (sys.executable, str(script)))
    monkeypatch.setenv("FINGERPRINTS", json.dumps(plan_of(tmp_path / "none").runs[0].fingerprints))


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
    return run_key(recipe, rows, options)


def test_key_changes_with_everything_that_moves_the_score_and_with_nothing_else(monkeypatch):
    recipe, rows = load_recipe(recipe_path("mnli/quick")), {"train": "aa", "validation_matched": "bb"}
    key = key_of(recipe, rows)
    assert key_of(replace(recipe, source="elsewhere", runtime=replace(recipe.runtime, save_steps=3)), rows) == key
    others = [
        key_of(with_train(recipe, seed=7), rows), key_of(with_train(recipe, learning_rate=1e-4), rows),
        key_of(replace(recipe, sift=replace(recipe.sift, weight=1.0)), rows), key_of(recipe, rows | {"train": "cc"}),
        key_of(recipe, rows, replace(TINY, precision="bf16")), key_of(recipe, rows, replace(TINY, precision="fp32")),
    ]  # fmt: skip
    monkeypatch.setattr("debft.reproduce.plan.__version__", "99")
    assert len({key, *others, key_of(recipe, rows)}) == 8


def test_key_follows_the_rows_of_a_directory_not_its_path():
    recipe, rows = load_recipe(recipe_path("mnli/quick")), {"train": "aa"}
    assert key_of(replace(recipe, data="/a"), rows) == key_of(replace(recipe, data="/b"), rows)


@pytest.mark.parametrize(
    ("table", "rows", "tasks", "problem"),
    [
        ("deberta", (), (), "table deberta: no such table; did you mean 'deberta-"),
        ("demo", ("MNL",), (), "--row MNL: the table has no such row; did you mean 'MNLI'?"),
        ("demo", (), ("mnlI",), "--task mnlI: the table has no such task; did you mean 'mnli'?"),
        ("demo", ("MNLI",), ("xnli",), "no cell of MNLI has a number and a recipe"),
    ],
)
def test_wrong_table_row_or_task_is_one_clear_line(tmp_path, table, rows, tasks, problem):
    with pytest.raises(InputError, match=problem.replace("?", r"\?")):
        make_table_plan(table, tmp_path, rows=rows, tasks=tasks, options=TINY)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (Options(changed={"train.seed": 3}), "--set train.seed: expected another key"),
        (Options(max_steps=3, changed={"train.max_steps": 2}), "--set train.max_steps: is given as --max-steps as well"),
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
    content, code = reproduce(plan, tmp_path / "out", jobs=1, check=False, command="debft reproduce demo")
    assert {cell["row"]: cell["verdict"] for cell in content["cells"]} == {"MNLI": "indicative", "SQuAD 2.0": "not run"}
    assert code == 2
    assert reproduce(plan, tmp_path / "out", jobs=1, check=True, command="")[1] == 4


# --- running


def test_what_is_complete_is_never_run_again(tmp_path, fake_debft):
    plan = plan_of(tmp_path)
    assert run(plan, tmp_path) == ({}, 0)
    times = [found.result().environment["time"] for found in plan.runs]
    assert plan_of(tmp_path).missing() == []
    more = plan_of(tmp_path, seeds=(1, 2, 3))
    assert [found.seed for found in more.missing()] == [3]
    run(more, tmp_path)
    assert [found.result().environment["time"] for found in more.runs[:2]] == times


def test_failing_run_does_not_stop_the_others_and_its_last_line_is_kept(tmp_path, fake_debft, monkeypatch, capfd):
    monkeypatch.setenv("FAILS", "1")
    plan = plan_of(tmp_path, seeds=(1, 2, 3))
    failures, _ = run(plan, tmp_path)
    assert [found.seed for found in plan.missing()] == [1]
    (failure,) = failures.values()
    assert (failure.code, failure.error) == (3, "out of luck")
    assert "failed with exit code 3: out of luck" in capfd.readouterr().err
    content = collect(plan, failures, command="", report=tmp_path / "report")
    assert [entry["status"] for entry in content["runs"]] == ["failed", "complete", "complete"]
    assert content["cells"][0]["n"] == 2


def test_jobs_run_at_the_same_time_and_share_the_cores(tmp_path, fake_debft, monkeypatch):
    monkeypatch.setenv("PAUSE", "0.5")
    plan = plan_of(tmp_path, seeds=(1, 2))
    started = time.monotonic()
    run(plan, tmp_path, number=2)
    assert time.monotonic() - started < 2 * 1.5  # one after the other would sleep 3 s alone
    threads = str(max(1, os.cpu_count() // 2))
    assert {found.result().environment["threads"] for found in plan.runs} == {threads}


def test_jobs_are_spread_over_the_devices(tmp_path, fake_debft, monkeypatch):
    monkeypatch.setenv("PAUSE", "0.3")
    plan = plan_of(tmp_path, seeds=(1, 2, 3, 4))
    run_all(plan.missing(), 2, ["3", "5"], tmp_path / "logs")
    assert sorted(found.result().environment["device"] for found in plan.runs) == ["3", "3", "5", "5"]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_signal_lets_the_running_ones_save_and_starts_no_more(tmp_path, fake_debft, monkeypatch, number):
    monkeypatch.setenv("PAUSE", "5")
    plan = plan_of(tmp_path, seeds=(1, 2, 3))
    watch = subprocess.Popen([
        sys.executable, "-c",
        f"import os, time, pathlib\nwhile not list(pathlib.Path({str(tmp_path)!r}).rglob('steps.jsonl')): time.sleep(0.05)\n"
        f"time.sleep(0.3); os.kill({os.getpid()}, {int(number)})",
    ])  # fmt: skip
    failures, stopped_by = run(plan, tmp_path)
    watch.wait()
    assert stopped_by == number
    assert [(tmp_path / found.id / "checkpoint").exists() for found in plan.runs] == [True, False, False]
    assert [failure.code for failure in failures.values()] == [128 + number]
    content = collect(plan, failures, command="", report=tmp_path / "report")
    assert [entry["status"] for entry in content["runs"]] == ["interrupted", "not run", "not run"]


def test_whole_way_of_a_small_table(tmp_path):
    """Two real runs, then the same command again, which trains nothing; a subset never counts."""
    command = [
        sys.executable, "-m", "debft", "reproduce", "demo", "--row", "MNLI", "--seeds", "2", "--jobs", "2", "--max-steps", "3",
        "--max-train-samples", "96", "--max-eval-samples", "30", "--output", str(tmp_path), "--check", "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    content = json.loads(done.stdout)
    assert content == json.loads((tmp_path / "report" / "report.json").read_text())
    cell = content["cells"][0]
    assert (cell["n"], cell["verdict"]) == (2, "indicative")
    assert cell["labels"] == ["max_steps 3", "max_train_samples 96", "max_eval_samples 30"]
    for entry in content["runs"]:
        directory = (tmp_path / "report" / entry["directory"]).resolve()
        result = json.loads((directory / "result.json").read_text())
        assert entry["scores"]["validation_matched/accuracy"] == result["scores"]["validation_matched/accuracy"]
        assert entry["fingerprints"] == result["data"]["fingerprints"]
        assert entry["recipe_hash"] and str(directory) in entry["command"]
    again = subprocess.run(command, capture_output=True, text=True)
    assert "2 complete, 0 to run" in again.stderr
    assert json.loads(again.stdout)["cells"] == content["cells"]


def test_recorded_command_makes_the_same_run(tmp_path):
    """What the report prints beside a number is what ran: into another directory it gives the same scores."""
    plan = plan_of(tmp_path / "a", seeds=(1,))
    run(plan, tmp_path / "a")
    (first,) = plan.runs
    arguments = [*first.arguments[: first.arguments.index("--output")], "--output", str(tmp_path / "b")]
    subprocess.run([sys.executable, "-m", "debft", *arguments], check=True, capture_output=True)
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
    "another seed": ("result.json", lambda text: text.replace('{"seed": 1}', '{"seed": 2}')),
    "other rows": ("result.json", lambda text: text.replace('"fingerprints": {', '"fingerprints": {"more": "0", ')),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_run_is_named_and_neither_counted_nor_trained_over(tmp_path, fake_debft, damage):
    plan = plan_of(tmp_path, seeds=(1, 2))
    run(plan, tmp_path)
    assert plan.missing() == []
    file, change = DAMAGES[damage]
    path = plan.runs[0].directory / file
    text = path.read_text() if path.exists() else ""
    assert change(text) != text
    path.write_text(change(text), errors="surrogateescape")
    with pytest.raises(InputError) as raised:
        plan.missing()
    (problem,) = raised.value.problems
    assert str(plan.runs[0].directory) in problem and "remove" in problem


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
        (["--trials", "3"], "--trials: is of --search"),
        (["--search", "--set", "train.learning_rate=1e-5"], "--set train.learning_rate: --search chooses it"),
        (["--precision", "fp8"], "--precision: expected"),
        (["--set", "train.learning_rate=fast"], "--set train.learning_rate: expected a number"),
        (["--set", "train.max_steps=4", "--max-steps", "5"], "--set train.max_steps: is given as --max-steps as well"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_or_make_no_sense(options, message, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "debft", "reproduce", "demo", "--output", str(tmp_path / "x"), *options],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and "Traceback" not in done.stderr


def test_dry_run_in_which_nothing_can_run_fails_as_the_real_one(tmp_path):
    plan = replace(plan_of(tmp_path), recipes={})
    with pytest.raises(InputError, match="found none"):
        dry_run(plan, None)


def test_interrupted_reproduction_says_so_once(tmp_path):
    """And not that no step was trained."""
    command = [
        sys.executable, "-m", "debft", "reproduce", "demo", "--row", "XNLI zero-shot", "--seeds", "1", "--output", str(tmp_path),
    ]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while running.poll() is None and not [path for path in tmp_path.rglob("steps.jsonl") if path.stat().st_size > 2000]:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    said = running.communicate(timeout=120)[1]
    assert running.returncode == 130
    assert "before the first training step" not in said
    (entry,) = json.loads((tmp_path / "report" / "report.json").read_text())["runs"]
    assert (entry["status"], entry["error"]) == ("interrupted", None) and entry["steps"] > 0


# --- what it costs


def test_dry_run_probes_shows_the_cost_and_leaves_nothing(tmp_path):
    command = [
        sys.executable, "-m", "debft", "reproduce", "demo", "--row", "MNLI", "--seeds", "2", "--max-train-samples", "96",
        "--max-eval-samples", "30", "--output", str(tmp_path / "out"), "--jobs", "1", "--dry-run", "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    (cost,) = content["recipes"]
    assert (cost["missing"], cost["steps"]) == (2, 18)
    assert cost["seconds"] > 0
    assert content["total"]["hours"] == pytest.approx(2 * cost["seconds"] / 3600)
    assert "on this machine (probe of 20 steps each)" in done.stderr
    assert not (tmp_path / "out").exists()


def test_cost_counts_the_tokens_of_the_run(tmp_path):
    """Against the tokens that a run of one epoch says it trained on."""
    options = Options(max_train_samples=96, max_eval_samples=30, changed={"train.num_train_epochs": 1.0})
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


def test_disk_is_that_of_all_models_and_of_the_checkpoints_of_what_runs_at_a_time(tmp_path):
    few = cost_of(plan_of(tmp_path).recipes["mnli/quick"])
    small, large = (replace(few, missing=2, disk_bytes=size, running_bytes=10 * size) for size in (1, 7))
    assert total([small, large], jobs=3)["disk_bytes"] == 2 * 1 + 2 * 7 + 70 + 70 + 10
    checkpoints = few.running_bytes / few.disk_bytes
    assert checkpoints == 3 * 3 + 0  # two kept and one half-written, each with two moments; the last step, not the best, is scored


# --- collecting


def test_labels_of_a_published_table_say_subset_and_change(tmp_path, monkeypatch):
    """On a directory of 100 rows, with a changed warm-up, under the recipe of a published cell and the demo's model in its place."""
    write_mnli(tmp_path / "data")
    options = Options(data=str(tmp_path / "data"), changed={"train.warmup_steps": 0.1})
    monkeypatch.setattr("debft.plan.find_model", lambda model, from_scratch: find_model("demo", True))
    plan = plan_of(tmp_path / "out", rows=("DeBERTa-v3-xsmall",), table="deberta-v3", seeds=(1,), options=options)
    content = collect(plan, {}, command="", report=tmp_path / "report")
    (entry,) = content["runs"]
    assert entry["labels"] == [
        "train: 100 of 392,702 rows", "validation_matched: 20 of 9,815 rows", "validation_mismatched: 20 of 9,832 rows",
        "warmup_steps 0.1, not 1000.0",
    ]  # fmt: skip
    on_demo = replace(plan.runs[0], recipe=replace(plan.runs[0].recipe, data="demo"))
    from debft.reproduce.collect import labels_of

    assert labels_of(on_demo, plan.recipes["mnli/deberta-v3-xsmall"], plan)[0] == "demo data"


def test_seeds_of_a_recipe_share_its_hash(tmp_path, fake_debft):
    plan = plan_of(tmp_path, seeds=(1, 2))
    other = plan_of(tmp_path, seeds=(1, 2), options=replace(TINY, changed={"train.learning_rate": 1e-5}))
    hashes = [{entry["recipe_hash"] for entry in collect(p, {}, command="", report=tmp_path)["runs"]} for p in (plan, other)]
    assert [len(found) for found in hashes] == [1, 1] and hashes[0] != hashes[1]


def test_frozen_table_on_other_rows_is_labelled(tmp_path, fake_debft):
    """The demo's recipe on a directory of its own: the rows, not the settings, are other ones."""
    write_mnli(tmp_path / "data")
    plan = plan_of(tmp_path, seeds=(1,), options=Options(data=str(tmp_path / "data")))
    (entry,) = collect(plan, {}, command="", report=tmp_path)["runs"]
    assert entry["labels"] == ["not on the frozen rows: train, validation_matched, validation_mismatched"]
    usual = collect(plan_of(tmp_path, seeds=(1,), rows=("SQuAD 2.0",), options=Options()), {}, command="", report=tmp_path)
    assert [entry["labels"] for entry in usual["runs"]] == [[]]
    assert "1256840" in {cell["cell"] for cell in usual["cells"]}  # not 1.25684e+06


@pytest.mark.parametrize("name", [name for name in published.table_names() if published.load_published(name).kind == "measured"])
def test_frozen_table_knows_its_rows(name):
    table = published.load_published(name)
    assert set(table.fingerprints) == {column.task for column in table.columns}
    for task, fingerprints in table.fingerprints.items():
        assert set(fingerprints) == {split.name for split in TASKS[task].splits}
        assert all(isinstance(text, str) for text in fingerprints.values())


def test_check_fails_on_a_loss_and_on_what_could_not_run_but_not_on_a_gain():
    def content(kind, **verdicts):
        cells = [{"verdict": word, "recipe": "r", "value": 1.0, "row": row} for row, word in verdicts.items()]
        return {"table": {"kind": kind}, "cells": [*cells, {"verdict": "not run", "recipe": None, "value": None, "row": "-"}]}

    words = {"a": "reproduced", "b": "above", "c": "below", "d": "indicative", "e": "not run"}
    assert [cell["row"] for cell in lost_cells(content("published", **words))] == ["c", "e"]
    assert [cell["row"] for cell in lost_cells(content("measured", **words))] == ["b", "c", "d", "e"]


def test_training_scores_and_curve_come_from_the_step_log(tmp_path):
    rows = [
        {"step": step, "loss": 10.0 - step * 0.01, "grad_norm": float(step), "learning_rate": 1e-3, "num_tokens": 7}
        for step in range(1, 501)
    ]
    (tmp_path / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 501, "lo')
    complete = SimpleNamespace(steps=500, num_tokens=3500)
    scores = RunDirectory(tmp_path).training_scores(complete)
    assert scores == {
        "train/loss": pytest.approx(sum(row["loss"] for row in rows) / 500), "train/grad_norm": pytest.approx(250.5),
        "train/learning_rate": pytest.approx(1e-3), "train/num_tokens": 3500,
    }  # fmt: skip
    points_of = curve(RunDirectory(tmp_path))
    assert points_of["step"][-1] == 500 and len(points_of["step"]) <= 200
    assert points_of["loss"][0] == pytest.approx((9.99 + 9.98 + 9.97) / 3)


# --- the parameters of the tables


@pytest.mark.parametrize(
    ("layers", "hidden", "heads", "intermediate", "millions"), [(12, 384, 6, 1536, 21.5), (6, 768, 12, 3072, 42.9)]
)
def test_backbone_is_counted_as_in_the_cards(tmp_path, demo_model, layers, hidden, heads, intermediate, millions):
    """21.5 and 42.9 M: counted over the encoders of v3-xsmall and v3-small without their word embeddings."""
    from conftest import write_model_config

    directory = write_model_config(
        tmp_path / "model", demo_model, num_hidden_layers=layers, hidden_size=hidden, num_attention_heads=heads,
        intermediate_size=intermediate, vocab_size=128100, position_buckets=256, max_position_embeddings=512, pooler_hidden_size=hidden,
    )  # fmt: skip
    every, backbone = count_parameters(find_model(str(directory), from_scratch=True))
    assert backbone / 1e6 == pytest.approx(millions, abs=0.05)
    assert (every - backbone) / 1e6 == pytest.approx(128100 * hidden / 1e6, rel=0.01)


# --- the search


def test_search_records_every_trial_and_writes_the_best_as_a_recipe(tmp_path, fake_debft, monkeypatch):
    write_mnli(tmp_path / "data")
    monkeypatch.setattr("debft.plan.find_model", lambda model, from_scratch: find_model("demo", True))
    asked = Options(data=str(tmp_path / "data"), max_train_samples=96, max_eval_samples=30, changed={"train.weight_decay": 0.5})
    options = trial_options(asked)
    plan = plan_of(tmp_path, rows=("RoBERTa-base",), table="deberta-v3", options=options)
    monkeypatch.setenv("FINGERPRINTS", json.dumps(plan.runs[0].fingerprints))
    plan = replace(plan, recipes={name: found for name, found in plan.recipes.items() if name.startswith("mnli")})
    content, code = search(plan, tmp_path, options, jobs=1, trials=3)
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
    grid = {"source": "s", "learning_rate": [1, 2, 3], "train_batch_size": [16, 32]}
    chosen = points(grid, 4)
    assert chosen == points(grid, 4)
    assert len({tuple(point.values()) for point in chosen}) == 4
    assert len(points(grid, 100)) == 6


def test_search_without_a_recipe_of_ours_is_refused(tmp_path):
    plan = plan_of(tmp_path)
    with pytest.raises(InputError, match="--search tries recipes of ours with a grid"):
        search(plan, tmp_path, TINY, jobs=1, trials=2)
    assert grid_of(plan.recipes["mnli/quick"]) is None


# --- the whole


def test_every_published_table_can_be_planned(tmp_path, monkeypatch):
    """On no data at all each recipe has a problem, and it is the data that is missing: no recipe is broken."""
    for name in published.table_names():
        table = published.load_published(name)
        if table.kind == "published":
            plan = make_table_plan(name, tmp_path, options=Options(data=str(tmp_path)))
            assert plan.recipes and all("--data" in found.problem for found in plan.recipes.values()), name


def test_frozen_table_is_never_called_a_printed_one(tmp_path, fake_debft):
    plan = plan_of(tmp_path)
    content, _ = reproduce(plan, tmp_path, jobs=1, check=False, command="debft reproduce demo")
    page = Path(tmp_path / "report" / "index.html").read_text()
    assert content["table"]["kind"] == "measured"
    assert "published" not in page.lower()
