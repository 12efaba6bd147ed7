"""A split in a directory, in the hub's schema or as the benchmark ships it."""

from dataclasses import replace
from pathlib import Path

from debft.data.files import SUFFIXES, Table, read_table
from debft.errors import InputError
from debft.tasks import Layout, Split, Task


def table(task: Task, split: Split, directory: Path) -> Table:
    """The rows of `split`: `DIR/<task>/<split>.<ending>`, or the benchmark's own file, also below `DIR/glue_data/`.

    Raises InputError where nothing fits, or two files do.
    """
    if not directory.is_dir():
        found = "a file" if directory.exists() else "no such directory"
        raise InputError(f"--data {directory}: expected 'hub', 'demo' or a directory, found {found}")
    hub_schema = [path for suffix in SUFFIXES if (path := directory / task.name / f"{split.name}{suffix}").is_file()]
    if len(hub_schema) > 1:
        raise InputError(f"--data {directory}: expected one file for {split.name}, got {hub_schema[0]} and {hub_schema[1]}")
    if hub_schema:
        return read_table(hub_schema[0])
    for layout in task.layouts:
        for base in (directory, directory / "glue_data"):
            if (path := base / layout.directory / layout.files[split.name]).is_file():
                return _as_hub_schema(read_table(path, layout.header), task, layout)
    own = " or ".join(f"{layout.directory}/{layout.files[split.name]}" for layout in task.layouts)
    endings = ", ".join(SUFFIXES[1:])
    raise InputError(f"--data {directory}: expected {task.name}/{split.name}.tsv (or {endings}) or {own}, found none")


def _as_hub_schema(found: Table, task: Task, layout: Layout) -> Table:
    """The benchmark's column names as the task's; a file that has the task's own is left as it is."""
    if all(name in found.columns for name in (*task.text_keys, "label")):
        return found
    columns = {layout.columns.get(name, name): column for name, column in found.columns.items()}
    return replace(found, columns=columns)
