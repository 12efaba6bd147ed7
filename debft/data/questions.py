"""What can be wrong with the gold answers of a question."""

from typing import Any

from debft.data.files import Table
from debft.data.problems import Problems, shown
from debft.tasks import QuestionAnswering

Answers = tuple[tuple[str, int], ...]  # (text, its first character in the context)


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


def check_not_empty(table: Table, task: QuestionAnswering, problems: Problems) -> None:
    """A question or a context of nothing has no answer to look for."""
    for key in task.text_keys:
        for row, text in enumerate(table.columns[key]):
            if isinstance(text, str) and not text.strip():
                problems.add(row, f"{key}: expected text, got {shown(text)}")


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
            return f"expected text, got {shown(text)}; an unanswerable question has no answers"
        if not isinstance(start, int) or isinstance(start, bool):
            return f"answer_start: expected a whole number, got {shown(start)}"
        if start < 0 or context[start : start + len(text)] != text:
            place = _nearest(context, text, start)
            there = "it is not in the context" if place is None else f"it is at {place}"
            found = context[max(start, 0) : max(start, 0) + len(text)]
            return f"expected {shown(text)} at character {start} of the context, got {shown(found)}; {there}"
    return None


def _nearest(context: str, text: str, start: int) -> int | None:
    places = [place for place in range(len(context)) if context.startswith(text, place)]
    return min(places, key=lambda place: abs(place - start), default=None)
