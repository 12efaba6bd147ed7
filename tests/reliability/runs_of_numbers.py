"""Small runs for the parts that try memory and numbers: of every kind of task, plain and with SiFT, with dropout."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import torch
from conftest import write_model_config
from safetensors.torch import load_file

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe
from debft.data.sources import demo
from debft.runs.directory import RunDirectory
from debft.training.run import finetune

TASKS = {"labels": "mnli", "scores": "stsb", "spans": "squad2", "languages": "xnli"}
STEPS, SAVE_STEPS = 10, 3
SETTINGS = {
    "data": "demo",
    "train.max_train_samples": 24,
    "train.max_eval_samples": 6,
    "train.max_steps": STEPS,
    "train.train_batch_size": 8,
    "train.eval_steps": 5,
    "train.checkpoint": "last",
    "runtime.save_steps": SAVE_STEPS,
    "runtime.keep_checkpoints": STEPS,
    "runtime.micro_batch_tokens": 10_000,
}
LANGUAGES = {"languages.eval_languages": "en,sw"}
KINDS = [(of, sift) for of in TASKS for sift in (False, True)]


def name_of(of: str, sift: bool) -> str:
    """Name a kind of run, as in the name of a case."""
    return f"{of}-{'sift' if sift else 'plain'}"


def recipe_of(of: str, sift: bool, model: Path, **changes: Any) -> Recipe:
    """Return the recipe of a kind of run. model: the directory of a tiny model"""
    settings = (
        SETTINGS
        | {"task": TASKS[of], "model": str(model)}
        | ({"sift.weight": 3.0} if sift else {})
        | (LANGUAGES if of == "languages" else {})
    )
    return load_recipe(recipe_path("squad2/demo" if of == "spans" else "demo"), settings | changes)


@cache
def undisturbed(beside: Path, of: str, sift: bool) -> tuple[Recipe, RunDirectory]:
    """Return the recipe and the directory of the run of this kind that nothing disturbs, done once below `beside` by each process."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "pooler_hidden_size": 32, "num_attention_heads": 2}
    rates = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.1)
    root = beside / f"undisturbed-{name_of(of, sift)}-{os.getpid()}"
    recipe = recipe_of(of, sift, write_model_config(root / "model", demo.model_directory(), **sizes, **rates))
    finetune(recipe, root / "run")
    return recipe, RunDirectory(root / "run")


def steps(run: RunDirectory) -> list[dict[str, float]]:
    """Return the lines of steps.jsonl."""
    return [json.loads(line) for line in (run.path / "steps.jsonl").read_text().splitlines()]


def weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    """Return the weights of the trained model."""
    return load_file(run.model / "model.safetensors")
