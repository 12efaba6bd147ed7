"""The gold answers of questions are checked, and lose the spaces at their edges."""

import unicodedata
from typing import Any

from debft.data.problems import Problems
from debft.data.sources.table import DataTable
from debft.errors import shown
from debft.tasks import QuestionAnswering

GoldAnswers = tuple[tuple[str, int], ...]  # (text, its first character in the context), () of an unanswerable question


def check_answers(table: DataTable, task: QuestionAnswering, problems: Problems) -> list[GoldAnswers]:
    """Return the gold answers of every row. A wrong `answer_start` is a problem: it would be a wrong label."""
    checked = []
    for row, (answers, context) in enumerate(zip(table.columns["answers"], table.columns["context"], strict=True)):
        pairs, wrong = _pairs(answers)
        if wrong is None and isinstance(context, str):
            wrong = _wrong(pairs, context, task)
        if wrong is not None:
            problems.add(row, f"answers: {wrong}")
        sound = wrong is None and isinstance(context, str)
        checked.append(tuple(_without_edges(*pair) for pair in pairs) if sound else pairs)
    return checked


def _without_edges(text: str, start: int) -> tuple[str, int]:
    """Return an answer without the spaces at its edges, which no token covers."""
    return text.strip(), start + len(text) - len(text.lstrip())


def check_not_empty(table: DataTable, task: QuestionAnswering, problems: Problems) -> None:
    """Note every question and context that is empty: no answer can be looked for in it."""
    for key in task.text_keys:
        for row, text in enumerate(table.columns[key]):
            if isinstance(text, str) and not text.strip():
                problems.add(row, f"{key}: expected text, got {shown(text)}")


def _pairs(answers: Any) -> tuple[tuple, str | None]:
    """Return ((text, start), ...) and None, or () and what is wrong with the two lists."""
    texts, starts = (answers.get("text"), answers.get("answer_start")) if isinstance(answers, dict) else (None, None)
    if not isinstance(texts, list) or not isinstance(starts, list):
        return (), f"expected {{'text': [...], 'answer_start': [...]}}, got {shown(answers)}"
    if len(texts) != len(starts):
        return (), f"expected as many texts as answer_starts, got {len(texts)} and {len(starts)}"
    return tuple(zip(texts, starts, strict=True)), None


def _wrong(pairs: tuple, context: str, task: QuestionAnswering) -> str | None:
    """Return what is wrong with the first wrong answer, None where all are right."""
    if not pairs and not task.unanswerable:
        return f"expected at least one, got none; {task.name} has no unanswerable questions, debft squad2 does"
    for text, start in pairs:
        if not isinstance(text, str) or not text.strip():
            return f"expected text, got {shown(text)}; an unanswerable question has no answers"
        if not isinstance(start, int) or isinstance(start, bool):
            return f"answer_start: expected a whole number, got {shown(start)}"
        if start >= 0 and context.startswith(text, start):
            continue
        place = _nearest(context, text, start)
        remark = "it is not in the context" if place is None else f"it is at {place}"
        if place is None and unicodedata.normalize("NFC", text) in unicodedata.normalize("NFC", context):
            remark += ", which has it in another Unicode form (NFC or NFD)"
        got = (
            shown(context[start : start + len(text)]) if 0 <= start < len(context) else f"a context of {len(context):,} characters"
        )
        return f"expected {shown(text)} at character {shown(start)} of the context, got {got}; {remark}"
    return None


def _nearest(context: str, text: str, start: int) -> int | None:
    """Return the character, from 0, at which the text is nearest to `start`, None where the context lacks it."""
    middle = max(start, 0)
    places = [context.rfind(text, 0, middle + len(text)), context.find(text, middle)]
    return min((place for place in places if place >= 0), key=lambda place: abs(place - start), default=None)
