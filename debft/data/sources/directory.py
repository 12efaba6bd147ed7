"""A split is read from a directory, in the hub's schema or as the benchmark ships it."""

from functools import lru_cache
from pathlib import Path

from debft.data.sources.benchmark_files import header_for, in_task_columns, rename
from debft.data.sources.files import SUFFIXES, read_table
from debft.data.sources.table import DataTable
from debft.errors import InputError, one_of
from debft.tasks import BenchmarkFiles, Split, Task

FILES_SHOWN = 8


def table(task: Task, split: Split, directory: Path) -> DataTable:
    """The rows of `split`: `DIR/<task>/<split>.<ending>`, or the benchmark's own file, also below `DIR/glue_data/`.

    Raises InputError where nothing fits, or two files do.
    """
    found = find(task, split, directory)
    if found is None:
        shipped = [Path(each.directory, each.files[split.name]) for each in task.benchmark_files if split.name in each.files]
        own = "".join(f" or {path}" for path in shipped)
        endings = ", ".join(SUFFIXES[1:])
        place = split.name if task.in_root else f"{task.name}/{split.name}"
        there = sorted(path.name for path in directory.iterdir() if path.suffix in SUFFIXES) if task.in_root else []
        listed = f"{one_of(there[:FILES_SHOWN])}{', ...' if len(there) > FILES_SHOWN else ''}" if there else "none"
        raise InputError(f"--data {directory}: expected {place}.tsv (or {endings}){own}, found {listed}")
    path, benchmark = found
    if benchmark is None:  # a file system without case finds its CoLA/train.tsv as cola/train.tsv: the file itself tells
        return in_task_columns(read_table(path, header_for(task)), task)
    return _as_hub_schema(read_table(path, benchmark.header), task, split, benchmark)


def has_rows(task: Task, split: Split, directory: Path) -> bool:
    """Whether `table` finds a file for the split, and where several splits share one, rows of this split in it."""
    found = find(task, split, directory)
    if found is None or found[1] is None or split.name not in found[1].where:
        return found is not None
    column, value = found[1].where[split.name]
    state = found[0].stat()
    return value in _values(found[0], column, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=4)
def _values(path: Path, column: str, state: tuple[int, int]) -> frozenset:
    """The different values of a column; all of none where the file lacks it, so that reading it says so. state: when it was
    written and how long it is.
    """
    columns = read_table(path).columns
    return frozenset(columns.get(column, ()))


def find(task: Task, split: Split, directory: Path) -> tuple[Path, BenchmarkFiles | None] | None:
    """Find the file of a split, and the benchmark's entry for it; None for the hub's schema. Raises InputError where two fit."""
    if not directory.is_dir():
        found = "a file" if directory.exists() else "no such directory"
        raise InputError(f"--data {directory}: expected 'hub', 'demo' or a directory, found {found}")
    bases = (directory / task.name, directory) if task.in_root else (directory / task.name,)
    hub_schema = [path for base in bases for suffix in SUFFIXES if (path := base / f"{split.name}{suffix}").is_file()]
    if len(hub_schema) > 1:
        raise InputError(f"--data {directory}: expected one file for {split.name}, got {hub_schema[0]} and {hub_schema[1]}")
    if hub_schema:
        return hub_schema[0], None
    for benchmark in task.benchmark_files:
        for base in (directory, directory / "glue_data"):
            if split.name in benchmark.files and (path := base / benchmark.directory / benchmark.files[split.name]).is_file():
                return path, benchmark
    return None


def _as_hub_schema(found: DataTable, task: Task, split: Split, benchmark: BenchmarkFiles) -> DataTable:
    """The benchmark's column names and labels as the task's; columns that have the task's own names are left as they are."""
    found = rename(found, task, benchmark)
    columns = found.columns
    if split.name not in benchmark.where:
        return found
    column, value = benchmark.where[split.name]
    if column not in columns:
        raise InputError(f"{found.path}: expected a column '{column}' that says which rows are {split.name}, found none")
    return found.rows([row for row, cell in enumerate(columns[column]) if cell == value])
