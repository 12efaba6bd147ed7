"""A run is trained step by step; between the steps lines are logged, and evaluations and checkpoints fall due."""

from contextlib import closing

from debft.console import say, say_field
from debft.runtime.progress import Meter, meter
from debft.runtime.signals import SECONDS_TO_SAVE, StopRequest
from debft.training.checkpoints import finish_saving, save_if_possible
from debft.training.choice import evaluation_due
from debft.training.evaluations import evaluate_and_log, stopped_early
from debft.training.loop import StepLog
from debft.training.session import Session, TrainState
from debft.training.stopping import leave, stop_told

NOT_SAVED = 1000  # what process 0 tells the others in the place of a signal, whose numbers are lower: no checkpoint is whole


def train(session: Session, state: TrainState, stop: StopRequest) -> None:
    """Train to the last step, or to where the run ends early, with what falls due between the steps. Raises Interrupted."""
    plan, total = session.plan, session.plan.total_steps
    if 0 < state.step < total and _evaluation_due(session, state.step) and state.evaluated != state.step:
        evaluate_and_log(session, state, stop, plan.task.selection_evals)  # the run was interrupted before it
    if not stopped_early(session, state):
        _do_steps(session, state, stop)
    if session.is_main and (reason := stopped_early(session, state)):
        say_field("stopped", f"after step {state.step:,} of {total:,}: {reason}")
    session.vocabulary.put_whole(state.step)


def _do_steps(session: Session, state: TrainState, stop: StopRequest) -> None:
    """Do the steps that are left, up to the last one or to where the run ends early. Raises Interrupted."""
    plan, total, alone = session.plan, session.plan.total_steps, session.accelerator.num_processes == 1
    steps = session.steps(
        first_step=state.step,
        pause_after=lambda step: _falls_due(session, step) or (alone and (bool(stop) or session.saving.failed())),
        signal=lambda: NOT_SAVED if session.saving.failed() else stop.number,
        cuts=state.cuts,
    )
    if session.is_main and state.step < total:
        say(f"training from step {state.step + 1:,}")
    with closing(steps), meter("train", total, "steps", done=state.step, show=session.is_main) as progress:
        stop.watch.alive()
        for log in steps:
            record(session, state, log, progress)
            stop.watch.alive()
            if not log.settled:
                continue
            if log.signal == NOT_SAVED or (alone and session.saving.failed()):
                finish_saving(session)
            if stop_told(session, stop, log.signal):
                leave(session, state, stop)
            if _evaluation_due(session, log.step):
                evaluate_and_log(session, state, stop, plan.task.selection_evals)
                if stopped_early(session, state):
                    break  # the checkpoint of this step is written before the best weights are read
            if _checkpoint_due(session, log.step):
                stop.watch.alive(SECONDS_TO_SAVE)
                # Behind the last step as well: then nothing is lost where the evaluation or the result fails.
                save_if_possible(session, state, training=log.step < plan.total_steps)
                stop.watch.alive()


def record(session: Session, state: TrainState, log: StepLog, progress: Meter) -> None:
    """Count a step, write its line, move the bar."""
    state.step = log.step
    state.num_examples += log.num_examples
    state.num_tokens += log.num_tokens
    state.train_seconds += log.seconds
    state.overflows += log.overflows or 0
    if session.is_main:
        session.run.logs.append("steps.jsonl", log.row())
        session.trackers.log(tracked_step(log), log.step)
        if skipped := log.parts.get("sift_skipped"):
            say(f"step {log.step:,}: SiFT's gradient was not finite for {skipped:.0%} of the sequences, which take no ascent")
    speed = state.num_examples / state.train_seconds
    progress.advance(1, f"loss {log.loss:.3f}  lr {log.learning_rate:.1e}  {speed:,.0f} examples/s")


def tracked_step(log: StepLog) -> dict[str, float]:
    """Return the numbers of a step by the names that trackers show them under."""
    values = {"loss": log.loss, "learning_rate": log.learning_rate, "grad_norm": log.grad_norm, "epoch": log.epoch, **log.parts}
    return {f"train/{name}": value for name, value in values.items()} | {"train/tokens_per_second": log.num_tokens / log.seconds}


def _falls_due(session: Session, step: int) -> bool:
    """Return whether something is to be done with the weights after this step."""
    return _evaluation_due(session, step) or _checkpoint_due(session, step)


def _evaluation_due(session: Session, step: int) -> bool:
    """Return whether the recipe asks for an evaluation after this step; that of the last one is another matter."""
    plan = session.plan
    return evaluation_due(plan.recipe.train, step, plan.total_steps, len(session.splits[plan.task.train.name]))


def _checkpoint_due(session: Session, step: int) -> bool:
    """Return whether a checkpoint follows this step, as it does the last one."""
    return step == session.plan.total_steps or _due(step, session.plan.recipe.runtime.save_steps)


def _due(step: int, every: int | None) -> bool:
    """Return whether something that happens every so many steps, or never for None, happens after this one."""
    return every is not None and step % every == 0
