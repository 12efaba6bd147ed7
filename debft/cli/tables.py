"""`debft tables` shows the published tables."""

from typing import Annotated

import typer

from debft.cli.options import name_or_path
from debft.cli.stdout import until_closed
from debft.errors import InputError, one_of


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
