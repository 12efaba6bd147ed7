"""A run goes on with the options that its own recipe.yaml holds, or gives way to another one; nothing else is removed."""

import json
import shutil

import pytest
from conftest import write_mnli

from debft.cli.main import main
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.errors import InputError
from debft.library.resolving import continued, recipe_to_run, resolve
from debft.runs.directory import RunDirectory
from debft.training.place import check_output, start_of
from debft.training.run import finetune


def small_recipe(folder):
    """Three steps on a few rows."""
    settings = {"task": "mnli", "data": str(write_mnli(folder / "data", train=30, dev=5)), "train.max_steps": 3}
    return load_recipe(recipe_path("demo"), settings)


@pytest.fixture
def run(tmp_path):
    """A run that has begun, with a few options that were typed."""
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    run.create(resolve("mnli", {"data": "demo", "train.learning_rate": 1e-3, "train.max_steps": 5, "runtime.save_steps": 7}))
    return run


def test_resumed_run_has_the_recipe_of_its_directory_without_any_option(run):
    assert continued("mnli", run, {}, sift=None, assignments=[]) == run.recipe()


def test_resumed_run_takes_options_that_say_what_it_has(run):
    typed = {"model": "demo", "train.learning_rate": 1e-3}
    assert continued("mnli", run, typed, sift=False, assignments=["train.max_steps=5"]) == run.recipe()


def test_option_that_makes_another_run_is_named_with_both_values(run):
    with pytest.raises(InputError) as error:
        continued("mnli", run, {"train.learning_rate": 2e-3, "train.max_steps": 5}, sift=None, assignments=["train.seed=7"])
    rate, seed = error.value.problems
    assert rate.startswith(f"--learning-rate: the run in {run.path} has 0.001, got 0.002; leave that out to continue it")
    assert seed.startswith(f"--set train.seed: the run in {run.path} has 42, got 7; ")


def test_sift_typed_for_a_run_without_it_is_named(run):
    with pytest.raises(InputError, match=r"^--sift: the run in .* has 0\.0, got "):
        continued("mnli", run, {}, sift=True, assignments=[])


def test_option_of_the_runtime_may_differ_and_is_said(run, capsys):
    assert continued("mnli", run, {"runtime.save_steps": 9}, sift=None, assignments=[]).runtime.save_steps == 9
    assert "--save-steps 9 from here on, 7 before" in capsys.readouterr().err


def test_run_of_another_task_is_named_with_the_command_that_continues_it(run):
    with pytest.raises(InputError) as error:
        continued("cola", run, {}, sift=None, assignments=[])
    assert str(error.value) == f"--output {run.path}: holds a run of mnli; debft mnli --output {run.path} --resume"


def test_wrong_value_beside_resume_is_named_by_its_option(run):
    with pytest.raises(InputError, match=r"^--max-steps: expected a whole number of at least 1, got 0"):
        continued("mnli", run, {"train.max_steps": 0}, sift=None, assignments=[])


def test_resume_of_a_directory_that_is_not_there_asks_for_it_and_not_for_the_data(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["debft", "text", "--output", str(tmp_path / "misspelt"), "--resume"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert capsys.readouterr().err == (
        f"{tmp_path / 'misspelt'}: expected a run to resume, found none; give the --output of one, or --data to begin one\n"
    )


@pytest.mark.parametrize(
    ("switches", "line"),
    [
        (("resume", "overwrite"), "--overwrite: begins anew, where --resume goes on; give one of the two"),
        (("resume", "restart"), "--restart: begins the same run anew, where --resume goes on; give one of the two"),
        (
            ("restart", "overwrite"),
            "--restart: begins the same run anew, where --overwrite takes the options that are typed; give one of the two",
        ),
    ],
)
def test_two_ways_to_start_at_once_are_refused(switches, line):
    with pytest.raises(InputError) as raised:
        start_of(**{name: name in switches for name in ("resume", "restart", "overwrite")})
    assert raised.value.problems == (line,)


def test_overwrite_spares_a_directory_with_anything_but_a_run(run):
    (run.path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"removes a run and nothing else, got .*notes\.txt as well"):
        check_output(run, run.recipe(), "overwrite")
    (run.path / "recipe.yaml").unlink()
    with pytest.raises(InputError, match="expected an empty directory or a run, got other files"):
        check_output(run, run, "overwrite")


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A complete run, to copy: its recipe and its directory."""
    folder = tmp_path_factory.mktemp("complete")
    recipe = small_recipe(folder)
    finetune(recipe, folder / "run")
    return recipe, folder / "run"


def test_overwritten_run_gives_way_to_the_new_one(complete, tmp_path, capsys):
    recipe, path = complete[0], tmp_path / "run"
    shutil.copytree(complete[1], path)
    (path / "report.html").write_text("old")
    result = finetune(recipe, path, overwrite=True)
    assert f"removed the run that was in {path}" in capsys.readouterr().err
    assert not (path / "report.html").exists() and RunDirectory(path).result() == result
    assert [json.loads(line)["step"] for line in (path / "steps.jsonl").read_text().splitlines()] == [*range(1, result.steps + 1)]


def test_bad_input_leaves_the_run_that_was_to_be_overwritten(complete, tmp_path, monkeypatch):
    path = tmp_path / "run"
    shutil.copytree(complete[1], path)

    def refuse(*arguments, **options):
        raise InputError("rows: wrong")

    monkeypatch.setattr("debft.training.run.make_plan", refuse)
    with pytest.raises(InputError, match="rows: wrong"):
        finetune(complete[0], path, overwrite=True)
    assert RunDirectory(path).result() is not None


def test_resume_of_nothing_says_that_it_starts_afresh(tmp_path, capsys):
    finetune(small_recipe(tmp_path), tmp_path / "new", resume=True)
    assert f"{tmp_path / 'new'}: holds no run to resume; starting afresh" in capsys.readouterr().err


def test_restart_begins_the_same_run_anew_with_its_own_options(tmp_path, capsys):
    """Nothing is typed again, and another option is refused by name as with --resume."""
    path = tmp_path / "again"
    run = RunDirectory(path)
    run.create(load_recipe(recipe_path("demo"), {"task": "rte", "data": "demo", "train.seed": 7}))
    for keys, seed in (({}, 7), ({"train.seed": 8}, None)):
        asked = {"recipe": None, "sift": None, "assignments": (), "output": str(path), "goes_on": True}
        if seed is None:
            with pytest.raises(InputError, match=r"--seed: the run in .* has 7, got 8"):
                recipe_to_run("rte", keys, **asked)
        else:
            assert recipe_to_run("rte", keys, **asked)[0].train.seed == seed
    assert check_output(run, run.recipe(), "restart") is None
    (path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"--restart removes a run and nothing else, got .*notes\.txt as well"):
        check_output(run, run.recipe(), "restart")
