"""This module is `debft reproduce TABLE`: show the cost, run what is missing, judge, report; or, as a dry run, the cost alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from debft.config.recipe import Recipe, to_dict
from debft.console import say
from debft.errors import HubError, InputError
from debft.models.names import short_name
from debft.output.pages.records import Cell, Report
from debft.output.text import counted
from debft.reproduce import terminal
from debft.reproduce.collect import collect
from debft.reproduce.cost import Cost, cost_of, total_cost, with_probe
from debft.reproduce.estimate import Estimate, can_be_estimated, estimate, measure_this_machine, needed_from_hub
from debft.reproduce.jobs import Executor, jobs_at_a_time, local, ready, run_in_order, signal_that_ended, threads_of_a_job
from debft.reproduce.notes import Failure
from debft.reproduce.plan import RecipePlan, TablePlan
from debft.reproduce.report import write_report
from debft.reproduce.slurm.options import SlurmOptions
from debft.reproduce.slurm.submissions import refuse_beside_jobs
from debft.reproduce.slurm.submissions import submit as submit_runs
from debft.reproduce.slurm.watch import on_slurm
from debft.runtime.devices import devices_here
from debft.runtime.progress import meter
from debft.runtime.signals import INTERRUPTED

EXIT_LOST = 4
# Of several codes the first of these is what `reproduce` ends with: a bug, a failure of the machine, a loss that is not finite, the
# user's input, a run that was interrupted, a cell that was not reproduced.
WORST_FIRST = (1, 5, 3, 2, *INTERRUPTED, EXIT_LOST)
GOOD = {"published": ("reproduced", "above"), "measured": ("reproduced",)}  # verdicts that --check lets pass, by kind of table


def dry_run(table_plan: TablePlan, jobs: int | None) -> tuple[dict[str, Any], int]:
    """Return what running the table would cost here, and the exit code.

    Every recipe that has runs missing is probed. One that lacks only the hub is estimated, and that is no error of the dry run.
    """
    without_hub = [recipe_plan for recipe_plan in table_plan.recipes.values() if recipe_plan.needs_hub]
    if not without_hub:
        _require_runs(table_plan)
    at_a_time, devices = jobs_at_a_time(jobs, table_plan.table.data), len(devices_here())
    probed = _probed(table_plan, None if devices or at_a_time == 1 else threads_of_a_job(at_a_time))
    total = total_cost(probed, at_a_time, devices)
    if table_plan.runs:
        terminal.print_plan(table_plan, table_plan.missing(), table_plan.damaged())
        terminal.print_costs(table_plan, probed, total, at_a_time)
    estimates, wrong = _estimates(without_hub, len(table_plan.seeds))
    if estimates:
        needed, on_gpus = needed_from_hub([recipe_plan.recipe for recipe_plan in without_hub]), min(at_a_time, max(devices, 1))
        terminal.print_estimates(estimates, table_plan.seeds, on_gpus, needed)
    content = {
        "table": table_plan.table.name,
        "recipes": [asdict(cost) for cost in probed],
        "total": asdict(total),
        "estimates": [one.as_dict() for one in estimates],
        "problems": _problems(table_plan) | wrong,
    }
    return content, 2 if _cannot_all_run(table_plan, wrong) else 0


def estimate_runs(recipe: Recipe, seeds: Sequence[int], missing: HubError) -> dict[str, Any]:
    """Estimate the runs of one recipe that lacks only the hub, and print it. Return the same for scripts.

    Raises `missing` itself where no packaged size tells what they take, InputError for a schedule that does not fit the rows.
    """
    if recipe.model is None or not can_be_estimated(recipe):
        raise missing
    say(missing.problems[0])
    one = estimate(f"{recipe.task}/{short_name(recipe.model)}", recipe, len(seeds), measure_this_machine())
    on_gpus = min(jobs_at_a_time(None, recipe.data), max(len(devices_here()), 1))
    terminal.print_estimates([one], seeds, on_gpus, needed_from_hub([recipe]))
    return {"problem": missing.problems[0], "estimate": one.as_dict(), "recipe": to_dict(recipe)}


def _probed(table_plan: TablePlan, threads: int | None) -> list[Cost]:
    return [with_probe(cost, table_plan.recipes[cost.name], threads) if cost.missing else cost for cost in _costs(table_plan)]


def _problems(table_plan: TablePlan) -> dict[str, str]:
    """Return why each recipe cannot run here that cannot, by its name."""
    return {name: recipe_plan.problem for name, recipe_plan in table_plan.recipes.items() if recipe_plan.problem}


def _cannot_all_run(table_plan: TablePlan, wrong: Mapping[str, str]) -> bool:
    """Return whether a run is damaged, or a recipe has a problem that the hub would not mend."""
    other_problems = [name for name in _problems(table_plan) if not table_plan.recipes[name].needs_hub]
    return bool(table_plan.damaged() or wrong or other_problems)


def _estimates(without_hub: Sequence[RecipePlan], seeds: int) -> tuple[list[Estimate], dict[str, str]]:
    """Return (the estimates, what is wrong with a recipe beside the missing hub, by its name)."""
    if not without_hub:
        return [], {}
    estimates, wrong, here = [], {}, measure_this_machine()
    for recipe_plan in without_hub:
        try:
            estimates.append(estimate(recipe_plan.name, recipe_plan.recipe, seeds, here))
        except InputError as error:
            wrong[recipe_plan.name] = error.problems[0]
            say(f"{recipe_plan.name} cannot run: {error.problems[0]}")
    return estimates, wrong


def executor_of(table_plan: TablePlan, logs: Path, *, jobs: int | None, slurm: SlurmOptions | None) -> Executor:
    """Return what makes the runs of a table. jobs: runs at a time on this machine; slurm: None for this machine"""
    if slurm is not None:
        return on_slurm(slurm, logs, len(table_plan.runs))
    refuse_beside_jobs(logs)
    return local(jobs_at_a_time(jobs, table_plan.table.data), logs)


def submit(table_plan: TablePlan, options: SlurmOptions, logs: Path) -> None:
    """Submit what is missing and can start, and wait for nothing."""
    _require_runs(table_plan)
    missing = table_plan.missing()
    terminal.print_plan(table_plan, missing, table_plan.damaged())
    now = ready(missing)
    if now:
        submit_runs(now, options, logs)
    if later := len(missing) - len(now):
        say(f"{counted(later, 'run')} to be submitted by the same command, once those that they start from are complete")


def reproduce(table_plan: TablePlan, output: Path, *, executor: Executor, check: bool, command: str) -> tuple[Report, int]:
    """Run what is missing and write `output/report`. Return (the report, the exit code).

    The exit code is the worst of those of the failed runs (WORST_FIRST), 2 where a recipe cannot run here and, with `check`, 4
    where `lost_cells` names one; 128 + n where signal n ended it.
    """
    _require_runs(table_plan)
    missing, damaged = table_plan.missing(), table_plan.damaged()
    terminal.print_plan(table_plan, missing, damaged)
    failures: dict[str, Failure] = {}
    signal_number = 0
    if missing:
        costs = _costs(table_plan)
        terminal.print_costs(table_plan, costs, total_cost(costs, executor.at_a_time), executor.at_a_time)
        failures, signal_number = run_in_order(missing, executor)
        signal_number = signal_that_ended(signal_number, missing)
    failures |= {name: Failure(code=2, error=damage) for name, damage in damaged.items()}
    report = _write(table_plan, failures, command, output / "report")
    if signal_number:
        return report, 128 + signal_number
    lost = lost_cells(report) if check else []
    for cell in lost:
        say(f"{cell.row}  {cell.task}  {cell.score}: {cell.verdict_text}")
    failed = [1 if failure.code == 0 else failure.code for failure in failures.values()]
    return report, worst_code([*failed, *(2 for _ in _problems(table_plan)), *(EXIT_LOST for _ in lost)])


def _write(table_plan: TablePlan, failures: Mapping[str, Failure], command: str, directory: Path) -> Report:
    """Write the report, and show its cells and where it is."""
    report = collect(table_plan, failures, command=command, directory=directory)
    with meter("report", 1, "page") as progress:
        paths = write_report(report, directory)
        progress.advance()
    terminal.print_cells(report)
    say(f"{directory}   {'  '.join(path.name for path in paths if path.parent == directory)}")
    return report


def worst_code(codes: Iterable[int]) -> int:
    """Return the first of WORST_FIRST among the codes, 0 where there are none.

    An interrupted run goes on with the same command. Any other code above 128 is of a process that a signal ended, which counts as
    the machine's failure; any other unknown one counts as a bug.
    """
    known = [code if code in WORST_FIRST else 5 if code > 128 else 1 for code in codes]
    return min(known, key=WORST_FIRST.index, default=0)


def lost_cells(report: Report) -> list[Cell]:
    """Return the cells with a number that make `--check` fail: all but reproduced and above, of a frozen table but reproduced."""
    good = GOOD[report.table.kind]
    return [cell for cell in report.cells if cell.value is not None and cell.verdict not in good]


def _costs(table_plan: TablePlan) -> list[Cost]:
    recipe_plans = [recipe_plan for recipe_plan in table_plan.recipes.values() if recipe_plan.runs]
    costs = []
    with meter("cost", len(recipe_plans), "recipes", show=bool(recipe_plans)) as progress:
        for recipe_plan in recipe_plans:
            costs.append(cost_of(recipe_plan))
            progress.advance(1, recipe_plan.name)
    return costs


def _require_runs(table_plan: TablePlan) -> None:
    if not table_plan.runs:
        raise InputError(f"{table_plan.table.name}: expected recipes that can run here, found none; mend what is said above")
