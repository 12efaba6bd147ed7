"""A loaded model: its parts fit one another, and evaluations take its batches from one place."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.data.load import load_table
from debft.data.rows import check_rows
from debft.errors import InputError
from debft.models.files import ModelFiles
from debft.scoring import loaded as module
from debft.scoring.evaluation import evaluation_tokens, predict_splits
from debft.scoring.loaded import load_model
from debft.tasks import TASKS

TASK = TASKS["mnli"]


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
