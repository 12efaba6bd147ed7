"""This module turns numbers, names, notes and links into text, for the report, the tables and the terminal alike."""

import math
import re
from collections.abc import Sequence
from urllib.parse import quote

from debft.runs.result import in_percent

DASH = "–"  # for a number that is not there
_URL = re.compile(r"https?://[^\s<>\"'`|]+[^\s<>\"'`|.,;:)]")
_COMMON_SPLITS = ("validation", "test")


def score_text(score: str, value: float | None, missing: str = DASH, like: float | None = None) -> str:
    """Return a score in percent with two decimals; what training logged, `train/loss`, in its own unit, four digits or whole.

    like: the number whose decimals it has, such as the mean that a deviation stands behind
    """
    if value is None:
        return missing
    if in_percent(score):
        return with_minus(f"{value:.2f}")
    size = abs(value if like is None else like)
    if size >= 1000 or (value == int(value) and size == int(size)):
        return with_minus(f"{value:,.0f}")
    if size < 1e-3:
        return with_minus(f"{value:.4g}")
    return with_minus(f"{value:.{3 - math.floor(math.log10(size))}f}")


def tolerance_text(score: str, tolerance: float) -> str:
    """Return a tolerance in points with two decimals, in the unit of what training logged with three digits."""
    return f"{tolerance:.2f}" if in_percent(score) else f"{tolerance:.3g}"


def interval_text(low_high: Sequence[float] | None, missing: str = "") -> str:
    """Return `[91.10, 95.20]`, both ends in percent."""
    return missing if low_high is None else f"[{low_high[0]:.2f}, {low_high[1]:.2f}]"


def signed(value: float, decimals: int = 2) -> str:
    """Return `+0.04` or `−0.31`; zero has no sign."""
    text = with_minus(f"{value:+.{decimals}f}")
    return text if text.strip("+−0.") else text[1:]


def with_minus(number: str) -> str:
    """Return the number with a minus sign in place of a hyphen."""
    return number.replace("-", "−")


def counted(count: int, unit: str) -> str:
    """Return `1 run`, `2,000 runs`."""
    return f"{count:,} {plural(unit, count)}"


def plural(unit: str, count: int) -> str:
    return unit if count == 1 else f"{unit}s"


def rounded_count(number: float) -> str:
    """Return `1.2 G`, `3.4 M`, `5.6 k` or `789`."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number:.0f}"


def short_score(score: str) -> str:
    """Return `matched accuracy` for `validation_matched/accuracy`, `fr accuracy` for `test.fr/accuracy`."""
    split, _, metric = score.partition("/")
    part, *rest = re.split(r"[_.]", split, maxsplit=1)
    return " ".join([*(rest if part in _COMMON_SPLITS else [split]), metric.replace("_", " ")])


def long_score(score: str) -> str:
    """Return `test fr accuracy` for `test.fr/accuracy`, where the short name would stand for two scores."""
    return re.sub(r"[_./]", " ", score)


def linked(text: str | None) -> list[tuple[str, str | None]]:
    """Return the text in pieces (text, URL); the URL is None where a piece is no web address."""
    text = text or ""
    pieces: list[tuple[str, str | None]] = []
    end = 0
    for match in _URL.finditer(text):
        pieces += [(text[end : match.start()], None), (match.group(), match.group())]
        end = match.end()
    return [piece for piece in [*pieces, (text[end:], None)] if piece[0]]


def relative_link(path: str) -> str:
    """Return a path as a link; a colon is quoted too, so no path can become a `javascript:` address."""
    return quote(path, safe="/.-_~")


def escaped(text: str) -> str:
    """Return text that Markdown prints as it is, in a table cell too: one line, no marks, no HTML."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*|\[\]~])|(?<!\w)_|_(?!\w)", lambda match: "\\" + match.group(), text)


class Footnotes:
    """These are the notes of a page, numbered from 1 as they are first mentioned; the same text has one number."""

    def __init__(self, *texts: str) -> None:
        """Begin with `texts`, which keep the numbers 1, 2, 3, ..."""
        self.texts = list(texts)

    def add(self, *texts: str | None) -> list[int]:
        """Return the number of each text; None and empty ones have none."""
        return [self._number(text) for text in texts if text]

    def _number(self, text: str) -> int:
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1
