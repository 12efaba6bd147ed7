"""The JSON schema of a recipe and of any other dataclass, against a reader of schemas that knows what is used of draft 7 here."""

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from json_schemas import wrong

from debft.config import yaml12
from debft.config.packaged import RECIPES_DIR, recipe_names, recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import SECTIONS, Recipe, bounded, to_dict
from debft.config.schema import descriptions, schema
from debft.errors import InputError

RECIPE = schema(Recipe)


def test_committed_schema_is_that_of_the_recipe():
    """`debft recipes --schema > recipes/schema.json` writes it."""
    assert (RECIPES_DIR / "schema.json").read_text() == json.dumps(RECIPE, indent=2, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", recipe_names())
def test_packaged_recipe_fits_the_schema_that_its_first_line_names(name):
    path = recipe_path(name)
    first = path.read_text().splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert named and Path(os.path.normpath(path.parent / named[1])) == RECIPES_DIR / "schema.json"
    assert wrong(yaml12.load(path), RECIPE) == []
    assert wrong(json.loads(json.dumps(to_dict(load_recipe(path)))), RECIPE) == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("modle: a", ".modle"),
        ("train:\n  warm_up_steps: 5", ".train.warm_up_steps"),
        ("train:\n  max_seq_length: 5", ".train.max_seq_length"),
        ("train:\n  learning_rate: fast", ".train.learning_rate"),
        ("train:\n  learning_rate: 0", ".train.learning_rate"),
        ("train:\n  train_batch_size: 2.5", ".train.train_batch_size"),
        ("train:\n  train_batch_size: 0", ".train.train_batch_size"),
        ("train:\n  train_batch_size: null", ".train.train_batch_size"),
        ("train:\n  adam_beta1: 1", ".train.adam_beta1"),
        ("train:\n  bias_correction: on", ".train.bias_correction"),
        ("train:\n  seed: true", ".train.seed"),
        ("text:\n  truncation: middle", ".text.truncation"),
        ("questions: 3", ".questions"),
        ("dialect: [card]", ".dialect"),
        ("task: 3", ".task"),
    ],
)
def test_what_the_reader_refuses_the_schema_refuses_at_the_same_place(tmp_path, text, place):
    path = tmp_path / "x.yaml"
    path.write_text(text + "\n")
    assert wrong(yaml12.load(path), RECIPE) == [place]
    with pytest.raises(InputError):
        load_recipe(path)


@pytest.mark.parametrize(
    "text", ["train:\n  max_steps: null\n  train_batch_size: 2.0\n  warmup_steps: 3", "model: null\nsift:\n  weight: 5"]
)
def test_what_the_reader_takes_the_schema_takes(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text + "\n")
    assert load_recipe(path) and wrong(yaml12.load(path), RECIPE) == []


def test_every_key_of_a_recipe_has_a_description():
    objects = [RECIPE, *(RECIPE["properties"][section] for section in SECTIONS)]
    texts = {key: rule.get("description", "") for rule in objects for key, rule in rule["properties"].items()}
    assert [key for key, text in texts.items() if not re.fullmatch(r"[A-Z].*[\w`)]\.", text)] == []


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the whole."""

    share: float = bounded(least=0)
    """Share of the whole, 0 to 1,
    written over two lines."""


@dataclass(frozen=True, kw_only=True)
class Whole(Part):
    """The whole holds every kind of field."""

    name: str
    part: Part | None = None
    parts: tuple[Part, ...] = ()
    pair: tuple[int, str] = (1, "a")
    counts: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    """Names of nothing."""
    word: Literal["yes", "no"] | None = None
    anything: Any = None


WHOLE = Whole(
    share=0.5, name="x", part=Part(share=1), parts=(Part(share=0),), pair=(2, "b"), counts={"a": 1}, names=["n"], word="no"
)


def plain(value: Any) -> Any:
    return json.loads(json.dumps(asdict(value)))


def test_schema_takes_what_asdict_writes_of_every_kind_of_field():
    assert wrong(plain(WHOLE), schema(Whole)) == []
    assert wrong({"name": "x", "share": 0}, schema(Whole)) == []


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"share": -1}, ".share"),
        ({"part": {}}, ".part"),
        ({"parts": [{"share": "x"}]}, ".parts[].share"),
        ({"pair": [1]}, ".pair"),
        ({"pair": ["a", "b"]}, ".pair[]"),
        ({"counts": {"a": "b"}}, ".counts.a"),
        ({"names": [1]}, ".names[]"),
        ({"word": "maybe"}, ".word"),
        ({"added": 1}, ".added"),
        ({"name": None}, ".name"),
    ],
)
def test_schema_refuses_a_wrong_value_of_every_kind_of_field(changes, place):
    assert wrong(plain(WHOLE) | changes, schema(Whole)) == [place]


def test_schema_asks_for_the_fields_without_a_default():
    assert wrong({}, schema(Whole)) == [".share", ".name"]


def test_open_schema_takes_a_field_that_was_added_since():
    added = plain(WHOLE) | {"added": 1, "part": {"share": 1, "added": 1}}
    assert wrong(added, schema(Whole, closed=False)) == []


def test_descriptions_are_the_texts_below_the_fields_inherited_ones_too():
    assert descriptions(Whole) == {"share": "Share of the whole, 0 to 1, written over two lines.", "names": "Names of nothing."}


def test_type_that_json_has_no_form_for_is_an_error():
    @dataclass(frozen=True)
    class Odd:
        """An odd one."""

        numbers: set[int]

    with pytest.raises(TypeError, match=r"no JSON schema for set\[int\]"):
        schema(Odd)
