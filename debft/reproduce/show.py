"""What people see of a reproduction on the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table as RichTable

from debft.progress import clock, print_table, say
from debft.reproduce.content import shown
from debft.reproduce.cost import PROBE_STEPS, Cost
from debft.reproduce.plan import TablePlan
from debft.results import in_percent

TEXTS = ("recipe", "row", "task", "score", "verdict")  # columns; the others are numbers
COLOURS = {"reproduced": "green", "above": "cyan", "below": "red", "undecided": "yellow", "labelled": "dim"}


def print_costs(plan: TablePlan, costs: Sequence[Cost], summary: dict[str, Any]) -> None:
    """A line per recipe with runs missing, and the sum."""
    probed = summary["hours"] is not None
    table = _table("recipe", "runs", "steps", "tokens", "FLOPs", "model", *(["time"] if probed else []))
    for cost in costs:
        if cost.missing:
            table.add_row(
                cost.name, str(cost.missing), f"{cost.steps:,}", _count(cost.num_tokens), f"{cost.flops:.1e}",
                _size(cost.disk_bytes), *([clock(cost.seconds)] if probed else []),
            )  # fmt: skip
    print_table(table)
    seeds = ", ".join(map(str, plan.seeds))
    say(
        f"in all {counted(summary['runs'], 'run')} of seeds {seeds}: {_count(summary['num_tokens'])} tokens, "
        f"{summary['flops']:.1e} FLOPs, about {_size(summary['disk_bytes'])}"
        + (f", {clock(3600 * summary['hours'])} on this machine (probe of {PROBE_STEPS} steps each)" if probed else "")
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
    failed = [run for run in content["runs"] if run["status"] == "failed"]
    for run in failed:
        say(f"{run['id']} failed: {run['error']}")


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
