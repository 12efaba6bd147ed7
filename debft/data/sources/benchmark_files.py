"""Benchmarks ship their files with names of their own for columns and labels, or without a header line."""

from dataclasses import replace

from debft.data.sources.delimited import HeaderFinder
from debft.data.sources.table import DataTable
from debft.tasks import BenchmarkFiles, Task, TextClassification


def header_for(task: Task) -> HeaderFinder:
    """Return what gives, from the first line of a file, the columns of a benchmark's files that have no header, where it fits."""
    headers = [benchmark.header for benchmark in task.benchmark_files if benchmark.header is not None]
    return lambda first: next((header for header in headers if _is_row(first, task, header)), None)


def in_task_columns(table: DataTable, task: Task) -> DataTable:
    """Turn a benchmark's names for columns and labels into the task's, where the table does not have the task's own.

    A table that fits none of them stays as it is; the check of its rows raises what it lacks.
    """
    all_columns = (*task.text_keys, task.label_key)
    if all(name in table.columns for name in all_columns):
        return table
    for needed in (all_columns, task.text_keys):  # a file without labels can still be predicted
        for benchmark in task.benchmark_files:
            renamed = rename(table, task, benchmark)
            if all(name in renamed.columns for name in needed):
                return renamed
    return table


def rename(table: DataTable, task: Task, benchmark: BenchmarkFiles) -> DataTable:
    """Give the columns and labels of a benchmark the task's names, except where the table has a column of that name already."""
    columns = {}
    for name, column in table.columns.items():
        own = benchmark.columns.get(name, name)
        columns[name if own in table.columns else own] = column
    if benchmark.labels and task.label_key in columns:
        columns[task.label_key] = [
            benchmark.labels.get(label, label) if isinstance(label, str) else label for label in columns[task.label_key]
        ]
    return replace(table, columns=columns)


def _is_row(first: list[str], task: Task, header: tuple[str, ...]) -> bool:
    """Tell whether a line has as many fields as a row of the benchmark, a label in the label's place, and no name of a column."""
    if len(first) != len(header) or not isinstance(task, TextClassification):
        return False
    if any(name in first for name in (*task.text_keys, task.label_key)):
        return False
    label = first[header.index(task.label_key)]
    if task.value_range is None:
        return label in task.labels or label in map(str, range(len(task.labels)))
    try:
        return task.value_range[0] <= float(label) <= task.value_range[1]
    except ValueError:
        return False
