"""The published tables with our runs beside them, for a terminal, as Markdown, HTML or JSON."""

import shlex
from collections.abc import Sequence
from typing import Any

from debft.errors import InputError, did_you_mean
from debft.output.tables.content import document
from debft.output.tables.runs import find_runs
from debft.published.load import load_published, table_names


def tables_document(names: Sequence[str], places: Sequence[str]) -> dict[str, Any]:
    """The tables `names`, all where none is named, with the runs found in `places`; what `--format json` prints.

    Raises InputError for an unknown table, a place without a run, and where no result can be read.
    """
    known = table_names()
    for name in names:
        if name not in known:
            raise InputError(f"--table {shlex.quote(name)}: no such table{did_you_mean(name, known)}")
    tables = [load_published(name) for name in dict.fromkeys(names)]
    if not tables:  # what others print first, then what repeats it, then what we measured
        tables = sorted(map(load_published, known), key=lambda table: (table.kind == "measured", table.repeats is not None))
    return document(tables, find_runs(places))
