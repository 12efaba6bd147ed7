"""SQuAD's own nested JSON becomes rows in the hub's columns."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from debft.errors import InputError, shown

LONGEST_ID = 60  # characters in an error line


def is_nested(content: dict[str, Any]) -> bool:
    """Tell SQuAD's nesting from an object with rows under a key that is called data as well."""
    articles = content.get("data")
    return isinstance(articles, list) and (not articles or any(isinstance(a, dict) and "paragraphs" in a for a in articles))


def rows(path: Path, content: dict[str, Any]) -> tuple[list[tuple[int, dict[str, Any] | str]], dict[int, str]]:
    """Return each question of `{"data": [{"title", "paragraphs": [{"context", "qas": [...]}]}]}` as (its number from 1, its row).

    A row is `id, title, context, question, answers` as far as the file has them, or what is wrong with the question. Returned
    beside the rows: the place of each number in words, since the file is one line. Raises InputError for another nesting.
    """
    numbered, places = [], {}
    for number, (place, row) in enumerate(_questions(path, content), start=1):
        numbered.append((number, row))
        places[number] = place
    return numbered, places


def _questions(path: Path, content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Give the place of each question in words, and its row."""
    for a, article in enumerate(_list(path, content, "data", "")):
        for p, paragraph in enumerate(_list(path, article, "paragraphs", f"data[{a}]")):
            place = f"data[{a}].paragraphs[{p}]"
            for q, question in enumerate(_list(path, paragraph, "qas", place)):
                yield _place(question, place, q), _row(article, paragraph, question)


def _place(question: Any, paragraph: str, number: int) -> str:
    """Return what an error calls a question: its id where that can be read, else its number in the paragraph."""
    identity = question.get("id") if isinstance(question, dict) else None
    if isinstance(identity, str) and identity.isprintable() and 0 < len(identity) <= LONGEST_ID:
        return f"question {identity} in {paragraph}"
    return f"{paragraph}.qas[{number}]"


def _row(article: dict[str, Any], paragraph: dict[str, Any], question: Any) -> dict[str, Any] | str:
    """Return the row of a question, or what is wrong with it.

    The answers of a question that is_impossible do not count, as in the official scorer; plausible_answers never do.
    """
    if not isinstance(question, dict):
        return f"expected an object with id, question and answers, got {shown(question)}"
    row = {"title": article.get("title", "")}
    row |= {key: source[key] for key, source in (("context", paragraph), ("id", question), ("question", question)) if key in source}
    impossible = question.get("is_impossible", False)
    if not isinstance(impossible, bool):
        return f"is_impossible: expected true or false, got {shown(impossible)}"
    answers = [] if impossible else question.get("answers", [])
    if not isinstance(answers, list) or not all(isinstance(answer, dict) for answer in answers):
        return f"answers: expected a list of objects with text and answer_start, got {shown(answers)}"
    if impossible or "answers" in question:
        row["answers"] = {key: [answer.get(key) for answer in answers] for key in ("text", "answer_start")}
    return row


def _list(path: Path, where: Any, key: str, place: str) -> list:
    """Return the list under a key. Raises InputError where `place` is no object that has a list of this name."""
    if not isinstance(where, dict):
        raise InputError(f"{path}: {place}: expected an object with {key}, as in SQuAD's own files, got {shown(where)}")
    if not isinstance(where.get(key), list):
        got = shown(where[key]) if key in where else "nothing, the key is missing"
        dotted = f"{place}.{key}" if place else key
        raise InputError(f"{path}: {dotted}: expected a list, as in SQuAD's own files, got {got}")
    return where[key]
