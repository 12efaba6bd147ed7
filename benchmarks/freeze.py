"""Freeze the numbers of a measured table: run its recipes over many seeds, write mean, standard deviation and count into its YAML.

The seeds start at 101, so that what is checked later (1, 2, 3) was not seen here. Finished runs are kept and not repeated.

    python benchmarks/freeze.py demo --seeds 12 --jobs 2
"""

import argparse
import re
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

import yaml

import debft.published.load
from debft.output.pages.records import Cell
from debft.published.load import PublishedScore, Table
from debft.reproduce.collect import collect
from debft.reproduce.jobs import run_all
from debft.reproduce.options import RunOptions
from debft.reproduce.plan import make_table_plan
from debft.reproduce.verdict import frozen_tolerance, widest_frozen
from debft.runtime.devices import devices_here

FIRST_SEED = 101


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table")
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("runs/freeze"))
    arguments = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + arguments.seeds)
    plan = make_table_plan(arguments.table, arguments.output, seeds=seeds, options=RunOptions())
    failures, _ = run_all(plan.missing(), arguments.jobs, devices_here(), arguments.output / "logs")
    if plan.missing() or plan.damaged():
        sys.exit(f"{len(plan.missing())} runs are missing: {failures}, {len(plan.damaged())} damaged: {plan.damaged()}; run again")
    report = collect(plan, {}, command="", directory=arguments.output)
    scores = {run.id: run.scores for run in report.runs}
    too_wide = [text for cell in report.cells if (text := too_wide_to_judge(cell, scores, plan.table))]
    if too_wide:
        sys.exit("not frozen, leave these scores out or freeze more seeds:\n" + "\n".join(too_wide))
    path = debft.published.load.DIRECTORY / f"{arguments.table}.yaml"
    text = path.read_text(encoding="utf-8")
    for row in plan.table.rows:
        for column in plan.table.columns:
            cells = [cell for cell in report.cells if (cell.row, cell.column) == (row.name, column.key)]
            if cells:
                text = _replaced(text, row.name, column.key, [_frozen(cell, scores) for cell in cells])
    text = re.sub(r"--seeds \d+", f"--seeds {arguments.seeds}", text)
    rows = yaml.safe_dump(
        {"fingerprints": {found.task.name: found.plan.fingerprints for found in plan.recipes.values()}},
        default_flow_style=None,
        width=130,
    )
    text = re.sub(r"fingerprints:\n(  .*\n)+", rows, text)
    path.write_text(text, encoding="utf-8")
    print(f"{path}: frozen from {arguments.seeds} seeds")


def too_wide_to_judge(cell: Cell, scores: Mapping[str, Mapping[str, float]], table: Table) -> str | None:
    """What is wrong with a score that would be undecided at the table's own number of seeds."""
    values = [scores[run][cell.score] for run in cell.runs]
    frozen = PublishedScore(
        table=table.name,
        row=cell.row,
        score=cell.score,
        cell="",
        value=statistics.fmean(values),
        spread=None,
        source="",
        note=None,
        sd=statistics.stdev(values),
        seeds=len(values),
    )
    tolerance, widest = frozen_tolerance(frozen, table.seeds, table.confidence), widest_frozen(frozen)
    return None if tolerance <= widest else f"{cell.row} {cell.score}: +/-{tolerance:.3g} is wider than {widest:.3g}"


def _frozen(cell: Cell, scores: Mapping[str, Mapping[str, float]]) -> str:
    values = [scores[run][cell.score] for run in cell.runs]
    mean, sd = statistics.fmean(values), statistics.stdev(values)
    print(f"{cell.row:<16} {cell.score:<32} {mean:10.6g} ± {sd:<8.4g}   " + " ".join(f"{value:.3g}" for value in values))
    number = int(mean) if mean == int(mean) else f"{mean:.6g}"
    return f"{{mean: {number}, sd: {sd:.4g}, n: {len(values)}}}"


def _replaced(text: str, row: str, column: str, cells: list[str]) -> str:
    """The cells in the line of the row, whatever stood there."""
    pattern = rf"(\{{row: {re.escape(row)}, .*?\b{column}: )\[.*?\]"
    changed, count = re.subn(pattern, lambda found: f"{found[1]}[{', '.join(cells)}]", text)
    assert count == 1, (row, column, count)
    return changed


if __name__ == "__main__":
    main()
