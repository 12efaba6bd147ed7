"""The commands that look at finished runs: compare them, list them."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from debft.cli.options import name_or_path
from debft.cli.stdout import print_json, until_closed


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(help="Runs, or directories that hold some; the first is A.", metavar="RUN...", callback=name_or_path),
    ],
    rows: Annotated[
        str | None,
        typer.Option(help="A JSONL file for the rows that one side predicts better.", show_default=False, callback=name_or_path),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON on stdout.")] = False,
) -> None:
    """Tell which of several runs is better, row by row: difference, interval, p value, and the rows on which they differ."""
    from debft.output.comparison import compare as compare_runs
    from debft.output.comparison_lines import printed
    from debft.runs.storage import write_atomically

    comparison = compare_runs(runs)
    if rows is not None:
        differing = [{"pair": f"{pair.first}{pair.second}"} | asdict(row) for pair in comparison.pairs for row in pair.rows]
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in differing)
        write_atomically(Path(rows), content.encode("utf-8", "surrogatepass"))
    with until_closed():
        if as_json:
            print_json(comparison.as_dict())
        else:
            print("\n".join(printed(comparison, shutil.get_terminal_size((100, 24)).columns)))
