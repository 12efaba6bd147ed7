"""The rows of a split are read from a directory, in the hub's schema or as the benchmark ships it."""

from functools import lru_cache
from pathlib import Path

from debft.data.sources.benchmark_files import header_for, in_task_columns, rename
from debft.data.sources.files import SUFFIXES, ending, files_called, read_table
from debft.data.sources.table import DataTable
from debft.errors import InputError, one_of
from debft.tasks import BenchmarkFiles, Split, Task

FILES_SHOWN = 8


def table(task: Task, split: Split, directory: Path) -> DataTable:
    """Read the rows of `split` from `DIR/<task>/<split>.<ending>`, or from the benchmark's own file, also below `DIR/glue_data/`.

    Raises InputError where no file fits, or two do.
    """
    place = find(task, split, directory)
    if place is None:
        raise InputError(_expected(task, split, directory))
    path, benchmark = place
    if benchmark is None:  # a file system without case finds its CoLA/train.tsv as cola/train.tsv: the file itself tells
        return in_task_columns(read_table(path, header_for(task)), task)
    return _as_hub_schema(read_table(path, benchmark.header), task, split, benchmark)


def _expected(task: Task, split: Split, directory: Path) -> str:
    """Return the error line for a split that has no file."""
    shipped = [Path(each.directory, each.files[split.name]) for each in task.benchmark_files if split.name in each.files]
    own = "".join(f" or {path}" for path in shipped)
    endings = ", ".join(SUFFIXES[1:])
    name = split.name if task.in_root else f"{task.name}/{split.name}"
    files = sorted(path.name for path in directory.iterdir() if ending(path) in SUFFIXES) if task.in_root else []
    listed = f"{one_of(files[:FILES_SHOWN])}{', ...' if len(files) > FILES_SHOWN else ''}" if files else "none"
    return f"--data {directory}: expected {name}.tsv (or {endings}){own}, found {listed}{_advice(task, split, directory)}"


def _advice(task: Task, split: Split, directory: Path) -> str:
    """Return what to give instead where the directory of the task was given, not the one that it is in; else nothing."""
    above = directory.parent if directory.name not in ("", "..") else directory.resolve().parent
    return "" if task.in_root or find(task, split, above) is None else f"; give --data {above}"


def has_rows(task: Task, split: Split, directory: Path) -> bool:
    """Tell whether `table` would find a file for the split and, where several splits share one, rows of this split in it."""
    place = find(task, split, directory)
    if place is None:
        return False
    path, benchmark = place
    if benchmark is None or split.name not in benchmark.where:
        return True
    column, value = benchmark.where[split.name]
    state = path.stat()
    return value in _values(path, column, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=4)
def _values(path: Path, column: str, state: tuple[int, int]) -> frozenset:
    """Return the different values of a column of a file, none where the file lacks the column.

    state: when the file was written (ns) and how long it is (bytes), so that a changed file is read again
    """
    columns = read_table(path).columns
    return frozenset(columns.get(column, ()))


def find(task: Task, split: Split, directory: Path) -> tuple[Path, BenchmarkFiles | None] | None:
    """Return the file of `split` and the benchmark's entry for it, None for the hub's schema; None where no file fits.

    Raises InputError where two files fit, and where `directory` is none.
    """
    if not directory.is_dir():
        what = "a file; `debft text` takes one" if directory.exists() else "no such directory"
        raise InputError(f"--data {directory}: expected 'hub', 'demo' or a directory, found {what}")
    bases = (directory / task.name, directory) if task.in_root else (directory / task.name,)
    hub_schema = [path for base in bases for path in files_called(base, split.name)]
    if len(hub_schema) > 1:
        raise InputError(f"--data {directory}: expected one file for {split.name}, got {hub_schema[0]} and {hub_schema[1]}")
    if hub_schema:
        return hub_schema[0], None
    for benchmark in task.benchmark_files:
        for base in (directory, directory / "glue_data"):
            if split.name in benchmark.files and (path := base / benchmark.directory / benchmark.files[split.name]).is_file():
                return path, benchmark
    return None


def _as_hub_schema(table: DataTable, task: Task, split: Split, benchmark: BenchmarkFiles) -> DataTable:
    """Give a benchmark's columns and labels the task's names, and keep the rows of `split` where several splits share the file.

    Raises InputError for a shared file without the column that tells the splits apart.
    """
    renamed = rename(table, task, benchmark)
    columns = renamed.columns
    if split.name not in benchmark.where:
        return renamed
    column, value = benchmark.where[split.name]
    if column not in columns:
        raise InputError(f"{renamed.path}: expected a column '{column}' that says which rows are {split.name}, found none")
    return renamed.rows([row for row, cell in enumerate(columns[column]) if cell == value])
