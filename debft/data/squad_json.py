"""SQuAD's own nested JSON as rows in the hub's columns."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from debft.errors import InputError


def rows(path: Path, content: dict[str, Any]) -> list[tuple[int, dict[str, Any] | str]]:
    """(number, row) of each question of `{"data": [{"title", "paragraphs": [{"context", "qas": [...]}]}]}`, from 1.

    A row is `id, title, context, question, answers`, or what is wrong with the question. Raises InputError where the nesting is
    another one.
    """
    return list(enumerate(_questions(path, content), start=1))


def _questions(path: Path, content: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    for a, article in enumerate(_get(path, content, "data", list, "")):
        for p, paragraph in enumerate(_get(path, article, "paragraphs", list, f"data[{a}].")):
            place = f"data[{a}].paragraphs[{p}]."
            context = _get(path, paragraph, "context", str, place)
            for q, question in enumerate(_get(path, paragraph, "qas", list, place)):
                yield _row(article, context, question, f"{place}qas[{q}]")


def _row(article: dict[str, Any], context: str, question: Any, place: str) -> dict[str, Any] | str:
    lacking = [key for key in ("id", "question") if not isinstance(question, dict) or key not in question]
    if lacking:
        return f"{place}: expected a question with id, question and answers, '{lacking[0]}' is missing"
    row = {"id": question["id"], "title": article.get("title", ""), "context": context, "question": question["question"]}
    answers = [] if question.get("is_impossible") else question.get("answers", [])
    if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        return f"{place}: answers: expected a list of objects with text and answer_start, got something else"
    return row | {"answers": {key: [answer.get(key) for answer in answers] for key in ("text", "answer_start")}}


def _get(path: Path, where: Any, key: str, kind: type, place: str) -> Any:
    value = where.get(key) if isinstance(where, dict) else None
    if not isinstance(value, kind):
        expected = {list: "a list", str: "text"}[kind]
        raise InputError(f"{path}: {place}{key}: expected {expected}, as in SQuAD's own files, got {type(value).__name__}")
    return value
