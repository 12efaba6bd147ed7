"""A process that this one has started: it is followed, paused and ended with this one, and its stacks can be asked for."""

import faulthandler
import math
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from debft.runtime.launch.group import PARENT
from debft.runtime.launch.lifeline import (
    ASK_FOR_STACKS,
    LIFELINE,
    SECONDS_BETWEEN_BEATS,
    Lifeline,
    Place,
    is_stopped,
    new_file,
    stacks_in,
)

SECONDS_TO_WRITE_STACKS = 3.0  # until the stack of the thread that was asked is there
SECONDS_FOR_THE_REST = 0.1  # the stacks of further threads


class Started:
    """A process that runs `command`, in a session of its own, so that the terminal reaches this process alone.

    name: how lines call it, `process 1`
    seconds: how long it may show no sign of life; None: as long as it likes
    streams: stdout and stderr, as subprocess takes them
    """

    def __init__(
        self, command: Sequence[str], variables: Mapping[str, str], name: str, seconds: float | None, **streams: Any
    ) -> None:
        self.name = name
        self._file = new_file()
        environment = {**os.environ, **variables, PARENT: str(os.getpid())}
        environment.pop(LIFELINE, None)
        if seconds is not None:
            environment[LIFELINE] = f"{self._file}:{seconds}"
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=(self._file,), **streams
        )
        self.line = Lifeline(self._file, Place.PARENT, Place.CHILD, self.process.pid, math.inf if seconds is None else seconds)
        self.line.beat()  # this process runs: the other one need not give it the time to start

    def __del__(self) -> None:
        os.close(self._file)

    @property
    def code(self) -> int | None:
        """Return its exit code, minus the signal that ended it, None while it runs."""
        return self.process.poll()

    def is_silent(self) -> bool:
        """Return whether it runs and has shown no sign of life for too long."""
        return self.code is None and self.line.is_silent()

    def told(self) -> int:
        """Return the number of a signal that told it to end, 0 where none did."""
        return self.line.get(Place.TOLD)

    def misses_parent(self) -> bool:
        """Return whether it has had no sign of life from this process for too long."""
        return bool(self.line.get(Place.MISSED))

    def send(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        self.process.send_signal(number)

    def end(self) -> None:
        """Ask it to save what it can and to leave, also where it is stopped."""
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)

    def silence(self) -> str:
        """Say for how long it has shown no sign of life, and why where the system knows."""
        why = "; it is stopped, as by SIGSTOP" if is_stopped(self.process.pid) else ""
        return f"no sign of life for {self.line.seconds_silent:.0f} seconds{why}"


@contextmanager
def parent_of(children: Sequence[Started]) -> Iterator[None]:
    """Within the block this process shows its children that it lives, and pauses them while Ctrl-Z pauses it."""
    done = threading.Event()

    def show_life() -> None:
        while not done.wait(min([child.line.between_beats() for child in list(children)], default=SECONDS_BETWEEN_BEATS)):
            for child in list(children):
                child.line.beat()

    thread = threading.Thread(target=show_life, daemon=True)
    thread.start()
    try:
        with _paused_together(children):
            yield
    finally:
        done.set()
        thread.join()


@contextmanager
def _paused_together(children: Sequence[Started]) -> Iterator[None]:
    """Within the block Ctrl-Z pauses the children as well, which the terminal does not reach; they go on with this process."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL:
        yield
        return

    def pause(number: int, _frame: object) -> None:
        for child in children:
            child.send(signal.SIGSTOP)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)  # here it waits for SIGCONT
        signal.signal(number, pause)
        for child in children:
            child.send(signal.SIGCONT)

    signal.signal(signal.SIGTSTP, pause)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)


def write_stacks(children: Sequence[Started], path: Path) -> None:
    """Write the stacks of this process and of each child, as they are now, to a file. One that is stopped goes on for it."""
    asked = [child for child in children if child.code is None and child.line.get(Place.CHILD)]  # else the question would kill it
    states = {child.name: _state(child) for child in children}
    sizes = {child.name: len(stacks_in(child.line.file)) for child in asked}
    for child in asked:
        child.send(ASK_FOR_STACKS)
        child.send(signal.SIGCONT)
    _wait_until(lambda: all(_has_written(child, sizes[child.name]) for child in asked))
    time.sleep(SECONDS_FOR_THE_REST)
    parts = [f"--- the process that started them, {os.getpid()}\n{_own_stacks()}"]
    for child in children:
        stacks = stacks_in(child.line.file) if child in asked else ""
        parts.append(f"--- {child.name}, {child.process.pid}, {states[child.name]}\n{stacks or 'It wrote no stacks.'}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(parts), encoding="utf-8")


def _has_written(child: Started, before: int) -> bool:
    """Return whether a child has ended, or has written more stacks than before."""
    return child.code is not None or "Current thread" in stacks_in(child.line.file)[before:]


def _state(child: Started) -> str:
    if child.code is not None:
        return f"ended with {child.code}"
    return "stopped" if is_stopped(child.process.pid) else "running"


def _own_stacks() -> str:
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        return file.read().decode()


def _wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_TO_WRITE_STACKS
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
