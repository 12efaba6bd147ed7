"""Lines for people, which go to stderr so that stdout stays free for results.

Anything that takes longer than two seconds shows its progress: by a bar on a terminal, by plain lines elsewhere.
"""

import os
import sys
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

SECONDS_BETWEEN_LINES = 10.0  # of progress, where stderr is no terminal
WIDTH_OF_LOGS = 180  # characters of a table, where stderr is no terminal


class _Stderr:
    """The stderr that is in use when a line is written. Once its terminal, pipe or disk is gone, the run goes on without lines."""

    def __getattr__(self, name: str):
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


console = Console(file=_Stderr(), highlight=False)


class OutputConsole(Console):
    """A console for results on stdout. It raises BrokenPipeError where the reader has read enough; rich would exit with 1."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Meter:
    """A meter counts `advance()` calls and shows the count: as a bar or as lines, as the console suggests."""

    def __init__(self, what: str, total: int, unit: str, done: int = 0) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = self.done_at_start = done
        self.started = self.last_line = time.monotonic()
        self.bar: Progress | None = None
        if console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description:<10}"),
                BarColumn(bar_width=28),
                TextColumn("{task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}  {task.fields[note]}"),
                TimeRemainingColumn(compact=True),
                console=console,
                transient=True,
            )
            self.bar_task = self.bar.add_task(what, total=total, completed=done, unit=unit, note="")
            self.bar.start()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count `count` more. The `note` is shown behind the count (loss, learning rate, examples/s)."""
        self.done += count
        now = time.monotonic()
        if self.bar:
            self.bar.update(self.bar_task, completed=self.done, note=note)
        elif now - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = now
            rate = (self.done - self.done_at_start) / (now - self.started)
            remaining = (self.total - self.done) / rate if rate else 0.0
            console.print(f"{self.what} {self.done:,}/{self.total:,} {self.unit}  {note}  ETA {clock(remaining)}", soft_wrap=True)

    def close(self) -> None:
        """Take the bar down."""
        if self.bar:
            self.bar.stop()


@contextmanager
def meter(what: str, total: int, unit: str, done: int = 0, show: bool = True) -> Iterator[Meter]:
    """Give a `Meter` that is taken down whatever happens. With `show=False`, as for all but the main process, it shows nothing."""
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


def say(line: str) -> None:
    """Print one line for people."""
    console.print(line, soft_wrap=True, markup=False)


def plain_table(*headers: str, left: Container[str], wrapped: Container[str] = ()) -> Table:
    """Return a table without lines and rows. Columns in `left` are aligned left, the others right; those in `wrapped` may break."""
    table = Table(box=None, pad_edge=False)
    for header in headers:
        table.add_column(Text(header), justify="left" if header in left else "right", no_wrap=header not in wrapped)
    return table


def print_table(table: Table) -> None:
    """Print a table for people: as wide as the terminal is, elsewhere with whole lines."""
    wide = console if console.is_terminal else Console(file=_Stderr(), highlight=False, width=WIDTH_OF_LOGS)
    wide.print(table)


def clock(seconds: float) -> str:
    """Write seconds as a clock does: `75` is `1:15`, `4000` is `1:06:40`."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
