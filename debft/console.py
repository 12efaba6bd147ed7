"""Lines for people, which go to stderr so that stdout stays free for results.

Anything that takes longer than two seconds shows its progress: by a bar on a terminal and in a notebook, by plain lines elsewhere.
"""

import io
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.segment import Segment
from rich.spinner import Spinner
from rich.text import Text

from debft.errors import visible, without_secrets

SECONDS_BETWEEN_LINES = 10.0  # of progress, where stderr is no terminal
SECONDS_BETWEEN_DRAWINGS = 0.2  # of a bar in a notebook
SECONDS_OF_SILENCE = 2.0  # after which a line says what is being done, where stderr is no terminal
WIDTH_OF_LOGS = 180  # characters of a table, where stderr is no terminal
WIDTH_OF_CELL = 100  # characters of a bar in a notebook
WIDTH_OF_BAR = 20  # characters at least, of a bar that can be read
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


console = VisibleConsole(file=cast("TextIO", _Stderr()), highlight=False)  # __getattr__ hands on what else a stream has


_doing: list["_Activity"] = []  # what is being done, the innermost last


class _Activity:
    """An activity without a count: a line that moves on a terminal, elsewhere a plain line where it lasts."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.spinner: Live | None = None
        self.timer: threading.Timer | None = None

    def show(self) -> None:
        if is_animated():
            moving = Spinner("line", Text(self.what, style="dim"))
            self.spinner = Live(moving, console=console, transient=True, refresh_per_second=8)
            self.spinner.start(refresh=True)
        else:
            self.timer = threading.Timer(SECONDS_OF_SILENCE, say, [f"{self.what} ..."])
            self.timer.daemon = True
            self.timer.start()

    def hide(self) -> None:
        if self.spinner:
            self.spinner.stop()
        if self.timer:
            self.timer.cancel()


@contextmanager
def activity(what: str, show: bool = True) -> Iterator[None]:
    """Say what is being done within the block, such as `loading torch`: at once on a terminal, elsewhere where it lasts.

    A meter or an activity within the block takes its place as long as it lasts. With `show=False` nothing is said.
    """
    if not show:
        yield
        return
    with _in_place_of_others():
        shown = _Activity(what)
        _doing.append(shown)
        shown.show()
        try:
            yield
        finally:
            shown.hide()
            _doing.remove(shown)


@contextmanager
def _in_place_of_others() -> Iterator[None]:
    """Hide the activity around the block while it lasts."""
    around = _doing[-1] if _doing else None
    if around:
        around.hide()
    try:
        yield
    finally:
        if around:
            around.show()


def on_terminal() -> bool:
    """Return whether stderr is a terminal. FORCE_COLOR, which gives a pipe colours, makes none of it."""
    return console.file.isatty()


def is_animated() -> bool:
    """Return whether lines may move."""
    return on_terminal() and not console.is_dumb_terminal


def in_notebook() -> bool:
    """Return whether lines go into the output of a notebook's cell."""
    return console.is_jupyter and not console.quiet


class _Cell:
    """A place in the output of a notebook's cell, whose content changes. It needs no ipywidgets, as the bars of rich itself do."""

    def __init__(self) -> None:
        from IPython.display import display

        self._drawn = 0.0
        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def draw(self, bar: Progress) -> None:
        """Show the bar as it is now, unless it was drawn just before."""
        if time.monotonic() - self._drawn < SECONDS_BETWEEN_DRAWINGS:
            return
        self._drawn = time.monotonic()
        page = Console(file=io.StringIO(), record=True, width=WIDTH_OF_CELL, force_jupyter=False, legacy_windows=False)
        page.print(bar.get_renderable())
        html = page.export_html(inline_styles=True, code_format="<pre>{code}</pre>", clear=False)
        self._handle.update({"text/html": html, "text/plain": page.export_text()}, raw=True)

    def clear(self) -> None:
        self._handle.update({"text/html": "", "text/plain": ""}, raw=True)


class _TimeLeft(ProgressColumn):
    """The time that is left, with its name."""

    max_refresh = 0.5  # seconds

    def render(self, task: Task) -> Text:
        """Write `ETA 0:28`, or `ETA -:--` where nothing is known yet."""
        left = task.time_remaining
        return Text(f"ETA {'-:--' if left is None else clock(left)}", style="cyan")


class Meter:
    """A meter counts `advance()` calls and shows the count: as a bar or as lines, as the console suggests."""

    def __init__(self, what: str, total: int, unit: str, done: int = 0) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = self.done_at_start = done
        self.started = self.last_line = time.monotonic()
        self.bar: Progress | None = None
        self.cell: _Cell | None = None
        if is_animated() or in_notebook():
            self.bar = Progress(
                TextColumn("{task.description:<8}", style="dim"),
                BarColumn(bar_width=None),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f}{task.fields[unit]}"),
                TextColumn("{task.fields[note]}", markup=False),
                _TimeLeft(),
                console=console,
                transient=True,
                expand=True,
            )
            self.bar_task = self.bar.add_task(what, total=total, completed=done, unit="", note="")
            if in_notebook():
                self.cell = _Cell()
                self.cell.draw(self.bar)
            else:
                self.bar.start()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more. The `note` is shown behind the count (loss, learning rate, examples/s)."""
        self.done += count
        now = time.monotonic()
        if self.bar:
            width = WIDTH_OF_CELL if self.cell else console.width
            roomy = width >= 100
            shown = _cut(note, width - WIDTH_OF_BAR - 2 * len(f"{self.total:,}") - (24 + len(self.unit) if roomy else 22))
            self.bar.update(self.bar_task, completed=self.done, unit=f" {self.unit}" if roomy else "", note=shown)
            if self.cell:
                self.cell.draw(self.bar)
        elif now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            rate = (self.done - self.done_at_start) / (now - self.started)
            remaining = clock((self.total - self.done) / rate) if rate else "-:--"
            console.print(f"{self.what} {self.done:,}/{self.total:,} {self.unit}  {note}  ETA {remaining}", soft_wrap=True)

    def close(self) -> None:
        """Take the bar down."""
        if self.cell:
            self.cell.clear()
        elif self.bar:
            self.bar.stop()


@contextmanager
def meter(what: str, total: int, unit: str, done: int = 0, show: bool = True) -> Iterator[Meter]:
    """Give a `Meter` that is taken down whatever happens. With `show=False`, as for all but the main process, it shows nothing."""
    with _in_place_of_others():
        shown = Meter(what, total, unit, done) if show else _Silent(what, total, unit, done)
        try:
            yield shown
        finally:
            shown.close()


class _Silent(Meter):
    def __init__(self, what: str, total: int, unit: str, done: int) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, done

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count

    def close(self) -> None:
        pass


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


def _cut(note: str, width: int) -> str:
    """Cut a note to what fits beside a bar: its last parts go first, and of the first one the end."""
    parts = note.split("  ")
    while len(parts) > 1 and len("  ".join(parts)) > width:
        parts.pop()
    text = "  ".join(parts)
    return text if len(text) <= width else f"{text[: max(width - 3, 0)]}..."


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
