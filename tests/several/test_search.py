"""`debft search`: optuna itself over runs that are stand-ins: what is tried, stopped, resumed, refused, recorded. One test trains."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import processes
import pytest
from fake_runs import start_forked
from json_schemas import wrong

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import value_at, with_train, with_values
from debft.config.schema import schema
from debft.console import console
from debft.errors import InputError
from debft.library.resolving import resolve
from debft.output.layout import print_table
from debft.runs.directory import RunDirectory
from debft.several.search import plan_search, search, show_plan
from debft.several.space import DEFAULT_SPACE, Dimension, check_not_typed, read_space
from debft.several.study import Search, open_study
from debft.several.study_page import best_so_far, page
from debft.several.study_record import StudyRecord, TrialRecord, best_lines, trial_table
from debft.several.trials import CHECKS, plan_trial, score_of

# Stands in for `python -m debft`: it scores 90 less the distance of the learning rate from 3e-5 in powers of ten, evaluates after each
# fifth and leaves what a run leaves. A trial of number BAD or more scores 10 and waits until it is told to stop; one of number FAILS
# ends with exit code CODE, else 3; with PAUSE every one waits after its first evaluation.
FAKE = """
import json, math, os, signal, sys, time
from pathlib import Path
from debft.library.resolving import resolve
from debft.config.recipe import to_dict
from debft.runs.directory import RunDirectory
from debft.runs.environment import code_digest, moving_versions
arguments = sys.argv[1:]
def given(name):
    return arguments[arguments.index(name) + 1]
recipe = resolve("text", {}, recipe=given("--recipe"), assignments=[arguments[i + 1] for i, word in enumerate(arguments) if word == "--set"])
run = RunDirectory(Path(given("--output")))
number = int(run.path.name.rpartition("-")[2])
if number == int(os.environ.get("FAILS", -1)):
    print("not finite", file=sys.stderr); sys.exit(int(os.environ.get("CODE", 3)))
def leave(signal_number, _):
    run.checkpoints.mkdir(exist_ok=True)
    (run.checkpoints / "told").write_text("")
    os._exit(128 + signal_number)  # at any moment, also where Python ends already
signal.signal(signal.SIGTERM, leave); signal.signal(signal.SIGINT, leave)
run.create(recipe)
bad = number >= int(os.environ.get("BAD", 1000))
score = 10.0 if bad else 90 - abs(math.log10(recipe.train.learning_rate / 3e-5))
def wait():
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        time.sleep(0.02)
for step in range(1, 11):
    run.logs.append("steps.jsonl", {"step": step, "loss": 1.0, "grad_norm": 1.0, "learning_rate": 1e-3, "num_tokens": 9})
    if step % 2 == 0:
        scores = {"validation/accuracy": score - 10 + step, "validation/macro_f1": score - 10 + step}
        run.logs.append("evaluations.jsonl", {"step": step, "scores": scores})
        if (bad and step == 4) or "PAUSE" in os.environ:
            wait()
run.model.mkdir()
(run.model / "config.json").write_text("{}")
content = dict(format_version=1, task="text", model="demo", status="complete", published=[], not_compared="own data", num_examples={},
    num_train_examples=40, num_tokens=90, steps=10, peak_memory_bytes=1, recipe=to_dict(recipe),
    data={"source": "directory", "fingerprints": json.loads(os.environ["FINGERPRINTS"])},
    environment={**moving_versions(), "code": code_digest()}, intervals={"validation/accuracy": [80.0, 95.0]},
    timing={"train_seconds": 1.0, "eval_seconds": 1.0, "examples_per_second": 1.0, "tokens_per_second": 1.0}, scores=scores)
(run.path / ".result").write_text(json.dumps(content))
(run.path / ".result").replace(run.path / "result.json")
"""


def write_rows(path, count):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *((f"text {n}", "yes" if n % 3 else "no") for n in range(count))])


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    data = tmp_path_factory.mktemp("own")
    write_rows(data / "train.csv", 40)
    write_rows(data / "validation.csv", 10)
    return with_train(resolve("text", {"model": "demo", "data": str(data)}), from_scratch=True, max_steps=10)


@pytest.fixture(scope="module")
def fingerprints(recipe, tmp_path_factory):
    return plan_search(recipe, tmp_path_factory.mktemp("none")).fingerprints


def fake_debft(patch, fingerprints, **environment):
    patch.setenv("FINGERPRINTS", json.dumps(fingerprints))
    for name, value in environment.items():
        patch.setenv(name, value)
    start_forked(patch, FAKE)


def run(recipe, directory, trials, jobs=1, space=None):
    return search(plan_search(recipe, directory), space or read_space(None, recipe), directory, trials=trials, jobs=jobs)


@pytest.fixture(scope="module")
def six_trials(tmp_path_factory, recipe, fingerprints):
    """A study of six trials, of which the last was stopped: the first that may be. Not to be changed."""
    directory = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        fake_debft(patch, fingerprints, BAD="5")
        content, code = run(recipe, directory, 6)
    assert code == 0
    assert content == json.loads((directory / "study.json").read_text())
    return directory


def record_in(directory):
    content = json.loads((directory / "study.json").read_text())
    return StudyRecord(**content | {"trials": [TrialRecord(**trial) for trial in content["trials"]]})


# --- what is tried


def test_trials_are_recorded_with_their_settings_and_the_best_is_the_highest(six_trials):
    record = record_in(six_trials)
    assert wrong(json.loads((six_trials / "study.json").read_text()), schema(StudyRecord)) == []
    assert [trial.state for trial in record.trials] == ["complete"] * 5 + ["stopped"]
    rates = {trial.number: trial.settings["train.learning_rate"] for trial in record.trials[:5]}
    assert len(set(rates.values())) > 1 and all(1e-5 <= rate <= 1e-4 for rate in rates.values())
    assert record.best == max(record.trials[:5], key=lambda trial: trial.score).number
    for trial in record.trials[:5]:
        kept = load_recipe(six_trials / trial.directory / "recipe.yaml")
        assert kept.train.learning_rate == trial.settings["train.learning_rate"]
        assert kept.train.train_batch_size == trial.settings["train.train_batch_size"]


def test_trial_is_scored_by_the_selection_score_at_every_fifth(six_trials):
    trial = record_in(six_trials).trials[0]
    assert trial.checks == pytest.approx({str(fifth): trial.score - 10 + 2 * fifth for fifth in range(1, CHECKS + 1)})


def test_trial_below_the_median_is_stopped_and_keeps_its_logs_alone(six_trials):
    stopped = record_in(six_trials).trials[5]
    assert (stopped.state, stopped.score, list(stopped.checks)) == ("stopped", None, ["1", "2"])
    place = six_trials / stopped.directory
    assert {path.name for path in place.iterdir()} == {"recipe.yaml", "steps.jsonl", "evaluations.jsonl"}


def test_model_of_the_best_trial_alone_stays(six_trials):
    record = record_in(six_trials)
    kept = [trial.number for trial in record.trials if (six_trials / trial.directory / "model").is_dir()]
    assert kept == [record.best]


def test_best_recipe_runs_as_it_stands_and_is_that_of_the_best_trial(six_trials):
    record = record_in(six_trials)
    best = load_recipe(recipe_path(str(six_trials / "best.yaml")))
    ran = load_recipe(six_trials / record.best_trial().directory / "recipe.yaml")
    assert replace(best, source=None) == replace(ran, source=None, reproduces=None, note=None)
    assert "the best of 5 complete trials of debft search" in best.source
    assert resolve("text", {}, recipe=str(six_trials / "best.yaml")) == best


def test_journal_is_lines_of_json(six_trials):
    assert all(isinstance(json.loads(line), dict) for line in (six_trials / "study.jsonl").read_text().splitlines())


def test_importance_is_of_every_key_and_sums_to_one(six_trials):
    record = record_in(six_trials)
    assert set(record.importance) == set(record.space)
    assert sum(record.importance.values()) == pytest.approx(1.0)
    assert max(record.importance, key=record.importance.get) == "train.learning_rate"  # the score depends on nothing else


def test_score_of_the_best_is_said_to_be_optimistic_and_test_not_used_for_the_choice(six_trials):
    record = replace(record_in(six_trials), best_scores={"validation/accuracy": 90.0, "test/accuracy": 85.0})
    lines = best_lines(record, ["validation"], {"validation": 10, "test": 20})
    assert lines == [
        "validation/accuracy  90.00  (95 % 80.00 to 95.00, 10 rows; chosen on these rows: expect less on others)",
        "test/accuracy  85.00  (20 rows; not used for the choice)",
    ]
    assert "the highest of 5 trials on the same validation rows" in record.remark


def test_trials_are_compared_by_the_metric_of_the_recipe(recipe, tmp_path):
    scores = {"validation/accuracy": 80.0, "validation/macro_f1": 70.0}
    assert score_of(scores, plan_search(recipe, tmp_path), tmp_path) == 75.0
    assert score_of(scores, plan_search(with_train(recipe, metric="macro_f1", checkpoint="best"), tmp_path), tmp_path) == 70.0
    with pytest.raises(InputError, match="expected the score validation/accuracy, found none; remove it to run it again"):
        score_of({"validation/macro_f1": 70.0}, plan_search(recipe, tmp_path), tmp_path)
    with pytest.raises(InputError, match="expected a score that trials are compared by, got 'loss'"):
        plan_search(with_train(recipe, metric="loss", checkpoint="best"), tmp_path)


def test_score_of_a_test_split_is_no_part_of_what_is_searched(recipe, fingerprints, tmp_path):
    plan = plan_search(recipe, tmp_path)
    test = replace(plan.task.evals[0], name="test")
    task = replace(plan.task, evals=(*plan.task.evals, test), selection=("validation",))
    assert task.selection_score({"validation/accuracy": 80.0, "validation/macro_f1": 70.0, "test/accuracy": 1.0}) == 75.0


@pytest.mark.parametrize(("evaluations", "told"), [(1, []), (2, [signal.SIGTERM]), (4, [signal.SIGTERM]), (5, [])])
def test_trial_below_the_median_is_stopped_unless_it_has_just_begun_or_is_done(tmp_path, six_trials, recipe, evaluations, told):
    shutil.copytree(six_trials, tmp_path, dirs_exist_ok=True)
    plan, sent = plan_search(recipe, tmp_path), []
    space = read_space(None, recipe)
    common = tmp_path / "search.yaml"
    study = Search(study=open_study(plan, space, tmp_path), base=plan, space=space, directory=tmp_path, common=common)
    trial = study.ask()
    planned = plan_trial(plan, common, study.place(trial.number), study.values_of(trial.params))
    directory = RunDirectory(planned.directory)
    directory.create(recipe)
    for step in range(2, 2 * evaluations + 1, 2):
        directory.logs.append(
            "evaluations.jsonl", {"step": step, "scores": {"validation/accuracy": 1.0, "validation/macro_f1": 1.0}}
        )
    study.running[planned.id] = (trial, planned)
    study.look(SimpleNamespace(running=[SimpleNamespace(run=planned, tell=sent.append)]))
    assert sent == told


# --- again, more, interrupted, failed


def test_same_command_repeats_nothing_and_more_trials_go_on(tmp_path, six_trials, recipe, fingerprints, monkeypatch):
    shutil.copytree(six_trials, tmp_path, dirs_exist_ok=True)
    fake_debft(monkeypatch, fingerprints)
    before = json.loads((tmp_path / "study.json").read_text())["trials"]
    assert run(recipe, tmp_path, 6)[0]["trials"] == before
    more, code = run(recipe, tmp_path, 7)
    assert (more["trials"][:6], len(more["trials"]), code) == (before, 7, 0)


def test_interrupted_trial_goes_on_and_the_search_is_what_it_would_have_been(
    tmp_path, six_trials, recipe, fingerprints, monkeypatch
):
    with monkeypatch.context() as patch:
        fake_debft(patch, fingerprints, PAUSE="1")
        watch = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import os, time, pathlib\nwhile not list(pathlib.Path({str(tmp_path)!r}).rglob('evaluations.jsonl')): time.sleep(0.05)\n"
                f"time.sleep(0.3); os.kill({os.getpid()}, {int(signal.SIGINT)})",
            ]
        )
        content, code = run(recipe, tmp_path, 2)
        watch.wait()
    assert code == 130
    assert [trial["state"] for trial in content["trials"]] == ["running"] and content["best"] is None
    assert (tmp_path / "trial-000" / "checkpoints" / "told").exists()
    fake_debft(monkeypatch, fingerprints)
    shutil.rmtree(tmp_path / "trial-000")  # the stand-in does not resume
    content, code = run(recipe, tmp_path, 2)
    assert code == 0
    whole = json.loads((six_trials / "study.json").read_text())["trials"][:2]
    assert [trial["settings"] for trial in content["trials"]] == [trial["settings"] for trial in whole]
    assert [trial["score"] for trial in content["trials"]] == [trial["score"] for trial in whole]


def test_search_of_other_code_goes_on_and_says_so(tmp_path, six_trials, recipe, fingerprints, monkeypatch, capfd):
    shutil.copytree(six_trials, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr("debft.reproduce.identity.code_digest", lambda: "0123456789abcdef")
    assert len(run(recipe, tmp_path, 6)[0]["trials"]) == 6
    assert "begun with other code, versions or model files" in capfd.readouterr().err


def test_trial_that_never_had_its_settings_has_failed(tmp_path, recipe, fingerprints, monkeypatch):
    """As `kill -9` between two lines of the journal leaves it."""
    plan, space = plan_search(recipe, tmp_path), read_space(None, recipe)
    open_study(plan, space, tmp_path).ask()
    fake_debft(monkeypatch, fingerprints)
    content, code = run(recipe, tmp_path, 2)
    assert (code, [trial["state"] for trial in content["trials"]]) == (0, ["failed", "complete"])


@pytest.mark.parametrize("cut", [1, 30, -5])
def test_search_whose_journal_is_cut_in_its_last_line_goes_on(tmp_path, six_trials, recipe, fingerprints, monkeypatch, capfd, cut):
    """As a full disk leaves it. cut: bytes that are missing, or that are left of the line where it is negative"""
    shutil.copytree(six_trials, tmp_path, dirs_exist_ok=True)
    fake_debft(monkeypatch, fingerprints)
    *_, last = (tmp_path / "study.jsonl").read_bytes().splitlines(keepends=True)
    with (tmp_path / "study.jsonl").open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - (cut if cut > 0 else len(last) + cut))
    shutil.rmtree(tmp_path / "trial-005")  # the stand-in does not resume
    for _ in range(2):
        content, code = run(recipe, tmp_path, 6)
        assert (code, len(content["trials"])) == (0, 6)
    assert capfd.readouterr().err.count("its last line is not whole and was dropped") == 1


def test_trials_run_at_the_same_time(tmp_path, recipe, fingerprints, monkeypatch):
    fake_debft(monkeypatch, fingerprints)
    content, code = run(recipe, tmp_path, 3, jobs=3)
    assert (code, [trial["state"] for trial in content["trials"]]) == (0, ["complete"] * 3)


def test_failing_trial_is_named_and_the_search_goes_on(tmp_path, recipe, fingerprints, monkeypatch, capfd):
    fake_debft(monkeypatch, fingerprints, FAILS="0")
    content, code = run(recipe, tmp_path, 2)
    assert code == 0  # a loss that is not finite tells of the settings, not of the search
    assert [trial["state"] for trial in content["trials"]] == ["failed", "complete"]
    assert content["trials"][0]["error"] == "not finite"
    assert "failed with exit code 3: not finite" in capfd.readouterr().err


def test_trial_that_a_signal_ended_alone_is_named_and_goes_on_with_the_same_command(
    tmp_path, recipe, fingerprints, monkeypatch, capfd
):
    with monkeypatch.context() as patch:
        fake_debft(patch, fingerprints, FAILS="0", CODE="143")
        content, code = run(recipe, tmp_path, 2)
    assert (code, [trial["state"] for trial in content["trials"]]) == (143, ["running", "complete"])
    assert "interrupted; the same command goes on with it" in capfd.readouterr().err
    fake_debft(monkeypatch, fingerprints)
    content, code = run(recipe, tmp_path, 2)
    assert (code, [trial["state"] for trial in content["trials"]]) == (0, ["complete"] * 2)


def test_search_without_a_complete_trial_says_so_and_ends_with_its_code(tmp_path, recipe, fingerprints, monkeypatch, capfd):
    fake_debft(monkeypatch, fingerprints, FAILS="0")
    content, code = run(recipe, tmp_path, 1)
    assert (code, content["best"], content["importance"]) == (3, None, {})
    assert "no trial is complete" in capfd.readouterr().err and not (tmp_path / "best.yaml").exists()
    assert "No trial is complete" in (tmp_path / "report.html").read_text()


def test_settings_that_cannot_be_run_fail_without_a_process(tmp_path, recipe, fingerprints, monkeypatch, capfd):
    """A warm-up of ten steps or more is as long as the run."""
    space = {"train.warmup_steps": Dimension(low=10.0, high=20.0, step=1.0)}
    content, code = run(recipe, tmp_path, 2, space=space)
    assert (code, {trial["state"] for trial in content["trials"]}) == (2, {"failed"})
    assert "cannot be run: train.warmup_steps: expected less than the 10 steps" in capfd.readouterr().err


# --- what is refused


def test_another_recipe_space_or_rows_are_refused(tmp_path, six_trials, recipe):
    shutil.copytree(six_trials, tmp_path / "study")
    with pytest.raises(InputError, match=r"holds a different run: train\.weight_decay is"):
        plan_search(with_train(recipe, weight_decay=0.5), tmp_path / "study")
    with pytest.raises(InputError, match="holds a search of another space"):
        run(recipe, tmp_path / "study", 6, space={"train.weight_decay": Dimension(choices=(0.0, 0.1))})
    plan = plan_search(recipe, tmp_path / "study")
    vars(plan)["fingerprints"] = {"train": "0"}
    with pytest.raises(InputError, match="holds a search of other rows"):
        search(plan, read_space(None, recipe), tmp_path / "study", trials=6, jobs=1)


BEGUN = '{"op_code":0,"worker_id":"w","study_name":"search","directions":[7]}\n'
NO_JOURNALS = ("no study\n", "no study", "[]\n", "null\n", '{"op_code": 99}\n', "[" * 8000 + "\n", BEGUN)


@pytest.mark.parametrize("content", NO_JOURNALS, ids=range(len(NO_JOURNALS)))
def test_directory_with_something_else_or_a_broken_journal_is_refused(tmp_path, recipe, content):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="expected an empty directory or a search"):
        plan_search(recipe, tmp_path)
    (tmp_path / "study.jsonl").write_text(content)
    with pytest.raises(InputError, match=r"study\.jsonl: expected the journal of a search"):
        run(recipe, tmp_path, 1)
    assert (tmp_path / "study.jsonl").read_text().startswith(content)


def test_every_problem_of_a_space_is_said_at_once(tmp_path, recipe):
    path = tmp_path / "space.yaml"
    path.write_text(
        "own: {fold: [1, 2]}\n"
        "text: {max_seq_length: {low: 4, high: 64}}\n"
        "train:\n"
        "  learnin_rate: [1e-5, 1e-4]\n"
        "  seed: [1, 2]\n"
        "  learning_rate: {low: 1e-4, high: 1e-5}\n"
        "  train_batch_size: {low: 8.5, high: 16}\n"
        "  weight_decay: {low: 0, high: 0.1, log: true}\n"
        "  warmup_steps: 0.1\n"
        "  adam_epsilon: {low: 1e-8, most: 1e-6}\n"
        "  num_train_epochs: [3]\n"
    )
    with pytest.raises(InputError) as error:
        read_space(path, with_train(recipe, max_steps=None))
    places = [problem.removeprefix(f"{path}: ").partition(": ")[0] for problem in error.value.problems]
    keys = ("seed", "learning_rate", "train_batch_size", "weight_decay", "warmup_steps", "adam_epsilon", "num_train_epochs")
    assert places == ["own", "train", *(f"train.{key}" for key in keys)]  # an unknown key is named in its section, as in a recipe
    path.write_text("text: {max_seq_length: {low: 4, high: 64}}\ntrain: {schedule: [linear, cosine]}\n")
    with pytest.raises(InputError) as error:
        read_space(path, recipe)
    assert [problem.split(": ")[1] for problem in error.value.problems] == ["text.max_seq_length", "train.schedule"]


@pytest.mark.parametrize(
    ("key", "high", "message"),
    [
        ("train_batch_size", "1e999", "high: expected a whole number, got inf"),
        ("learning_rate", "1" * 400, "high: expected a number, got 1111"),
    ],
    ids=range(2),
)
def test_range_without_an_end_is_one_line(tmp_path, recipe, key, high, message):
    (tmp_path / "space.yaml").write_text(f"train: {{{key}: {{low: 1, high: {high}}}}}\n")
    with pytest.raises(InputError, match=f"train.{key}: {message}"):
        read_space(tmp_path / "space.yaml", recipe)


def test_space_of_a_file_is_read(tmp_path, recipe):
    path = tmp_path / "space.yaml"
    path.write_text("train:\n  learning_rate: {low: 1e-6, high: 1e-4, log: true}\n  schedule: [linear, linear_unshifted]\n")
    assert read_space(path, recipe) == {
        "train.learning_rate": Dimension(low=1e-6, high=1e-4, log=True),
        "train.schedule": Dimension(choices=("linear", "linear_unshifted")),
    }


def test_epochs_are_not_searched_where_the_steps_are_given(recipe, tmp_path, capfd):
    assert "train.num_train_epochs" not in read_space(None, recipe)
    assert "not searched" in capfd.readouterr().err
    assert "train.num_train_epochs" in read_space(None, with_train(recipe, max_steps=None))
    with pytest.raises(InputError, match="does nothing beside --max-steps"):
        read_space(DEFAULT_SPACE, recipe)


def test_option_that_the_search_chooses_is_refused(recipe):
    typed = {"train.learning_rate": "--learning-rate", "train.eval_steps": "--eval-steps", "train.seed": "--seed"}
    with pytest.raises(InputError) as error:
        check_not_typed(read_space(None, recipe), typed)
    assert [problem.partition(":")[0] for problem in error.value.problems] == ["--learning-rate", "--eval-steps"]


def test_settings_of_a_trial_are_what_its_command_says(recipe, tmp_path):
    plan = plan_search(recipe, tmp_path)
    values = {"train.learning_rate": 3.14e-5, "train.warmup_steps": 0.15}
    trial = plan_trial(plan, tmp_path / "search.yaml", tmp_path / "trial-000", values)
    given = [trial.arguments[i + 1] for i, word in enumerate(trial.arguments) if word == "--set"]
    assert given == ["train.learning_rate=3.14e-5", "train.warmup_steps=0.15", "train.eval_steps=2"]
    assert trial.recipe == with_values(recipe, values | {"train.eval_steps": 2})


def test_recipe_of_a_trial_is_the_one_that_its_command_reads(recipe, tmp_path):
    """A whole number of a space is a number of the recipe; else the run would be taken for one of another recipe."""
    plan = plan_search(recipe, tmp_path)
    values = {"sift.weight": 3, "train.num_train_epochs": 2, "train.train_batch_size": 16, "train.schedule": "linear"}
    trial = plan_trial(plan, tmp_path / "search.yaml", tmp_path / "trial-000", values)
    assignments = [trial.arguments[i + 1] for i, word in enumerate(trial.arguments) if word == "--set"]
    run = resolve("text", {"model": "demo"}, assignments=assignments)
    for key in values:
        assert repr(value_at(trial.recipe, key)) == repr(value_at(run, key)), key


def test_missing_optuna_is_one_line_with_the_command_before_anything_else(tmp_path):
    hidden = (
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'optuna' else find(name, *more)\n"
    )
    done = processes.run("search", "text", "--data", tmp_path / "nowhere", code=hidden + processes.DEBFT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "pip install 'debft[search]'" in done.stderr


# --- what is shown


def test_dry_run_shows_the_space_and_tries_nothing(recipe, tmp_path, capfd):
    plan, space = plan_search(recipe, tmp_path / "out"), read_space(None, recipe)
    content = show_plan(plan, space, tmp_path / "out", trials=5, jobs=None)
    assert (content["trials"], set(content["space"])) == (5, set(space)) and not (tmp_path / "out").exists()
    shown = capfd.readouterr().err
    assert "train.learning_rate: 1e-5 to 1e-4 by its logarithm" in shown and "for 5 runs" in shown
    assert content["estimate"]["num_tokens"] > 0 and content["estimate"]["seconds_of_all"] > content["estimate"]["train_seconds"]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_table_of_trials_fits_the_width_and_breaks_no_number(six_trials, width, monkeypatch, capfd):
    record = record_in(six_trials)
    monkeypatch.setattr("debft.output.layout.on_terminal", lambda: True)
    monkeypatch.setattr(console, "_width", width)
    print_table(trial_table(record))
    text = capfd.readouterr().err
    assert max(map(len, text.splitlines())) <= width
    assert all(f"{trial.score:.2f}" in text.split() for trial in record.trials if trial.score is not None)


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
def test_browser_shows_the_page_without_a_request_or_a_page_wider_than_the_screen(six_trials, browser, width, height):
    browser.open((six_trials / "report.html").as_uri(), width, height)
    assert browser.requests == [(six_trials / "report.html").as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") == width == browser.evaluate("innerWidth")
    assert browser.evaluate("document.querySelector('.panel svg').getBoundingClientRect().width") > 200


def test_curve_is_the_best_so_far(six_trials):
    record = record_in(six_trials)
    scores = [trial.score for trial in record.trials[:5]]
    assert best_so_far(record) == [(n, max(scores[: n + 1])) for n in range(5)]


def test_page_shows_every_trial_and_asks_for_nothing(six_trials):
    text = (six_trials / "report.html").read_text()
    assert text == page(record_in(six_trials))
    assert text.count('class="left stopped"') == 1 and text.count('class="left complete"') == 5
    assert "<script" not in text and "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert "expect less on others" in text


def test_schema_of_the_study_is_the_committed_one():
    """`python docs/schemas.py` writes it."""
    committed = Path(__file__).parents[2] / "docs" / "study.schema.json"
    assert json.loads(committed.read_text(encoding="utf-8")) == schema(StudyRecord, closed=False)


@pytest.mark.sweep
def test_whole_way_of_a_small_search(tmp_path, recipe):
    """Real runs; the best recipe, run by itself, scores what its trial did."""
    usual = ["--model", "demo", "--from-scratch", "--max-steps", 5, "--json"]
    done = processes.run(
        "search", "text", "--data", recipe.data, *usual, "--trials", 2, "--output", tmp_path / "study", code=processes.FORKING
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    again = processes.run("text", "--recipe", tmp_path / "study" / "best.yaml", "--json", "--output", tmp_path / "best")
    assert json.loads(again.stdout)["scores"] == content["best_scores"]
