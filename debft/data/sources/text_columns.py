"""The text columns of the user's own table are chosen by names and values. Where these leave a doubt, the user is asked."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

IDS = ("id", "idx", "index")
# The names, without case and signs, of columns that describe a row and are not its text.
NO_TEXT = {
    "guid",
    "uid",
    "uuid",
    "key",
    "pairid",
    "promptid",
    "rowid",
    "lang",
    "language",
    "locale",
    "country",
    "split",
    "subset",
    "fold",
    "partition",
    "date",
    "time",
    "datetime",
    "timestamp",
    "year",
    "createdat",
    "updatedat",
    "source",
    "domain",
    "genre",
    "url",
    "link",
    "file",
    "filename",
    "path",
    "author",
    "user",
    "username",
    "annotator",
    "version",
}
SINGLES = {"text", "texts", "sentence", "review", "comment", "content", "tweet", "message", "utterance", "document"}
PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("texta", "textb"),
    ("sentencea", "sentenceb"),
    ("query", "passage"),
    ("query", "document"),
    ("question", "sentence"),
    ("question", "context"),
    ("question", "passage"),
    ("question", "answer"),
)
WORDS_OF_A_TEXT = 2  # a column in which no value has so many is no running text
WORDS_IN_SPITE_OF_THE_NAME = 5  # where half of a column called `source` has so many, it may be a text after all
UNPARTED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"  # scripts that do not part their words
LETTERS_WITHOUT_SPACES = 8  # Chinese, Japanese and Thai do not part their words


def find_texts(columns: Mapping[str, Sequence]) -> tuple[str, ...]:
    """Return the column of the only text, or the two of a known pair; () where it cannot be told.

    columns: those that hold words, without the label
    A column of single words is no text where another has several words. A column called text, or a known pair, is preferred to
    columns of single words, but not to one that reads like a text itself.
    """
    candidates = {
        name: values
        for name, values in columns.items()
        if plain(name) not in NO_TEXT or _usual_words(values) >= WORDS_IN_SPITE_OF_THE_NAME
    } or columns
    if len(candidates) == 1:
        return tuple(candidates)
    reading = {name for name, values in candidates.items() if any(_words(value) >= WORDS_OF_A_TEXT for value in values)}
    by_name = {plain(name): name for name in candidates}
    pairs = [tuple(by_name[part] for part in pair) for pair in PAIRS if by_name.keys() >= set(pair)]
    singles = [(name,) for name in candidates if plain(name) in SINGLES and not any(name in pair for pair in pairs)]
    known = [*pairs, *singles]
    if not known and len(reading) == 1:
        return tuple(reading)
    return known[0] if len(known) == 1 and reading <= set(known[0]) else ()


def plain(name: str) -> str:
    """Return a name without case and signs: `Sentence_1` becomes `sentence1`."""
    return re.sub(r"[\W_]+", "", name).lower()


def holds_words(values: Sequence) -> bool:
    """Tell whether any value is a text of more than digits and signs: numbers, dates and empty cells are no words."""
    texts = (value for value in values if isinstance(value, str))
    return any(re.search(r"[^\W\d_]|[^\x00-\x7f\s]", text) and not _is_number(text) for text in texts)


def _is_number(value: str) -> bool:
    """Tell whether a text is a number, as `nan`, `inf` and `1e5` are."""
    try:
        float(value)
    except ValueError:
        return False
    return True


def _words(value: Any) -> int:
    """Count the words of a cell; a long run in a script without spaces counts as several."""
    if not isinstance(value, str):
        return 0
    parts = value.split()
    unparted = any(len(part) >= LETTERS_WITHOUT_SPACES and is_unparted(part) for part in parts)
    return WORDS_IN_SPITE_OF_THE_NAME if unparted else len(parts)


def is_unparted(part: str) -> bool:
    """Tell whether most of a run of letters is in a script that does not part its words."""
    return 2 * len(re.findall(f"[{UNPARTED}]", part)) > len(part)


def _usual_words(values: Sequence) -> int:
    """Return the median of the number of words in the values that have any."""
    counts = sorted(count for value in values if (count := _words(value)))
    return counts[len(counts) // 2] if counts else 0
