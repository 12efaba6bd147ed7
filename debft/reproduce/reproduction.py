"""`debft reproduce TABLE`: plan, show the cost, run what is missing, judge, report."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from debft.errors import InputError
from debft.progress import meter, say
from debft.reproduce import show
from debft.reproduce.collect import collect
from debft.reproduce.cost import Cost, cost_of, total, with_probe
from debft.reproduce.jobs import default_jobs, devices_here, run_all
from debft.reproduce.plan import TablePlan
from debft.reproduce.report import write_report

EXIT_LOST = 4
# Of several codes the first of these is what `reproduce` ends with: a bug, a failure of the machine, a loss that is not finite, the
# user's input, a cell that was not reproduced.
WORST_FIRST = (1, 5, 3, 2, EXIT_LOST)
GOOD = {"published": ("reproduced", "above"), "measured": ("reproduced",)}  # verdicts that --check lets pass, by kind of table


def dry_run(plan: TablePlan, jobs: int | None) -> tuple[dict[str, Any], int]:
    """What running the table would cost here, after a probe of every recipe that has runs missing, and the exit code."""
    _require_runs(plan)
    costs = _costs(plan)
    probed = [with_probe(cost, plan.recipes[cost.name]) if cost.missing else cost for cost in costs]
    summary = total(probed, jobs or default_jobs(plan.table))
    show.print_costs(plan, probed, summary)
    problems = {name: found.problem for name, found in plan.recipes.items() if found.problem}
    content = {"table": plan.table.name, "recipes": [vars(cost) for cost in probed], "total": summary, "problems": problems}
    return content, 2 if problems else 0


def reproduce(plan: TablePlan, output: Path, *, jobs: int | None, check: bool, command: str) -> tuple[dict[str, Any], int]:
    """Run what is missing and write `output/report`: (the content of report.json, the exit code).

    The exit code is the worst of those of the failed runs (WORST_FIRST), 2 where a recipe cannot run here and, with `check`, 4
    where `lost_cells` finds one; 128 + n where signal n ended it.
    """
    _require_runs(plan)
    missing = plan.missing()
    complete = len(plan.runs) - len(missing)
    say(f"{plan.table.name}: {show.counted(len(plan.runs), 'run')}, {complete} complete, {len(missing)} to run")
    failures, signal_number = {}, 0
    if missing:
        costs = _costs(plan)
        show.print_costs(plan, costs, total(costs, jobs or default_jobs(plan.table)))
        failures, signal_number = run_all(missing, jobs or default_jobs(plan.table), devices_here(), output / "logs")
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
