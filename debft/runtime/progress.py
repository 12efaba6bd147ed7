"""What takes longer than two seconds shows its progress: as a bar on a terminal and in a notebook, as plain lines elsewhere."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.spinner import Spinner
from rich.text import Text

from debft.console import clock, console, in_notebook, is_animated, say

SECONDS_BETWEEN_LINES = 10.0  # of progress, where stderr is no terminal
SECONDS_BETWEEN_DRAWINGS = 0.2  # of a bar in a notebook
SECONDS_OF_SILENCE = 2.0  # after which a line says what is being done, where stderr is no terminal
WIDTH_OF_CELL = 100  # characters of a bar in a notebook
WIDTH_OF_BAR = 20  # characters at least, of a bar that can be read


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


def _cut(note: str, width: int) -> str:
    """Cut a note to what fits beside a bar: its last parts go first, and of the first one the end."""
    parts = note.split("  ")
    while len(parts) > 1 and len("  ".join(parts)) > width:
        parts.pop()
    text = "  ".join(parts)
    return text if len(text) <= width else f"{text[: max(width - 3, 0)]}..."
