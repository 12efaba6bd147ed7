"""This module prints what people see of a reproduction: the plan, the cost, the verdicts."""

from collections.abc import Mapping, Sequence

from rich.text import Text

from debft.console import byte_size, clock, say
from debft.output.layout import print_table
from debft.output.pages.content import as_printed, difference_text
from debft.output.pages.records import Cell, Report
from debft.output.pages.summary import meanings, reference_word
from debft.output.plain import plain_table
from debft.output.text import counted, rounded_count, score_text, tolerance_text
from debft.reproduce.cost import PROBE_STEPS, Cost, TotalCost, total_cost
from debft.reproduce.estimate import H100_FLOPS, SHARE_ON_GPU, STEP_SECONDS_ON_GPU, Estimate
from debft.reproduce.other_runs import other_runs, say_other_runs
from debft.reproduce.plan import TablePlan
from debft.reproduce.planned_run import PlannedRun
from debft.tasks.titles import score_title

COLOURS = {"reproduced": "green", "above": "cyan", "below": "red", "undecided": "yellow", "labelled": "dim"}


def print_plan(table_plan: TablePlan, missing: Sequence[PlannedRun], damaged: Mapping[str, str]) -> None:
    """Say how many runs there are and what becomes of them; name the damaged ones, and those of other code."""
    complete = len(table_plan.runs) - len(missing) - len(damaged)
    line = f"{table_plan.table.name}: {counted(len(table_plan.runs), 'run')}, {complete} complete, {len(missing)} to run"
    say(line + (f", {len(damaged)} damaged, neither counted nor run" if damaged else ""))
    for damage in damaged.values():
        say(damage)
    say_other_runs(other_runs(table_plan))


def print_costs(table_plan: TablePlan, costs: Sequence[Cost], total: TotalCost, jobs: int) -> None:
    """Print a line per recipe with runs missing, and the sum."""
    probed = total.hours is not None
    table = plain_table("recipe", "runs", "steps", "tokens", "FLOPs", "model size", *(["time"] if probed else []), left=("recipe",))
    for cost in costs:
        if cost.missing:
            table.add_row(*_cost_columns(cost), *([duration(cost.seconds)] if probed and cost.seconds is not None else []))
    print_table(table)
    time = ""
    if total.hours is not None:
        time = f", {duration(3600 * total.hours)} on this machine, {at_a_time(jobs)} (probe of {PROBE_STEPS} steps each)"
    say(
        f"in all {counted(total.runs, 'run')} of seeds {', '.join(map(str, table_plan.seeds))}: "
        f"{rounded_count(total.num_tokens)} tokens, {total.flops:.1e} FLOPs, about {byte_size(total.disk_bytes)} of disk{time}"
    )


def _cost_columns(cost: Cost) -> list[str]:
    """Return recipe, runs, steps, tokens, FLOPs and the size of the model."""
    tokens, size = rounded_count(cost.num_tokens), byte_size(cost.disk_bytes)
    return [cost.name, str(cost.missing), f"{cost.steps:,}", tokens, f"{cost.flops:.1e}", size]


def print_cells(report: Report) -> None:
    """Print every score of the table with our mean and the verdict, what the verdicts mean, and what is wrong with failed runs."""
    headers = ("row", "score", "ours", "n", reference_word(report.table), "diff", "verdict")
    table = plain_table(*headers, left=("row", "score", "verdict"), wrapped=("row", "score", "verdict"))
    shown = [cell for cell in report.cells if cell.recipe is not None or cell.value is not None]
    for cell in shown:
        table.add_row(*_cell_columns(cell))
    print_table(table)
    for line in meanings(report.table, {cell.verdict for cell in shown}):
        say(line)
    for run in report.runs:
        if run.status in ("failed", "damaged"):
            say(f"{run.id} {run.status}: {run.error}")


def _cell_columns(cell: Cell) -> list[str | Text]:
    sd = "" if cell.sd is None else f" ± {score_text(cell.score, cell.sd, like=cell.mean)}"
    ours = score_text(cell.score, cell.mean, "-") + sd
    value = as_printed(cell) if cell.value is not None else "-"
    difference = "" if cell.difference is None else difference_text(cell.score, cell.difference, cell.mean)
    tolerance = "" if cell.tolerance is None else f"  (+/-{tolerance_text(cell.score, cell.tolerance)})"
    verdict = Text.assemble((cell.verdict_text, COLOURS.get(cell.verdict, "default")), tolerance)
    return [cell.row, score_title(cell.task, cell.score), ours, str(cell.n), value, difference, verdict]


def print_estimates(estimates: Sequence[Estimate], seeds: Sequence[int], jobs: int, needed: str) -> None:
    """Print a line per recipe that lacks the hub, every number an estimate, and the sum for this machine and for an H100.

    jobs: runs at a time, each with a GPU of its own; on a CPU 1: several share its cores, and the whole takes as long
    """
    say("estimates: nothing was probed, and the hub is out of reach")
    table = plain_table("recipe", "runs", "steps", "tokens", "FLOPs", "model size", "here", "H100", left=("recipe",))
    for one in estimates:
        table.add_row(*_cost_columns(one.cost), duration(one.seconds_here), duration(one.seconds_h100))
    print_table(table)
    total = total_cost([one.cost for one in estimates], jobs)
    here = sum(one.cost.missing * one.seconds_here for one in estimates)
    h100 = sum(one.cost.missing * one.seconds_h100 for one in estimates)
    say(
        f"estimate for {counted(total.runs, 'run')} of seeds {', '.join(map(str, seeds))}, from published row counts and packaged "
        f"sizes: {rounded_count(total.num_tokens)} tokens, {total.flops:.1e} FLOPs, {byte_size(total.disk_bytes)} of disk"
    )
    say(
        f"estimate of time: {duration(here / jobs)} on this machine, {at_a_time(jobs)} (the speed of its products measured, the "
        f"share that a step reaches assumed), {duration(h100)} on one H100, one run after the other ({SHARE_ON_GPU:.0%} of "
        f"{H100_FLOPS / 1e12:.0f} TFLOP/s and {STEP_SECONDS_ON_GPU} s a step, assumed)"
    )
    for remark in dict.fromkeys(remark for one in estimates for remark in one.remarks):
        say(remark)
    say(f"a probe and the runs need the hub: {needed}")


def duration(seconds: float) -> str:
    """Write `9:09` for minutes, `17.4 h` for hours, `52 days` for days."""
    if seconds < 3600:
        return clock(seconds)
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.0f} days"


def at_a_time(jobs: int) -> str:
    """Return `2 runs at a time`."""
    return f"{counted(jobs, 'run')} at a time"
