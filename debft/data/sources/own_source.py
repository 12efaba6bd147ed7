"""The user's own rows are in one file, in a directory with a file for each split, or in a data set of the hub."""

import re
from array import array
from pathlib import Path

from debft.config.recipe import OwnConfig
from debft.data.sources.files import SUFFIXES, ending, files_called, read_table
from debft.data.sources.hub_own import own_tables
from debft.data.sources.nested import with_dotted
from debft.data.sources.split_names import COLUMNS, SPLITS
from debft.data.sources.table import DataTable
from debft.errors import InputError, one_of, shown

FILES_SHOWN = 8
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_EXPECTED = "expected 'demo', a file, a directory or a hub id (OWNER/NAME)"

Tables = dict[str, DataTable]  # by the name of the split, `train`, `validation` and `test` as far as they are there


def kind_of(source: str) -> str:
    """Return `file`, `directory` or `dataset`, an id of the hub. Raises InputError for what is none of them."""
    path = Path(source)
    if path.is_file():
        return "file"
    if path.is_dir():
        return "dataset" if _is_clone(path) else "directory"
    if _HUB_ID.fullmatch(source) and ending(path) not in SUFFIXES:
        return "dataset"
    if re.fullmatch(r"[\w-]+", source):
        raise InputError(
            f"--data {source}: {_EXPECTED}, found no such file or directory; an id of the hub has an owner, as in stanfordnlp/imdb"
        )
    raise InputError(f"--data {source}: {_EXPECTED}, found no such file or directory")


def tables(source: str, own: OwnConfig, limit: int | None = None, eval_limit: int | None = None) -> Tables:
    """Read the own rows of `source`, by split; those of one file are all `train`, unless a column tells them apart.

    limit, eval_limit: rows that are wanted to train on, and to score in each split; no more are loaded from the hub
    Raises InputError where they cannot be read, and for an option that does nothing for such a source.
    """
    kind = kind_of(source)
    for option, value, used in (("--subset", own.subset, ("dataset",)), ("--encoding", own.encoding, ("file", "directory"))):
        if value is not None and kind not in used:
            where = "data sets of the hub" if option == "--subset" else "text files"
            raise InputError(f"{option} {value}: is for {where}, --data {source} is none; leave it out")
    if kind == "dataset":
        found = own_tables(source, own, limit, eval_limit)
    else:
        files = {"train": Path(source)} if kind == "file" else files_in(Path(source))
        found = {split: with_dotted(read_table(path, encoding=own.encoding)) for split, path in files.items()}
        if kind == "directory":
            found["train"] = found["train"].noting(*found["train"].notes, *_not_read(Path(source), files))
    return by_column(found, own.split_column)


def eval_tables(source: str, own: OwnConfig, limit: int | None = None) -> Tables:
    """Read the validation and test rows of `source` alone. limit: rows that are wanted of each. Raises InputError for none."""
    kind = kind_of(source)
    files = _files_of_splits(Path(source)) if kind == "directory" else {}
    if kind == "directory" and not files:
        raise InputError(_nothing_called(Path(source), "validation"))
    if evals := {split: path for split, path in files.items() if split != "train"}:
        return {split: with_dotted(read_table(path, encoding=own.encoding)) for split, path in evals.items()}
    found = tables(source, own, 1 if kind == "dataset" else None, limit)
    if set(found) == {"train"}:
        raise InputError(f"--data {source}: expected validation or test rows, found train alone; give the file that is scored")
    return {split: table for split, table in found.items() if split != "train"}


def files_in(directory: Path) -> dict[str, Path]:
    """Return the files of the splits. Raises InputError where two, or for the training rows none, could be one."""
    found = _files_of_splits(directory)
    if "train" not in found:
        raise InputError(_nothing_called(directory, "train"))
    return found


def _files_of_splits(directory: Path) -> dict[str, Path]:
    """Return the files called as splits are, in the directory or in `text` below. Raises InputError where two could be one."""
    found = {}
    for split, names in SPLITS.items():
        files = [path for base in _bases(directory) for name in names for path in files_called(base, name)]
        if len(files) > 1:
            raise InputError(f"--data {directory}: expected one file for {split}, got {files[0]} and {files[1]}")
        if files:
            found[split] = files[0]
    return found


def _bases(directory: Path) -> tuple[Path, Path]:
    """Return the directories in which the files of the splits may be."""
    return directory / "text", directory


def _not_read(directory: Path, files: dict[str, Path]) -> list[str]:
    """Return the line about files of rows that are called as no split is, where there are such. files: those that are read"""
    there = (path for base in _bases(directory) if base.is_dir() for path in sorted(base.iterdir()))
    others = [str(path.relative_to(directory)) for path in there if ending(path) in SUFFIXES and path not in files.values()]
    if not others:
        return []
    listed = f"{one_of(others[:FILES_SHOWN])}{', ...' if len(others) > FILES_SHOWN else ''}"
    return [f"{directory}: not read: {listed}; the files of splits are called train, validation and test"]


def _nothing_called(directory: Path, split: str) -> str:
    """Return the error line for a split that has no file."""
    names = sorted(path.name for path in directory.iterdir() if ending(path) in SUFFIXES)
    listed = f"{one_of(names[:FILES_SHOWN])}{', ...' if len(names) > FILES_SHOWN else ''}" if names else "none"
    advice = f"; for one file give --data {directory / names[0]}" if names else ""
    return f"--data {directory}: expected {split}.tsv (or {', '.join(SUFFIXES[1:])}), found {listed}{advice}"


def by_column(found: Tables, column: str | None) -> Tables:
    """Return the rows of one table by the split that a column names, where one is given, or called and filled as such a column is.

    Raises InputError where the column that was given does not tell the splits apart.
    """
    if len(found) > 1:
        if column is not None:
            raise InputError(
                f"--split-column {column}: is for rows in one file, got {one_of(t.path for t in found.values())}; leave it out"
            )
        return found
    (table,) = found.values()
    candidates = [column] if column is not None else [name for name in table.columns if name.strip().lower() in COLUMNS]
    for name in candidates:
        if name not in table.columns:
            raise InputError(f"--split-column {name}: {table.path} has no such column; it has {one_of(list(table.columns)[:12])}")
        rows = _rows_of_splits(table, name, required=column is not None)
        if rows is not None:
            note = f"the column {name} says which split a row is in"
            return {
                split: table.rows(kept).noting(*(() if split != "train" else (*table.notes, note)), unread=split == "train")
                for split, kept in rows.items()
            }
    return found


def _rows_of_splits(table: DataTable, column: str, *, required: bool) -> dict[str, array] | None:
    """Return the rows of each split, None where the column holds something else; that is an InputError where it is required."""
    split_of = {name: split for split, names in SPLITS.items() for name in names}
    rows = {split: array("q") for split in SPLITS}
    for row, value in enumerate(table.columns[column]):
        split = split_of.get(value.strip().lower()) if isinstance(value, str) else None
        if split is None:
            if not required:
                return None
            place = table.place(table.lines[row])
            raise InputError(f"{table.path}: {column}: expected train, validation or test, got {shown(value)} in {place}")
        rows[split].append(row)
    rows = {split: kept for split, kept in rows.items() if kept}
    if "train" in rows and (required or len(rows) > 1):
        return rows
    if required:
        raise InputError(f"{table.path}: {column}: expected rows of train, got {one_of(rows) or 'no row'} alone")
    return None


def _is_clone(directory: Path) -> bool:
    """Tell a data set as the hub keeps it, by a card that begins with YAML, where no file is called as the training split is."""
    if any(files_called(base, "train") for base in _bases(directory)):
        return False
    card = directory / "README.md"
    return card.is_file() and card.read_bytes().startswith(b"---")
