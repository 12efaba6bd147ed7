"""What people see of a reproduction on the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table as RichTable

from debft.console import clock, print_table, say
from debft.output.pages.content import shown
from debft.reproduce.cost import PROBE_STEPS, Cost, total
from debft.reproduce.estimate import H100_FLOPS, SHARE_ON_GPU, STEP_SECONDS_ON_GPU, Estimate
from debft.reproduce.others import other_runs, say_other_runs
from debft.reproduce.plan import Run, TablePlan
from debft.runs.result import in_percent

TEXTS = ("recipe", "row", "task", "score", "verdict")  # columns; the others are numbers
COLOURS = {"reproduced": "green", "above": "cyan", "below": "red", "undecided": "yellow", "labelled": "dim"}


def print_plan(plan: TablePlan, missing: Sequence[Run], damaged: Mapping[str, str]) -> None:
    """How many runs there are and what becomes of them; the damaged ones, and those of other code, by name."""
    complete = len(plan.runs) - len(missing) - len(damaged)
    said = f"{plan.table.name}: {counted(len(plan.runs), 'run')}, {complete} complete, {len(missing)} to run"
    say(said + (f", {len(damaged)} damaged, neither counted nor run" if damaged else ""))
    for damage in damaged.values():
        say(damage)
    say_other_runs(other_runs(plan))


def print_costs(plan: TablePlan, costs: Sequence[Cost], summary: dict[str, Any], jobs: int) -> None:
    """A line per recipe with runs missing, and the sum."""
    probed = summary["hours"] is not None
    table = _table("recipe", "runs", "steps", "tokens", "FLOPs", "model", *(["time"] if probed else []))
    for cost in costs:
        if cost.missing:
            table.add_row(
                cost.name,
                str(cost.missing),
                f"{cost.steps:,}",
                _count(cost.num_tokens),
                f"{cost.flops:.1e}",
                _size(cost.disk_bytes),
                *([clock(cost.seconds)] if probed else []),
            )
    print_table(table)
    seeds = ", ".join(map(str, plan.seeds))
    say(
        f"in all {counted(summary['runs'], 'run')} of seeds {seeds}: {_count(summary['num_tokens'])} tokens, "
        f"{summary['flops']:.1e} FLOPs, about {_size(summary['disk_bytes'])}"
        + (
            f", {clock(3600 * summary['hours'])} on this machine, {at_a_time(jobs)} (probe of {PROBE_STEPS} steps each)"
            if probed
            else ""
        )
    )


def print_cells(content: dict[str, Any]) -> None:
    """Every score of the table with our mean and the verdict."""
    table = _table(
        "row", "task", "score", "ours", "n", (content["table"]["kind"] == "measured" and "frozen") or "published", "diff", "verdict"
    )
    for cell in content["cells"]:
        if cell["recipe"] is None and cell["value"] is None:
            continue
        ours = shown(cell["score"], cell["mean"], "-") + ("" if cell["sd"] is None else f" ± {shown(cell['score'], cell['sd'])}")
        value = (
            "-"
            if cell["value"] is None
            else f"{cell['value']:g}"
            if in_percent(cell["score"])
            else shown(cell["score"], cell["value"])
        )
        digits = "+.2f" if in_percent(cell["score"]) else "+.2g"
        difference = "" if cell["difference"] is None else f"{cell['difference']:{digits}}"
        tolerance = "" if cell["tolerance"] is None else f"  (+/-{shown(cell['score'], cell['tolerance'])})"
        colour = COLOURS.get(cell["verdict"], "default")
        table.add_row(
            cell["row"],
            cell["task"],
            cell["score"],
            ours,
            str(cell["n"]),
            value,
            difference,
            f"[{colour}]{cell['verdict_text']}[/]{tolerance}",
        )
    print_table(table)
    for run in content["runs"]:
        if run["status"] in ("failed", "damaged"):
            say(f"{run['id']} {run['status']}: {run['error']}")


def print_estimates(estimates: Sequence[Estimate], seeds: Sequence[int], jobs: int, needed: str) -> None:
    """A line per recipe that lacks the hub, every figure an estimate, and the sum for this machine and for an H100.

    jobs: at a time, each with a GPU of its own; on a CPU 1: several share its cores, and the whole takes as long
    """
    table = _table("recipe", "runs", "steps", "est. tokens", "est. FLOPs", "est. model", "est. time here", "est. time H100")
    for one in estimates:
        cost = one.cost
        table.add_row(
            cost.name,
            str(cost.missing),
            f"{cost.steps:,}",
            _count(cost.num_tokens),
            f"{cost.flops:.1e}",
            _size(cost.disk_bytes),
            clock(one.seconds_here),
            clock(one.seconds_h100),
        )
    print_table(table)
    summary = total([one.cost for one in estimates], jobs)
    here, h100 = (sum(one.cost.missing * getattr(one, f"seconds_{name}") for one in estimates) for name in ("here", "h100"))
    say(
        f"estimate for {counted(summary['runs'], 'run')} of seeds {', '.join(map(str, seeds))}, from published row counts and "
        f"packaged sizes: {_count(summary['num_tokens'])} tokens, {summary['flops']:.1e} FLOPs, {_size(summary['disk_bytes'])}"
    )
    say(
        f"estimate of time: {clock(here / jobs)} on this machine, {at_a_time(jobs)} (the speed of its products measured, the share "
        f"that a step reaches assumed), {clock(h100)} on one H100, one run after the other ({SHARE_ON_GPU:.0%} of "
        f"{H100_FLOPS / 1e12:.0f} TFLOP/s and {STEP_SECONDS_ON_GPU} s a step, assumed); no step was probed"
    )
    for remark in dict.fromkeys(remark for one in estimates for remark in one.remarks):
        say(remark)
    say(f"a probe and the runs need the hub: {needed}")


def at_a_time(jobs: int) -> str:
    """`2 runs at a time`."""
    return f"{counted(jobs, 'run')} at a time"


def counted(count: int, unit: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count} {unit}" + ("" if count == 1 else "s")


def _table(*headers: str) -> RichTable:
    table = RichTable(box=None, pad_edge=False)
    for header in headers:
        table.add_column(header, justify="left" if header in TEXTS else "right", no_wrap=header != "verdict")
    return table


def _count(number: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f}"


def _size(number: float) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"
