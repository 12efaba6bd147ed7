"""Rows of a task from the hub, a directory or the built-in demo; checked, encoded, cut into batches."""

from pathlib import Path

from debft.data import demo, directory, hub_datasets
from debft.data.files import Table
from debft.tasks import Split, Task

SOURCES = ("hub", "demo")


def load_table(task: Task, split: Split, source: str) -> Table:
    """The rows of a split with the task's column names. `source` is `hub`, `demo` or a directory.

    Raises InputError where there are none.
    """
    if source == "demo":
        return demo.table(task, split)
    if source == "hub":
        return hub_datasets.table(task, split)
    return directory.table(task, split, Path(source))


def source_kind(source: str) -> str:
    """`hub`, `demo` or `directory`."""
    return source if source in SOURCES else "directory"
