"""Rows become examples, or an error of one line that says which row is wrong and how."""

from collections.abc import Iterator, Sequence

from debft.data.answers import check_not_empty
from debft.data.examples import Examples
from debft.data.ids import id_column, ids_of
from debft.data.label_names import is_blank
from debft.data.labels import as_array, check_labels, check_variety
from debft.data.problems import Problems
from debft.data.sources.table import DataTable
from debft.data.stored import chosen, rows_of
from debft.errors import InputError, has_half_surrogate, shown
from debft.tasks import QuestionAnswering, Task, TextClassification


def check_rows(table: DataTable, task: Task, limit: int | None = None, *, train: bool = False, skip: bool = False) -> Examples:
    """Make examples of the first `limit` rows. Every row is checked all the same.

    train: rows that nothing can be learned from are an error as well
    skip: bad rows are left out and counted; `limit` counts those that stay
    Raises InputError naming the first wrong row and how many more there are.
    """
    problems = _start(table, (*task.text_keys, task.label_key), skip)
    texts = _texts(table, task, problems)
    labels = check_labels(table, task, problems)
    ids = ids_of(table, problems)
    kept = problems.settle(skip)
    if train and isinstance(task, TextClassification):
        check_variety(table, task, chosen(labels, kept), problems.skipped(), limit)
    return _examples(table, task, problems, kept[:limit], texts, labels, ids)


def check_texts(table: DataTable, task: Task) -> Examples:
    """Make examples without labels of the rows. Raises InputError as `check_rows` does."""
    problems = _start(table, task.text_keys)
    texts = _texts(table, task, problems)
    if isinstance(task, QuestionAnswering):
        check_not_empty(table, task, problems)
    ids = ids_of(table, problems)
    labels: list = [() if isinstance(task, QuestionAnswering) or task.multilabel else 0] * len(texts)
    return _examples(table, task, problems, problems.settle(skip=False), texts, labels, ids)


def _start(table: DataTable, needed: tuple[str, ...], skip: bool = False) -> Problems:
    """Begin with the rows that could not be read. Raises InputError for a missing column or a table without rows."""
    problems = Problems(table)
    if not table.columns and not len(table):
        problems.settle(skip)  # no row could be read: raises
    lacking = [name for name in needed if name not in table.columns]
    if lacking:
        have = ", ".join(list(table.columns)[:8]) or "no column"
        raise InputError(f"{table.path}: expected the columns {', '.join(needed)}, got {have}; '{lacking[0]}' is missing")
    if not len(table):
        problems.settle(skip)
    return problems


def _examples(
    table: DataTable,
    task: Task,
    problems: Problems,
    kept: Sequence[int],
    texts: Sequence[tuple[str, ...]],
    labels: Sequence,
    ids: Sequence[str],
) -> Examples:
    texts, labels = chosen(texts, kept), chosen(labels, kept)
    return Examples(
        texts=texts,
        labels=as_array(labels, task) if isinstance(task, TextClassification) else list(labels),
        ids=chosen(ids, kept),
        source=table.path,
        empty_texts=sum(is_blank(text) for pair in texts for text in pair),
        skipped=problems.skipped(),
        unused=unused_columns(table, (*task.text_keys, task.label_key)),
        label_names=task.labels if isinstance(task, TextClassification) and not task.numbered else (),
        notes=(*table.notes, *_note_on_commas(table, task)),
        lines=chosen(table.lines, kept),
        places=table.places,
    )


def unused_columns(table: DataTable, used: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns that are neither used nor ids, nor objects with a field that is used."""
    whole = [name for name in table.columns if name not in (*used, id_column(table))]
    return tuple(name for name in whole if not any(key.startswith(f"{name}.") for key in used))


def _note_on_commas(table: DataTable, task: Task) -> Iterator[str]:
    """Give the line that says how scores with decimal commas were read, where there are such."""
    if isinstance(task, TextClassification) and task.is_regression and task.label_key in table.decimal_commas:
        first = next(cell for cell in table.columns[task.label_key] if "," in cell)
        yield f"{task.label_key}: decimal commas read as points: {first} is {first.replace(',', '.')}"


def _texts(table: DataTable, task: Task, problems: Problems) -> Sequence[tuple[str, ...]]:
    """Return the texts of every row, one or two, whatever they are: what is no text is a problem."""
    for key in task.text_keys:
        column = table.columns[key]
        for row in _without_text(column):
            if not isinstance(column[row], str):
                problems.add(row, f"{key}: expected text, got {shown(column[row])}")
            else:
                problems.add(row, f"{key}: expected text, got half of a surrogate pair; the file was not written as UTF-8")
    return rows_of([table.columns[key] for key in task.text_keys])


def _without_text(column: Sequence) -> list[int]:
    """Return the rows whose cell is no text that can be written."""
    if set(map(type, column)) == {str}:  # as nearly always, and then most of them are ASCII
        return [row for row, text in enumerate(column) if not text.isascii() and has_half_surrogate(text)]
    return [row for row, text in enumerate(column) if not isinstance(text, str) or has_half_surrogate(text)]
