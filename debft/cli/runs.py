"""The commands that look at finished runs: list them, compare them."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from debft.cli.options import check_new, name_or_path
from debft.cli.stdout import print_json, until_closed
from debft.console import put
from debft.errors import InputError, one_of
from debft.runtime.progress import activity

WIDTH = 100  # columns where stdout is no terminal
_FORMATS = ("terminal", "csv", "json")


def runs(
    places: Annotated[
        list[str] | None,
        typer.Argument(help="Runs, or directories that hold some (default: runs).", metavar="DIR", callback=name_or_path),
    ] = None,
    sort: Annotated[str, typer.Option(help="date (the newest first), score or time.")] = "date",
    form: Annotated[str | None, typer.Option("--format", help="terminal (the default), csv or json.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """List finished runs: model, what each has otherwise, seed, score with its interval, time and date."""
    from debft.output import run_list

    if sort not in run_list.SORTS:
        raise InputError(f"--sort {sort}: expected {one_of(run_list.SORTS)}")
    if form is not None and form not in _FORMATS:
        raise InputError(f"--format {form}: expected {one_of(_FORMATS)}")
    if as_json and form not in (None, "json"):
        raise InputError(f"--format {form}: --json is given as well; give one of them")
    found = run_list.list_runs(places or ["runs"], sort)
    with until_closed():
        if as_json or form == "json":
            print_json(run_list.as_dict(found))
        elif form == "csv":
            put(run_list.as_csv(found), end="")
        else:
            put("\n".join(run_list.printed(found, shutil.get_terminal_size((WIDTH, 24)).columns)))
    if found.damaged:
        raise InputError(*found.damaged)


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

    check_new("--rows", rows)
    with activity("comparing the predictions"):
        comparison = compare_runs(runs)
    if rows is not None:
        differing = [{"pair": f"{pair.first}{pair.second}"} | asdict(row) for pair in comparison.pairs for row in pair.rows]
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in differing)
        write_atomically(Path(rows), content.encode("utf-8", "surrogatepass"))
    with until_closed():
        if as_json:
            print_json(comparison.as_dict())
        else:
            put("\n".join(printed(comparison, shutil.get_terminal_size((WIDTH, 24)).columns)))
