"""Options of the task commands come from one list and the recipe's fields; a name or a path is never empty."""

import inspect
import re
import sys
import typing
from dataclasses import fields, is_dataclass

import pytest
import typer

from debft.cli import main as cli
from debft.cli.accelerate_file import Launch
from debft.cli.train import fine_tune, task_command
from debft.config.recipe import Recipe
from debft.library.options import OPTIONS, options_of
from debft.tasks import TASKS

COMMANDS = typer.main.get_command(cli.app).commands


def command(monkeypatch, capsys, *arguments):
    """(exit code, stdout, stderr) of debft in this process, whose signals stay the suite's."""
    monkeypatch.setattr(sys, "argv", ["debft", *map(str, arguments)])
    monkeypatch.setattr(cli, "SIGNALS", ())
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code, *capsys.readouterr()


def keys_of_recipe():
    hints = typing.get_type_hints(Recipe)
    for name, kind in hints.items():
        yield from [f"{name}.{field.name}" for field in fields(kind)] if is_dataclass(kind) else [name]


def test_every_option_of_a_key_sets_one_that_recipes_have():
    keys = [option.key for option in OPTIONS if option.key]
    assert set(keys) <= set(keys_of_recipe()) and len(keys) == len(set(keys))


def test_names_and_flags_are_unique():
    assert len({option.name for option in OPTIONS}) == len({option.flag for option in OPTIONS}) == len(OPTIONS)


def test_every_option_of_the_command_alone_is_a_parameter_of_the_function_behind_it():
    parameters = set(inspect.signature(fine_tune).parameters) - {"task", "keys", "launch"}
    assert {option.name for option in OPTIONS if not option.key} == parameters | set(inspect.signature(Launch).parameters)


@pytest.mark.parametrize("task", TASKS)
def test_task_has_its_own_options_and_no_others(task):
    own = {option.name for option in OPTIONS if option.only_for == task}
    others = {option.name for option in OPTIONS if option.only_for not in (None, task)}
    names = {parameter.name for parameter in COMMANDS[task].params}
    assert own <= names and not others & names
    assert len(names - {"help"}) == len(options_of(task))


def test_option_of_another_task_is_unknown(monkeypatch, capsys):
    code, _, err = command(monkeypatch, capsys, "mnli", "--language", "fr")
    assert code == 2 and "no such option: --language" in err


def test_types_are_those_of_the_recipe():
    kinds = {option.name: option.kind for option in OPTIONS}
    assert (kinds["seed"], kinds["max_steps"], kinds["learning_rate"]) == (int, int, float)
    assert (kinds["from_scratch"], kinds["model"], kinds["precision"]) == (bool, str, str)


def test_help_shows_the_choices_and_bounds_of_the_recipe():
    helps = {option.name: option.help for option in OPTIONS}
    assert helps["precision"].endswith("One of auto, fp32, bf16, fp16.")
    assert helps["max_seq_length"].endswith(" At least 8.") and helps["learning_rate"].endswith(" Above 0.")


@pytest.mark.parametrize(
    "arguments",
    [("mnli", "--data", "demo", "--seeds"), ("text", "--data", "none.csv", "--folds"), ("reproduce", "demo", "--seeds")],
)
def test_runs_of_one_command_are_bounded(monkeypatch, capsys, arguments):
    """Each is planned before the first one begins."""
    code, out, err = command(monkeypatch, capsys, *arguments, 10_001, "--dry-run")
    assert (code, out) == (2, "") and f"{arguments[-1]}: " in err and "10001" in err and "10000" in err, err


def test_only_what_was_typed_reaches_the_recipe(monkeypatch):
    calls = []
    monkeypatch.setattr("debft.cli.train.fine_tune", lambda task, keys, **rest: calls.append((task, keys, rest)))
    app = typer.Typer()
    app.command()(task_command("xnli"))
    app(["--seed", "3", "--language", "fr", "--from-scratch", "--set", "sift.weight=1"], standalone_mode=False)
    ((task, keys, rest),) = calls
    assert (task, keys) == ("xnli", {"train.seed": 3, "train.from_scratch": True, "languages.eval_languages": "fr"})
    assert rest["assignments"] == ["sift.weight=1"]
    assert (rest["sift"], rest["resume"], rest["output"]) == (None, False, None)


@pytest.mark.parametrize("empty", ["", pytest.param(" ", marks=pytest.mark.sweep)])
@pytest.mark.parametrize(
    "arguments",
    [
        *(("mnli", flag, None) for flag in ("--model", "--recipe", "--data", "--output", "--init-from")),
        ("evaluate", None),
        ("evaluate", "run", "--data", None),
        ("predict", None),
        ("submit", "run", None),
        ("submit", "run", "--output", None),
        ("submit", "run", "--data", None),
        ("tables", "run", None),
        ("tables", "--table", None),
        ("reproduce", None),
        ("reproduce", "demo", "--data", None),
        ("reproduce", "demo", "--output", None),
        ("recipes", None),
        ("check", None),
        ("doctor", "--model", None),
    ],
    ids=lambda arguments: " ".join("EMPTY" if word is None else word for word in arguments),
)
def test_empty_name_or_path_is_refused_by_its_option_in_every_command(monkeypatch, capsys, arguments, empty):
    code, out, err = command(monkeypatch, capsys, *(empty if word is None else word for word in arguments))
    assert (code, out) == (2, "")
    assert re.fullmatch(rf"\S+: expected a name or path, got '{empty}'\n", err)
    if arguments[-2].startswith("--"):
        assert err.startswith(f"{arguments[-2]}: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("mnli", "--data", "demo", "--output", None),
        ("mnli", "--recipe", None),
        ("mnli", "--model", None),
        ("predict", None, "a text"),
        ("submit", "run", None),
        ("export", None),
    ],
)
def test_name_or_path_that_no_file_can_hold_is_refused_before_anything_is_done(monkeypatch, capsys, arguments):
    code, out, err = command(monkeypatch, capsys, *("r\udcff" if word is None else word for word in arguments))
    assert (code, out) == (2, "")
    assert re.fullmatch(r"\S+: expected a name or path in UTF-8, .*, got 'r\\udcff'; rename it\n", err)


def test_name_of_the_directory_here_is_a_path(monkeypatch, capsys, tmp_path):
    """It is not what `Path('')` makes of an empty word."""
    monkeypatch.chdir(tmp_path)
    code, _, err = command(monkeypatch, capsys, "evaluate", ".")
    assert code == 2 and "expected a name or path" not in err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--num-machines", 2, "--main-process-ip", "127.0.0.1"), "--machine-rank: expected the number of this machine"),
        (("--machine-rank", 1), "--machine-rank: expected --num-machines of 2 or more"),
        (("--num-machines", 2, "--machine-rank", 1), "--main-process-ip: expected the address"),
        (("--num-machines", 0), "--num-machines"),
        (("--accelerate-config", "none.yaml"), "none.yaml: cannot be read"),
    ],
)
def test_machines_that_do_not_go_together_are_one_line(monkeypatch, capsys, tmp_path, options, line):
    code, out, err = command(monkeypatch, capsys, "mnli", "--data", "demo", "--output", tmp_path / "run", *options)
    assert (code, out) == (2, "")
    assert line in err.splitlines()[-1] and len(err.splitlines()) <= 2, err
