"""A few steps of several kinds, whose model is whole or of which each process of a group holds a part."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.models.shards import on_main, own_part
from debft.runs.directory import RunDirectory
from debft.training.checkpoints import moments
from debft.training.opening import open_session
from debft.training.plan import make_plan

KINDS = {
    "mnli": ("mnli", {}),
    "SiFT, computed anew": ("mnli", {"sift.weight": 3.0, "runtime.checkpoint_activations": True}),
    "squad2": ("squad2", {"text.max_seq_length": 224}),
    "eager": ("mnli", {"runtime.attention": "eager"}),
}


def trained(kind: str, *, shard: bool) -> tuple[list[float], dict[str, torch.Tensor], list[int]]:
    """(losses, weights, numbers of weights and of optimizer state that this process held) of four steps on demo rows.

    Steps of five sequences, so that one of two processes has fewer micro-batches than the other. Adam's epsilon is large: what is
    zero but for rounding, as the gradient of a bias that moves all logits alike, would else become a step of the whole rate.
    """
    task, changes = KINDS[kind]
    settings = {
        "task": task,
        "data": "demo",
        "train.max_train_samples": 60,
        "train.max_eval_samples": 20,
        "train.train_batch_size": 5,
        "train.max_steps": 4,
        "train.warmup_steps": 0,
        "train.adam_epsilon": 1e-3,
        "runtime.micro_batch_tokens": 40,
        "runtime.shard": shard,
    }
    plan = make_plan(load_recipe(recipe_path("demo"), settings | changes))
    session, _ = open_session(plan, RunDirectory("nowhere"), claim=False)
    losses = [log.loss for log in session.steps()]
    session.vocabulary.put_whole(4)
    held = [
        sum(own_part(one).numel() for one in tensors) for tensors in (session.loaded.model.parameters(), moments(session).values())
    ]
    return losses, on_main(session.vocabulary.state_of(session.loaded.model)), held


def be_a_process(folder: str) -> None:
    """Train each kind as one process of a group, and leave what it computed and held."""
    rank = os.environ["RANK"]
    for kind in KINDS:
        losses, whole, held = trained(kind, shard=True)
        if whole:
            save_file(whole, Path(folder) / f"{kind}.safetensors")
        (Path(folder) / f"{kind}-{rank}.json").write_text(json.dumps({"losses": losses, "held": held}))
