"""A file becomes a table; its ending says whether it is TSV, CSV, JSONL, JSON or Parquet."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from debft.data.sources.decoding import BYTES_AT_ONCE, decoded_blocks
from debft.data.sources.delimited import Header, read_csv, read_tsv
from debft.data.sources.json_rows import read_json, read_jsonl
from debft.data.sources.progress import BLOCK
from debft.data.sources.table import DataTable, LineNumbers, header_again
from debft.data.stored import GrowingTable, characters_of, chosen
from debft.errors import InputError, first_line, one_of
from debft.runs.storage import failing_disk

SUFFIXES = (".tsv", ".csv", ".jsonl", ".json", ".parquet")
BYTES_OF_A_ROW = 64  # that stay in memory: its line, its label, and what it is compared by
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
    with path.open("rb") as file:
        return read_text(path, decoded_blocks(path, file, encoding), ending(path), header, path.stat().st_size)


def read_text(path: Path, blocks: Iterable[str], suffix: str, header: Header | None = None, size: int = 0) -> DataTable:
    """Read the table in a text, in the format that `suffix` names; `path` is for the error lines.

    `.txt` is TSV: so are SNLI's files.

    blocks: the text, in parts of whole lines; size: bytes of the file that it is read from
    """
    with_header = {".tsv": read_tsv, ".txt": read_tsv, ".csv": read_csv}
    if suffix in with_header:
        return with_header[suffix](path, blocks, header, size)
    if suffix == ".jsonl":
        return read_jsonl(path, blocks, size)
    if suffix == ".json":
        return read_json(path, "".join(blocks))
    raise _unreadable(path, suffix)


def _unreadable(path: Path, suffix: str) -> InputError:
    """Return the error for a file of another form."""
    kind = suffix.lower()
    advice = "; save the sheet as CSV" if kind in SPREADSHEETS else "; unpack it first" if kind in COMPRESSED else ""
    return InputError(f"{path}: expected a file ending in {one_of(SUFFIXES)}, got '{suffix}'{advice}")


def _check_fits(path: Path, stated: Any) -> None:
    """Raise InputError for a file, however small, with more rows than this machine has memory for. stated: its metadata"""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if (needed := stated.num_rows * BYTES_OF_A_ROW) > memory:
        raise InputError(
            f"{path}: expected rows that fit into this machine's memory, {memory / 2**30:,.0f} GiB, got {stated.num_rows:,} rows, "
            f"which take {needed / 2**30:,.0f} GiB at least beside their cells on disk; split the file"
        )


def _rows_at_once(stated: Any) -> int:
    """Return how many rows to read at a time: fewer where they are long. stated: the metadata of the file"""
    size = sum(stated.row_group(group).total_byte_size for group in range(stated.num_row_groups))
    return min(BLOCK, BYTES_AT_ONCE * stated.num_rows // max(size, 1) + 1)


def _cells(path: Path, batch: Any) -> dict[str, Any]:
    """Return the cells of some rows by column. Raises InputError for a column with a value that Python lacks: the year 20,000."""
    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            columns[name] = column.to_pylist()
        except UnicodeDecodeError:
            raise
        except (ValueError, OverflowError) as error:
            what = f"expected values that Python can hold, got {first_line(error)}; write the column as text, or leave it out"
            raise InputError(f"{path}: {name}: {what}") from None
    return columns


def _parquet(path: Path) -> DataTable:
    """Read Parquet; rows that repeat the names of the columns are set aside."""
    import pyarrow
    import pyarrow.parquet

    table, lines, unread, number = GrowingTable(path, path.stat().st_size), LineNumbers(), [], 1
    try:
        with failing_disk(path), pyarrow.parquet.ParquetFile(path) as file:
            _check_fits(path, file.metadata)
            names = file.schema_arrow.names
            if twice := [name for name in names if names.count(name) > 1]:
                raise InputError(f"{path}: expected each column once, got '{twice[0]}' twice")
            table.add({name: [] for name in names}, 0, 0)
            for batch in file.iter_batches(_rows_at_once(file.metadata)):
                columns = _cells(path, batch)
                rows = range(batch.num_rows)
                again = {row for row in rows if len(columns) > 1 and all(c[row] == name for name, c in columns.items())}
                kept = [row for row in rows if row not in again] if again else rows
                columns = {name: chosen(cells, kept) for name, cells in columns.items()} if again else columns
                table.add(columns, len(kept), characters_of(columns.values()))
                lines.add(number + row for row in kept)
                unread += [(number + row, header_again(columns)) for row in sorted(again)]
                number += batch.num_rows
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a Parquet file of UTF-8 text, got {first_line(error)}") from None
    return DataTable(columns=table.done(), path=str(path), lines=lines.done(), unread=tuple(unread))
