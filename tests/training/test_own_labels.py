"""Several labels, weights and windows in one run: stopped and resumed, in two processes, with SiFT, on both roads."""

import json
import random

import pytest
import torch
from conftest import write_model_config
from interrupting import interrupted_after
from processes import start_two
from safetensors.torch import load_file

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.training.run import finetune

STEPS = 6
ALL_THREE = {"train.class_weight": "balanced", "text.long_texts": "windows", "text.max_seq_length": 16}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Texts of 3 or 30 words with any of two labels."""
    directory, rng = tmp_path_factory.mktemp("own"), random.Random(0)
    for split, count in (("train", 40), ("validation", 20)):
        rows = []
        for i in range(count):
            words = rng.choices(["fox", "cat", "red", "white", "slept"], k=3 if i % 2 else 30)
            rows.append(json.dumps({"text": " ".join(words), "labels": [name for name in ("red", "white") if name in words]}))
        (directory / f"{split}.jsonl").write_text("\n".join(rows))
    return directory


def recipe_for(data, model="demo", **overrides):
    values = {"task": "text", "data": str(data), "model": str(model), "train.max_steps": STEPS, "train.warmup_steps": 0}
    return load_recipe(recipe_path("demo"), values | {"train.train_batch_size": 7} | ALL_THREE | overrides)


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_resumed_run_equals_an_uninterrupted_one_bit_for_bit(data, demo_model, tmp_path):
    model = write_model_config(tmp_path / "m", demo_model, hidden_dropout_prob=0.2)
    recipe = recipe_for(data, model, **{"train.from_scratch": True})
    expected = finetune(recipe, tmp_path / "through")
    with interrupted_after(STEPS // 2):
        finetune(recipe, tmp_path / "broken")
    assert finetune(recipe, tmp_path / "broken", resume=True).scores == expected.scores
    through, broken = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("through", "broken"))
    assert all(torch.equal(through[name], tensor) for name, tensor in broken.items())


def test_sift_trains_on_both_roads_alike(data, tmp_path):
    """The padded road and the packed one round in another order; the ascent of SiFT divides by numbers near 1e-6."""
    logs = []
    for attention in ("eager", "torch"):
        finetune(recipe_for(data, **{"sift.weight": 2.0, "runtime.attention": attention}), tmp_path / attention)
        logs.append(lines(tmp_path / attention / "steps.jsonl"))
    for one, other in zip(*logs, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
        assert one["sift_loss"] == pytest.approx(other["sift_loss"], rel=1e-3) and one["sift_skipped"] == 0


@pytest.mark.sweep
def test_two_processes_equal_one(data, tmp_path):
    result = finetune(recipe_for(data), tmp_path / "one")
    options = ["--recipe", "demo", "--data", data, "--max-steps", STEPS, "--warmup-steps", 0, "--train-batch-size", 7]
    options += [
        "--class-weight",
        "balanced",
        "--long-texts",
        "windows",
        "--max-seq-length",
        16,
        "--output",
        tmp_path / "two",
        "--json",
    ]
    said = [process.communicate() for process in start_two("text", *options)]
    assert json.loads(said[0][0])["scores"] == result.scores, said
    one, two = (lines(tmp_path / name / "steps.jsonl") for name in ("one", "two"))
    assert [log["loss"] for log in two] == pytest.approx([log["loss"] for log in one], rel=1e-5)
