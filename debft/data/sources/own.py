"""The user's own data becomes a task: which columns are the texts, which one is the label, and is it a class or a score?"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from debft.config.recipe import OwnConfig
from debft.data.label_names import SEVERAL, in_order, label_name, look_alike, single
from debft.data.label_sets import check_no_combinations, has_sets, labels_of_sets, separator_advice
from debft.data.problems import Problems
from debft.data.sources.separator import fields_of
from debft.data.sources.table import DataTable
from debft.data.sources.text_columns import IDS, find_texts, holds_words
from debft.data.stored import mapped
from debft.errors import InputError, one_of, shown
from debft.tasks import TEXT, TextClassification

LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "score")
_LOCAL_NUMBER = re.compile(r"-?\d[\d., ']*%?")
MOST_CLASSES = 20  # up to so many different whole numbers are labels
MOST_COUNTED = 50  # and up to so many, where they are counted from 0 or 1 without a gap and recur; for others the user is asked
COLUMNS_SHOWN = 12
LONGEST_EXAMPLE = 30  # characters
WORDS_OF_A_ROW = 5  # a column with a name of so many words is none: the file has no header line
ANY_SCORE = (-math.inf, math.inf)
CLASSIFICATION, REGRESSION, MULTILABEL = ("accuracy", "macro_f1"), ("pearson", "spearmanr"), ("micro_f1", "macro_f1")


def own_task(config: OwnConfig, table: DataTable, *, skip: bool = False) -> TextClassification:
    """Return the task that the training rows ask for; `text_columns`, `label_column` and `problem` of `config` decide where given.

    skip: whether bad rows are left out, for the error line about a table without rows
    Raises InputError where there are no rows, or a column is missing or cannot be told.
    """
    if not len(table):
        Problems(table).settle(skip)
    label_key, text_keys = find_columns(config, table)
    task, column = replace(TEXT, text_keys=text_keys, label_key=label_key), table.columns[label_key]
    if config.problem == "multilabel" or (config.problem == "auto" and (config.label_separator is not None or has_sets(column))):
        labels = labels_of_sets(table, label_key, config.label_separator)
        return _of_sets(task, labels, config.label_separator)
    values = mapped(single, column)
    decimal = mapped(_with_point, column) if label_key in table.decimal_commas else values
    if _is_score(config, table, label_key, decimal):
        return _of_scores(task)
    labels = _classes(values)
    _check_labels(config, table, label_key, values, labels)
    if config.problem == "auto":
        check_no_combinations(table, label_key, labels)
    return _of_labels(task, labels)


def _with_point(cell: str) -> str:
    return cell.replace(",", ".")


def _of_sets(task: TextClassification, labels: tuple[str, ...], separator: str | None) -> TextClassification:
    return replace(task, labels=labels, multilabel=True, label_separator=separator, metrics=MULTILABEL)


def _of_scores(task: TextClassification) -> TextClassification:
    return replace(task, labels=(), value_range=ANY_SCORE, metrics=REGRESSION)


def _of_labels(task: TextClassification, labels: tuple[str, ...]) -> TextClassification:
    return replace(task, labels=labels, value_range=None, metrics=CLASSIFICATION)


def _check_labels(config: OwnConfig, table: DataTable, label_key: str, values: Sequence, labels: tuple[str, ...]) -> None:
    """Raise InputError for a column without labels, and for labels that do not recur or that nobody could tell apart."""
    where, advice = f"{table.path}: {label_key}", "name another column with --label-column"
    if not labels:
        row, first = next(((row, v) for row, v in enumerate(values) if isinstance(v, (list, dict))), (0, None))
        if first:
            several = SEVERAL if isinstance(first, list) else f"; {advice}"
            raise InputError(f"{where}: expected labels, got {shown(first)} in {table.place(table.lines[row])}{several}")
        row, first = next(((row, v) for row, v in enumerate(table.columns[label_key]) if v not in (None, "")), (0, None))
        got = f"{shown(first)} in {table.place(table.lines[row])}, which is none" if first is not None else "none"
        raise InputError(f"{where}: expected labels, got {got}, in {len(values):,} rows; {advice}")
    local = next((row for row, value in enumerate(values) if _is_local(label_name(value) or "")), None)
    if local is not None and config.problem == "auto" and all(_LOCAL_NUMBER.fullmatch(name) for name in labels):
        got = f"{shown(values[local])} in {table.place(table.lines[local])}, a number in local notation"
        raise InputError(
            f"{where}: expected labels or numbers, got {got}; write it with a point and without % or separators, or give "
            "--problem classification"
        )
    if len(labels) > max(MOST_CLASSES, len(values) // 2):
        raise InputError(
            f"{where}: expected labels that recur, got {len(labels):,} different ones in {len(values):,} rows; "
            f"{advice}, or give --problem regression for scores{separator_advice(labels)}"
        )
    if (pair := look_alike(labels)) is not None:
        both = " and ".join(f"{one!a} ({_first_place(table, values, one)})" for one in pair)
        raise InputError(f"{where}: expected labels that look different, got {both}, which look the same; write them the same")


def _is_local(name: str) -> bool:
    """Tell a number as people write it and programs do not: 2,7 or 7% or 1.000,5."""
    return bool(_LOCAL_NUMBER.fullmatch(name)) and any(mark in name for mark in ",%")


def _first_place(table: DataTable, values: Sequence, name: str) -> str:
    """Return what an error calls the first row with this label."""
    return table.place(table.lines[next(row for row, value in enumerate(values) if label_name(value) == name)])


def own_task_of_model(config: OwnConfig, labels: tuple[str, ...]) -> TextClassification:
    """Return the task of a fine-tuned model, from the settings in its config.json. labels: the names of its outputs."""
    text_keys = split_columns(config.text_columns) if config.text_columns else TEXT.text_keys
    task = replace(TEXT, text_keys=text_keys, label_key=config.label_column or TEXT.label_key)
    if config.problem == "regression":
        return _of_scores(task)
    return _of_sets(task, labels, config.label_separator) if config.problem == "multilabel" else _of_labels(task, labels)


def settings_of(task: TextClassification) -> dict[str, str]:
    """Return the settings that `own_task_of_model` needs."""
    problem = "regression" if task.is_regression else "multilabel" if task.multilabel else "classification"
    settings = {"text_columns": ",".join(map(quoted, task.text_keys)), "label_column": task.label_key, "problem": problem}
    return settings | ({"label_separator": task.label_separator} if task.label_separator else {})


def split_columns(columns: str) -> tuple[str, ...]:
    """Split `a,b` into (a, b); a name with a comma is quoted as in CSV."""
    return tuple(fields_of(columns, "--text-columns"))


def quoted(name: str) -> str:
    """Return the name of a column as `--text-columns` takes it."""
    plain = name and name == name.strip() and not any(character in name for character in ',"\r\n')
    return name if plain else '"{}"'.format(name.replace('"', '""'))


def find_columns(config: OwnConfig, table: DataTable) -> tuple[str, tuple[str, ...]]:
    """Return the column of the labels, and the one or two of the texts. Raises InputError where they cannot be told."""
    label_key = _label_column(config, table)
    return label_key, _text_columns(config, table, label_key)


def _label_column(config: OwnConfig, table: DataTable) -> str:
    """Return the column of the labels. Raises InputError where it cannot be told."""
    if config.label_column is not None:
        return _existing(table, config.label_column, "--label-column")
    candidates = [name for name in table.columns if name.strip().lower() in LABEL_COLUMNS]
    if len(candidates) == 1:
        return candidates[0]
    where = f"{table.path}: expected a label column"
    if candidates:
        raise InputError(f"{where}, {_names(candidates)} could each be it; name it with --label-column")
    if len(table.columns) == 1:
        raise InputError(
            f"{where} beside {_columns(table)}, found none; training needs labels, and `debft predict` gives them to texts"
        )
    row = next((name for name in table.columns if len(name.split()) >= WORDS_OF_A_ROW), None)
    advice = f"--label-column names it; there are {_columns(table)}"
    if row is not None:
        advice = f"the first line reads like a row ({shown(row)}): put the names of the columns above it"
    raise InputError(f"{where}, none is called {one_of(LABEL_COLUMNS)}; {advice}")


def _text_columns(config: OwnConfig, table: DataTable, label_key: str) -> tuple[str, ...]:
    """Return the columns of the one or two texts. Raises InputError where they cannot be told."""
    if config.text_columns is not None:
        given = split_columns(config.text_columns)
        names = (config.text_columns,) if config.text_columns in table.columns else given
        names = tuple(_existing(table, name, "--text-columns") for name in names)
        if not 1 <= len(names) <= 2 or label_key in names or len(set(names)) < len(names):
            raise InputError(
                f"--text-columns {config.text_columns}: expected one column, or two as A,B, and not the label {label_key}"
            )
        return names
    others = [name for name in table.columns if name != label_key and name.strip().lower() not in IDS]
    candidates = {name: table.columns[name] for name in others if holds_words(table.columns[name])}
    if not candidates:
        what = f"none of {_columns(table)} holds words"
    elif texts := find_texts(candidates):
        return texts
    else:
        examples = [f"{quoted(name)} ({_example(values)})" for name, values in list(candidates.items())[:COLUMNS_SHOWN]]
        what = f"{one_of(examples)}{', ...' if len(candidates) > COLUMNS_SHOWN else ''} could each be one"
    raise InputError(f"{table.path}: expected one or two text columns, {what}; name them with --text-columns A or A,B")


def _example(values: Sequence) -> str:
    """Return the first text of a column, short enough for an error line."""
    text = next(value for value in values if holds_words([value]))
    return repr(text if len(text) <= LONGEST_EXAMPLE else f"{text[:LONGEST_EXAMPLE]}...")


def _existing(table: DataTable, name: str, option: str) -> str:
    """Return the column that an option names, with or without spaces at its edges. Raises InputError where there is none."""
    existing = next((column for column in (name, name.strip()) if column in table.columns), None)
    if existing is None:
        raise InputError(f"{option} {name}: {table.path} has no such column; it has {_columns(table)}")
    return existing


def _columns(table: DataTable) -> str:
    return _names(list(table.columns))


def _names(columns: list[str]) -> str:
    return one_of(map(quoted, columns[:COLUMNS_SHOWN])) + (", ..." if len(columns) > COLUMNS_SHOWN else "")


def _is_score(config: OwnConfig, table: DataTable, label_key: str, values: Sequence) -> bool:
    """Tell whether the labels are scores: numbers, and not whole ones. Raises InputError for whole numbers that could be either."""
    if config.problem != "auto":
        return config.problem == "regression"
    counts: Counter[float] = Counter()  # of whole numbers, as long as there are no others
    num_numbers, is_whole = 0, True
    for value in values:
        if not isinstance(value, (str, int, float)) or not str(value).strip():
            continue
        if (number := _number(value)) is None:
            return False
        num_numbers += 1
        if is_whole and math.isfinite(number):  # the others are bad rows, not another kind of label
            is_whole = number == int(number)
            counts[number] += 1
    if not is_whole:
        return True
    if len(counts) <= MOST_CLASSES:
        return False
    lowest, highest = int(min(counts)), int(max(counts))
    counted = lowest in (0, 1) and highest - lowest + 1 == len(counts) <= MOST_COUNTED
    if counted and num_numbers >= 2 * len(counts):
        return False
    raise InputError(
        f"{table.path}: {label_key}: expected labels or scores, got {len(counts):,} different whole numbers from {lowest} to "
        f"{highest} in {len(values):,} rows, which could be either; say which with --problem classification or --problem regression"
    )


def _number(value: Any) -> float | None:
    """Return the number that a value is, None for no number: NaN and infinity are numbers, true and false are not."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:
        return None


def _classes(values: Sequence) -> tuple[str, ...]:
    """Return the different names of the labels, in order."""
    return in_order({name for value in values if (name := label_name(value)) is not None})
