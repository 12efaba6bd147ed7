"""Rows that take too much memory lie on disk, in blocks of a file without a name that is gone with the process, however that ends.

The file is in the cache directory, which is on a disk; a directory for temporary files may be memory. It has no name, so that no
other process reads it and nothing is left to remove. Its blocks are lists in JSON, which give back the very same cells.
"""

import json
import math
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np

from debft.console import say
from debft.data.nameless_files import check_room, nameless_file
from debft.runs.cache import cache_directory
from debft.runs.storage import disk_errors
from debft.runtime.launch.group import is_main_process, local_size

MOST_IN_MEMORY = 2**29  # bytes of the cells of a table, by an estimate; a larger one goes to the disk
BYTES_OF_A_CELL = 64  # beside its characters: the head of a text of Python's, and its place in a list
CELLS_OF_A_BLOCK = 2**13  # at most
BYTES_OF_A_BLOCK = 2**24  # of all columns together, where the rows to come are as long as those before


class Blocks:
    """The cells of a column lie in a file, equally many in each block but the last.

    num_cells: of a block
    lacking: stands where a row has no such cell, and is no value; None: there is no such thing
    """

    def __init__(self, file: BinaryIO, num_cells: int, lacking: object = None) -> None:
        self.file, self.num_cells, self.lacking = file, num_cells, lacking
        self.places: list[tuple[int, int] | list] = []  # where each block begins and how many bytes it has, or the block
        self._last: tuple[int, list] = (-1, [])

    def add(self, cells: list, times: int = 1) -> None:
        """Write a block, and take it for so many. One with cells that JSON lacks, such as dates, stays in memory."""
        gaps = [] if self.lacking is None else [place for place, cell in enumerate(cells) if cell is self.lacking]
        written = [None if cell is self.lacking else cell for cell in cells] if gaps else cells
        try:
            content = json.dumps([written, gaps], ensure_ascii=False).encode("utf-8", "surrogatepass")
        except (TypeError, RecursionError):
            self.places += [cells] * times
            return
        with disk_errors(cache_directory()):
            begin = self.file.seek(0, os.SEEK_END)
            self.file.write(content)
            self.file.flush()
        self.places += [(begin, len(content))] * times

    def block(self, number: int) -> list:
        """Return the cells of a block. The last one that was read is kept."""
        known, cells = self._last
        if known != number:
            place = self.places[number]
            if isinstance(place, list):
                return place
            begin, size = place
            with disk_errors(cache_directory(), "read"):
                content = os.pread(self.file.fileno(), size, begin)
            cells, gaps = json.loads(content.decode("utf-8", "surrogatepass"))
            for gap in gaps:
                cells[gap] = self.lacking
            self._last = (number, cells)
        return cells


class StoredCells(Sequence[Any]):
    """Cells of a column on disk: all of them or some, in the order of `rows`. Only blocks of them are in memory."""

    def __init__(self, blocks: Blocks, rows: range | np.ndarray) -> None:
        self.blocks, self.rows = blocks, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, which: int) -> Any: ...
    @overload
    def __getitem__(self, which: slice) -> "StoredCells": ...
    def __getitem__(self, which: int | slice) -> Any:
        if isinstance(which, slice):
            return StoredCells(self.blocks, self.rows[which])
        number, place = divmod(int(self.rows[which]), self.blocks.num_cells)
        return self.blocks.block(number)[place]

    def __iter__(self) -> Iterator[Any]:
        num_cells = self.blocks.num_cells
        for start in range(0, len(self.rows), num_cells):
            rows = np.asarray(self.rows[start : start + num_cells])
            for some in np.split(rows, np.flatnonzero(np.diff(rows // num_cells)) + 1):
                number = int(some[0]) // num_cells
                block, places = self.blocks.block(number), (some - number * num_cells).tolist()
                first, last = places[0], places[-1]
                whole = last - first + 1 == len(places) and (np.diff(some) == 1).all()
                yield from block[first : last + 1] if whole else map(block.__getitem__, places)

    def chosen(self, rows: np.ndarray) -> "StoredCells":
        """Return the cells of these rows."""
        return StoredCells(self.blocks, _at(self.rows, rows))


class Mapped(Sequence[Any]):
    """What a function makes of each cell on disk, whenever it is asked for."""

    def __init__(self, function: Callable[[Any], Any], cells: "StoredCells | Mapped") -> None:
        self.function, self.cells = function, cells

    def __len__(self) -> int:
        return len(self.cells)

    @overload
    def __getitem__(self, which: int) -> Any: ...
    @overload
    def __getitem__(self, which: slice) -> "Mapped": ...
    def __getitem__(self, which: int | slice) -> Any:
        return Mapped(self.function, self.cells[which]) if isinstance(which, slice) else self.function(self.cells[which])

    def __iter__(self) -> Iterator[Any]:
        return map(self.function, self.cells)

    def chosen(self, rows: np.ndarray) -> "Mapped":
        """Return what the function makes of these cells."""
        return Mapped(self.function, self.cells.chosen(rows))


class StoredRows(Sequence[tuple]):
    """Rows of several columns on disk, as tuples."""

    def __init__(self, columns: "tuple[StoredCells | Mapped, ...]") -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    @overload
    def __getitem__(self, which: int) -> tuple: ...
    @overload
    def __getitem__(self, which: slice) -> "StoredRows": ...
    def __getitem__(self, which: int | slice) -> Any:
        if isinstance(which, slice):
            return StoredRows(tuple(column[which] for column in self.columns))
        return tuple(column[which] for column in self.columns)

    def __iter__(self) -> Iterator[tuple]:
        return zip(*self.columns, strict=True)

    def chosen(self, rows: np.ndarray) -> "StoredRows":
        """Return these rows."""
        return StoredRows(tuple(column.chosen(rows) for column in self.columns))


class NumberedIds(Sequence[str]):
    """Numbers that are the ids of rows: each becomes a text when it is asked for."""

    def __init__(self, numbers: np.ndarray) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, which: int) -> str: ...
    @overload
    def __getitem__(self, which: slice) -> "NumberedIds": ...
    def __getitem__(self, which: int | slice) -> Any:
        return NumberedIds(self.numbers[which]) if isinstance(which, slice) else str(self.numbers[which])

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self.numbers), CELLS_OF_A_BLOCK):
            yield from map(str, self.numbers[start : start + CELLS_OF_A_BLOCK].tolist())

    def chosen(self, rows: np.ndarray) -> "NumberedIds":
        """Return the ids of these rows."""
        return NumberedIds(self.numbers[rows])


def _at(rows: range | np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the rows at these places."""
    if isinstance(rows, range):
        return rows.start + rows.step * np.asarray(places, dtype=np.int64)
    return rows[places]


def chosen(sequence: Sequence, rows: Sequence[int] | np.ndarray) -> Sequence:
    """Return what a sequence has at these places: where it is on disk a view of it, of numbers an array, else a list."""
    if isinstance(rows, range) and rows.step == 1:
        return sequence[rows.start : rows.stop]
    if isinstance(sequence, StoredCells | StoredRows | Mapped | NumberedIds):
        return sequence.chosen(np.asarray(rows, dtype=np.int64))
    if isinstance(sequence, range):
        return array("q", _at(sequence, np.asarray(rows, np.int64)).tobytes())
    if isinstance(sequence, array):
        return array(sequence.typecode, np.asarray(sequence)[np.asarray(rows, np.int64)].tobytes())
    return [sequence[row] for row in rows]


def mapped(function: Callable[[Any], Any], column: Sequence) -> Sequence:
    """Return what a function makes of each cell: a list, or where the cells are on disk, a view of them."""
    return Mapped(function, column) if isinstance(column, StoredCells | Mapped) else list(map(function, column))


def is_stored(sequence: Sequence) -> bool:
    """Tell whether a sequence is on disk."""
    return isinstance(sequence, StoredCells | StoredRows | Mapped)


def rows_of(columns: Sequence[Sequence]) -> Sequence[tuple]:
    """Return the rows of columns, as tuples; they stay on disk where they are."""
    stored = [column for column in columns if isinstance(column, StoredCells | Mapped)]
    return StoredRows(tuple(stored)) if len(stored) == len(columns) else list(zip(*columns, strict=True))


class GrowingTable:
    """The columns of a table grow, in memory, and from MOST_IN_MEMORY on, on disk."""

    def __init__(self, path: Path, size: int = 0) -> None:
        """path: where the rows come from, for lines; size: its bytes, as far as that is known."""
        self.path, self.size = path, size
        self.held: dict[str, list] = {}
        self.blocks: dict[str, Blocks] = {}
        self.lacking: object = None
        self.num_rows = 0
        self.bytes = 0
        self.most: float = MOST_IN_MEMORY  # bytes
        self.num_cells = CELLS_OF_A_BLOCK
        self.file: BinaryIO | None = None

    def add(self, columns: Mapping[str, list], num_rows: int, characters: int, lacking: object = None) -> None:
        """Add rows. characters: of their texts; lacking: what stands where rows that were added before or are now lack a column"""
        self.lacking = lacking
        for name in columns:
            if name not in self.held:
                self._begin(name)
        for name, cells in self.held.items():
            cells += columns[name] if name in columns else [lacking] * num_rows
        self.num_rows += num_rows
        self.bytes += characters + BYTES_OF_A_CELL * num_rows * len(self.held)
        if self.file is None and self.bytes > self.most:
            self._begin_file()
        if self.file is not None:
            self._write(self.num_cells)

    def done(self) -> dict[str, Sequence]:
        """Return the columns."""
        if self.file is None:
            return dict(self.held)
        self._write(1)
        return {name: StoredCells(self.blocks[name], range(self.num_rows)) for name in self.held}

    def _begin(self, name: str) -> None:
        """Begin a column that the rows so far lack."""
        self.held[name] = [self.lacking] * (self.num_rows % self.num_cells if self.file is not None else self.num_rows)
        if self.file is not None:
            self.blocks[name] = Blocks(self.file, self.num_cells, self.lacking)
            if self.num_rows >= self.num_cells:
                self.blocks[name].add([self.lacking] * self.num_cells, self.num_rows // self.num_cells)

    def _begin_file(self) -> None:
        processes = local_size()  # of this machine, each with a file of its own
        if (file := nameless_file(str(self.path))) is None:
            self.most = math.inf
            return
        check_room(str(self.path), processes * max(self.size, self.bytes))
        self.file = file
        self.num_cells = min(CELLS_OF_A_BLOCK, BYTES_OF_A_BLOCK * self.num_rows // max(self.bytes, 1) + 1)
        self.blocks = {name: Blocks(self.file, self.num_cells, self.lacking) for name in self.held}
        if is_main_process():
            say(f"{self.path}: more rows than are kept in memory; they are on disk while the command runs, in {cache_directory()}")

    def _write(self, least: int) -> None:
        """Write whole blocks, and the last one where `least` is 1."""
        for name, cells in self.held.items():
            begins = range(0, len(cells) - least + 1, self.num_cells)
            for begin in begins:
                self.blocks[name].add(cells[begin : begin + self.num_cells])
            del cells[: len(begins) * self.num_cells]


def characters_of(columns: Iterable[Iterable]) -> int:
    """Return the characters of the texts in columns. What a list or an object holds counts as so many cells more."""
    characters, left = 0, [cell for cell in chain.from_iterable(columns) if isinstance(cell, str | bytes | list | dict)]
    while left:
        characters += sum(len(cell) for cell in left if isinstance(cell, str | bytes))
        inside = [cell.values() if isinstance(cell, dict) else cell for cell in left if isinstance(cell, list | dict)]
        characters += BYTES_OF_A_CELL * sum(map(len, inside))
        left = [cell for cell in chain.from_iterable(inside) if isinstance(cell, str | bytes | list | dict)]
    return characters
