"""SIGHUP, SIGINT and SIGTERM end a run at the next safe point, with a checkpoint; a second Ctrl-C ends it at once.

One signal often arrives more than once: a scheduler sends it to every process of a job, and the parent of several processes passes
it on as well; timeout(1) and a closing terminal send two. So SIGHUP and SIGTERM only ask, however often they arrive: who sends
them ends with SIGKILL what does not leave. Only SIGINT counts, since a second Ctrl-C is a person's: in the process that
stands at the terminal, never in those that it started.
"""

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from debft.console import say

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
INTERRUPTED = tuple(128 + number for number in SIGNALS)  # exit codes
PARENT = "DEBFT_PARENT"  # the variable in which a process finds the id of the debft process that started it
SECONDS_TO_LEAVE = 3.0  # before the first step there is nothing to save
SECONDS_WITHOUT_LIFE = 20.0  # after a signal; schedulers send SIGKILL 30 seconds after it
SECONDS_TO_SAVE = 600.0  # the others wait while process 0 writes
LONGEST_INTERVALS = 4  # as many times the longest interval between two signs of life so far are no reason to give up


@dataclass
class Watch:
    """Signs of life of a process that waits for others; `seconds` may pass from one to the next once a signal has arrived."""

    seconds: float = SECONDS_TO_LEAVE
    seen: float = field(default_factory=time.monotonic)
    longest: float = 0.0

    def alive(self, seconds: float | None = None) -> None:
        """Give a sign of life; `seconds`: may pass to the next one, by default as the intervals so far suggest."""
        now = time.monotonic()
        if self.seconds != SECONDS_TO_LEAVE:  # the time it took to start says nothing of a step
            self.longest = max(self.longest, now - self.seen)
        self.seen = now
        self.seconds = seconds or max(SECONDS_WITHOUT_LIFE, LONGEST_INTERVALS * self.longest)


class StopRequest:
    """`number` is the signal that arrived at this process or another one of the run, 0 before."""

    def __init__(self, watch: Watch | None = None) -> None:
        self.number = 0
        self.interrupts = 0  # SIGINT that arrived here
        self.watch = watch or Watch()

    def __bool__(self) -> bool:
        return self.number != 0


def answers_a_terminal() -> bool:
    """Whether a second SIGINT is a person's. One of several processes, or a run of `reproduce`, is told by who started it."""
    return PARENT not in os.environ and "RANK" not in os.environ


@contextmanager
def stop_requested(show: bool, watch: Watch | None = None, at_once: Callable[[], None] = lambda: None) -> Iterator[StopRequest]:
    """Within the block signals only set the request, but for a second SIGINT: it calls `at_once` and ends the process.

    A SIGHUP or SIGTERM that was ignored stays ignored, as under nohup.
    """
    request = StopRequest(watch)

    def note(number: int, _frame: object) -> None:
        request.interrupts += number == signal.SIGINT
        if request.interrupts > 1 and number == signal.SIGINT and answers_a_terminal():
            at_once()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if not request.number:
            request.number = number
            more = "; once more to stop at once" if number == signal.SIGINT else ""
            if show:
                with suppress(RuntimeError):  # the signal came while a line was being written
                    say(f"{signal.Signals(number).name}: stopping after this step, with a checkpoint{more}")

    taken = [number for number in SIGNALS if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in taken}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_without_life(name: str) -> Iterator[Watch]:
    """Within the block a signal ends this process when no sign of life follows, with exit code 128 + its number.

    A process that waits for another one inside torch never runs Python's handlers; a thread hears of the signal all the same.
    """
    watch = Watch()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=_end_without_life, args=(reading, watch, name), daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)
        thread.join()
        os.close(reading)


def _end_without_life(reading: int, watch: Watch, name: str) -> None:
    """Wait for a signal, then for signs of life. Returns when the other end of the pipe is closed."""
    number, since = 0, float("inf")
    while True:
        readable, _, _ = select.select([reading], [], [], None if not number else 0.2)
        if readable:
            arrived = os.read(reading, 1)
            if not arrived:
                return
            if not number and arrived[0] in SIGNALS:
                number, since = arrived[0], time.monotonic()
        if number and time.monotonic() > max(since, watch.seen) + watch.seconds:
            waited = time.monotonic() - max(since, watch.seen)
            try:
                say(
                    f"{name}: {signal.Signals(number).name}: no step was done in the {waited:.0f} seconds since, nor did the other "
                    "processes answer; ended at once, the last checkpoint stays"
                )
            finally:
                os._exit(128 + number)
