"""Any data set of the hub can be own data, by its id: its splits become tables, its classes names.

What `datasets` has loaded stays on disk, and only the columns that are read are copied. Where a few training rows are wanted
and the cache has none, they are streamed, without the rest.
"""

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from debft.config.recipe import OwnConfig
from debft.data.sources.hub import ask_hub, cache_of
from debft.data.sources.nested import with_dotted
from debft.data.sources.own import find_columns
from debft.data.sources.progress import BLOCK
from debft.data.sources.split_names import COLUMNS, SPLITS, TENTH
from debft.data.sources.table import DataTable
from debft.data.stored import GrowingTable, characters_of
from debft.errors import DebftError, InputError, first_line, one_of
from debft.runtime.memory import is_out_of_memory

LOOKED_AT = 1000  # rows by which the columns of a larger split are found, before the others are left where they are
ABSENT = "no such file or directory; as an id of the hub it is not in the cache"
INSTEAD = "give --data a file or a directory, or connect to it"


def own_tables(dataset: str, own: OwnConfig, limit: int | None = None, eval_limit: int | None = None) -> dict[str, DataTable]:
    """Read the splits of a data set, by our names for them. dataset: its id, or a directory as the hub keeps it.

    limit, eval_limit: rows that are wanted of the training split and of each other one; None: all
    Raises InputError, in under three seconds where neither the cache nor the hub has the rows.
    """
    name = f"{dataset}/{own.subset}" if own.subset else dataset
    if not (is_local := os.path.isdir(dataset)):
        ask_hub(f"--data {name}", name, INSTEAD, cached=os.path.isdir(cache_of(dataset)), why=ABSENT)
    streamed = limit is not None and not is_local and not os.path.isdir(cache_of(dataset))
    loaded = _load(dataset, own.subset, streaming=streamed)
    chosen = {ours: theirs for ours, names in SPLITS.items() if (theirs := next((n for n in names if n in loaded), None))}
    if "train" not in chosen:
        raise InputError(f"--data {name}: expected a split called train, got {one_of(loaded)}")
    notes = []
    if unused := [other for other in loaded if other not in chosen.values()]:
        notes.append(f"splits that are not read: {', '.join(unused)}")
    if own.split_column is not None:
        limit = None  # which rows are trained on is known once all are there
    if limit is not None:
        held_out = (0.0 if "validation" in chosen or own.folds else own.validation or TENTH) + (own.test or 0.0)
        limit = math.ceil(limit / (1 - held_out))
    if streamed and limit is not None:
        notes.append(f"streamed the first {limit:,} training rows, without the rest")
    limits = {"train": limit}
    columns, tables = None, {}
    for ours, theirs in chosen.items():
        rows, path = loaded[theirs], f"{name}/{theirs}"
        if columns is None and not streamed and len(rows) > LOOKED_AT:
            columns = _columns_needed(with_dotted(_table(rows, LOOKED_AT, path)), own)
        table = with_dotted(_table(rows, limits.get(ours, eval_limit), path, columns))
        tables[ours] = table.noting(*(notes if ours == "train" else ()))
    return tables


def _load(dataset: str, subset: str | None, *, streaming: bool) -> Any:
    """Return the splits of a data set. Raises InputError with what `datasets` says where it cannot be loaded."""
    import datasets

    where = f"--data {dataset}"
    try:
        return datasets.load_dataset(dataset, subset, streaming=streaming)
    except Exception as error:  # `datasets` checks little of what a card and the files hold: it is an error of any kind
        if isinstance(error, DebftError) or is_out_of_memory(error):
            raise
        offered = re.search(r"(?:[Cc]onfigs|Available): (\[.*\])", str(error))
        if offered:
            names = offered[1].strip("[]").replace("'", "")
            got = f"got {subset}" if subset else "none is given"
            raise InputError(f"{where}: expected one of its configurations, {got}; give --subset {names}") from None
        raise InputError(f"{where}: cannot be loaded: {first_line(error)}") from None


def _columns_needed(table: DataTable, own: OwnConfig) -> list[str]:
    """Return the columns that a run reads: label, texts, ids, what names the split, and objects that hold one of these."""
    label_key, text_keys = find_columns(own, table)
    usual = [name for name in table.columns if name.strip().lower() in ("id", "idx", *COLUMNS)]
    needed = {label_key, *text_keys, *usual, *([own.split_column] if own.split_column else [])}
    return [name for name in table.columns if name in needed or any(one.startswith(f"{name}.") for one in needed)]


def _table(rows: Any, limit: int | None, path: str, needed: list[str] | None = None) -> DataTable:
    """Return the first rows of a split, all without a limit; classes by their names. needed: columns to read, all without them."""
    import datasets

    features, table = rows.features or {}, GrowingTable(Path(path))
    if isinstance(rows, datasets.IterableDataset):
        read = list(rows if limit is None else rows.take(limit))
        parts: Iterable[dict[str, list]] = [
            {name: [row.get(name) for row in read] for name in dict.fromkeys(key for row in read for key in row)}
        ]
    else:
        names = [name for name in rows.column_names if needed is None or name in needed]
        read = rows.select_columns(names).select(range(len(rows) if limit is None else min(limit, len(rows))))
        table.add({name: [] for name in names}, 0, 0)
        parts = (read[start : start + BLOCK] for start in range(0, len(read), BLOCK))
    for columns in parts:
        named = {name: _names_of(column, features.get(name)) for name, column in columns.items()}
        table.add(named, max(map(len, named.values()), default=0), characters_of(named.values()))
    return DataTable(columns=table.done(), path=path, lines=range(1, len(read) + 1))


def _names_of(column: list, feature: Any) -> list:
    """Return a column of numbered classes, or of lists of them, by the names of the classes; -1, a hidden label, is None."""
    import datasets

    if isinstance(feature, datasets.ClassLabel):
        return [None if number is None or number < 0 else feature.names[number] for number in column]
    inner = getattr(feature, "feature", None)
    if isinstance(inner, datasets.ClassLabel):
        return [None if cell is None else _names_of(cell, inner) for cell in column]
    return column
