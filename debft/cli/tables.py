"""The commands about published tables: reproduce one, or show them."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from debft.cli.options import name_or_path
from debft.cli.stdout import print_json, until_closed
from debft.config.reading import parse_set
from debft.errors import InputError, one_of

if TYPE_CHECKING:
    from debft.reproduce.slurm.options import SlurmOptions

TRIALS = 12  # points of the grid for each recipe that `reproduce --search` tries


def _option(panel: str, help: str, *flags: str, **more: Any) -> Any:
    """Make an option of `reproduce` under the heading `panel` of --help."""
    return typer.Option(*flags, help=help, rich_help_panel=panel, show_default=False, **more)


def reproduce(
    table: Annotated[
        str, typer.Argument(help="A table of `debft tables`, such as deberta-v3 or demo.", metavar="TABLE", callback=name_or_path)
    ],
    row: Annotated[list[str] | None, _option("What", "Only this row (repeatable).")] = None,
    task: Annotated[list[str] | None, _option("What", "Only this task (repeatable).")] = None,
    seeds: Annotated[
        int | None, _option("What", "Runs of each recipe (default: as many as the table asks for, 8 for a published one).", min=1)
    ] = None,
    data: Annotated[
        str | None,
        _option("What", "Where the rows are: hub, demo or a directory (default: the table's, else hub).", callback=name_or_path),
    ] = None,
    max_steps: Annotated[
        int | None, _option("What", "End every run after so many steps; it is labelled and never counts as reproduced.", min=1)
    ] = None,
    max_train_samples: Annotated[
        int | None, _option("What", "Train on a subset; it is labelled and never counts as reproduced.", min=1)
    ] = None,
    max_eval_samples: Annotated[
        int | None, _option("What", "Evaluate a subset; it is labelled and never counts as reproduced.", min=1)
    ] = None,
    assignments: Annotated[
        list[str] | None,
        _option("What", "Set a key of every recipe, such as train.warmup_steps=0.1 (repeatable); it is labelled.", "--set"),
    ] = None,
    output: Annotated[
        str | None, _option("How", "Directory of the runs and the report (default: runs/reproduce/TABLE).", callback=name_or_path)
    ] = None,
    jobs: Annotated[
        int | None, _option("How", "Runs at a time (default: one per GPU, else one; demo: one per core).", min=1)
    ] = None,
    precision: Annotated[str | None, _option("How", "auto, fp32, bf16 or fp16 (default: as each recipe has it).")] = None,
    dry_run: Annotated[bool, _option("How", "Probe every recipe for 20 steps, show the cost, run nothing.", "--dry-run")] = False,
    check: Annotated[
        bool,
        _option(
            "How",
            "Exit with code 4 where a cell is neither reproduced nor above; in our own frozen tables, where one is not reproduced.",
            "--check",
        ),
    ] = False,
    search: Annotated[bool, _option("How", "Look for better settings of our recipes in the papers' grids.", "--search")] = False,
    trials: Annotated[
        int | None, _option("How", f"Points of the grid that --search tries for each recipe (default: {TRIALS}).", min=1)
    ] = None,
    status: Annotated[
        bool, _option("How", "Show what each run is doing, here or on a cluster, and start nothing.", "--status")
    ] = False,
    executor: Annotated[
        str, _option("How", "Where the runs are made: local, on this machine, or slurm, as jobs of a cluster (default: local).")
    ] = "local",
    partition: Annotated[str | None, _option("Slurm", "Partition of the jobs.")] = None,
    time: Annotated[
        str | None,
        _option("Slurm", "Longest time of a job, minutes or HH:MM:SS; a run that needs longer goes on when its job begins anew."),
    ] = None,
    gpus_per_task: Annotated[int | None, _option("Slurm", "GPUs of each run, with a process for each.", min=1)] = None,
    cpus_per_task: Annotated[int | None, _option("Slurm", "Cores of each run.", min=1)] = None,
    mem: Annotated[str | None, _option("Slurm", "Memory of each run, such as 32G.")] = None,
    account: Annotated[str | None, _option("Slurm", "Account of the jobs.")] = None,
    qos: Annotated[str | None, _option("Slurm", "Quality of service of the jobs.")] = None,
    max_concurrent: Annotated[int | None, _option("Slurm", "Runs at a time, where there is room (default: all).", min=1)] = None,
    slurm_setup: Annotated[
        list[str] | None, _option("Slurm", "A line of shell that each job begins with, such as 'module load cuda' (repeatable).")
    ] = None,
    no_wait: Annotated[bool, _option("Slurm", "Submit, show the jobs and leave.", "--no-wait")] = False,
    as_json: Annotated[
        bool, _option("How", "Print report.json on stdout, with --status the runs, and nothing else there.", "--json")
    ] = False,
) -> None:
    """Run the recipe of every cell of a table over several seeds, and judge each cell: reproduced, above, below or undecided."""
    from debft.reproduce.slurm.options import SlurmOptions

    on_slurm = SlurmOptions(
        partition=partition,
        time=time,
        gpus_per_task=gpus_per_task,
        cpus_per_task=cpus_per_task,
        mem=mem,
        account=account,
        qos=qos,
        max_concurrent=max_concurrent,
        setup=tuple(slurm_setup or ()),
    )
    _check_executor(executor, on_slurm, {"--jobs": jobs, "--dry-run": dry_run}, no_wait=no_wait, looks=status)

    from debft.reproduce import run as whole_table
    from debft.reproduce import search as grid
    from debft.reproduce.options import RunOptions
    from debft.reproduce.plan import make_table_plan
    from debft.reproduce.status import status as status_of

    _refuse_together("--search", search, {"--seeds": seeds, "--check": check, "--dry-run": dry_run})
    _refuse_together("--status", status, {"--check": check, "--dry-run": dry_run, "--search": search, "--no-wait": no_wait})
    _refuse_together("--no-wait", no_wait, {"--check": check, "--search": search})
    _refuse_together("--dry-run", dry_run, {"--check": check})
    if trials is not None and not search:
        raise InputError("--trials: needs --search, which is not given; add it, or leave --trials out")
    directory = Path(output) if output else Path("runs") / "reproduce" / table
    options = RunOptions(
        data=data,
        precision=precision,
        max_steps=max_steps,
        max_train_samples=max_train_samples,
        max_eval_samples=max_eval_samples,
        changed=parse_set(assignments or []),
    )
    if search:
        options = grid.trial_options(options)
    seed_numbers = range(1, seeds + 1) if seeds else None
    plan = make_table_plan(
        table,
        directory,
        rows=row or (),
        tasks=task or (),
        seeds=seed_numbers,
        options=options,
        runs_here=executor == "local" and not status,
    )
    logs = directory / "logs"
    if dry_run:
        content, code = whole_table.dry_run(plan, jobs)
    elif status or no_wait:
        if no_wait:
            whole_table.submit(plan, on_slurm, logs)
        content, code = status_of(plan, logs), 0
    else:
        runs_all = whole_table.executor_of(plan, logs, jobs=jobs, slurm=on_slurm if executor == "slurm" else None)
        if search:
            content, code = grid.search(plan, directory, options, executor=runs_all, trials=trials or TRIALS)
        else:
            report, code = whole_table.reproduce(plan, directory, executor=runs_all, check=check, command=_command_line())
            content = report.as_dict()
    if as_json:
        print_json(content)
    sys.exit(code)  # typer.Exit would print a second line for an interrupted run


def tables(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Runs, or directories that hold some, to set beside the cells.", metavar="RUN", callback=name_or_path),
    ] = None,
    table: Annotated[
        list[str] | None, typer.Option(help="Only this table (repeatable).", show_default=False, callback=name_or_path)
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="terminal, markdown, html or json (default: terminal).", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Show the published tables cell by cell as printed, with your runs beside them."""
    from debft.output.tables.document import tables_document
    from debft.output.tables.render import FORMATS

    if form is not None and form not in FORMATS:
        raise InputError(f"--format {form}: expected {one_of(FORMATS)}")
    if as_json and form not in (None, "json"):
        raise InputError(f"--format {form}: --json is given as well; give one of them")
    document = tables_document(table or [], runs or [])
    with until_closed():
        FORMATS["json" if as_json else form or "terminal"](document)
    if document.damaged:
        raise InputError(*document.damaged)


def _check_executor(executor: str, on_slurm: "SlurmOptions", here: dict[str, Any], *, no_wait: bool, looks: bool) -> None:
    """Raise InputError for an executor that there is not, or that cannot work here, and for options of the other one.

    here: options of this machine alone; looks: whether nothing is to be started
    """
    from debft.reproduce.slurm.options import EXECUTORS
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
