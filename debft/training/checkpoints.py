"""A session writes checkpoints, between the steps by a thread and else at once, and keeps the best."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import numpy as np
import torch

from debft.console import byte_size, say
from debft.models.finite import in_words, not_finite
from debft.models.shards import Tensors, is_sharded, on_main
from debft.runs import checkpoint
from debft.runs.checkpoint import Snapshot
from debft.runs.storage import DiskError
from debft.training.background import HostCopy, bytes_of, host_copy
from debft.training.guards import StepNotFiniteError
from debft.training.parallel import run_on_main
from debft.training.session import Session, TrainState
from debft.training.sharding import not_finite_in_all, take_weights

VOCABULARY = "active_vocabulary"  # where state.json says of which embedding rows the optimizer state is

LABELS = "labels"  # where state.json has the names of the model's outputs, in their order
NO_SEQUENCES = np.array([], dtype=np.int64)


def save(session: Session, state: TrainState) -> None:
    """Write a checkpoint of this step; every process waits until it is on disk.

    The order holds at every moment: the newest whole checkpoint has its log and its best checkpoint. Raises DiskError, with the
    previous checkpoint whole.
    """
    session.accelerator.wait_for_everyone()
    run_on_main(session.saving.close)
    tensors = _tensors_to_save(session, state)
    run_on_main(lambda: _write(session, _snapshot(session, state, tensors)))


def save_if_possible(session: Session, state: TrainState, *, training: bool) -> None:
    """Do the same where nothing is lost yet without this checkpoint: where the disk refuses it, a warning says so.

    training: whether steps follow. Then they go on while the checkpoint is written, from a copy of this step's weights. There must
        be another whole checkpoint where the disk refuses, else the steps so far could be lost, and DiskError is raised, by
        `finish_saving`. Behind the last step the model may still find room, and the processes wait until the checkpoint is there.
    """
    session.accelerator.wait_for_everyone()
    run_on_main(session.saving.finish if training else session.saving.close)
    tensors = _tensors_to_save(session, state)
    run_on_main(lambda: _begin_to_save(session, state, tensors) if training else _save_last(session, state, tensors))


def finish_saving(session: Session) -> None:
    """Wait, in every process, until no checkpoint is being written. Raises DiskError where the disk refused the only one."""
    run_on_main(session.saving.finish)


def _tensors_to_save(session: Session, state: TrainState) -> tuple[Tensors, Tensors]:
    """Return weights and optimizer state, of a sharded model copies that process 0 gets. Raises StepNotFiniteError."""
    check_weights(session, state)
    return on_main(session.vocabulary.state_of(session.loaded.model)), on_main(moments(session))


def _save_last(session: Session, state: TrainState, tensors: tuple[Tensors, Tensors]) -> None:
    """Write a checkpoint of the last step, or say that there is none."""
    try:
        _write(session, _snapshot(session, state, tensors))
    except DiskError as error:
        say(f"warning: {error.refusal}: the last step has no checkpoint; going on to the evaluation without it")


def _begin_to_save(session: Session, state: TrainState, tensors: tuple[Tensors, Tensors]) -> None:
    """Let a thread write a checkpoint of this step, from a copy; where there is no memory for that, write it at once.

    Raises DiskError where it is refused and would be the only one.
    """
    with _goes_on_without_it(session, state.step):
        snapshot = _snapshot(session, state, tensors)
        if is_sharded(session.loaded.model):  # these are copies
            session.saving.begin(lambda: _write_aside(session, snapshot))
            return
        copy = host_copy([*tensors], beside=session.vocabulary.bytes_of_table())
        if copy is not None:
            session.saving.begin(lambda: _write_copy(session, snapshot, copy))
            return
        what = f"warning: too little memory is free for a copy of weights and optimizer state, {byte_size(bytes_to_save(session))}"
        session.saving.say_once(f"{what}: training waits while a checkpoint is written")
        _write(session, snapshot)


def bytes_to_save(session: Session) -> int:
    """Return how much memory of the host a checkpoint between the steps takes, once the optimizer has its state."""
    return bytes_of([session.loaded.model.state_dict(), moments(session)]) + session.vocabulary.bytes_of_table()


def _write_copy(session: Session, snapshot: Snapshot, copy: HostCopy) -> None:
    """Be the thread that writes a checkpoint, once the copy is there."""
    weights, moments = copy.parts()
    _write_aside(session, replace(snapshot, weights=weights, moments=moments))


def _write_aside(session: Session, snapshot: Snapshot) -> None:
    """Be the thread that writes a checkpoint."""
    with _goes_on_without_it(session, snapshot.step):
        _write(session, snapshot)


@contextmanager
def _goes_on_without_it(session: Session, step: int) -> Iterator[None]:
    """Write a checkpoint of this step within the block. Where the disk refuses it, it is missed, if another one is whole."""
    try:
        yield
    except DiskError as error:
        kept = checkpoint.newest_whole(session.run.checkpoints, run=session.run.number())
        if kept is None:
            raise
        say(f"warning: {error.refusal}: step {step:,} has no checkpoint, the newest is {kept.name}; training goes on")


def _snapshot(session: Session, state: TrainState, tensors: tuple[Tensors, Tensors]) -> Snapshot:
    """Return what a checkpoint of this step holds, with these very weights and optimizer state."""
    content = asdict(replace(state, sessions=state.ended_sessions())) | {"run": session.run.number()}
    content |= {"fingerprints": session.plan.fingerprints, VOCABULARY: session.vocabulary.identity()}
    content[LABELS] = _labels(session)
    if session.accelerator.scaler is not None:
        content["loss_scale"] = session.accelerator.scaler.state_dict()
    (weights, moments), logs = tensors, checkpoint.sizes_of(session.run.path, session.run.logs.paths)
    return Snapshot(step=state.step, weights=weights, moments=moments, state=content, logs=logs)


def _write(session: Session, snapshot: Snapshot) -> None:
    """Write a checkpoint, and remove those that are no longer needed. Steps may go on meanwhile: it looks at nothing of theirs."""
    directory = session.run.checkpoints
    session.run.logs.sync()
    weights = session.vocabulary.whole_weights(snapshot.weights, snapshot.step)
    made = {name: tensor for name, tensor in weights.items() if tensor is not snapshot.weights[name]}
    _raise_where(not_finite(made), made, snapshot.step)
    checkpoint.write_checkpoint(directory, f"step-{snapshot.step:06d}", replace(snapshot, weights=weights))
    with _old_ones_may_stay():
        checkpoint.keep_newest(directory, session.plan.recipe.runtime.keep_checkpoints, last=snapshot.step)
        checkpoint.keep_best(directory, snapshot.state["best_step"])


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
    """Raise StepNotFiniteError in all processes where weights or optimizer state are not finite: what is saved is of use."""
    tensors = session.vocabulary.state_of(session.loaded.model) | moments(session)
    _raise_where(not_finite_in_all(tensors), tensors, state.step)


def _raise_where(counts: dict[str, int], tensors: Tensors, step: int) -> None:
    if counts:
        raise StepNotFiniteError(step, f"state, but {in_words(tensors, counts)}", None, NO_SEQUENCES)


def _labels(session: Session) -> list[str]:
    """Return the labels of the model's outputs, in their order."""
    return list((session.loaded.model.config.id2label or {}).values())


def save_best(session: Session, state: TrainState, scores: dict[str, float]) -> None:
    """Write the weights alone. The best before goes as soon as no saved state names it."""
    with session.vocabulary.whole(state.step):
        check_weights(session, state)
        weights = on_main(session.vocabulary.state_of(session.loaded.model))
        run_on_main(lambda: _save_best(session, state, scores, weights))


def _save_best(session: Session, state: TrainState, scores: dict[str, float], weights: Tensors) -> None:
    """Write the weights of the best step with its scores, and remove the best one that no saved state names."""
    directory, name = session.run.checkpoints, _best_name(state)
    content = {"scores": scores, "run": session.run.number(), LABELS: _labels(session)}
    checkpoint.write_checkpoint(directory, name, Snapshot(step=state.step, weights=weights, state=content))
    with _old_ones_may_stay():
        checkpoint.keep_best(directory, state.best_step)


def load_best(session: Session, state: TrainState) -> None:
    """Put the best weights into the model, which is whole: no step follows. Raises InputError where they are gone or damaged."""
    best = session.run.checkpoints / _best_name(state)
    saved = run_on_main(lambda: checkpoint.load_checkpoint(best, run=session.run.number()))
    take_weights(session.vocabulary.state_of(session.loaded.model), saved.weights if saved else {})


def _best_name(state: TrainState) -> str:
    """Return the name of the directory of the best checkpoint."""
    return f"best-{state.best_step:06d}"
