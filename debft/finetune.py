"""One run from recipe to result: check, build, train, evaluate, save."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from debft.comparison import beside_published, why_not_compared
from debft.data import source_kind
from debft.data.batches import steps_per_epoch
from debft.environment import environment, peak_memory_bytes
from debft.errors import Interrupted
from debft.launch import is_main_process
from debft.plan import check_output, describe, make_plan
from debft.progress import Meter, meter, say
from debft.recipe import Recipe
from debft.results import RunDirectory, RunResult
from debft.signals import StopRequest, stop_requested
from debft.tasks import Split, Task

if TYPE_CHECKING:
    from debft.heads import Assessment
    from debft.session import Session, TrainState
    from debft.train import StepLog


def finetune(recipe: Recipe, output: Path, *, resume: bool = False) -> RunResult:
    """Run `recipe` into the run directory `output` and return its result.

    With `resume` the newest valid checkpoint is continued, and a complete run is returned as it is.
    Raises InputError before anything is written, NotFiniteError, or Interrupted after a checkpoint was saved.
    """
    run = RunDirectory(output)
    done = check_output(run, recipe, resume)
    if done is not None:
        return done
    plan = make_plan(recipe)
    if is_main_process():
        describe(plan)
    from debft.session import open_session

    with run.lock():
        session, state = open_session(plan, run, resume=resume)
        with stop_requested(session.speaks) as stop:
            train(session, state, stop)
            return write_result(
                session, state, final_evaluation(session, state, stop)
            )  # a signal does not keep a finished run from being written


def train(session: "Session", state: "TrainState", stop: StopRequest) -> None:
    """The steps that are left, with the evaluations and checkpoints that fall due. Raises Interrupted."""
    from debft.session import save
    from debft.train import optimizer_steps

    plan, total = session.plan, session.plan.total_steps
    if 0 < state.step < total and _evaluation_due(session, state) and state.evaluated != state.step:
        evaluate(session, state, stop, plan.task.selection_evals)  # the run was interrupted before it
    steps = optimizer_steps(
        session.accelerator,
        session.model,
        session.optimizer,
        session.splits[plan.task.train.name],
        plan.recipe.train,
        collate=session.collate,
        micro_batch_tokens=session.micro_batch_tokens,
        total_steps=total,
        first_step=state.step,
        loss_fn=session.loss_fn,
    )
    if session.speaks:
        say(f"training from step {state.step + 1:,}")
    with meter("train", total, "steps", done=state.step, show=session.speaks) as progress:
        for log in steps:
            record(session, state, log, progress)
            if _stop_agreed(session, stop):
                leave(session, state, stop)
            if log.step < total and _evaluation_due(session, state):
                evaluate(session, state, stop, plan.task.selection_evals)
            if log.step < total and _due(log.step, plan.recipe.runtime.save_steps):
                save(session, state)


def record(session: "Session", state: "TrainState", log: "StepLog", progress: Meter) -> None:
    """Count a step, write its line, move the bar."""
    state.step = log.step
    state.num_examples += log.num_examples
    state.num_tokens += log.num_tokens
    state.train_seconds += log.seconds
    if session.speaks:
        session.run.append("steps.jsonl", log.row())
        if skipped := log.parts.get("sift_skipped"):
            say(f"step {log.step:,}: SiFT's gradient was not finite for {skipped:.0%} of the sequences, which take no ascent")
    speed = state.num_examples / state.train_seconds
    progress.advance(1, f"loss {log.loss:.3f}  lr {log.learning_rate:.1e}  {speed:,.0f} examples/s")


def evaluate(session: "Session", state: "TrainState", stop: StopRequest, splits: "tuple[Split, ...]") -> "dict[str, Assessment]":
    """The weights as they are on `splits`; keeps them if they are the best and the recipe asks."""
    from debft.evaluation import scores_of
    from debft.session import save_best

    started = time.perf_counter()
    assessed = _assess(session, state, stop, splits)
    scores = scores_of(session.plan.task, assessed)
    state.eval_seconds += time.perf_counter() - started
    state.evaluated = state.step
    if session.speaks:
        session.run.append("evaluations.jsonl", {"step": state.step, "scores": scores})
        say(f"step {state.step:,}  " + "  ".join(f"{name} {scores[name]:.2f}" for name in _headline(session.plan.task, scores)))
    if session.plan.recipe.train.checkpoint == "best":
        score = session.plan.task.selection_score(scores)
        if state.best_score is None or score > state.best_score:
            state.best_step, state.best_score = state.step, score
            save_best(session, state, scores)
    return assessed


def final_evaluation(session: "Session", state: "TrainState", stop: StopRequest) -> "dict[str, Assessment]":
    """Of the last step, or of the best where the recipe says so; the model is left with the weights that were scored."""
    from debft.session import load_best

    evals = session.plan.task.evals
    if session.plan.recipe.train.checkpoint != "best":
        return evaluate(session, state, stop, evals)
    assessed = evaluate(session, state, stop, session.plan.task.selection_evals)
    if state.best_step != state.step:
        load_best(session, state)
        if session.speaks:
            say(f"best step: {state.best_step:,} of {state.step:,}")
    elif len(assessed) == len(evals):
        return assessed
    return _assess(session, state, stop, evals)


def write_result(session: "Session", state: "TrainState", assessed: "dict[str, Assessment]") -> RunResult:
    """Model, predictions and, last, result.json: a run without it is not complete."""
    from debft.evaluation import scores_of
    from debft.session import save_model

    plan, recipe, task = session.plan, session.plan.recipe, session.plan.task
    scores = scores_of(task, assessed)
    num_rows = {name: len(examples) for name, examples in plan.examples.items()}
    reason = why_not_compared(recipe, task, num_rows)
    result = RunResult(
        task=task.name,
        model=recipe.model or "",
        status="complete",
        scores=scores,
        published=[] if reason else beside_published(recipe, task, scores),
        not_compared=reason,
        num_examples={split.name: num_rows[split.name] for split in task.evals},
        num_train_examples=len(plan.train),
        num_tokens=state.num_tokens,
        steps=state.step,
        timing={
            "train_seconds": state.train_seconds,
            "eval_seconds": state.eval_seconds,
            "examples_per_second": state.num_examples / state.train_seconds,
            "tokens_per_second": state.num_tokens / state.train_seconds,
        },
        peak_memory_bytes=peak_memory_bytes(),
        data={"source": source_kind(recipe.data), "fingerprints": plan.fingerprints, "skipped_rows": plan.skipped_rows},
        recipe=asdict(recipe),
        environment=environment(
            str(session.accelerator.device), session.precision, session.accelerator.num_processes, plan.files.revision
        ),
    )
    if session.speaks:
        save_model(session, {key: value for found in assessed.values() for key, value in found.settings.items()})
        for name, found in assessed.items():
            session.run.write_predictions(name, found.rows, found.files)
        session.run.write_result(result)
    session.accelerator.wait_for_everyone()
    return result


def leave(session: "Session", state: "TrainState", stop: StopRequest) -> None:
    """Save a checkpoint and raise Interrupted."""
    from debft.session import save

    save(session, state)
    raise Interrupted(
        stop.number,
        f"interrupted after step {state.step:,} of {session.plan.total_steps:,}; "
        f"the same command with --output {session.run.path} --resume goes on",
    )


def _assess(session: "Session", state: "TrainState", stop: StopRequest, splits: "tuple[Split, ...]") -> "dict[str, Assessment]":
    from debft.evaluation import predict_logits

    def leave_if_alone() -> None:  # with several processes all leave together, after the next step
        if stop and session.accelerator.num_processes == 1:
            leave(session, state, stop)

    found = {}
    for split in splits:
        encoded = session.splits[split.name]
        logits = predict_logits(
            session.accelerator, session.model, session.head, encoded, collate=session.collate,
            micro_batch_tokens=4 * session.micro_batch_tokens, what=split.name, check=leave_if_alone,
        )  # fmt: skip
        found[split.name] = session.head.assess(logits, encoded, session.plan.examples[split.name])
    return found


def _headline(task: Task, scores: dict[str, float]) -> list[str]:
    """The scores of one line: those of the task's metrics, of few splits."""
    averages = [name for name in scores if name.partition("/")[0].endswith(".avg")]
    return averages or [name for name in task.score_names() if name in scores]


def _evaluation_due(session: "Session", state: "TrainState") -> bool:
    config = session.plan.recipe.train
    end_of_epoch = state.step % steps_per_epoch(len(session.splits[session.plan.task.train.name]), config.train_batch_size) == 0
    return _due(state.step, config.eval_steps) or (config.eval_each_epoch and end_of_epoch)


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0


def _stop_agreed(session: "Session", stop: StopRequest) -> bool:
    """Whether any process was told to stop: all leave after the same step."""
    if session.accelerator.num_processes == 1:
        return bool(stop)
    import torch

    told = torch.tensor([stop.number], device=session.accelerator.device)
    agreed = int(session.accelerator.gather(told).max())
    if agreed:  # else a signal that arrived during the exchange stays for the next one
        stop.number = agreed
    return agreed != 0
