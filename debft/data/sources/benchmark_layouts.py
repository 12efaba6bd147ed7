"""Files as the benchmarks ship them, wherever they lie: their names for the columns, and those that have no header line."""

from dataclasses import replace

from debft.data.sources.delimited import Header
from debft.data.sources.table import DataTable
from debft.tasks import Layout, Task, TextClassification


def header_for(task: Task) -> Header:
    """Tells from the first line of a file whether it is a row of one of the task's layouts that have no header line."""
    layouts = [layout for layout in task.layouts if layout.header is not None]
    return lambda first: next((layout.header for layout in layouts if _is_row(first, task, layout)), None)


def in_task_columns(table: DataTable, task: Task) -> DataTable:
    """The table with a benchmark's names for columns and labels turned into the task's, where it does not have the task's own.

    A table that no layout fits is left as it is: what it lacks is said where it is checked.
    """
    wanted = (*task.text_keys, task.label_key)
    if all(name in table.columns for name in wanted):
        return table
    for needed in (wanted, task.text_keys):  # a file without labels can still be predicted
        for layout in task.layouts:
            renamed = rename(table, task, layout)
            if all(name in renamed.columns for name in needed):
                return renamed
    return table


def rename(table: DataTable, task: Task, layout: Layout) -> DataTable:
    """The columns and labels of `layout` under the task's names; a column that the table has already is not covered by another."""
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
    """Whether a line has as many fields as the layout, a label where it has the label, and none of the names of columns."""
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
