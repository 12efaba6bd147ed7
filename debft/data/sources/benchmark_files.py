"""Files as the benchmarks ship them, wherever they lie: their names for the columns, and those that have no header line."""

from dataclasses import replace

from debft.data.sources.delimited import Header
from debft.data.sources.table import DataTable
from debft.tasks import BenchmarkFiles, Task, TextClassification


def header_for(task: Task) -> Header:
    """Make a function that gives the columns of a benchmark's file without a header line, of which it gets the first row."""
    without = [benchmark for benchmark in task.benchmark_files if benchmark.header is not None]
    return lambda first: next((benchmark.header for benchmark in without if _is_row(first, task, benchmark)), None)


def in_task_columns(table: DataTable, task: Task) -> DataTable:
    """Turn a benchmark's names for columns and labels into the task's, where the table does not have the task's own.

    A table that fits none is left as it is: what it lacks is named where it is checked.
    """
    wanted = (*task.text_keys, task.label_key)
    if all(name in table.columns for name in wanted):
        return table
    for needed in (wanted, task.text_keys):  # a file without labels can still be predicted
        for benchmark in task.benchmark_files:
            renamed = rename(table, task, benchmark)
            if all(name in renamed.columns for name in needed):
                return renamed
    return table


def rename(table: DataTable, task: Task, benchmark: BenchmarkFiles) -> DataTable:
    """Give columns and labels of a benchmark the task's names; a column that has one already is not covered by another."""
    columns = {}
    for name, column in table.columns.items():
        own = benchmark.columns.get(name, name)
        columns[name if own in table.columns else own] = column
    if benchmark.labels and task.label_key in columns:
        columns[task.label_key] = [
            benchmark.labels.get(label, label) if isinstance(label, str) else label for label in columns[task.label_key]
        ]
    return replace(table, columns=columns)


def _is_row(first: list[str], task: Task, benchmark: BenchmarkFiles) -> bool:
    """Whether a line has as many fields as the benchmark's rows, a label where they have it, and no name of a column."""
    if len(first) != len(benchmark.header) or not isinstance(task, TextClassification):
        return False
    if any(name in first for name in (*task.text_keys, task.label_key)):
        return False
    label = first[benchmark.header.index(task.label_key)]
    if not task.is_regression:
        return label in task.labels or label in map(str, range(len(task.labels)))
    try:
        return task.value_range[0] <= float(label) <= task.value_range[1]
    except ValueError:
        return False
