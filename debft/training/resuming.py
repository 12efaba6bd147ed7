"""A run goes on from its newest checkpoint, which process 0 chooses and reads, or begins anew."""

import hashlib
from dataclasses import asdict, fields
from typing import Any

import torch
from accelerate import Accelerator

from debft.config.differences import OPTIMISATION, changed_values
from debft.config.recipe import value_at, with_values
from debft.console import say
from debft.errors import InputError
from debft.models.finite import in_words, not_finite
from debft.models.shards import is_sharded
from debft.models.vocabulary import ActiveVocabulary
from debft.runs import checkpoint
from debft.runs.checkpoint import Checkpoint
from debft.runs.directory import RunDirectory
from debft.runs.json_records import read_as
from debft.runs.removal import set_aside
from debft.runs.result import MemoryCut
from debft.runs.sessions import SessionOfRun, changes_in_words
from debft.training.checkpoints import VOCABULARY
from debft.training.parallel import broadcast_from_main, broadcast_tensors_from_main, check_same_on_all_ranks
from debft.training.place import Start
from debft.training.plan import Plan
from debft.training.session import TrainState
from debft.training.sharding import parts_of_moments, take_weights


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
    weights, moments = (saved.weights, saved.moments) if saved else ({}, {})
    if is_sharded(model):
        take_weights(model.state_dict(), weights, lambda name, whole: vocabulary.read_weights({name: whole.cpu()}, step)[name])
        moments = parts_of_moments(moments, model, vocabulary)
    else:
        model.load_state_dict(vocabulary.read_weights(broadcast_tensors_from_main(weights), step))
        moments = vocabulary.read_moments(broadcast_tensors_from_main(moments))
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
    """Make the run directory, in place of the run that is to begin anew, or drop from its logs what comes later.

    That run is set aside, and removed once nothing more can keep the new one from its first step.
    """
    if start in ("overwrite", "restart") and run.exists():
        set_aside(run.path)
        say(f"removed the run that was in {run.path}; beginning at step 1")
    if start == "resume" and not run.exists():
        say(f"{run.path}: holds no run to resume; starting afresh")
    if not run.exists():
        run.create(plan.recipe)
        run.write_split(plan.rows_record)
    else:
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
