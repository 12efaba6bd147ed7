"""A split in a directory, in the hub's schema or as the benchmark ships it."""

from pathlib import Path

from debft.data.files import SUFFIXES, Table, read_table
from debft.errors import InputError
from debft.tasks import Split, Task


def table(task: Task, split: Split, directory: Path) -> Table:
    """The rows of `split`: `DIR/<task>/<split>.<ending>`, or the benchmark's own file and column names.

    `DIR` may also be the task's own folder, or hold `glue_data/`. Raises InputError where nothing fits, or two files do.
    """
    if not directory.is_dir():
        raise InputError(f"--data {directory}: expected 'hub', 'demo' or a directory, found no such directory")
    hub_schema = [
        path
        for base in (directory / task.name, directory)
        for suffix in SUFFIXES
        if (path := base / f"{split.name}{suffix}").is_file()
    ]
    if len(hub_schema) > 1:
        raise InputError(f"--data {directory}: expected one file for {split.name}, got {hub_schema[0]} and {hub_schema[1]}")
    if hub_schema:
        return _renamed(read_table(hub_schema[0]), task)
    for base in (directory / task.benchmark_dir, directory / "glue_data" / task.benchmark_dir, directory):
        if (base / split.benchmark_file).is_file():
            return _renamed(read_table(base / split.benchmark_file), task)
    raise InputError(
        f"--data {directory}: expected {task.name}/{split.name}.tsv (or {', '.join(SUFFIXES[1:])}) "
        f"or {task.benchmark_dir}/{split.benchmark_file}, found neither"
    )


def _renamed(found: Table, task: Task) -> Table:
    """The benchmark's column names as the task's; a file that has the task's own is left as it is."""
    wanted = (*task.text_keys, "label")
    if all(name in found.columns for name in wanted):
        return found
    columns = {task.benchmark_columns.get(name, name): column for name, column in found.columns.items()}
    return Table(columns=columns, path=found.path, lines=found.lines)
