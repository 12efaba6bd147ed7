"""Whatever the number of processes, a run has the same losses, weights and scores, and sends no more than the trained gradients.

The parts of several processes are computed here one after the other: their gradients add up in the same model, as the exchange
adds them up. Whole runs of real processes are compared in test_finetune, test_sift, test_active_vocabulary and below.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import debft.training.loop
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.runs.directory import RunDirectory
from debft.training.exchange import Exchange
from debft.training.opening import open_session
from debft.training.optimization import plain_optimizer
from debft.training.plan import make_plan
from debft.training.prepared import prepare_step

STEPS = 4
WORLDS = (1, 2, 3)
KINDS = {
    "mnli": ("mnli", {}),
    "mnli with SiFT": ("mnli", {"sift.weight": 3.0}),
    "squad2": ("squad2", {"text.max_seq_length": 224}),
    "xnli": ("xnli", {"languages.eval_languages": "fr"}),
    "stsb with SiFT": ("stsb", {"sift.weight": 3.0}),
}


def session_of(task, directory, changes):
    """A session on demo rows with dropout, in float64: only then is a difference of 1e-6 not that of another order of sums.

    Adam divides a gradient by its own size; what is zero but for rounding would become a step of the whole learning rate.
    """
    settings = {
        "task": task,
        "data": "demo",
        "train.max_train_samples": 60,
        "train.max_eval_samples": 20,
        "train.train_batch_size": 17,
        "train.max_steps": STEPS,
        "train.warmup_steps": 0,
        "runtime.micro_batch_tokens": 120,
    }
    session, _ = open_session(make_plan(load_recipe(recipe_path("demo"), settings | changes)), RunDirectory(directory), claim=False)
    session.loaded.model.double()
    set_dropout(session, 0.1)
    return session


def set_dropout(session, p):
    for module in session.loaded.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = p


def as_processes(world):
    """Prepare a step as `world` processes do, one after the other."""

    def prepare(accelerator, *rest):
        ranks = [SimpleNamespace(process_index=rank, num_processes=world, device=accelerator.device) for rank in range(world)]
        parts = [prepare_step(rank, *rest) for rank in ranks]
        batches = [batch for part in parts if part.weight for batch in part.batches]
        return replace(parts[0], batches=batches, weight=1.0)

    return prepare


def trained(session, world, monkeypatch):
    """(losses, weights) of the run on so many processes."""
    monkeypatch.setattr(debft.training.loop, "prepare_step", as_processes(world))
    logs = list(session.steps())
    return [log.loss for log in logs], {name: tensor.clone() for name, tensor in session.loaded.model.state_dict().items()}


SLOW = {"stsb with SiFT"}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.sweep] if kind in SLOW else []) for kind in KINDS])
def test_losses_and_weights_are_those_of_one_process(kind, tmp_path, monkeypatch):
    """With dropout, whose masks are a function of seed, step and example; SiFT draws its noise by them as well."""
    task, changes = KINDS[kind]
    session = session_of(task, tmp_path / "run", changes)
    assert session.vocabulary.cut is not None, "the active vocabulary is a part of this"
    set_dropout(session, 0.0)
    without = next(session.steps()).loss
    set_dropout(session, 0.1)
    begun = {name: tensor.clone() for name, tensor in session.loaded.model.state_dict().items()}
    runs = []
    for world in WORLDS:
        session.loaded.model.load_state_dict(begun)
        plain_optimizer(session.optimizer).state.clear()
        runs.append(trained(session, world, monkeypatch))
    (losses, weights), *others = runs
    assert losses[0] != pytest.approx(without, rel=1e-4), "dropout is on"
    assert any((tensor != begun[name]).any() for name, tensor in weights.items())
    for got_losses, got_weights in others:
        assert got_losses == pytest.approx(losses, rel=1e-6)
        for name, tensor in weights.items():
            torch.testing.assert_close(got_weights[name], tensor, rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("active", [True, False])
def test_bytes_of_a_step_are_those_of_the_trained_gradients(active, tmp_path, monkeypatch):
    """What is really given to the wire, beside what `benchmarks/balance.py` computes from the shapes."""
    if not active:
        monkeypatch.setattr("debft.models.vocabulary.MOST_ACTIVE", 0.0)
    session = session_of("mnli", tmp_path / "run", {})
    model, table = session.loaded.model.float(), session.loaded.model.get_input_embeddings().weight
    assert (session.vocabulary.cut is not None) is active
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    sent = []

    def all_reduce(numbers, async_op):
        sent.append(numbers.numel() * numbers.element_size())
        return SimpleNamespace(wait=lambda: None)

    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    Exchange(model, 2).finish()
    others = sum(parameter.numel() for parameter in model.parameters()) - table.numel()
    rows = len(np.unique(session.splits["train"].ids_T)) if active else model.config.vocab_size
    assert abs(sum(sent) / 4 - others - rows * table.shape[1]) <= 4 * table.shape[1]  # [PAD], [CLS] and their like
