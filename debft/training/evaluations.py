"""A run is evaluated when the recipe asks while it trains, and at its end.

All processes run the model. Process 0 alone computes the scores, and tells them to the others, whose decisions follow from them.
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from debft.console import say, say_field
from debft.runtime.signals import SECONDS_TO_SAVE, StopRequest
from debft.scoring.evaluation import predict_splits, scores_of
from debft.scoring.heads import Assessment, LogitsNotFiniteError
from debft.tasks import Split, Task
from debft.tasks.task import LOSS
from debft.tasks.titles import score_title
from debft.training.checkpoints import check_weights, finish_saving, load_best, save_best, save_if_possible
from debft.training.choice import ends_early, in_words, patience_in_words
from debft.training.guards import EvaluationNotFiniteError
from debft.training.parallel import broadcast_from_main, run_on_main
from debft.training.session import Session, TrainState
from debft.training.stopping import leave, stop_agreed


def evaluate_and_log(session: Session, state: TrainState, stop: StopRequest, splits: tuple[Split, ...]) -> dict[str, Assessment]:
    """Assess the weights as they are on `splits`, log the scores, and keep the weights if they are the best and the recipe asks.

    A checkpoint that is being written comes first: it may name a best one that is about to go.
    """
    stop.watch.alive(SECONDS_TO_SAVE)
    finish_saving(session)
    stop.watch.alive()
    started = time.perf_counter()
    with session.vocabulary.whole(state.step):
        check_weights(session, state)  # they are the same in all processes, so that all stop
        assessed = _assess(session, state, stop, splits)
    task = session.plan.task
    scores = scores_of(task, assessed)
    losses = {f"{name}/{LOSS}": one.loss for name, one in assessed.items() if one.loss is not None}
    state.eval_seconds += time.perf_counter() - started
    state.evaluated = state.step
    if session.is_main:
        session.run.logs.append("evaluations.jsonl", {"step": state.step, "scores": scores, **losses})
        session.trackers.log(scores | losses, state.step)
        titled = [f"{score_title(task.name, name)} {scores[name]:.2f}" for name in _headline(task, scores)]
        loss = f"; loss {sum(losses.values()) / len(losses):.3f}" if losses else ""
        say_field("scores", f"step {state.step:,}: {', '.join(titled)}{loss}   ({_row_counts(session, splits)})")
    if session.plan.recipe.train.checkpoint == "best":
        _keep_if_best(session, state, stop, scores, losses)
    return assessed


def _keep_if_best(
    session: Session, state: TrainState, stop: StopRequest, scores: dict[str, float], losses: dict[str, float]
) -> None:
    """Keep the weights if no evaluation before was better. All processes have the same scores, and so decide the same."""
    score = session.plan.task.selection_score(scores | losses, session.plan.recipe.train.metric)
    if state.best_score is not None and score <= state.best_score:
        state.waited += 1
        return
    state.best_step, state.best_score, state.waited = state.step, score, 0
    stop.watch.alive(SECONDS_TO_SAVE)
    save_best(session, state, scores)
    stop.watch.alive()


def stopped_early(session: Session, state: TrainState) -> str:
    """Return why the run ends before its last step; "" where it does not."""
    plan, config = session.plan, session.plan.recipe.train
    if not ends_early(config, state.step, plan.total_steps, state.waited):
        return ""
    return f"{patience_in_words(state.waited)} than step {state.best_step:,} ({in_words(plan.task, config)})"


def final_evaluation(session: Session, state: TrainState, stop: StopRequest) -> dict[str, Assessment]:
    """Assess the last step, or the best one where the recipe says so; the model is left with the weights that were scored."""
    evals = session.plan.task.evals
    if session.plan.recipe.train.checkpoint != "best":
        return evaluate_and_log(session, state, stop, evals)
    assessed = {}
    if not stopped_early(session, state):  # else these weights were just evaluated, and are not the best
        assessed = evaluate_and_log(session, state, stop, session.plan.task.selection_evals)
    if state.best_step != state.step:
        save_if_possible(session, state, training=False)
        load_best(session, state)
        if session.is_main:
            say(f"best step: {state.best_step:,} of {state.step:,}")
        return _assess(session, state, stop, evals, saving=False)  # the weights are no longer those of this step
    if len(assessed) == len(evals):
        return assessed
    return _assess(session, state, stop, evals)


def _assess(
    session: Session, state: TrainState, stop: StopRequest, splits: tuple[Split, ...], *, saving: bool = True
) -> dict[str, Assessment]:
    """Return scores and predictions by split, in other processes than 0 the scores and what was chosen alone.

    Where a process was told to stop, leave with a checkpoint if `saving`.
    """

    def should_stop() -> bool:
        stop.watch.alive()
        return bool(stop)

    def leave_together() -> None:
        if stop_agreed(session, stop):
            leave(session, state, stop, saving=saving)

    encoded = {split.name: session.splits[split.name] for split in splits}
    outcomes = predict_splits(
        session.loaded,
        session.accelerator,
        encoded,
        micro_batch_tokens=session.micro_batch_tokens,
        cuts=state.cuts,
        step=state.step,
        should_stop=should_stop,
        leave=leave_together,
    )
    stop.watch.alive(SECONDS_TO_SAVE)  # in which process 0 scores and the others wait
    assessed = run_on_main(lambda: _scored(session, stop, outcomes, state.step))
    told = broadcast_from_main({name: replace(one, rows=[], files={}) for name, one in (assessed or {}).items()})
    stop.watch.alive()
    return told if assessed is None else assessed


def _scored(session: Session, stop: StopRequest, outcomes: Mapping[str, Any], step: int) -> dict[str, Assessment]:
    """Return scores and predictions of the splits with these outcomes."""
    assessed, head = {}, session.loaded.head
    for name, outcome in outcomes.items():
        stop.watch.alive()
        try:
            assessed[name] = head.assess(outcome, session.splits[name], session.plan.examples[name])
        except LogitsNotFiniteError as error:
            raise EvaluationNotFiniteError(step, name, error) from error
        if name in session.plan.task.selection:  # the splits behind it are scored with what was chosen here
            head = head.with_chosen(assessed[name].settings)
    return assessed


def _row_counts(session: Session, splits: tuple[Split, ...]) -> str:
    """Return on how many rows the scores are computed, `600 + 600 rows`."""
    counts = [len(session.plan.examples[split.name]) for split in splits]
    return f"{len(counts)} x {counts[0]:,} rows" if len(counts) > 2 else f"{' + '.join(f'{n:,}' for n in counts)} rows"


def _headline(task: Task, scores: dict[str, float]) -> list[str]:
    """Return the names of the scores that fit into one line: the means over languages, else those of the task's metrics."""
    averages = [name for name in scores if name.partition("/")[0].endswith(".avg")]
    return averages or [name for name in task.score_names() if name in scores]
