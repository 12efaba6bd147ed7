"""`debft.load` and `debft.evaluate`: a model labels a caller's rows, or is scored on them; `debft.read_table` reads a file."""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debft.errors import InputError, shown
from debft.library.kept import caller_kept
from debft.library.keywords import path_of, told_by_keywords
from debft.library.rows import Rows, as_lines, records_of
from debft.runs.json_records import is_whole

if TYPE_CHECKING:
    from debft.scoring.predictor import Predictor
    from debft.tasks import Task

ROWS = "rows"  # what errors call the rows of a call


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained model is in memory, to label rows again and again."""

    path: str
    """The run directory or model that it was loaded from."""
    task: str
    """The name of its task."""
    columns: tuple[str, ...]
    """The names of the texts of a row."""
    predictor: "Predictor" = field(repr=False)  # a notebook shows what a cell ends with, and this is the whole network
    """What encodes rows and runs the model over them."""

    def predict(self, rows: Iterable[Any], *, quiet: bool = True) -> list[dict[str, Any]]:
        """Label rows, and return for each what `debft predict` prints of it: id, prediction and the score of each label.

        rows: texts; for a task of pairs two texts each, `("a premise", "a hypothesis")`; or dicts with the task's columns, a
            DataFrame or anything else that `debft.finetune` takes
        quiet: whether no progress is printed

        Raises InputError for a row that is none of the task's, `rows[17]: ...`.
        """
        from debft.scoring.inference import label_rows
        from debft.scoring.inputs import examples_of_json

        with caller_kept(quiet=quiet), told_by_keywords({ROWS: ROWS}):
            task = self.predictor.loaded.task
            records = rows_to_label(rows, task)
            if not records:
                return []
            return list(label_rows(self.predictor, examples_of_json(as_lines(records), task, ROWS)))


def load(
    path: str | PathLike[str], *, task: str | None = None, precision: str = "auto", attention: str = "auto", quiet: bool = True
) -> Model:
    """Load a run directory, or a fine-tuned model, into memory.

    path: the directory
    task: the task of a model that is no run and whose config.json names none
    precision, attention: as of `debft predict`
    quiet: whether no lines are printed

    Raises InputError where there is no such model, or it is not the one that its run wrote.
    """
    with caller_kept(quiet=quiet), told_by_keywords():
        from debft.scoring.loading import load_predictor

        place = path_of("path", path)
        predictor = load_predictor(place, task, precision, attention)
        found = predictor.loaded.task
        return Model(path=place, task=found.name, columns=tuple(found.text_keys), predictor=predictor)


def evaluate(
    path: str | PathLike[str],
    *,
    data: Rows | str | PathLike[str] | None = None,
    task: str | None = None,
    max_eval_samples: int | None = None,
    encoding: str | None = None,
    precision: str = "auto",
    attention: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a trained model, and return what `debft evaluate --json` prints: scores, their 95 % intervals and the numbers of rows.

    path: a run directory, or a fine-tuned model
    data: a file, a directory, `hub` or `demo`, or rows in memory, which are scored as `rows` (default: as in the run)
    task: the task of a model that is no run and whose config.json names none
    max_eval_samples: rows of each split to use, the first ones
    encoding: of text files, such as cp1252 (default: UTF-8, or as in the run)
    precision, attention: as of `debft evaluate`
    quiet: whether nothing is printed

    Raises InputError for what is wrong with the model or a row, `data[17]: ...`.
    """
    with caller_kept(quiet=quiet), tempfile.TemporaryDirectory(prefix="debft-") as scratch, told_by_keywords():
        from debft.scoring.inference import evaluate as scored
        from debft.scoring.loading import load_predictor

        if max_eval_samples is not None and not (is_whole(max_eval_samples) and max_eval_samples > 0):
            raise InputError(f"max_eval_samples: expected a whole number of at least 1, got {shown(max_eval_samples)}")
        is_place = data is None or isinstance(data, str | PathLike)
        source, file = path_of("data", data) if is_place and data is not None else None, Path(scratch) / f"{ROWS}.jsonl"
        if not is_place:
            file.write_bytes(as_lines(records_of(data, "data")))
            source = str(file)
        predictor = load_predictor(path_of("path", path), task, precision, attention)
        with told_by_keywords({str(file): "data"}):
            result = scored(predictor, source, max_eval_samples, encoding)
        return result if is_place else result | {"data": ROWS}


def read_table(path: str | PathLike[str], *, encoding: str | None = None) -> list[dict[str, Any]]:
    """Read a TSV, CSV, JSONL, JSON or Parquet file as `debft text --data` does, and return its rows as dicts.

    path: the file
    encoding: of a text file, such as cp1252 (default: UTF-8)

    Raises InputError for what is no table, and for a row that cannot be read.
    """
    from debft.data.problems import Problems
    from debft.data.sources.files import read_table as read

    with caller_kept(), told_by_keywords():
        file = Path(path_of("path", path))
        if not file.is_file():
            raise InputError(f"{file}: expected a file, found {'a directory' if file.is_dir() else 'none'}")
        table = read(file, encoding=encoding)
        Problems(table).raise_any()
        return [dict(zip(table.columns, row, strict=True)) for row in zip(*table.columns.values(), strict=True)]


def rows_to_label(rows: Any, task: "Task") -> list[dict[str, Any]]:
    """Return rows as dicts of the task's columns. Raises InputError for the first that is no row."""
    keys = task.text_keys
    if isinstance(rows, str):
        raise InputError(f"{ROWS}: expected a list of texts or rows, got {shown(rows)}; write [text]")
    if isinstance(rows, Iterable) and not isinstance(rows, Mapping) and not hasattr(rows, "columns"):
        rows = [_row(row, number, keys) for number, row in enumerate(rows)] if not hasattr(rows, "column_names") else rows
        if rows == []:
            return []
    return records_of(rows, ROWS)


def _row(row: Any, number: int, keys: tuple[str, ...]) -> Any:
    """Return a text, or as many as the task has, under the names of its columns."""
    if isinstance(row, Mapping):
        return row
    texts = (row,) if isinstance(row, str) else tuple(row) if isinstance(row, list | tuple) else None
    if texts is None or len(texts) != len(keys):
        expected = "a text" if len(keys) == 1 else f"{len(keys)} texts ({', '.join(keys)})"
        raise InputError(f"{ROWS}[{number}]: expected {expected} or a dict, got {shown(row)}")
    return dict(zip(keys, texts, strict=True))
