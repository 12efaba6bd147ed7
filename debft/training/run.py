"""One run from recipe to result: check, build, train, evaluate, save."""

import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from debft.config.recipe import Recipe, source_kind
from debft.console import Meter, meter, say
from debft.data.batches import steps_per_epoch
from debft.errors import InputError, Interrupted, MachineError
from debft.published.comparison import beside_published, why_not_compared
from debft.runs.directory import RunDirectory
from debft.runs.environment import environment
from debft.runs.result import RowsOfRun, RunResult, Timing
from debft.runs.storage import DiskError
from debft.runtime.deterministic import deterministic_kernels
from debft.runtime.devices import gpu_name
from debft.runtime.launch.group import in_a_group, is_main_process, process_name
from debft.runtime.memory import peak_memory_bytes
from debft.runtime.signals import SECONDS_TO_SAVE, StopRequest, Watch, ended_without_life, stop_requested
from debft.tasks import Split, Task
from debft.training.parallel import losing_a_process_is_said, of_first, together
from debft.training.plan import Plan, check_output, describe, make_plan

if TYPE_CHECKING:
    from debft.scoring.heads import Assessment
    from debft.training.loop import StepLog
    from debft.training.session import Session, TrainState


def finetune(recipe: Recipe, output: Path, *, resume: bool = False) -> RunResult:
    """Run `recipe` into the run directory `output` and return its result.

    With `resume` the newest whole checkpoint is continued, and a complete run is returned as it is.
    Raises InputError before anything is written, NotFiniteError, Interrupted after a checkpoint was saved, or MachineError where
    the disk refuses; the last checkpoint is whole then.
    """
    if not in_a_group():
        return _finetune(recipe, RunDirectory(output), resume, Watch())
    stays = f"what was saved stays: the same command with --output {output} --resume goes on"
    with ended_without_life(process_name()) as watch, losing_a_process_is_said(stays):
        return _finetune(recipe, RunDirectory(output), resume, watch)


def _finetune(recipe: Recipe, run: RunDirectory, resume: bool, watch: Watch) -> RunResult:
    with ExitStack() as held:
        together(lambda: held.enter_context(deterministic_kernels(recipe.runtime.deterministic)))  # before anything uses the GPU
        done, plan = together(lambda: _check(recipe, run, resume))
        if (done := of_first(done)) is not None:
            if is_main_process():
                say(f"{run.path}: already complete")
            return done
        together(lambda: held.enter_context(run.lock()))
        together(lambda: _check_again(recipe, run, resume))
        try:
            return _run(plan, run, resume, watch)
        except DiskError as error:
            advice = f"make room or mend the disk, then the same command with --output {run.path} --resume goes on"
            raise MachineError(f"{error.refusal}; {advice}") from error


def _check(recipe: Recipe, run: RunDirectory, resume: bool) -> tuple[RunResult | None, Plan | None]:
    """(the result of a complete run, None) or (None, the plan). The run directory is process 0's."""
    done = check_output(run, recipe, resume) if is_main_process() else None
    if done is not None:
        return done, None
    plan = make_plan(recipe)
    if is_main_process():
        describe(plan)
    return None, plan


def _check_again(recipe: Recipe, run: RunDirectory, resume: bool) -> None:
    """Raises InputError where the run directory has changed while the rows were read."""
    if is_main_process() and check_output(run, recipe, resume) is not None:
        raise InputError(f"--output {run.path}: another process has just completed this run; the same command shows it")


def _run(plan: Plan, run: RunDirectory, resume: bool, watch: Watch) -> RunResult:
    from debft.training.session import open_session

    session, state = open_session(plan, run, resume=resume)
    with stop_requested(session.speaks, watch) as stop:
        train(session, state, stop)
        assessed = final_evaluation(session, state, stop)
        return write_result(session, state, assessed, stop)  # a signal does not keep a finished run from being written


def train(session: "Session", state: "TrainState", stop: StopRequest) -> None:
    """The steps that are left, with the evaluations and checkpoints that fall due. Raises Interrupted."""
    from debft.training.loop import optimizer_steps
    from debft.training.session import save

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
    if session.speaks and state.step < total:
        say(f"training from step {state.step + 1:,}")
    with meter("train", total, "steps", done=state.step, show=session.speaks) as progress:
        stop.watch.alive()
        for log in steps:
            record(session, state, log, progress)
            stop.watch.alive()
            if _stop_agreed(session, stop):
                leave(session, state, stop)
            if log.step < total and _evaluation_due(session, state):
                evaluate(session, state, stop, plan.task.selection_evals)
            if log.step == total or _due(log.step, plan.recipe.runtime.save_steps):
                stop.watch.alive(SECONDS_TO_SAVE)
                save(session, state)  # that of the last step: nothing is lost where the evaluation or the result fails
                stop.watch.alive()


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
    from debft.scoring.evaluation import scores_of
    from debft.training.session import save_best

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
            stop.watch.alive(SECONDS_TO_SAVE)
            save_best(session, state, scores)
            stop.watch.alive()
    return assessed


def final_evaluation(session: "Session", state: "TrainState", stop: StopRequest) -> "dict[str, Assessment]":
    """Of the last step, or of the best where the recipe says so; the model is left with the weights that were scored."""
    from debft.training.session import load_best, save

    evals = session.plan.task.evals
    if session.plan.recipe.train.checkpoint != "best":
        return evaluate(session, state, stop, evals)
    assessed = evaluate(session, state, stop, session.plan.task.selection_evals)
    if state.best_step != state.step:
        save(session, state)
        load_best(session, state)
        if session.speaks:
            say(f"best step: {state.best_step:,} of {state.step:,}")
        return _assess(session, state, stop, evals, saving=False)  # the weights are no longer those of this step
    if len(assessed) == len(evals):
        return assessed
    return _assess(session, state, stop, evals)


def write_result(session: "Session", state: "TrainState", assessed: "dict[str, Assessment]", stop: StopRequest) -> RunResult:
    """Model, predictions and, last, result.json: a run without it is not complete. Each is on disk before the next."""
    from debft.scoring.evaluation import scores_of

    stop.watch.alive(SECONDS_TO_SAVE)
    plan, recipe, task = session.plan, session.plan.recipe, session.plan.task
    device = session.accelerator.device
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
        timing=Timing(
            train_seconds=state.train_seconds,
            eval_seconds=state.eval_seconds,
            examples_per_second=state.num_examples / state.train_seconds,
            tokens_per_second=state.num_tokens / state.train_seconds,
        ),
        peak_memory_bytes=peak_memory_bytes(),
        data=RowsOfRun(source=source_kind(recipe.data), fingerprints=plan.fingerprints, skipped_rows=plan.skipped_rows),
        recipe=asdict(recipe),
        environment=environment(
            str(device), gpu_name(device), session.precision, session.accelerator.num_processes, plan.files.revision
        ),
    )
    return of_first(together(lambda: _write(session, assessed, result) if session.speaks else None))


def _write(session: "Session", assessed: "dict[str, Assessment]", result: RunResult) -> RunResult:
    """The result as it was written, with the files of the model."""
    from debft.training.session import save_model

    chosen = {key: value for found in assessed.values() for key, value in found.settings.items()}
    result = replace(result, model_files=save_model(session, chosen))
    for name, found in assessed.items():
        session.run.write_predictions(name, found.rows, found.files)
    session.run.sync_logs()
    session.run.write_result(result)
    return result


def leave(session: "Session", state: "TrainState", stop: StopRequest, *, saving: bool = True) -> None:
    """Save a checkpoint, unless the model holds other weights than those of the step, and raise Interrupted."""
    from debft.training.session import save

    if saving:
        stop.watch.alive(SECONDS_TO_SAVE)
        save(session, state)
    raise Interrupted(
        stop.number,
        f"interrupted after step {state.step:,} of {session.plan.total_steps:,}; "
        f"the same command with --output {session.run.path} --resume goes on",
    )


def _assess(
    session: "Session", state: "TrainState", stop: StopRequest, splits: "tuple[Split, ...]", *, saving: bool = True
) -> "dict[str, Assessment]":
    from debft.scoring.evaluation import predict_logits

    def told() -> bool:
        stop.watch.alive()
        return bool(stop)

    def leave_together() -> None:
        if _stop_agreed(session, stop):
            leave(session, state, stop, saving=saving)

    found = {}
    for split in splits:
        encoded = session.splits[split.name]
        logits = predict_logits(
            session.accelerator,
            session.model,
            session.head,
            encoded,
            collate=session.collate,
            micro_batch_tokens=4 * session.micro_batch_tokens,
            what=split.name,
            told=told,
            leave=leave_together,
        )
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
