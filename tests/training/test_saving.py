"""A session saves its steps and its best weights: what a checkpoint holds, and what becomes of one that the disk refuses."""

import errno
import os
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import debft.training.checkpoints as saving
from debft.config.recipe import Recipe
from debft.console import byte_size
from debft.errors import InputError
from debft.models.vocabulary import ActiveVocabulary
from debft.runs import checkpoint
from debft.runs.checkpoint import Snapshot, load_checkpoint, load_newest
from debft.runs.directory import RunDirectory
from debft.runs.sessions import SessionOfRun
from debft.runs.storage import DiskError
from debft.training import session as sessions
from debft.training.background import Background
from debft.training.guards import StepNotFiniteError
from debft.training.session import Session, TrainState

FULL = "x: cannot be written: No space left on device"


class Scaler:
    def state_dict(self):
        return {"scale": 1024.0}


def vocabulary_that(**changes):
    """One that trains every row, but for what is changed."""
    usual = ActiveVocabulary()
    parts = {name: getattr(usual, name) for name in ("identity", "state_of", "whole", "whole_weights", "bytes_of_table")}
    return SimpleNamespace(**parts | changes)


@pytest.fixture
def one(tmp_path):
    """A session of a run after one step, and its state."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    model.config = SimpleNamespace(id2label={0: "no", 1: "yes"})
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(3)).sum().backward()
    optimizer.step()
    run = RunDirectory(tmp_path / "run")
    run.create(Recipe())
    runtime = SimpleNamespace(keep_checkpoints=2)
    waits = []
    session = SimpleNamespace(
        run=run,
        plan=SimpleNamespace(fingerprints={"train": "1a"}, recipe=SimpleNamespace(runtime=runtime)),
        accelerator=SimpleNamespace(wait_for_everyone=lambda: waits.append(1), scaler=None),
        loaded=SimpleNamespace(model=model),
        vocabulary=ActiveVocabulary(),
        optimizer=optimizer,
        saving=Background(),
        waits=waits,
    )
    yield session, TrainState(step=5, num_tokens=70)
    session.saving.close()


@pytest.fixture
def refuse(monkeypatch):
    """`refuse(name)`: that function of runs/checkpoint.py, or of the session's, is refused by the disk."""

    def begin(name):
        def fail(*_, **__):
            raise DiskError(FULL)

        monkeypatch.setattr(checkpoint, name, fail)

    return begin


def said(capsys):
    return capsys.readouterr().err.replace("\n", " ").strip()


def names(session):
    return sorted(path.name for path in session.run.checkpoints.iterdir())


def test_checkpoint_holds_the_state_the_rows_and_the_labels(one):
    session, state = one
    state.sessions = [SessionOfRun(from_step=0, to_step=0, environment={"device": "cpu"})]
    session.run.logs.append("steps.jsonl", {"step": 5})
    saving.save(session, state)
    saved = load_newest(session.run.checkpoints)
    expected = asdict(state) | {"run": session.run.number(), "fingerprints": {"train": "1a"}, "labels": ["no", "yes"]}
    expected["sessions"] = [{"from_step": 0, "to_step": 5, "environment": {"device": "cpu"}, "changed": {}}]
    del expected["step"]
    assert (saved.step, saved.state) == (5, expected | {"active_vocabulary": None})
    assert saved.logs == {"steps.jsonl": b'{"step": 5}\n'} and session.waits == [1]
    assert all(torch.equal(saved.weights[name], tensor) for name, tensor in session.loaded.model.state_dict().items())
    assert all(torch.equal(saved.moments[name], tensor) for name, tensor in saving.moments(session).items())
    assert len(saved.moments) == 6


def test_checkpoint_in_fp16_holds_the_loss_scale(one):
    session, state = one
    session.accelerator.scaler = Scaler()
    saving.save(session, state)
    assert load_newest(session.run.checkpoints).state["loss_scale"] == {"scale": 1024.0}


def test_model_without_names_of_its_outputs_has_no_labels(one):
    session, state = one
    session.loaded.model.config.id2label = None
    saving.save(session, state)
    assert load_newest(session.run.checkpoints).state["labels"] == []


def test_weights_are_saved_as_the_vocabulary_completes_them_at_their_step(one):
    session, state = one
    session.vocabulary = vocabulary_that(
        whole_weights=lambda weights, step: {name: tensor + step for name, tensor in weights.items()}
    )
    saving.save(session, state)
    saved = load_newest(session.run.checkpoints)
    assert torch.equal(saved.weights["bias"], session.loaded.model.bias + 5)


@pytest.mark.parametrize("how", ["weights", "moments", "completed"])
def test_checkpoint_that_is_not_finite_is_not_written(one, how):
    session, state = one
    name = "bias/exp_avg" if how == "moments" else "bias"
    if how == "weights":
        session.loaded.model.bias.data[1] = torch.inf
    elif how == "moments":
        session.optimizer.state[session.loaded.model.bias]["exp_avg"][1] = torch.nan
    else:
        session.vocabulary = vocabulary_that(whole_weights=lambda weights, _: weights | {"bias": torch.tensor([1.0, torch.nan])})
    with pytest.raises(StepNotFiniteError) as raised:
        saving.save(session, state)
    assert str(raised.value) == f"step 5: expected a finite state, but {name} has 1 of 2 numbers that are not finite"
    assert (raised.value.value, len(raised.value.sequences), session.run.checkpoints.exists()) == (None, 0, False)


def test_newest_checkpoints_and_the_best_that_they_name_are_kept(one):
    session, state = one
    for step in range(1, 5):
        state.step = state.best_step = step
        saving.save_best(session, state, {})
        saving.save(session, state)
    assert names(session) == ["best-000003", "best-000004", "step-000003", "step-000004"]


def test_checkpoint_from_behind_the_step_that_is_saved_goes(one):
    """It was damaged when the run went back."""
    session, state = one
    state.step = 9
    saving.save(session, state)
    state.step = 6
    saving.save(session, state)
    assert names(session) == ["step-000006"]


def test_older_checkpoints_that_the_disk_keeps_stay_and_it_is_said(one, refuse, capsys):
    session, state = one
    refuse("keep_newest")
    saving.save(session, state)
    assert (said(capsys), names(session)) == (f"warning: {FULL}: older checkpoints stay for now", ["step-000005"])


def test_checkpoint_that_must_be_written_is_an_error_where_it_cannot_be(one, refuse):
    refuse("write_checkpoint")
    with pytest.raises(DiskError, match=FULL):
        saving.save(*one)


def test_last_step_without_room_for_a_checkpoint_goes_on_to_the_evaluation(one, refuse, capsys):
    refuse("write_checkpoint")
    saving.save_if_possible(*one, training=False)
    assert said(capsys) == f"warning: {FULL}: the last step has no checkpoint; going on to the evaluation without it"
    assert one[0].waits == [1]


def test_last_checkpoint_is_there_when_the_call_returns(one):
    session, state = one
    saving.save_if_possible(session, state, training=False)
    assert names(session) == ["step-000005"]


def test_checkpoint_between_the_steps_is_of_the_weights_at_its_step(one, capsys):
    """And of the optimizer's state, whatever becomes of both while it is written."""
    session, state = one
    model, moments = session.loaded.model, session.optimizer.state[session.loaded.model.bias]
    before = (model.bias.detach().clone(), moments["exp_avg"].clone())
    saving.save_if_possible(session, state, training=True)
    model.bias.data.zero_()
    moments["exp_avg"].zero_()
    saving.finish_saving(session)
    saved = load_newest(session.run.checkpoints)
    assert torch.equal(saved.weights["bias"], before[0]) and torch.equal(saved.moments["bias/exp_avg"], before[1])
    assert len(saved.moments) == 6 and (said(capsys), session.waits) == ("", [1])


def test_training_goes_on_without_a_checkpoint_that_had_no_copy_either(one, refuse, monkeypatch, capsys):
    session, state = one
    saving.save(session, state)
    monkeypatch.setattr(saving, "host_copy", lambda parts, beside: None)
    refuse("write_checkpoint")
    state.step = 6
    saving.save_if_possible(session, state, training=True)
    assert said(capsys).endswith(f"warning: {FULL}: step 6 has no checkpoint, the newest is step-000005; training goes on")


def test_best_weights_are_saved_whole_as_they_are_at_their_step(one):
    session, state = one
    state.best_step, steps = 5, []

    @contextmanager
    def whole(step):
        steps.append(step)
        with torch.no_grad():
            session.loaded.model.bias.fill_(7.0)
        yield

    session.vocabulary = vocabulary_that(whole=whole)
    saving.save_best(session, state, {})
    best = load_checkpoint(session.run.checkpoints / "best-000005")
    assert steps == [5] and torch.equal(best.weights["bias"], torch.full((2,), 7.0))


def test_parts_that_were_put_together_are_written_by_a_thread_without_a_second_copy(one, monkeypatch):
    session, state = one
    monkeypatch.setattr(saving, "is_sharded", lambda model: model is session.loaded.model)
    monkeypatch.setattr(saving, "host_copy", lambda *_, **__: pytest.fail("a second copy"))
    saving.save_if_possible(session, state, training=True)
    saving.finish_saving(session)
    assert torch.equal(load_checkpoint(session.run.checkpoints / "step-000005").weights["bias"], session.loaded.model.bias)


def test_best_weights_of_other_processes_are_those_that_process_0_sends(one, monkeypatch):
    """They read no file."""
    session, state = one
    sent = {"weight": torch.full((2, 3), 3.0), "bias": torch.full((2,), 4.0)}
    monkeypatch.setattr(saving, "run_on_main", lambda action: None)
    monkeypatch.setattr("debft.training.sharding.in_a_group", lambda: True)
    monkeypatch.setattr(
        "debft.training.sharding.broadcast_tensors_from_main",
        lambda own, take: {name: take(name, one) for name, one in sent.items()} if own == {} else pytest.fail("it has read some"),
    )
    saving.load_best(session, state)
    assert torch.equal(session.loaded.model.bias, sent["bias"])


def test_only_checkpoint_that_the_disk_refuses_ends_the_run(one, refuse):
    session, state = one
    refuse("write_checkpoint")
    saving.save_if_possible(session, state, training=True)
    with pytest.raises(DiskError, match=FULL):
        saving.finish_saving(session)


def test_refused_checkpoint_ends_the_run_at_the_next_one_at_the_latest(one, refuse):
    session, state = one
    refuse("write_checkpoint")
    saving.save_if_possible(session, state, training=True)
    with pytest.raises(DiskError, match=FULL):
        saving.save_if_possible(session, state, training=True)


def test_training_goes_on_without_a_checkpoint_where_an_older_one_is_whole(one, refuse, capsys):
    session, state = one
    saving.save(session, state)
    refuse("write_checkpoint")
    state.step = 10_000
    saving.save_if_possible(session, state, training=True)
    saving.finish_saving(session)
    assert said(capsys) == f"warning: {FULL}: step 10,000 has no checkpoint, the newest is step-000005; training goes on"


def test_checkpoint_of_another_run_is_no_older_one(one, refuse):
    session, state = one
    checkpoint.write_checkpoint(
        session.run.checkpoints, "step-000001", Snapshot(step=1, weights={"a": torch.ones(1)}, state={"run": "f" * 16})
    )
    refuse("write_checkpoint")
    saving.save_if_possible(session, state, training=True)
    with pytest.raises(DiskError):
        saving.finish_saving(session)


def test_checkpoint_is_written_at_once_where_there_is_no_memory_for_a_copy(one, monkeypatch, capsys):
    session, state = one
    asked = []
    monkeypatch.setattr(saving, "host_copy", lambda parts, beside: asked.append((parts, beside)))
    session.vocabulary = vocabulary_that(bytes_of_table=lambda: 77)
    for state.step in (5, 6):
        saving.save_if_possible(session, state, training=True)
    assert names(session) == ["step-000005", "step-000006"]
    (weights, moments), beside = asked[0]
    assert saving.bytes_to_save(session) == 8 * 64 + 77  # a tensor begins at a multiple of 64 bytes
    assert (sorted(weights), len(moments), beside) == (["bias", "weight"], 6, 77)
    size = byte_size(saving.bytes_to_save(session))
    assert said(capsys) == (
        f"warning: too little memory is free for a copy of weights and optimizer state, {size}: training waits while a checkpoint "
        "is written"
    )


@pytest.mark.parametrize("save", [saving.save, partial(saving.save_if_possible, training=False)], ids=["must", "last"])
def test_checkpoint_that_failed_meanwhile_is_said_where_another_one_follows(one, refuse, monkeypatch, capsys, save):
    session, state = one
    write = checkpoint.write_checkpoint
    refuse("write_checkpoint")
    saving.save_if_possible(session, state, training=True)
    session.saving._thread.join()
    monkeypatch.setattr(checkpoint, "write_checkpoint", write)
    state.step = 6
    save(session, state)
    assert (said(capsys), names(session)) == (f"warning: {FULL}", ["step-000006"])


def test_log_whose_size_the_disk_does_not_tell_is_named_by_its_run(one, monkeypatch):
    session, state = one
    session.run.logs.append("steps.jsonl", {"step": 5})
    is_file = Path.is_file

    def refuses_logs(path, **options):
        if path.suffix == ".jsonl":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return is_file(path, **options)

    monkeypatch.setattr("debft.runs.logs.Logs.sync", lambda self: None)
    monkeypatch.setattr(Path, "is_file", refuses_logs)
    with pytest.raises(DiskError, match=f"^{session.run.path}: cannot be written: Input/output error;"):
        saving.save(session, state)


def test_logs_are_on_the_disk_before_the_checkpoint_that_counts_on_them(one, monkeypatch):
    session, state = one
    order, write = [], checkpoint.write_checkpoint
    monkeypatch.setattr("debft.runs.logs.Logs.sync", lambda self: order.append("logs"))
    monkeypatch.setattr(checkpoint, "write_checkpoint", lambda *given: (order.append("checkpoint"), write(*given)))
    saving.save(session, state)
    assert order == ["logs", "checkpoint"]


def test_best_weights_are_saved_with_their_scores_and_put_back(one):
    session, state = one
    state.step = state.best_step = 4
    before = session.loaded.model.bias.detach().clone()
    saving.save_best(session, state, {"validation/accuracy": 81.5})
    best = load_checkpoint(session.run.checkpoints / "best-000004")
    assert best.state == {"scores": {"validation/accuracy": 81.5}, "run": session.run.number(), "labels": ["no", "yes"]}
    assert (best.step, best.moments) == (4, {})
    session.loaded.model.bias.data.zero_()
    saving.load_best(session, state)
    assert torch.equal(session.loaded.model.bias, before)


def test_best_weights_that_are_not_finite_are_not_saved(one):
    session, state = one
    session.loaded.model.bias.data.fill_(torch.nan)
    state.best_step = 5
    with pytest.raises(StepNotFiniteError, match="step 5: expected a finite state, but bias has 2 of 2"):
        saving.save_best(session, state, {})


def test_older_best_weights_that_the_disk_keeps_stay_and_it_is_said(one, refuse, capsys):
    session, state = one
    state.best_step = 5
    refuse("keep_best")
    saving.save_best(session, state, {})
    assert (said(capsys), names(session)) == (f"warning: {FULL}: older checkpoints stay for now", ["best-000005"])


def test_best_weights_of_another_run_are_refused(one):
    session, state = one
    state.best_step = 4
    weights = session.loaded.model.state_dict()
    checkpoint.write_checkpoint(session.run.checkpoints, "best-000004", Snapshot(step=4, weights=weights, state={"run": "f" * 16}))
    with pytest.raises(InputError, match="best-000004: expected the checkpoint that was written, but it is that of another run"):
        saving.load_best(session, state)


def test_best_weights_that_are_gone_are_said(one):
    session, state = one
    state.best_step = 4
    with pytest.raises(InputError, match=r"best-000004: expected the checkpoint that was written, but manifest\.json is missing"):
        saving.load_best(session, state)


def test_last_session_ends_where_the_state_is():
    first, last = (SessionOfRun(from_step=step, to_step=step, environment={}) for step in (0, 3))
    ended = TrainState(step=7, sessions=[first, last]).ended_sessions()
    assert [(one.from_step, one.to_step) for one in ended] == [(0, 0), (3, 7)]
    assert last.to_step == 3 and TrainState(step=7).ended_sessions() == []


def test_steps_of_a_session_are_those_of_its_plan_from_the_one_that_is_asked_for(monkeypatch):
    called = []
    monkeypatch.setattr(sessions, "optimizer_steps", lambda *given, **named: called.append((given, named)) or "steps")
    train = SimpleNamespace(name="train")
    plan = SimpleNamespace(task=SimpleNamespace(train=train), recipe=SimpleNamespace(train="recipe"), total_steps=9)
    parts = {"precision": "fp32", "vocabulary": None, "run": None, "paths": None}
    parts |= {"accelerator": SimpleNamespace(is_main_process=True), "model": "model", "optimizer": "optimizer"}
    session = Session(
        plan=plan,
        loaded=SimpleNamespace(collate="collate"),
        splits={"train": "rows"},
        micro_batch_tokens=64,
        loss_fn="loss",
        logs=("kl",),
        graphs="graphs",
        copies="copies",
        **parts,
    )
    assert session.steps(first_step=3) == "steps" and session.is_main
    named = {
        "collate": "collate",
        "micro_batch_tokens": 64,
        "total_steps": 9,
        "loss_fn": "loss",
        "logs": ("kl",),
        "graphs": "graphs",
        "copies": "copies",
    }
    assert called == [((session.accelerator, "model", "optimizer", "rows", "recipe"), named | {"first_step": 3})]
