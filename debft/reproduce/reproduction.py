"""`debft reproduce TABLE`: plan, show the cost, run what is missing, judge, report."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from debft.console import meter, say
from debft.errors import InputError
from debft.reproduce import show
from debft.reproduce.collect import collect
from debft.reproduce.cost import Cost, cost_of, total, with_probe
from debft.reproduce.estimate import Estimate, estimate, measure_this_machine, needed_from_hub
from debft.reproduce.jobs import Failure, default_jobs, threads_of_a_job
from debft.reproduce.order import run_in_order
from debft.reproduce.plan import RecipePlan, TablePlan
from debft.reproduce.report import write_report
from debft.runtime.devices import devices_here

EXIT_LOST = 4
# Of several codes the first of these is what `reproduce` ends with: a bug, a failure of the machine, a loss that is not finite, the
# user's input, a cell that was not reproduced.
WORST_FIRST = (1, 5, 3, 2, EXIT_LOST)
GOOD = {"published": ("reproduced", "above"), "measured": ("reproduced",)}  # verdicts that --check lets pass, by kind of table


def dry_run(plan: TablePlan, jobs: int | None) -> tuple[dict[str, Any], int]:
    """What running the table would cost here, and the exit code.

    Every recipe that has runs missing is probed. One that lacks only the hub is estimated, and that is no error of the dry run.
    """
    without_hub = [found for found in plan.recipes.values() if found.needs_hub]
    if not without_hub:
        _require_runs(plan)
    at_a_time = jobs or default_jobs(plan.table)
    devices = len(devices_here())
    threads = None if devices or at_a_time == 1 else threads_of_a_job(at_a_time)
    probed = [with_probe(cost, plan.recipes[cost.name], threads) if cost.missing else cost for cost in _costs(plan)]
    summary = total(probed, at_a_time, devices)
    if plan.runs:
        show.print_plan(plan, plan.missing(), plan.damaged())
        show.print_costs(plan, probed, summary, at_a_time)
    estimates, wrong = _estimates(without_hub, len(plan.seeds))
    if estimates:
        show.print_estimates(estimates, plan.seeds, min(at_a_time, max(devices, 1)), needed_from_hub(without_hub))
    problems = {name: found.problem for name, found in plan.recipes.items() if found.problem} | wrong
    content = {
        "table": plan.table.name,
        "recipes": [vars(cost) for cost in probed],
        "total": summary,
        "estimates": [one.as_dict() for one in estimates],
        "problems": problems,
    }
    bad = plan.damaged() or wrong or {name for name in problems if not plan.recipes[name].needs_hub}
    return content, 2 if bad else 0


def _estimates(without_hub: list[RecipePlan], seeds: int) -> tuple[list[Estimate], dict[str, str]]:
    """(the estimates, what is wrong with a recipe beside the missing hub, by its name)."""
    estimates, wrong = [], {}
    here = measure_this_machine() if without_hub else None
    for found in without_hub:
        try:
            estimates.append(estimate(found, seeds, here))
        except InputError as error:
            wrong[found.name] = error.problems[0]
            say(f"{found.name} cannot run: {error.problems[0]}")
    return estimates, wrong


def reproduce(plan: TablePlan, output: Path, *, jobs: int | None, check: bool, command: str) -> tuple[dict[str, Any], int]:
    """Run what is missing and write `output/report`: (the content of report.json, the exit code).

    The exit code is the worst of those of the failed runs (WORST_FIRST), 2 where a recipe cannot run here and, with `check`, 4
    where `lost_cells` finds one; 128 + n where signal n ended it.
    """
    _require_runs(plan)
    missing, damaged = plan.missing(), plan.damaged()
    show.print_plan(plan, missing, damaged)
    failures, signal_number = {}, 0
    if missing:
        costs, at_a_time = _costs(plan), jobs or default_jobs(plan.table)
        show.print_costs(plan, costs, total(costs, at_a_time), at_a_time)
        failures, signal_number = run_in_order(missing, at_a_time, devices_here(), output / "logs")
    failures |= {name: Failure(code=2, error=damage) for name, damage in damaged.items()}
    content = collect(plan, failures, command=command, report=output / "report")
    with meter("report", 1, "page") as progress:
        paths = write_report(content, output / "report")
        progress.advance()
    show.print_cells(content)
    say(f"{output / 'report'}   {'  '.join(path.name for path in paths if path.parent == output / 'report')}")
    if signal_number:
        return content, 128 + signal_number
    lost = lost_cells(content) if check else []
    for cell in lost:
        say(f"{cell['row']}  {cell['task']}  {cell['score']}: {cell['verdict_text']}")
    failed = [1 if failure.code == 0 else failure.code for failure in failures.values()]
    problems = [2 for found in plan.recipes.values() if found.problem]
    return content, worst_code([*failed, *problems, *(EXIT_LOST for _ in lost)])


def worst_code(codes: Iterable[int]) -> int:
    """The first of WORST_FIRST among the codes, 0 where there are none. One above 128 is a process that a signal ended, which
    counts as the machine's failure; any other one that debft does not know counts as a bug.
    """
    known = [code if code in WORST_FIRST else 5 if code > 128 else 1 for code in codes]
    return min(known, key=WORST_FIRST.index, default=0)


def lost_cells(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells with a number that make `--check` fail: all but reproduced and above, of a frozen table all but reproduced."""
    good = GOOD[content["table"]["kind"]]
    return [cell for cell in content["cells"] if cell["value"] is not None and cell["verdict"] not in good]


def _costs(plan: TablePlan) -> list[Cost]:
    found = [recipe for recipe in plan.recipes.values() if recipe.runs]
    costs = []
    with meter("cost", len(found), "recipes") as progress:
        for recipe in found:
            costs.append(cost_of(recipe))
            progress.advance(1, recipe.name)
    return costs


def _require_runs(plan: TablePlan) -> None:
    if not plan.runs:
        raise InputError(f"{plan.table.name}: expected recipes that can run here, found none; mend what is said above")
