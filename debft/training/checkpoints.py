"""A session writes checkpoints, keeps the best, and reads the newest when the run goes on."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from debft.config.differences import OPTIMISATION, changed_values
from debft.config.recipe import value_at, with_values
from debft.console import say
from debft.errors import InputError
from debft.models.finite import in_words, not_finite
from debft.models.vocabulary import ActiveVocabulary
from debft.runs import checkpoint
from debft.runs.checkpoint import Checkpoint
from debft.runs.directory import RunDirectory
from debft.runs.json_records import read_as
from debft.runs.result import MemoryCut
from debft.runs.sessions import SessionOfRun, changes_in_words
from debft.runs.storage import DiskError
from debft.training.guards import StepNotFiniteError
from debft.training.parallel import broadcast_from_main, broadcast_tensors_from_main, check_same_on_all_ranks, run_on_main
from debft.training.place import Start
from debft.training.plan import Plan
from debft.training.session import Session, TrainState

VOCABULARY = "active_vocabulary"  # where state.json says of which embedding rows the optimizer state is

LABELS = "labels"  # where state.json has the names of the model's outputs, in their order
NO_SEQUENCES = np.array([], dtype=np.int64)


def save(session: Session, state: TrainState) -> None:
    """Write a checkpoint of this step; every process waits until it is on disk.

    The order holds at every moment: the newest whole checkpoint has its log and its best checkpoint. Raises DiskError, with the
    previous checkpoint whole.
    """
    session.accelerator.wait_for_everyone()
    run_on_main(lambda: _save(session, state))


def save_if_possible(session: Session, state: TrainState, *, training: bool) -> None:
    """Do the same where nothing is lost yet without this checkpoint: where the disk refuses it, a warning says so.

    training: whether steps follow. Then there must be another whole checkpoint, else the steps so far could be lost, and DiskError
        is raised. Behind the last step the model may still find room.
    """
    session.accelerator.wait_for_everyone()
    run_on_main(lambda: _save_or_warn(session, state, training))


def _save_or_warn(session: Session, state: TrainState, training: bool) -> None:
    """Write a checkpoint, or say that there is none of this step. Raises DiskError where steps follow and there is no other one."""
    try:
        _save(session, state)
    except DiskError as error:
        if not training:
            say(f"warning: {error.refusal}: the last step has no checkpoint; going on to the evaluation without it")
            return
        kept = checkpoint.newest_whole(session.run.checkpoints, run=session.run.number())
        if kept is None:
            raise
        say(f"warning: {error.refusal}: step {state.step:,} has no checkpoint, the newest is {kept.name}; training goes on")


def _save(session: Session, state: TrainState) -> None:
    """Write a checkpoint, and remove those that are no longer needed."""
    content = asdict(replace(state, sessions=state.ended_sessions())) | {"run": session.run.number()}
    content |= {"fingerprints": session.plan.fingerprints, VOCABULARY: session.vocabulary.identity()}
    content[LABELS] = _labels(session)
    if session.accelerator.scaler is not None:
        content["loss_scale"] = session.accelerator.scaler.state_dict()
    run, directory, name = session.run, session.run.checkpoints, f"step-{state.step:06d}"
    run.logs.sync()
    with session.vocabulary.whole(state.step):
        check_weights(session, state)
        checkpoint.save_checkpoint(directory, name, state.step, session.loaded.model, session.optimizer, content, run.logs.paths)
    with _old_ones_may_stay():
        checkpoint.keep_newest(directory, session.plan.recipe.runtime.keep_checkpoints, last=state.step)
        checkpoint.keep_best(directory, state.best_step)


@contextmanager
def _old_ones_may_stay() -> Iterator[None]:
    """Remove what is no longer needed within the block. Where the disk refuses, it stays until the next time, which is said."""
    try:
        yield
    except DiskError as error:
        say(f"warning: {error.refusal}: older checkpoints stay for now")


def moments(session: Session) -> dict[str, torch.Tensor]:
    """Return the optimizer's state as a checkpoint has it, on its device."""
    return checkpoint.moments_of(session.loaded.model, session.optimizer)


def check_weights(session: Session, state: TrainState) -> None:
    """Raise StepNotFiniteError where weights or optimizer state are not finite: what is saved or evaluated is of use."""
    tensors = session.loaded.model.state_dict() | moments(session)
    if counts := not_finite(tensors):
        raise StepNotFiniteError(state.step, f"state, but {in_words(tensors, counts)}", None, NO_SEQUENCES)


def _labels(session: Session) -> list[str]:
    """Return the labels of the model's outputs, in their order."""
    return list((session.loaded.model.config.id2label or {}).values())


def save_best(session: Session, state: TrainState, scores: dict[str, float]) -> None:
    """Write the weights alone. The best before goes as soon as no saved state names it."""
    run_on_main(lambda: _save_best(session, state, scores))


def _save_best(session: Session, state: TrainState, scores: dict[str, float]) -> None:
    """Write the weights of the best step with its scores, and remove the best one that no saved state names."""
    directory, name = session.run.checkpoints, _best_name(state)
    content = {"scores": scores, "run": session.run.number(), LABELS: _labels(session)}
    with session.vocabulary.whole(state.step):
        check_weights(session, state)
        checkpoint.save_checkpoint(directory, name, state.step, session.loaded.model, None, content)
    with _old_ones_may_stay():
        checkpoint.keep_best(directory, state.best_step)


def load_best(session: Session, state: TrainState) -> None:
    """Put the best weights into the model, which is whole: no step follows. Raises InputError where they are gone or damaged."""
    best = session.run.checkpoints / _best_name(state)
    saved = run_on_main(lambda: checkpoint.load_checkpoint(best, run=session.run.number()))
    session.loaded.model.load_state_dict(broadcast_tensors_from_main(saved.weights if saved else {}))


def _best_name(state: TrainState) -> str:
    """Return the name of the directory of the best checkpoint."""
    return f"best-{state.best_step:06d}"


def find_checkpoint(plan: Plan, run: RunDirectory, vocabulary: ActiveVocabulary) -> Checkpoint | None:
    """Read the newest whole checkpoint, None where there never was one.

    Raises InputError where it was trained on other rows, or on other tokens of them.
    """
    saved = checkpoint.load_newest(run.checkpoints, run=run.number())
    if saved is not None:
        before = saved.state["fingerprints"]
        changed = [name for name in plan.fingerprints if before.get(name) != plan.fingerprints[name]]
        if changed:
            what = f"other rows of {', '.join(changed)} (texts, labels or their names)"
            raise InputError(f"--output {run.path}: was trained on {what}; give another --output")
        _check_vocabulary(saved, run, vocabulary)
        _check_finite(saved, run)
    return saved


def _check_finite(saved: Checkpoint, run: RunDirectory) -> None:
    """Raise InputError where the checkpoint, of an older debft, has numbers that are not finite."""
    tensors = saved.weights | saved.moments
    if counts := not_finite(tensors):
        path = run.checkpoints / f"step-{saved.step:06d}"
        raise InputError(f"{path}: expected finite numbers, {in_words(tensors, counts)}; remove it to go on from the one before")


def _check_vocabulary(saved: Checkpoint, run: RunDirectory, vocabulary: ActiveVocabulary) -> None:
    """Raise InputError where the checkpoint has the optimizer state of other embedding rows; that of all rows has every row."""
    before, now = saved.state.get(VOCABULARY), vocabulary.identity()
    if before not in (None, now):
        needed = now["rows"] if now else vocabulary.of
        raise InputError(
            f"--output {run.path}: expected optimizer state of the {needed:,} embedding rows that the training rows need, "
            f"the checkpoint has that of {before['rows']:,} others: the texts have other tokens now; give another --output, or "
            "go on with the version of debft and the tokenizer that the run began with"
        )


def restore(
    saved: Checkpoint | None,
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    vocabulary: ActiveVocabulary,
) -> TrainState:
    """Set model and optimizer of every process to the checkpoint that process 0 has read, and return its state.

    Where process 0 has none, nothing is set and the state is that of a run that has not begun.
    """
    shared = broadcast_from_main(None if saved is None else (saved.step, saved.state))
    if shared is None:
        return TrainState()
    step, content = shared
    loss_scale = content.get("loss_scale")
    if loss_scale is not None and accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(loss_scale)
    model.load_state_dict(vocabulary.read_weights(broadcast_tensors_from_main(saved.weights if saved else {}), step))
    moments = vocabulary.read_moments(broadcast_tensors_from_main(saved.moments if saved else {}))
    check_same_on_all_ranks(lambda: _facts(step, model, moments))
    checkpoint.restore_optimizer(model, optimizer, moments)
    cuts = read_as(content.get("cuts", []), list[MemoryCut], "cuts")  # an older debft made none
    sessions = read_as(content.get("sessions", [_not_recorded(step)]), list[SessionOfRun], "sessions")
    known = {field.name for field in fields(TrainState)} - {"cuts", "sessions"}
    others = {key: value for key, value in content.items() if key in known}
    return TrainState(step=step, cuts=cuts, sessions=sessions, **others)


def _not_recorded(step: int) -> dict[str, Any]:
    """Return what stands for the sessions up to a checkpoint of an older debft, which did not record them."""
    return asdict(SessionOfRun(from_step=0, to_step=step, environment={}))


def begin_session(plan: Plan, run: RunDirectory, state: TrainState, environment: dict[str, Any]) -> None:
    """Note in the state that a session begins, and say what it computes with otherwise than the one before.

    Options of the optimisation that were changed are those of the run from here on: recipe.yaml gets them.
    """
    recorded, now = run.recipe(), {key: value_at(plan.recipe, key) for key in OPTIMISATION}
    begun = with_values(recorded, state.optimisation)
    changed = changed_values(begun, plan.recipe) if state.sessions else {}
    state.optimisation = state.optimisation or now
    state.sessions.append(SessionOfRun(from_step=state.step, to_step=state.step, environment=environment, changed=changed))
    for line in changes_in_words(state.sessions[-2:]):
        say(f"warning: {line}; result.json records it")
    if (resumed_with := with_values(recorded, now)) != recorded:
        run.create(resumed_with)


def _facts(step: int, model: torch.nn.Module, moments: dict[str, torch.Tensor]) -> dict[str, str]:
    """Return by name what every process must have received of the checkpoint that process 0 chose."""
    return {
        "step of the checkpoint": str(step),
        "weights of the checkpoint": _digest(model.state_dict()),
        "optimizer state of the checkpoint": _digest(moments),
    }


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    """Return 12 hex digits, which differ where names or numbers do."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]


def claim_run(plan: Plan, run: RunDirectory, state: TrainState, saved: Checkpoint | None, start: Start) -> None:
    """Make the run directory, after the removal of the run that is to begin anew, or drop from its logs what comes later."""
    if start in ("overwrite", "restart") and run.exists():
        run.remove()
        say(f"removed the run that was in {run.path}; beginning at step 1")
    if start == "resume" and not run.exists():
        say(f"{run.path}: holds no run to resume; starting afresh")
    if not run.exists():
        run.create(plan.recipe)
        run.write_split(plan.rows_record)
    elif start == "resume":
        run.logs.rewind(state.step, state.evaluated, saved.logs if saved else {})
        _check_log(run, state)
        checkpoint.keep_best(run.checkpoints, state.best_step)
        if saved is None:
            run.write_split(plan.rows_record)  # a kill may have come before it was written
            say(f"{run.path}: no checkpoint was saved; beginning at step 1 of {plan.total_steps:,}")
        else:
            say(f"resuming after step {state.step:,} of {plan.total_steps:,}")


def _check_log(run: RunDirectory, state: TrainState) -> None:
    """Raise InputError where lines of the log are lost: the run would come to its end and never be counted."""
    logged = sum(row.get("num_tokens", 0) for row in run.logs.rows("steps.jsonl"))
    if logged != state.num_tokens:
        raise InputError(
            f"{run.path / 'steps.jsonl'}: expected {state.num_tokens:,} tokens up to step {state.step:,}, as the checkpoint has, "
            f"got {logged:,}: lines are lost; --restart in the place of --resume begins the run anew"
        )
