"""Lines for people, which go to stderr so that stdout stays free for results. What shows progress is in runtime/progress.py."""

import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO, cast

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from debft.errors import visible, without_secrets

WIDTH_OF_LOGS = 180  # characters of a table, where stderr is no terminal
WIDTH_OF_LABEL = 11  # characters before the text of a labelled line, the space included
MARKS = {"error: ": "bold red", "warning: ": "yellow"}  # the first words of a line that are coloured


class _Stderr:
    """The stderr that is in use when a line is written. Once its terminal, pipe or disk is gone, the run goes on without lines."""

    def __getattr__(self, name: str) -> Any:
        if name == "rich_proxied_file":  # rich would write past this class
            raise AttributeError(name)
        return getattr(_stderr(), name)

    def write(self, text: str) -> int:
        return self._unless_gone(lambda: _stderr().write(text)) or len(text)

    def flush(self) -> None:
        self._unless_gone(_stderr().flush)

    def _unless_gone(self, do: Callable[[], int | None]) -> int | None:
        try:
            return do()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), _stderr().fileno())  # what is still in the buffer goes there as well
            return None


def _stderr() -> TextIO:
    """Return stderr itself, below what rich puts in its place while it shows a bar."""
    return getattr(sys.stderr, "rich_proxied_file", sys.stderr)


class VisibleConsole(Console):
    """A console whose texts hold no control characters but those of its own colours and bars."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


for _size in ("COLUMNS", "LINES"):
    if not re.fullmatch("[0-9]{0,6}", os.environ.get(_size, "")):  # of no terminal; rich would stumble over some of them
        del os.environ[_size]
console = VisibleConsole(file=cast("TextIO", _Stderr()), highlight=False)  # __getattr__ hands on what else a stream has


def on_terminal() -> bool:
    """Return whether stderr is a terminal. FORCE_COLOR, which gives a pipe colours, makes none of it."""
    return console.file.isatty()


def is_animated() -> bool:
    """Return whether lines may move."""
    return on_terminal() and not console.is_dumb_terminal


def in_notebook() -> bool:
    """Return whether lines go into the output of a notebook's cell."""
    return console.is_jupyter and not console.quiet


def put(text: object = "", end: str = "\n", *, flush: bool = False) -> None:
    """Print a result on stdout, with control characters as JSON writes them: they would not be shown, but done."""
    print(visible(str(text)), end=end, flush=flush)


def say(line: str) -> None:
    """Print one line for people. A terminal breaks it between words, never within one such as a path."""
    line = without_secrets(line)
    for part in broken(line, console.width) if on_terminal() else [line]:
        console.print(_marked(part), soft_wrap=True)


def say_field(label: str, text: str, whole: bool = False) -> None:
    """Print a labelled line, `device     cpu x 1`. On a terminal what does not fit goes on below the text.

    whole: whether the text stays one line whatever the width, as a command must that is to be copied
    """
    name = f"{label:<{WIDTH_OF_LABEL - 1}} "
    breaks = on_terminal() and console.width >= 4 * WIDTH_OF_LABEL and not whole
    lines = broken(text, console.width - len(name)) if breaks else [text]
    for number, line in enumerate(lines):
        console.print(Text.assemble((name if number == 0 else " " * len(name), "dim"), line), soft_wrap=True)


def broken(text: str, width: int) -> list[str]:
    """Break a text into lines of at most `width` columns, between words alone: a longer word, such as a path, stays whole."""
    lines = [""]
    for word in re.findall(r"\S+\s*|^\s+", text):
        if lines[-1].strip() and cell_len(lines[-1] + word.rstrip()) > width:
            lines.append("")
        lines[-1] += word
    return [line.rstrip() for line in lines]


def _marked(line: str) -> Text:
    """Colour the first word of a line where it is an error's or a warning's."""
    text = Text(line)
    for mark, style in MARKS.items():
        if line.startswith(mark):
            text.stylize(style, 0, len(mark) - 1)
    return text


def say_problem(problem: str) -> None:
    """Print what ends a command. A terminal marks it as an error; elsewhere a line begins with its place, as compilers have it."""
    say(f"error: {problem}" if console.is_terminal else problem)


def clock(seconds: float) -> str:
    """Write seconds as a clock does: `75` is `1:15`, `4000` is `1:06:40`."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def byte_size(num_bytes: float) -> str:
    """Write a number of bytes as `1.2 GiB`, `345 MiB` or `12 KiB`."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if num_bytes >= size:
            return f"{num_bytes / size:.{1 if unit == 'GiB' else 0}f} {unit}"
    return f"{-(-num_bytes // 2**10):.0f} KiB"
