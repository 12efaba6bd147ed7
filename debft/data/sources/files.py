"""A file becomes a table; its ending says whether it is TSV, CSV, JSONL, JSON or Parquet."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from debft.data.sources.decoding import decoded
from debft.data.sources.delimited import Header, read_csv, read_tsv
from debft.data.sources.json_rows import read_json, read_jsonl
from debft.data.sources.table import DataTable, header_again
from debft.errors import InputError, first_line, one_of

SUFFIXES = (".tsv", ".csv", ".jsonl", ".json", ".parquet")
BYTES_OF_A_CELL = 64  # at least: a text of Python's, and its place in a list
COMPRESSED = (".gz", ".zip", ".bz2", ".xz", ".zst", ".7z")
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")  # which are not read, but saved as CSV by their programs


def ending(path: Path) -> str:
    """Return the ending of a file as SUFFIXES has it; some programs write `.CSV`."""
    return path.suffix.lower()


def files_called(directory: Path, name: str) -> list[Path]:
    """Return the files of a directory with this name and one of SUFFIXES, in their order; letters may be small or capital."""
    if not directory.is_dir():
        return []
    files = [path for path in directory.iterdir() if path.stem.lower() == name.lower() and ending(path) in SUFFIXES]
    return sorted((path for path in files if path.is_file()), key=lambda path: (SUFFIXES.index(ending(path)), path.name))


def read_table(path: Path, header: Header | None = None, encoding: str | None = None) -> DataTable:
    """Read the table in `path`, in the format that its ending names.

    header: of a TSV or CSV file that has no header line, or may have none
    encoding: as in `decoded`
    Raises InputError, with the line where there is one, for a file that is no table at all.
    """
    if ending(path) == ".parquet":
        if encoding is not None:
            raise InputError(f"--encoding {encoding}: is for text files, {path} is none; leave it out")
        return _parquet(path)
    if ending(path) in (*SPREADSHEETS, *COMPRESSED):
        raise _unreadable(path, path.suffix)
    return read_text(path, decoded(path, path.read_bytes(), encoding), ending(path), header)


def read_text(path: Path, text: str, suffix: str, header: Header | None = None) -> DataTable:
    """Read the table in `text`, in the format that `suffix` names; `path` is for the error lines.

    `.txt` is TSV: so are SNLI's files.
    """
    with_header = {".tsv": read_tsv, ".txt": read_tsv, ".csv": read_csv}
    with_keys = {".jsonl": read_jsonl, ".json": read_json}
    if suffix in with_header:
        return with_header[suffix](path, text, header)
    if suffix in with_keys:
        return with_keys[suffix](path, text)
    raise _unreadable(path, suffix)


def _unreadable(path: Path, suffix: str) -> InputError:
    """Return the error for a file of another form."""
    kind = suffix.lower()
    advice = "; save the sheet as CSV" if kind in SPREADSHEETS else "; unpack it first" if kind in COMPRESSED else ""
    return InputError(f"{path}: expected a file ending in {one_of(SUFFIXES)}, got '{suffix}'{advice}")


def _check_fits(path: Path, stated: Any) -> None:
    """Raise InputError for a file, however small, with more rows than this machine has memory for. stated: its metadata"""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = stated.num_rows * stated.num_columns * BYTES_OF_A_CELL
    if needed > memory:
        raise InputError(
            f"{path}: expected rows that fit into this machine's memory, {memory / 2**30:,.0f} GiB, got {stated.num_rows:,} rows "
            f"of {stated.num_columns} columns, which take {needed / 2**30:,.0f} GiB at least; split the file"
        )


def _parquet(path: Path) -> DataTable:
    """Read Parquet; rows that repeat the names of the columns are set aside."""
    import pyarrow
    import pyarrow.parquet

    try:
        _check_fits(path, pyarrow.parquet.read_metadata(path))
        stored = pyarrow.parquet.read_table(path)
        columns = stored.to_pydict()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a Parquet file of UTF-8 text, got {first_line(error)}") from None
    table = DataTable(columns=columns, path=str(path), lines=range(1, stored.num_rows + 1))
    again = [] if len(columns) < 2 else [row for row in range(len(table)) if all(c[row] == name for name, c in columns.items())]
    if not again:
        return table
    unread = tuple((table.lines[row], header_again(columns)) for row in again)
    return replace(table.rows([row for row in range(len(table)) if row not in set(again)]), unread=unread)
