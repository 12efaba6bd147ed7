"""The table of foreign flags: whole, of keys and options that exist, and the same in the docs."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from debft.cli.foreign.flags import answer, foreign, programs, section
from debft.config.differences import SCORE_KEYS
from debft.config.recipe import RuntimeConfig
from debft.library.options import OPTIONS

SECTIONS = ("trainer", "model", "data", "classification", "xnli", "questions", "loop", "deberta", "elsewhere")
FLAGS = [(name, flag) for name in SECTIONS for flag in section(name).values()]
KEYS = {*SCORE_KEYS, *(f"runtime.{field.name}" for field in dataclasses.fields(RuntimeConfig))}
DOCS = Path(__file__).parents[3] / "docs"


def test_every_training_argument_of_the_installed_version_is_in_the_table():
    from transformers import TrainingArguments

    assert {field.name for field in dataclasses.fields(TrainingArguments)} <= set(section("trainer"))


def test_flags_take_what_the_parser_of_transformers_lets_them_take():
    """Oracle: its own argparse parser. A flag that nothing is made of may take whatever stands behind it."""
    from transformers import HfArgumentParser, TrainingArguments

    kinds = {"?": "switch", "+": "list", None: "value"}
    actions = {
        option.lstrip("-"): action for action in HfArgumentParser(TrainingArguments)._actions for option in action.option_strings
    }
    for name, flag in section("trainer").items():
        if name in actions and flag.does in ("key", "special"):
            boolean = getattr(actions[name].type, "__name__", "") == "string_to_bool"
            assert flag.takes == ("switch" if boolean else kinds[actions[name].nargs]), name


@pytest.mark.parametrize("name", SECTIONS)
def test_keys_and_options_of_the_table_exist_and_every_flag_says_something(name):
    typed = {word for option in OPTIONS for word in option.flag.split("/")} | {"--set", "--report-to"}
    for flag in section(name).values():
        assert flag.key is None or flag.key in KEYS, flag.name
        assert (flag.key is not None) == (flag.does == "key"), flag.name
        assert flag.why or flag.key, flag.name
        assert flag.ours is None or flag.ours.split()[0] in typed, flag.name


def test_defaults_of_programs_are_keys_of_a_recipe():
    for name, program in programs().items():
        assert program.defaults and set(program.defaults) <= {"batch", *KEYS}, name


def test_flag_is_found_however_it_is_typed():
    assert foreign("--per-device-train-batch-size=8") == foreign("--per_device_train_batch_size")
    assert answer("--zork", ["--model"]) is None


def test_option_that_the_command_lacks_is_not_named():
    assert answer("--overwrite_output_dir", ["--json"]) is None
    assert (answer("--overwrite_output_dir", ["--overwrite"]) or "").startswith("debft's is --overwrite,")


def test_page_has_the_table_as_it_is():
    """`python docs/coming_from.py` writes it."""
    spec = importlib.util.spec_from_file_location("coming_from", DOCS / "coming_from.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text(encoding="utf-8")
    assert page == module.page_with_table(page)
    assert all(f"`--{flag.name}`" in page for name, flag in FLAGS if name != "elsewhere")
