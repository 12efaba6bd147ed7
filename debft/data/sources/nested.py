"""The fields of nested JSON objects are columns too, under dotted names."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from debft.data.sources.table import DataTable
from debft.data.stored import mapped


def with_dotted(table: DataTable) -> DataTable:
    """Return the table with a column `doc.text` beside a column `doc` of objects that have a `text`, however deep.

    A row whose object lacks the field, or that has none, has None there. A column that has the name already stays as it is.
    """
    added: dict[str, Sequence] = {}
    left = list(table.columns.items())
    while left:
        name, column = left.pop(0)
        fields = dict.fromkeys(key for value in column if isinstance(value, dict) for key in value)
        for field in fields:
            dotted = f"{name}.{field}"
            if dotted not in table.columns:
                added[dotted] = mapped(partial(_value, field), column)
                left.append((dotted, added[dotted]))
    return replace(table, columns={**table.columns, **added}) if added else table


def _value(field: str, cell: object) -> object:
    return cell.get(field) if isinstance(cell, dict) else None
