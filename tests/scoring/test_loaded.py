"""A loaded model: its parts fit one another, and evaluations take its batches from one place."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from architectures import ARCHITECTURES

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.data.load import load_table
from debft.data.rows import check_rows
from debft.errors import InputError
from debft.models.files import ModelFiles
from debft.scoring import loaded as module
from debft.scoring.evaluation import evaluation_tokens, predict_splits
from debft.scoring.loaded import load_model
from debft.scoring.probe import check_takes_texts
from debft.tasks import TASKS

TASK = TASKS["mnli"]
BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}


@pytest.fixture(scope="module")
def recipe():
    return load_recipe(recipe_path("demo"), {"task": "mnli", "train.from_scratch": True})


@pytest.fixture(scope="module")
def loaded(demo_model, recipe):
    return load_model(ModelFiles(name="demo", path=demo_model), TASK, recipe, torch.device("cpu"), new_head=True)


@pytest.fixture(scope="module")
def examples():
    return check_rows(load_table(TASK, TASK.evals[0], "demo"), TASK, 20)


def test_loaded_model_has_an_output_for_each_label_and_the_paddings_id_of_its_tokenizer(loaded):
    assert tuple(loaded.model.config.id2label.values()) == loaded.head.labels
    assert (loaded.collate.pad_id, loaded.collate.left) == (loaded.tokenizer.pad_token_id, False)


def test_loaded_model_refuses_tokens_without_an_embedding(loaded, recipe, examples, monkeypatch):
    monkeypatch.setattr(module, "check_vocabulary", lambda files, largest: (_ for _ in ()).throw(InputError(str(largest))))
    with pytest.raises(InputError, match=r"^\d+$"):
        loaded.encode(examples, recipe, "rows", cached=False, show=False)


def test_evaluation_fills_its_batches_with_a_multiple_of_the_tokens_of_training(loaded, recipe, examples):
    """The longest sequence times the sequences of a batch, as micro-batches are counted, is between training's and the limit."""
    split = loaded.head.prepare(loaded.encode(examples, recipe, "rows", cached=False, show=False))
    tokens, sizes = int(split.lengths().max()) * 2, []

    def collate(split, indices):
        sizes.append(int(split.lengths()[indices].max()) * len(indices))
        return loaded.collate(split, indices)

    collate.left, collate.packed = False, False
    accelerator = SimpleNamespace(process_index=0, num_processes=1, is_main_process=False, device=torch.device("cpu"))
    predict_splits(replace(loaded, collate=collate), accelerator, {"rows": split}, micro_batch_tokens=tokens)
    assert tokens < max(sizes) <= evaluation_tokens(tokens, False, accelerator.device)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        *[
            ("deberta-v2", changes, "transformers' model of it fails when it is used: ")
            for changes in (
                {"pooler_hidden_act": "xx"},
                {"pooler_hidden_size": 7},
                {"type_vocab_size": 1},
                {"position_buckets": 1},
                {"conv_kernel_size": 2},
                {"attention_head_size": 7},
            )
        ],
        *[(name, {"type_vocab_size": 0}, "transformers' model of it fails when it is used: ") for name in ("bert", "roberta")],
        ("bert", {"num_attention_heads": -1}, "transformers' model of it fails when it is used: "),
        ("deberta-v3", {"hidden_dropout_prob": math.nan}, "hidden_dropout_prob: expected a number, got NaN"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_configuration_whose_model_fails_when_it_is_used_is_one_line(tmp_path, recipe, name, changes, message):
    path = BY_NAME[name].write(tmp_path / "m", **changes)
    with pytest.raises(InputError, match=rf"config\.json: {message}"):
        load_model(ModelFiles(name="m", path=path), TASK, recipe, torch.device("cpu"), new_head=True)


def test_model_of_one_type_of_tokens_is_loaded_for_single_texts(tmp_path, recipe):
    path = BY_NAME["bert"].write(tmp_path / "m", type_vocab_size=1)
    load_model(ModelFiles(name="m", path=path), TASKS["sst2"], recipe, torch.device("cpu"), new_head=True)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 128])
def test_trial_leaves_model_and_random_numbers_as_they_were(loaded, length):
    model, parts = loaded.model, [(name, module, module.training) for name, module in loaded.model.named_modules()]
    before, random = {name: one.clone() for name, one in model.state_dict().items()}, torch.get_rng_state()
    check_takes_texts(model, loaded.tokenizer, loaded.files, TASK, length)
    assert torch.equal(torch.get_rng_state(), random)
    assert [(name, module, module.training) for name, module in model.named_modules()] == parts
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
