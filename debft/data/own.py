"""The user's own data: which columns are the texts, which one is the label, and whether it is a class or a score."""

import csv
import math
import re
from dataclasses import replace
from typing import Any

from debft.data.checks import label_name
from debft.data.files import Table
from debft.data.problems import Problems
from debft.errors import InputError, one_of
from debft.recipe import TrainConfig
from debft.tasks import TEXT, TextClassification

LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "score")
NOT_TEXT = ("id", "idx", "index")
MOST_CLASSES = 20  # more different whole numbers than this are a score unless the user says otherwise
COLUMNS_SHOWN = 12
ANY_SCORE = (-math.inf, math.inf)


def own_task(config: TrainConfig, table: Table) -> TextClassification:
    """The task that the training rows ask for; `text_columns`, `label_column` and `problem` of `config` decide where given.

    Raises InputError where there are no rows, or a column is missing or cannot be told.
    """
    if not len(table):
        Problems(table).settle(config.skip_bad_rows)
    label_key = _label_column(config, table)
    text_keys = _text_columns(config, table, label_key)
    values = table.columns[label_key]
    if _is_score(config, values):
        return replace(TEXT, text_keys=text_keys, label_key=label_key, labels=(), value_range=ANY_SCORE, metrics=REGRESSION)
    labels = _classes(values)
    if not labels:
        raise InputError(
            f"{table.path}: {label_key}: expected labels, got none in {len(values):,} rows; name another column with --label-column"
        )
    if len(labels) > max(MOST_CLASSES, len(values) // 2):
        raise InputError(
            f"{table.path}: {label_key}: expected labels that recur, got {len(labels):,} different ones in {len(values):,} rows; "
            "name another column with --label-column, or give --problem regression for scores"
        )
    return replace(TEXT, text_keys=text_keys, label_key=label_key, labels=labels, value_range=None, metrics=CLASSIFICATION)


def own_task_of_model(config: TrainConfig, labels: tuple[str, ...]) -> TextClassification:
    """The task of a fine-tuned model, from what its config.json says. labels: its outputs' names."""
    text_keys = _split(config.text_columns) if config.text_columns else TEXT.text_keys
    columns = {"text_keys": text_keys, "label_key": config.label_column or TEXT.label_key}
    if config.problem == "regression":
        return replace(TEXT, **columns, labels=(), value_range=ANY_SCORE, metrics=REGRESSION)
    return replace(TEXT, **columns, labels=labels, value_range=None, metrics=CLASSIFICATION)


def settings_of(task: TextClassification) -> dict[str, str]:
    """What `own_task_of_model` needs."""
    problem = "regression" if task.is_regression else "classification"
    return {"text_columns": ",".join(map(quoted, task.text_keys)), "label_column": task.label_key, "problem": problem}


CLASSIFICATION, REGRESSION = ("accuracy", "macro_f1"), ("pearson", "spearmanr")


def _split(columns: str) -> tuple[str, ...]:
    """`a,b` -> (a, b); a name with a comma is quoted as in CSV."""
    return tuple(next(csv.reader([columns], skipinitialspace=True), ()))


def quoted(name: str) -> str:
    """A column as `--text-columns` takes it."""
    plain = name and name == name.strip() and not any(character in name for character in ',"\r\n')
    return name if plain else '"{}"'.format(name.replace('"', '""'))


def _label_column(config: TrainConfig, table: Table) -> str:
    if config.label_column is not None:
        return _existing(table, config.label_column, "--label-column")
    found = [name for name in table.columns if name.strip().lower() in LABEL_COLUMNS]
    if len(found) != 1:
        what = f"{_names(found)} could each be it" if found else f"none is called {one_of(LABEL_COLUMNS)}"
        raise InputError(f"{table.path}: expected a label column, {what}; name it with --label-column ({_columns(table)})")
    return found[0]


def _text_columns(config: TrainConfig, table: Table, label_key: str) -> tuple[str, ...]:
    if config.text_columns is not None:
        given = _split(config.text_columns)
        names = (config.text_columns,) if config.text_columns in table.columns else given
        names = tuple(_existing(table, name, "--text-columns") for name in names)
        if not 1 <= len(names) <= 2 or label_key in names or len(set(names)) < len(names):
            raise InputError(
                f"--text-columns {config.text_columns}: expected one column, or two as A,B, and not the label {label_key}"
            )
        return names
    others = [name for name in table.columns if name != label_key and name.strip().lower() not in NOT_TEXT]
    found = [name for name in others if any(_is_text(value) for value in table.columns[name])]
    if not 1 <= len(found) <= 2:
        what = f"{_names(found)} could each be one" if found else f"none of {_columns(table)} holds words"
        raise InputError(f"{table.path}: expected one or two text columns, {what}; name them with --text-columns A or A,B")
    return tuple(found)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and _number(value) is None


def _existing(table: Table, name: str, option: str) -> str:
    found = next((column for column in (name, name.strip()) if column in table.columns), None)
    if found is None:
        raise InputError(f"{option} {name}: {table.path} has no such column; it has {_columns(table)}")
    return found


def _columns(table: Table) -> str:
    return _names(list(table.columns))


def _names(columns: list[str]) -> str:
    return one_of(map(quoted, columns[:COLUMNS_SHOWN])) + (", ..." if len(columns) > COLUMNS_SHOWN else "")


def _is_score(config: TrainConfig, values: list) -> bool:
    if config.problem != "auto":
        return config.problem == "regression"
    numbers = [_number(value) for value in values if isinstance(value, (str, int, float)) and str(value).strip()]
    if None in numbers:
        return False
    finite = {number for number in numbers if math.isfinite(number)}  # the others are bad rows, not another kind of label
    return any(number != int(number) for number in finite) or len(finite) > MOST_CLASSES


def _number(value: Any) -> float | None:
    """NaN and infinity are numbers, true and false are not."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
    except ValueError:
        return None


def _classes(values: list) -> tuple[str, ...]:
    """Whole numbers in their order, other names in that of the alphabet."""
    names = {name for value in values if (name := label_name(value)) is not None}
    whole = all(re.fullmatch("-?[0-9]{1,18}", name) for name in names)
    return tuple(sorted(names, key=lambda name: (int(name), name)) if whole else sorted(names))
