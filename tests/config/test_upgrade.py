"""Keys that were all in `train` before they had owners: an old place is named in an error, and what old runs left is still read."""

import json

import pytest

from debft.config import yaml12
from debft.config.packaged import recipe_path
from debft.config.reading import from_dict, load_recipe, parse_set
from debft.config.recipe import Recipe, to_dict, value_at
from debft.config.recipe_hash import ADDED, MOVED, recipe_hash
from debft.errors import InputError
from debft.runs.directory import RunDirectory

# recipe.yaml of `debft xnli --data demo --language de,fr --set train.swap_texts=true --set train.doc_stride=96` and a few options
# more, as version 0.1 wrote it. Two values cannot stand together in a run (`problem`, `doc_stride`): every moved key has one.
OLD = """\
task: xnli
model: demo
data: demo
init_from: null
starts_from: null
dialect: card
train:
  num_train_epochs: 14.0
  max_steps: 60
  train_batch_size: 32
  max_seq_length: 64
  learning_rate: 0.002
  warmup_steps: 0.1
  schedule: linear
  bias_correction: true
  adam_beta1: 0.9
  adam_beta2: 0.98
  adam_epsilon: 1.0e-08
  weight_decay: 0.0
  max_grad_norm: 1.0
  head_dropout: null
  truncation: random_ends
  swap_texts: true
  train_language: fr
  languages: de,fr
  text_columns: a,b
  label_column: tone
  problem: regression
  doc_stride: 96
  max_question_length: 16
  max_answer_length: 8
  n_best_size: 5
  steps: up
  checkpoint: last
  eval_steps: null
  eval_each_epoch: false
  from_scratch: true
  max_train_samples: null
  max_eval_samples: null
  skip_bad_rows: false
  seed: 42
sift:
  weight: 0.0
  init_std: 0.01
  step_size: 0.0001
runtime:
  precision: auto
  micro_batch_tokens: null
  save_steps: 500
  keep_checkpoints: 2
reproduces: null
source: 'ours: chosen on the demo data so that the run takes about a minute on two
  CPU cores'
note: null
"""
OLD_HASH = "1a83fa5f4cd809ad"  # as that version computed it


def test_recipe_of_an_old_run_is_read_with_every_value(tmp_path):
    (tmp_path / "recipe.yaml").write_text(OLD)
    recipe, old = RunDirectory(tmp_path).recipe(), yaml12.parse(OLD, "")
    moved = {place: new for place, new in MOVED.items() if place.startswith("train.")}
    assert {place: value_at(recipe, new) for place, new in moved.items()} == {
        place: old["train"][place.removeprefix("train.")] for place in moved
    }
    kept = {key: value for key, value in old["train"].items() if f"train.{key}" not in MOVED}
    later = {key.removeprefix("train."): value_at(Recipe(), key) for key in ADDED if key.startswith("train.")}
    assert to_dict(recipe)["train"] == kept | later
    assert to_dict(recipe)["sift"] == old["sift"]
    later = {
        "deterministic": False,
        "attention": "auto",
        "checkpoint_activations": False,
        "hang_seconds": 300.0,
        "check_leaks": False,
        "report_to": None,
        "shard": False,
        "cuda_graphs": True,
    }  # keys that came later, as before they came
    assert to_dict(recipe)["runtime"] == old["runtime"] | later


def test_recipe_of_an_old_run_can_be_given_for_a_new_one(tmp_path):
    """As `--recipe runs/.../recipe.yaml`."""
    path = tmp_path / "recipe.yaml"
    path.write_text(OLD)
    assert load_recipe(path, {"text.max_seq_length": 32}).text.max_seq_length == 32
    assert load_recipe(path) == from_dict(yaml12.parse(OLD, ""), "")


def test_recipe_of_a_run_that_had_own_data_in_text_is_read(tmp_path):
    content = to_dict(load_recipe(recipe_path("demo"), {"task": "text", "own.label_column": "tone", "own.problem": "regression"}))
    had = {new.removeprefix("own.") for old, new in MOVED.items() if old.startswith("text.")}
    content["text"] |= {key: value for key, value in content.pop("own").items() if key in had}
    (tmp_path / "recipe.yaml").write_text(json.dumps(content))
    recipe = RunDirectory(tmp_path).recipe()
    assert (recipe.own.label_column, recipe.own.problem) == ("tone", "regression")
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


def test_recipe_of_an_old_result_is_read(tmp_path):
    counts = dict.fromkeys(("num_train_examples", "num_tokens", "steps", "peak_memory_bytes"), 1)
    by_name = {name: {} for name in ("num_examples", "environment")} | {"scores": {"validation.en/accuracy": 50.0}}
    about = {"format_version": 2, "task": "xnli", "model": "demo", "status": "complete", "published": [], "not_compared": None}
    timing = dict.fromkeys(("train_seconds", "eval_seconds", "examples_per_second", "tokens_per_second"), 1.0)
    data, recipe = {"source": "demo", "fingerprints": {}}, yaml12.parse(OLD, "")
    (tmp_path / "result.json").write_text(
        json.dumps({**about, **counts, **by_name, "timing": timing, "data": data, "recipe": recipe})
    )
    assert from_dict(RunDirectory(tmp_path).result().recipe, "result.json") == from_dict(recipe, "")


def test_recipe_keeps_its_hash_in_the_new_sections():
    """Reports and directories of older runs name it."""
    assert recipe_hash(from_dict(yaml12.parse(OLD, ""), "")) == OLD_HASH


def test_new_recipe_is_read_as_it_was_written():
    recipe = load_recipe(recipe_path("squad2/quick"))
    assert from_dict(json.loads(json.dumps(to_dict(recipe))), "") == recipe


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_old_place_in_a_file_is_an_error_that_names_the_new_one(tmp_path, old, new):
    path = tmp_path / "x.yaml"
    section, _, key = old.partition(".")
    path.write_text(f"task: mnli\n{section}:\n  {key}: 3\n")
    with pytest.raises(InputError, match=rf"^{path}: {old}: moved to {new}$"):
        load_recipe(path)


def test_old_place_of_set_is_an_error_that_names_the_new_one():
    with pytest.raises(InputError, match=r"^--set train\.max_seq_length: moved to text\.max_seq_length$"):
        load_recipe(
            recipe_path("demo"), parse_set(["train.max_seq_length=128"]), {"train.max_seq_length": "--set train.max_seq_length"}
        )


def test_old_place_beside_the_new_one_is_named_and_not_dropped():
    """No version wrote both."""
    with pytest.raises(InputError, match=r"^x: train\.max_seq_length: moved to text\.max_seq_length$"):
        from_dict({"train": {"max_seq_length": 8}, "text": {"max_seq_length": 9}}, "x")
