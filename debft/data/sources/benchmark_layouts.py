"""Benchmarks ship their files in layouts of their own: with other names for columns and labels, or without a header line."""

from dataclasses import replace

from debft.data.sources.delimited import Header
from debft.data.sources.table import DataTable
from debft.tasks import Layout, Task, TextClassification


def header_for(task: Task) -> Header:
    """Return what tells from the first line of a file whether it is a row already, and of which of the task's layouts."""
    layouts = [layout for layout in task.layouts if layout.header is not None]
    return lambda first: next((layout.header for layout in layouts if _is_row(first, task, layout)), None)


def in_task_columns(table: DataTable, task: Task) -> DataTable:
    """Turn a benchmark's names for columns and labels into the task's, where the table does not have the task's own.

    A table that no layout fits stays as it is; the check of its rows raises what it lacks.
    """
    all_columns = (*task.text_keys, task.label_key)
    if all(name in table.columns for name in all_columns):
        return table
    for needed in (all_columns, task.text_keys):  # a file without labels can still be predicted
        for layout in task.layouts:
            renamed = rename(table, task, layout)
            if all(name in renamed.columns for name in needed):
                return renamed
    return table


def rename(table: DataTable, task: Task, layout: Layout) -> DataTable:
    """Give the columns and labels of `layout` the task's names, except where the table has a column of that name already."""
    columns = {}
    for name, column in table.columns.items():
        own = layout.columns.get(name, name)
        columns[name if own in table.columns else own] = column
    if layout.labels and task.label_key in columns:
        columns[task.label_key] = [
            layout.labels.get(label, label) if isinstance(label, str) else label for label in columns[task.label_key]
        ]
    return replace(table, columns=columns)


def _is_row(first: list[str], task: Task, layout: Layout) -> bool:
    """Tell whether a line has as many fields as the layout, a label in the label's place, and no name of a column."""
    if len(first) != len(layout.header) or not isinstance(task, TextClassification):
        return False
    if any(name in first for name in (*task.text_keys, task.label_key)):
        return False
    label = first[layout.header.index(task.label_key)]
    if not task.is_regression:
        return label in task.labels or label in map(str, range(len(task.labels)))
    try:
        return task.value_range[0] <= float(label) <= task.value_range[1]
    except ValueError:
        return False
