"""`debft reproduce` runs the recipes of a published table."""

import inspect
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from debft.cli.options import command_with, name_or_path
from debft.cli.stdout import print_json
from debft.config.reading import parse_set
from debft.config.recipe import MOST_RUNS
from debft.errors import InputError, one_of
from debft.library.options import of_command
from debft.reproduce.options import RunOptions
from debft.reproduce.slurm.options import EXECUTORS, SlurmOptions

TRIALS = 12  # points of the grid for each recipe that `reproduce --search` tries
WHAT, HOW, ON_SLURM = "What", "How", "Slurm"  # the headings in --help
TABLE = inspect.Parameter(
    "table",
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    annotation=Annotated[
        str, typer.Argument(help="A table of `debft tables`, such as deberta-v3 or demo.", metavar="TABLE", callback=name_or_path)
    ],
)
# Those that hold for every run, which have the names of their fields in RunOptions.
OF_RUNS = (
    of_command("data", str, WHAT, "Where the rows are: hub, demo or a directory (default: the table's, else hub).", is_path=True),
    of_command(
        "max_steps", int, WHAT, "End every run after so many steps; it is labelled and never counts as reproduced.", least=1
    ),
    of_command("max_train_samples", int, WHAT, "Train on a subset; it is labelled and never counts as reproduced.", least=1),
    of_command("max_eval_samples", int, WHAT, "Evaluate a subset; it is labelled and never counts as reproduced.", least=1),
    of_command("precision", str, HOW, "auto, fp32, bf16 or fp16 (default: as each recipe has it)."),
)
# Those of the jobs of a cluster, which have the names of their fields in SlurmOptions.
OF_SLURM = (
    of_command("partition", str, ON_SLURM, "Partition of the jobs."),
    of_command(
        "time",
        str,
        ON_SLURM,
        "Longest time of a job, minutes or HH:MM:SS; a run that needs longer goes on when its job begins anew.",
    ),
    of_command("gpus_per_task", int, ON_SLURM, "GPUs of each run, with a process for each.", least=1),
    of_command("cpus_per_task", int, ON_SLURM, "Cores of each run.", least=1),
    of_command("mem", str, ON_SLURM, "Memory of each run, such as 32G."),
    of_command("account", str, ON_SLURM, "Account of the jobs."),
    of_command("qos", str, ON_SLURM, "Quality of service of the jobs."),
    of_command("max_concurrent", int, ON_SLURM, "Runs at a time, where there is room (default: all).", least=1),
    of_command(
        "setup",
        list[str],
        ON_SLURM,
        "A line of shell that each job begins with, such as 'module load cuda' (repeatable).",
        flag="--slurm-setup",
    ),
)
OPTIONS = (
    of_command("row", list[str], WHAT, "Only this row (repeatable)."),
    of_command("task", list[str], WHAT, "Only this task (repeatable)."),
    of_command(
        "seeds",
        int,
        WHAT,
        "Runs of each recipe (default: as many as the table asks for, 8 for a published one).",
        least=1,
        most=MOST_RUNS,
    ),
    *OF_RUNS,
    of_command(
        "assignments",
        list[str],
        WHAT,
        "Set a key of every recipe, such as train.warmup_steps=0.1 (repeatable); it is labelled.",
        flag="--set",
    ),
    of_command("output", str, HOW, "Directory of the runs and the report (default: runs/reproduce/TABLE).", is_path=True),
    of_command("jobs", int, HOW, "Runs at a time (default: one per GPU, else one; demo: one per core).", least=1),
    of_command("dry_run", bool, HOW, "Probe every recipe for 20 steps, show the cost, run nothing.", default=False),
    of_command(
        "check",
        bool,
        HOW,
        "Exit with code 4 where a cell is neither reproduced nor above; in our own frozen tables, where one is not reproduced.",
        default=False,
    ),
    of_command("search", bool, HOW, "Look for better settings of our recipes in the papers' grids.", default=False),
    of_command("trials", int, HOW, f"Points of the grid that --search tries for each recipe (default: {TRIALS}).", least=1),
    of_command("status", bool, HOW, "Show what each run is doing, here or on a cluster, and start nothing.", default=False),
    of_command(
        "executor", str, HOW, "Where the runs are made: local, on this machine, or slurm, as jobs of a cluster (default: local)."
    ),
    *OF_SLURM,
    of_command("no_wait", bool, ON_SLURM, "Submit, show the jobs and leave.", default=False),
    of_command(
        "as_json",
        bool,
        HOW,
        "Print report.json on stdout, with --status the runs, and nothing else there.",
        flag="--json",
        default=False,
    ),
)


def reproduce(_keys: Mapping[str, Any], **typed: Any) -> None:
    """Run the recipe of every cell of a table over several seeds, and judge each cell: reproduced, above, below or undecided."""
    on_slurm = {option.name: typed.pop(option.name) for option in OF_SLURM}
    of_runs = {option.name: typed.pop(option.name) for option in OF_RUNS}
    assignments, as_json, setup = typed.pop("assignments"), typed.pop("as_json"), on_slurm.pop("setup")
    content, code = reproduce_table(
        options=RunOptions(changed=parse_set(assignments or []), **of_runs),
        on_slurm=SlurmOptions(setup=tuple(setup or ()), **on_slurm),
        **typed,
    )
    if as_json:
        print_json(content)
    sys.exit(code)  # typer.Exit would print a second line for an interrupted run


COMMAND = command_with(OPTIONS, reproduce, TABLE)


def reproduce_table(
    *,
    table: str,
    row: Sequence[str] | None,
    task: Sequence[str] | None,
    seeds: int | None,
    options: RunOptions,
    output: str | None,
    jobs: int | None,
    dry_run: bool,
    check: bool,
    search: bool,
    trials: int | None,
    status: bool,
    executor: str | None,
    on_slurm: SlurmOptions,
    no_wait: bool,
) -> tuple[Any, int]:
    """Do what `debft reproduce` was asked, and return what `--json` prints and the exit code."""
    executor = executor or "local"
    _check_executor(executor, on_slurm, {"--jobs": jobs, "--dry-run": dry_run}, no_wait=no_wait, looks=status)
    _refuse_together("--search", search, {"--seeds": seeds, "--check": check, "--dry-run": dry_run})
    _refuse_together("--status", status, {"--check": check, "--dry-run": dry_run, "--search": search, "--no-wait": no_wait})
    _refuse_together("--no-wait", no_wait, {"--check": check, "--search": search})
    _refuse_together("--dry-run", dry_run, {"--check": check})
    if trials is not None and not search:
        raise InputError("--trials: needs --search, which is not given; add it, or leave --trials out")

    from debft.reproduce import run as whole_table
    from debft.reproduce import search as grid
    from debft.reproduce.plan import make_table_plan
    from debft.reproduce.status import status as status_of

    directory = Path(output) if output else Path("runs") / "reproduce" / table
    if search:
        options = grid.trial_options(options)
    plan = make_table_plan(
        table,
        directory,
        rows=row or (),
        tasks=task or (),
        seeds=range(1, seeds + 1) if seeds else None,
        options=options,
        runs_here=executor == "local" and not status,
    )
    logs = directory / "logs"
    if dry_run:
        return whole_table.dry_run(plan, jobs)
    if no_wait:
        whole_table.submit(plan, on_slurm, logs)
    if status or no_wait:
        return status_of(plan, logs), 0
    runs_all = whole_table.executor_of(plan, logs, jobs=jobs, slurm=on_slurm if executor == "slurm" else None)
    if search:
        return grid.search(plan, directory, options, executor=runs_all, trials=trials or TRIALS)
    report, code = whole_table.reproduce(plan, directory, executor=runs_all, check=check, command=_command_line())
    return report.as_dict(), code


def _check_executor(executor: str, on_slurm: SlurmOptions, here: dict[str, Any], *, no_wait: bool, looks: bool) -> None:
    """Raise InputError for an executor that there is not, or that cannot work here, and for options of the other one.

    here: options of this machine alone; looks: whether nothing is to be started
    """
    from debft.runtime.extras import check_extra
    from debft.runtime.launch.slurm import check_slurm

    if executor not in EXECUTORS:
        raise InputError(f"--executor {executor}: expected {one_of(EXECUTORS)}")
    if executor == "local":
        if not looks and (option := next(iter([*on_slurm.given(), *(["--no-wait"] if no_wait else [])]), None)):
            raise InputError(f"{option}: needs --executor slurm, which is not given; add it, or leave {option} out")
        return
    _refuse_together("--executor slurm", True, here)
    if not looks:
        on_slurm.check()
        check_slurm("--executor slurm")
        check_extra("slurm", "debft reproduce --executor slurm")


def _refuse_together(option: str, given: bool, others: dict[str, Any]) -> None:
    """Raise InputError for an option that would do nothing beside `option`."""
    if given and (other := next((name for name, value in others.items() if value), None)):
        raise InputError(f"{option}: does not go with {other}; leave one of them out")


def _command_line() -> str:
    """Return the command as it was typed, for the report."""
    return shlex.join(["debft", *sys.argv[1:]])
