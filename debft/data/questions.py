"""SQuAD's rows: its nested JSON as a table, and what can be wrong with a question, its context or its answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from debft.data.checks import Problems
from debft.data.files import Table
from debft.errors import InputError
from debft.tasks import QuestionAnswering

COLUMNS = ("id", "title", "context", "question", "answers")
Answers = tuple[tuple[str, int], ...]  # (text, its first character in the context)


def from_nested(path: Path, content: dict[str, Any]) -> Table:
    """The official `{"data": [{"title", "paragraphs": [{"context", "qas": [...]}]}]}` in the hub's columns.

    Raises InputError naming the place of the first thing that is missing or no list.
    """
    rows = list(_rows(path, content))
    columns = {name: [row[name] for _, row in rows] for name in COLUMNS}
    return Table(columns=columns, path=str(path), lines=[place for place, _ in rows])


def _rows(path: Path, content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for a, article in enumerate(_get(path, content, "data", list, "")):
        for p, paragraph in enumerate(_get(path, article, "paragraphs", list, f"data[{a}].")):
            place = f"data[{a}].paragraphs[{p}]."
            context = _get(path, paragraph, "context", str, place)
            for q, question in enumerate(_get(path, paragraph, "qas", list, place)):
                here = f"{place}qas[{q}]"
                found = [] if question.get("is_impossible") else _get(path, question, "answers", list, f"{here}.")
                yield here, {
                    "id": question.get("id"), "title": article.get("title", ""), "context": context,
                    "question": question.get("question"),
                    "answers": {key: [answer.get(key) for answer in found] for key in ("text", "answer_start")},
                }  # fmt: skip


def _get(path: Path, where: Any, key: str, kind: type, place: str) -> Any:
    value = where.get(key) if isinstance(where, dict) else None
    items = value if isinstance(value, list) and key != "data" else []
    if not isinstance(value, kind) or not all(isinstance(item, dict) for item in items):
        expected = {list: "a list of objects", str: "text"}[kind]
        raise InputError(f"{path}: {place}{key}: expected {expected}, as in SQuAD's own files, got {_short(value)}")
    return value


def check_answers(table: Table, task: QuestionAnswering, problems: Problems) -> list[Answers]:
    """The gold answers of every row; a wrong `answer_start` is a problem, not a wrong label."""
    checked = []
    for row, (answers, context) in enumerate(zip(table.columns["answers"], table.columns["context"], strict=True)):
        texts, starts = _lists(answers)
        wrong = _wrong(texts, starts, context, task) if isinstance(context, str) else None
        if wrong:
            problems.add(row, f"answers: {wrong}")
        checked.append(() if wrong else tuple(zip(texts or (), starts or (), strict=True)))
    return checked


def _lists(answers: Any) -> tuple[list | None, list | None]:
    if not isinstance(answers, dict):
        return None, None
    return tuple(answers.get(key) if isinstance(answers.get(key), list) else None for key in ("text", "answer_start"))


def _wrong(texts: list | None, starts: list | None, context: str, task: QuestionAnswering) -> str | None:
    if texts is None or starts is None or len(texts) != len(starts):
        return "expected {'text': [...], 'answer_start': [...]} of equal length, got something else"
    if not texts and not task.unanswerable:
        return f"expected at least one, got none; {task.name} has no unanswerable questions, debft squad2 does"
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not text.strip():
            return f"expected text, got {_short(text)}; an unanswerable question has no answers"
        if not isinstance(start, int) or isinstance(start, bool):
            return f"answer_start: expected a whole number, got {_short(start)}"
        if start < 0 or context[start : start + len(text)] != text:
            place = _nearest(context, text, start)
            there = "it is not in the context" if place is None else f"it is at {place}"
            found = context[max(start, 0) : max(start, 0) + len(text)]
            return f"expected {_short(text)} at character {start} of the context, got {_short(found)}; {there}"
    return None


def _nearest(context: str, text: str, start: int) -> int | None:
    places = [place for place in range(len(context)) if context.startswith(text, place)]
    return min(places, key=lambda place: abs(place - start), default=None)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
