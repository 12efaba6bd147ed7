"""A run goes from recipe to result: it is checked, planned and shown, then trained, evaluated and saved."""

import gc
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from debft.config.recipe import Recipe
from debft.console import say
from debft.errors import InputError, MachineError, TooLittleMemoryError, first_line
from debft.runs.directory import RunDirectory
from debft.runs.holding import hold
from debft.runs.removal import bring_back, remove_run, remove_set_aside
from debft.runs.result import RunResult
from debft.runs.storage import DiskError, failing_disk
from debft.runtime.deterministic import deterministic_kernels
from debft.runtime.launch.group import STAYS_ELSEWHERE, in_a_group, is_main_process, process_name
from debft.runtime.memory import circles_kept, is_out_of_memory
from debft.runtime.progress import activity
from debft.runtime.signals import Watch, ended_without_life, stop_requested
from debft.training.describe import describe
from debft.training.parallel import broadcast_from_main, in_contact, raise_together, run_on_main
from debft.training.place import Start, check_output, place_of_rows, start_of
from debft.training.plan import Plan, make_plan

if TYPE_CHECKING:
    from debft.training.trackers import Trackers


def finetune(recipe: Recipe, output: Path, *, resume: bool = False, restart: bool = False, overwrite: bool = False) -> RunResult:
    """Run `recipe` into the run directory `output` and return its result.

    resume: the newest whole checkpoint is continued, and a complete run is returned as it is
    restart, overwrite: a run that is in `output` is removed once everything is checked, right before the first step
    Raises InputError before anything is written, NotFiniteError, Interrupted after a checkpoint was saved, or MachineError where
    the disk refuses or the memory is not enough; the last checkpoint is whole then.
    """
    start = start_of(resume=resume, restart=restart, overwrite=overwrite)
    if not in_a_group():
        return _finetune(recipe, RunDirectory(output), start, Watch())
    stays = RunDirectory(output).what_stays if is_main_process() else lambda: STAYS_ELSEWHERE
    with ended_without_life(process_name()) as watch, in_contact(recipe.runtime.hang_seconds, stays):
        return _finetune(recipe, RunDirectory(output), start, watch)


def _finetune(recipe: Recipe, run: RunDirectory, start: Start, watch: Watch) -> RunResult:
    """Do the same, with `watch` for the signs of life of this process."""
    with ExitStack() as held:
        kernels = deterministic_kernels(recipe.runtime.deterministic)  # before anything uses the GPU
        raise_together(lambda: held.enter_context(kernels))
        held.callback(gc.unfreeze)
        with circles_kept():
            checked = raise_together(lambda: _check(recipe, run, start))
        if (done := broadcast_from_main(checked if isinstance(checked, RunResult) else None)) is not None:
            if is_main_process():
                say(f"{run.path}: already complete")
            return done
        assert not isinstance(checked, RunResult), "only process 0 has looked for a result"
        raise_together(lambda: held.enter_context(hold(run)))
        raise_together(lambda: _check_again(recipe, run, start))
        try:
            with failing_disk():
                return _run(checked, run, start, watch)
        except DiskError as error:
            advice = f"make room or mend the disk, then the same command with --output {run.path} --resume goes on"
            raise MachineError(*([f"{error.refusal}; {advice}"] if error.problems else [])) from error  # one process prints it
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            advice = f"on a device with more, the same command with --output {run.path} --resume goes on"
            raise MachineError(
                f"the memory is not enough for the model and its optimizer: {first_line(error)}; {advice}"
            ) from error


def _check(recipe: Recipe, run: RunDirectory, start: Start) -> RunResult | Plan:
    """Return the result of a run that is complete, else the plan, which is shown. The run directory is process 0's."""
    done = check_output(run, recipe, start) if is_main_process() else None
    if done is not None:
        return done
    with activity("reading the rows", show=is_main_process()):
        plan = make_plan(recipe, place_of_rows(run, recipe, start))
    if is_main_process():
        describe(plan)
    return plan


def _check_again(recipe: Recipe, run: RunDirectory, start: Start) -> None:
    """Raise InputError where the run directory has changed while the rows were read."""
    if is_main_process() and check_output(run, recipe, start) is not None:
        raise InputError(f"--output {run.path}: another process has just completed this run; the same command shows it")


def _run(plan: Plan, run: RunDirectory, start: Start, watch: Watch) -> RunResult:
    """Do what the plan says. It has been shown: only now torch is imported, which takes seconds."""
    show = is_main_process()
    with circles_kept():
        with activity("loading torch", show=show):
            from debft.training.evaluations import final_evaluation
            from debft.training.finish import write_result
            from debft.training.guards import EvaluationNotFiniteError, StepNotFiniteError
            from debft.training.opening import open_session
            from debft.training.stopped import after_stop
            from debft.training.trackers import Trackers
            from debft.training.train import train

        with activity("preparing the run", show=show):
            session, state = open_session(plan, run, start=start)
        session = replace(session, trackers=run_on_main(lambda: _open_trackers(plan, run, start, state.step)) or Trackers())
    with closing(session.trackers), stop_requested(session.is_main, watch) as stop, closing(session.saving):
        try:
            train(session, state, stop)
            assessed = final_evaluation(session, state, stop)
        except (StepNotFiniteError, EvaluationNotFiniteError, TooLittleMemoryError) as error:
            raise after_stop(session, state, error) from error
        with activity("saving the model", show=show):
            result = write_result(session, state, assessed, stop)  # a signal does not keep a finished run from being written
        session.trackers.log({f"final/{name}": score for name, score in result.scores.items()}, state.step)
        return result


def _open_trackers(plan: Plan, run: RunDirectory, start: Start, step: int) -> "Trackers":
    """Start the trackers of a run, whose last step was `step`, and remove the run that it replaces.

    Where one cannot be started, a run that just began is gone again, and the one that it was to replace is there again.
    """
    from debft.training.trackers import open_trackers

    try:
        trackers = open_trackers(plan.recipe, run.path, step)
    except InputError:
        if start in ("overwrite", "restart") and bring_back(run.path):
            say(f"{run.path}: the run that was there is there again")
        elif start != "resume":
            remove_run(run.path)
        raise
    remove_set_aside(run.path)
    return trackers
