"""The fields of nested JSON objects are columns too, under dotted names."""

from dataclasses import replace

from debft.data.sources.table import DataTable


def with_dotted(table: DataTable) -> DataTable:
    """Return the table with a column `doc.text` beside a column `doc` of objects that have a `text`, however deep.

    A row whose object lacks the field, or that has none, has None there. A column that has the name already stays as it is.
    """
    added: dict[str, list] = {}
    left = list(table.columns.items())
    while left:
        name, column = left.pop(0)
        fields = dict.fromkeys(key for value in column if isinstance(value, dict) for key in value)
        for field in fields:
            dotted = f"{name}.{field}"
            if dotted not in table.columns:
                added[dotted] = [value.get(field) if isinstance(value, dict) else None for value in column]
                left.append((dotted, added[dotted]))
    return replace(table, columns=table.columns | added) if added else table
