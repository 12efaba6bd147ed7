"""The rows of `predictions/<split>.jsonl` are checked before anything is counted of them."""

from typing import Any

from debft.config.reading import is_finite_number
from debft.tasks import TEXT, QuestionAnswering, Task


def check_predictions(rows: list[Any], task: Task) -> None:
    """Raise ValueError unless each row has an id, a label and a prediction of one kind, which the task has, and there is a row."""
    kinds = {_kind(row) for row in rows}
    if len(kinds) != 1 or not kinds <= _kinds_of(task):
        raise ValueError


def _kinds_of(task: Task) -> set[str | None]:
    """Return what kinds of predictions there may be; the task of own data alone does not tell its problem."""
    if isinstance(task, QuestionAnswering):
        return {"answers"}
    if task.name == TEXT.name:
        return {"label", "labels", "score"}
    return {"score" if task.is_regression else "label"}


def _kind(row: Any) -> str | None:
    """Return whether a row has a label, some labels, gold answers or a score; None for no row of predictions."""
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        return None
    label, prediction = row.get("label"), row.get("prediction")
    if isinstance(label, list) and all(isinstance(one, str) for one in label):
        if isinstance(prediction, list):
            return "labels" if all(isinstance(one, str) for one in prediction) else None
        return "answers" if isinstance(prediction, str) else None
    if isinstance(label, str):
        return "label" if isinstance(prediction, str) else None
    is_score = isinstance(label, float) and isinstance(prediction, float)
    return "score" if is_score and is_finite_number(label) and is_finite_number(prediction) else None
