"""Every command on real benchmark text, with the real tokenizer and a tiny model, through the command line."""

import json

import processes
import pytest
from conftest import RESULT_FIELDS

from debft.config.reading import load_recipe
from debft.data.load import task_for
from debft.tasks import TASKS

REAL = ("mnli", "cola", "rte", "mrpc", "sst2", "stsb", "squad2", "xnli")  # what shared/data has
KINDS = ("mnli",)  # real questions are read and cut by cheaper tests
TINY = {
    "model_type": "deberta-v2",
    "vocab_size": 128_100,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 512,
    "position_buckets": 32,
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "type_vocab_size": 0,
    "pad_token_id": 0,
    "max_relative_positions": -1,
}


@pytest.fixture(scope="module")
def model(shared, tmp_path_factory):
    directory = tmp_path_factory.mktemp("m") / "tiny"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(TINY))
    (directory / "spm.model").symlink_to(shared / "tokenizer" / "deberta-v3" / "spm.model")
    return directory


@pytest.mark.parametrize("task", [pytest.param(task, marks=() if task in KINDS else pytest.mark.sweep) for task in REAL])
def test_command_trains_and_evaluates_real_text_and_prints_the_contracts_json(task, shared, model, tmp_path):
    done = processes.run(
        task,
        "--data",
        shared,
        "--model",
        model,
        "--from-scratch",
        "--max-steps",
        3,
        "--max-train-samples",
        64,
        "--max-eval-samples",
        20,
        "--output",
        tmp_path / "run",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result) >= RESULT_FIELDS
    recipe = load_recipe(tmp_path / "run" / "recipe.yaml")
    evals = task_for(recipe).evals
    assert set(result["scores"]) >= {f"{split.name}/{metric}" for split in evals for metric in TASKS[task].metrics}
    assert all(-100 <= score <= 100 for score in result["scores"].values())
    assert result["num_examples"] == {split.name: 20 for split in evals} and result["published"] == []
