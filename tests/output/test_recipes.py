"""Recipes on stdout: a list that fits, one as YAML that runs as it stands, and every key explained."""

from dataclasses import fields

import pytest
import terminal

from debft.config.packaged import recipe_names, recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import SECTIONS, Recipe, bounded
from debft.errors import InputError
from debft.output.recipes import changes_yaml, explain_keys, number, recipe_yaml, recipes_list, scientific

KEYS = [f"{section}.{f.name}" for section in SECTIONS for f in fields(getattr(Recipe(), section))]


@pytest.mark.parametrize("name", ["default", "mnli/deberta-v3-small-repo", "squad2/electra-base", "mnli/quick-sift"])
def test_recipe_printed_as_yaml_is_read_back_as_the_same_recipe(name, tmp_path):
    recipe = load_recipe(recipe_path(name))
    (tmp_path / "mine.yaml").write_text(recipe_yaml(recipe, name), encoding="utf-8")
    assert load_recipe(tmp_path / "mine.yaml") == recipe


def test_every_packaged_recipe_is_read_back(tmp_path):
    for name in recipe_names():
        (tmp_path / "mine.yaml").write_text(recipe_yaml(load_recipe(recipe_path(name)), name), encoding="utf-8")
        assert load_recipe(tmp_path / "mine.yaml") == load_recipe(recipe_path(name)), name


@pytest.mark.parametrize("text", ["yes: no", "# a", "'", "1e-5", "null", "true", "ä: ö", " a ", "a\nb", "- a", "10"])
def test_text_that_yaml_would_read_as_something_else_is_quoted(text, tmp_path):
    recipe = Recipe(data=text, note=text)
    (tmp_path / "mine.yaml").write_text(recipe_yaml(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "mine.yaml") == recipe


def test_value_that_is_not_the_default_has_the_default_of_its_dialect_behind_it():
    lines = recipe_yaml(load_recipe(recipe_path("mnli/deberta-v3-small-repo"))).splitlines()
    assert "  learning_rate: 4.5e-5  # default: 2e-5" in lines
    assert "  weight_decay: 0.01" in lines  # the repository's own


def test_changes_of_a_recipe_are_its_values_beside_the_defaults(tmp_path):
    recipe = load_recipe(recipe_path("mnli/deberta-v3-small-repo"), {"text.max_seq_length": 64})
    (tmp_path / "mine.yaml").write_text(changes_yaml(recipe))
    assert load_recipe(tmp_path / "mine.yaml") == recipe
    assert len(changes_yaml(recipe).splitlines()) < 20 and "sift" not in changes_yaml(recipe)


def test_file_of_another_name_is_no_recipe_and_the_line_says_why(tmp_path):
    (tmp_path / "mine.txt").write_text("task: mnli\n")
    with pytest.raises(InputError, match=r"mine\.txt: expected a name ending in \.yaml or \.yml; rename it"):
        recipe_path(str(tmp_path / "mine.txt"))


NUMBERS = {2e-5: "2e-5", 4.5e-5: "4.5e-5", 0.0001: "1e-4", 0.1: "0.1", 3.0: "3", 0.0: "0", 1e-8: "1e-8", True: "true", None: "null"}


@pytest.mark.parametrize("value", NUMBERS)
def test_numbers_are_written_as_people_type_them(value):
    assert number(value) == NUMBERS[value]


def test_learning_rates_of_the_list_share_a_format():
    rates = [scientific(row["learning_rate"]) for row in recipes_list()]
    assert all("e-" in rate and not rate.startswith("0") for rate in rates) and {"1e-4", "2e-3"} <= set(rates)


def test_every_key_is_explained_with_type_default_text_and_option():
    lines = list(explain_keys(None, {"train.learning_rate": "--learning-rate"}))
    assert [
        line.split()[0] for line in lines if line.startswith("  ") and "." in line.split()[0] and not line.startswith("   ")
    ] == KEYS
    at = next(i for i, line in enumerate(lines) if line.startswith("  train.learning_rate "))
    assert lines[at] == "  train.learning_rate  (a number above 0; default 2e-5; --learning-rate)"
    assert lines[at + 1].strip().startswith("The learning rate at the end of the warm-up")


def test_key_of_choices_names_them_and_the_default_of_the_other_dialect():
    (_, line, text) = explain_keys("train.steps", {})
    assert line == "  train.steps  (one of up, down; default up, in dialect repo down)"
    assert "counts a part of a batch as a step" in text


def test_unknown_key_is_asked_back():
    with pytest.raises(InputError, match=r"--keys: no such key or section 'train.stps'; did you mean 'train.steps'\?"):
        list(explain_keys("train.stps", {}))


def test_bounds_of_a_field_are_explained():
    assert bounded(1, above=0).metadata["above"] == 0  # the words come from the field's own metadata
    (_, line, _) = explain_keys("train.adam_beta1", {})
    assert "a number at least 0 and below 1" in line


@pytest.mark.parametrize("columns", [80, *(pytest.param(wide, marks=pytest.mark.sweep) for wide in (100, 120))])
def test_recipes_and_keys_fit_the_terminal(columns):
    listed, keys, doctor = terminal.screens(
        [(columns, ["recipes"]), (columns, ["recipes", "--keys"]), (columns, ["check", "demo"])]
    )
    assert all(len(line) <= columns for line in listed + keys + doctor)
    assert sum(line.startswith("mnli/") for line in listed) == 20  # a line each


def test_recipes_of_a_task_by_its_name_or_the_option():
    by_name, by_option, json = terminal.screens(
        [(80, ["recipes", "rte"]), (80, ["recipes", "--task", "rte"]), (80, ["recipes", "rte", "--json"])]
    )
    assert by_name == by_option and len([line for line in by_name if line.startswith("rte/")]) == 4
    assert '"name": "rte/deberta-base"' in " ".join(json) and "mnli/" not in " ".join(json)


def test_unknown_recipe_is_answered_by_a_few_near_ones():
    near, far = terminal.screens([(300, ["recipes", "deberta-v3-smal"]), (300, ["recipes", "nope"])])
    assert near[0].startswith("error: deberta-v3-smal: no such recipe; did you mean 'mnli/deberta-v3-small' or ")
    assert far == ["error: nope: no such recipe; `debft recipes` lists them"]
