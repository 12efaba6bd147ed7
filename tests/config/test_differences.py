"""In which keys two recipes differ, by the purpose of the question."""

from dataclasses import fields

import pytest

from debft.config.differences import NOT_COUNTED, SCORE_KEYS, differing_keys
from debft.config.recipe import SCORE_SECTIONS, Recipe, value_at, with_values
from debft.config.recipe_hash import recipe_hash

CHANGED = {
    "task": "rte",
    "model": "x",
    "init_from": "a",
    "data": "demo",
    "train.seed": 1,
    "train.skip_bad_rows": True,
    "train.learning_rate": 1.0,
    "text.max_seq_length": 8,
    "questions.doc_stride": 1,
    "languages.eval_languages": "fr",
    "sift.weight": 1.0,
}
REPEAT = ["train.learning_rate", "text.max_seq_length", "questions.doc_stride", "languages.eval_languages", "sift.weight"]


@pytest.mark.parametrize(
    ("purpose", "keys"),
    [
        ("resume", sorted(CHANGED, key=SCORE_KEYS.index)),
        ("repeat", REPEAT),
        ("cell", [key for key in REPEAT if key != "languages.eval_languages"]),
    ],
)
def test_differing_keys_are_those_that_count_for_the_purpose(purpose, keys):
    assert differing_keys(Recipe(), with_values(Recipe(), CHANGED), purpose) == keys


@pytest.mark.parametrize("purpose", NOT_COUNTED)
def test_what_cannot_move_the_score_never_counts(purpose):
    other = with_values(Recipe(), {"runtime.precision": "bf16", "note": "x", "source": "y", "reproduces": "z", "dialect": "repo"})
    other = with_values(other, {"runtime.attention": "eager", "runtime.checkpoint_activations": True})
    assert differing_keys(Recipe(), other, purpose) == []


def test_score_keys_are_all_keys_of_the_sections_that_move_the_score():
    sections = {f"{section}.{f.name}" for section in SCORE_SECTIONS for f in fields(getattr(Recipe(), section))}
    assert set(SCORE_KEYS) == sections | {"task", "model", "init_from", "data"}


@pytest.mark.parametrize("key", SCORE_KEYS)
def test_hash_moves_with_every_key_that_moves_the_score(key):
    other = with_values(Recipe(), {key: f"not {value_at(Recipe(), key)}"})
    assert recipe_hash(other) != recipe_hash(Recipe())
