"""The task commands: resolve the recipe that the options ask for, show its plan or train it.

What knows models and training is imported by the function that needs it: `debft --help` and completion are there at once.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from debft.cli import several
from debft.cli.accelerate_file import Launch
from debft.cli.options import command_with
from debft.cli.stdout import print_json
from debft.config.recipe import Recipe
from debft.console import put
from debft.errors import DebftError, HubError, MachineError
from debft.library.options import OF_LAUNCH, options_of
from debft.library.page import write_page
from debft.library.resolving import in_words_of_options, options_typed, recipe_to_run
from debft.runs.directory import RunDirectory
from debft.runtime.accelerator import leave_processes
from debft.runtime.devices import visible_gpus
from debft.runtime.launch.group import STAYS_ELSEWHERE, follow_parent, in_a_group, is_main_process
from debft.runtime.launch.local import RunOfGroup, check_number, start_processes
from debft.runtime.launch.machines import share_to_start
from debft.runtime.launch.srun import join_step
from debft.runtime.progress import activity
from debft.runtime.variables import check_variables

if TYPE_CHECKING:
    from debft.training.place import Start


def task_command(task: str) -> Callable[..., None]:
    """Make the command of `task`, with the signature from which Typer makes its options."""

    def run(keys: Mapping[str, Any], **others: Any) -> None:
        launch = Launch(**{name: others.pop(name) for name in OF_LAUNCH})
        with in_words_of_options(options_typed(keys, others["assignments"] or ())):
            fine_tune(task, keys, launch=launch, **others)

    return command_with(options_of(task), run)


def fine_tune(
    task: str,
    keys: Mapping[str, Any],
    *,
    launch: Launch,
    recipe: str | None,
    sift: bool | None,
    assignments: Sequence[str] | None,
    output: str | None,
    seeds: int | None,
    jobs: int | None,
    resume: bool,
    restart: bool,
    overwrite: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Fine-tune `task`, or show what would be done. keys: the keys of the recipe that were typed, with their values."""
    from debft.training.place import start_of

    join_step()
    if in_a_group():
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # torch warns of hosts without a name; read when it is imported
    start = start_of(resume=resume, restart=restart, overwrite=overwrite)
    goes_on, keys = resume or restart, {**launch.recipe_keys(), **keys}
    resolved, run = recipe_to_run(
        task, keys, recipe=recipe, sift=sift, assignments=assignments or (), output=output, goes_on=goes_on
    )
    asked = launch.asked(resolved.runtime.precision)
    if several.repeats(resolved, seeds, jobs, asked, start):
        directory = Path(output) if output else several.usual_output(resolved, run.path, seeds)
        several.repeat(resolved, directory, seeds=seeds, jobs=jobs, dry_run=dry_run, as_json=as_json)
    share = share_to_start(asked)
    if share is not None:
        check_number(share)
    if dry_run:
        _show_plan(resolved, run, start, as_json)
        return
    if share is not None:
        check_variables(None, visible_gpus())
        _check_before_start(resolved, run, start, holds_run=share.machine == 0)
        stays = run.what_stays if share.machine == 0 else lambda: STAYS_ELSEWHERE
        group = RunOfGroup(stacks=run.stacks, what_stays=stays, hang_seconds=resolved.runtime.hang_seconds)
        raise typer.Exit(start_processes(share, group))
    follow_parent()
    from debft.output.terminal import print_result
    from debft.training.run import finetune

    try:
        result = finetune(resolved, run.path, resume=resume, restart=restart, overwrite=overwrite)
    except MachineError:
        raise  # another process may be lost, and would be waited for
    except DebftError:
        leave_processes()
        raise
    leave_processes()
    if is_main_process():
        write_page(run)
        print_result(result, run.path)
        if as_json:
            put(result.to_json())


def _show_plan(recipe: Recipe, run: RunDirectory, start: "Start", as_json: bool) -> None:
    """Check all that the run itself would check, do a few of its steps in memory, and print its plan with what it will take."""
    from debft.output.terminal import plan_dict, print_plan
    from debft.training.describe import describe
    from debft.training.place import check_output, place_of_rows
    from debft.training.plan import make_plan

    check_output(run, recipe, start)
    try:
        plan = make_plan(recipe, place_of_rows(run, recipe, start))
    except HubError as error:
        several.show_estimate(recipe, None, error, as_json)
        return
    describe(plan)
    with activity("loading torch"):
        from debft.training.probe import probe
    estimate = probe(plan, run)
    print_json(plan_dict(plan, run.path, estimate)) if as_json else print_plan(plan, run.path, estimate)


def _check_before_start(recipe: Recipe, run: RunDirectory, start: "Start", *, holds_run: bool) -> None:
    """Find bad input once, before each of several processes would find it. holds_run: whether process 0 is on this machine"""
    from debft.training.place import check_output, place_of_rows
    from debft.training.plan import make_plan

    if not holds_run or check_output(run, recipe, start) is None:
        make_plan(recipe, place_of_rows(run, recipe, start))
