"""A signal ends a run at the next safe point, with a checkpoint; a second Ctrl-C ends it at once.

One signal often arrives more than once: a scheduler sends it to every process of a job, and the parent of several processes passes
it on as well; timeout(1) and a closing terminal send two. So signals only ask, however often they arrive: their senders kill with
SIGKILL what does not leave. Only SIGINT is counted, because a second Ctrl-C comes from a person, a second or more after the first;
and only the process that runs at the terminal counts it, never the processes that it started.
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
from debft.runtime.early import signals
from debft.runtime.launch.group import started_by_another
from debft.runtime.launch.lifeline import cause_is_said, tell_parent

SIGNALS = signals()
OF_OTHER_PROGRAMS = (signal.SIGUSR1, signal.SIGUSR2)  # mean something else in a program that has a handler for them
INTERRUPTED = tuple(128 + number for number in SIGNALS)  # the exit codes of an interrupted run
SECONDS_TO_LEAVE = 3.0  # before the first step, when there is nothing to save
SECONDS_WITHOUT_LIFE = 20.0  # after a signal; schedulers send SIGKILL 30 seconds after it
SECONDS_TO_SAVE = 600.0  # while process 0 writes and the others wait
SECONDS_OF_COPIES = 1.0  # within which a second SIGINT is a copy of the first, as of a wrapper that passes on what both received
LONGEST_INTERVALS = 4  # a process is given up after this many times the longest interval between two signs of life so far

arrived: list[int] = []  # the signals that have asked a command to end, without copies


@dataclass
class Watch:
    """A watch keeps the signs of life of a process that waits for others."""

    seconds: float = SECONDS_TO_LEAVE
    """The longest time, in seconds, that may pass until the next sign of life once a signal has arrived."""
    seen: float = field(default_factory=time.monotonic)
    """The time of the last sign of life, in seconds of the monotonic clock."""
    longest: float = 0.0
    """The longest interval between two signs of life so far, in seconds, without the time that the start took."""

    def alive(self, seconds: float | None = None) -> None:
        """Give a sign of life. The next one may take `seconds`; None means as long as the intervals so far suggest."""
        now = time.monotonic()
        if self.seconds != SECONDS_TO_LEAVE:  # the start says nothing of how long a step takes
            self.longest = max(self.longest, now - self.seen)
        self.seen = now
        self.seconds = seconds or max(SECONDS_WITHOUT_LIFE, LONGEST_INTERVALS * self.longest)


class StopRequest:
    """A request asks the run to end. It is true once a signal has arrived at this process or at another one of the run."""

    def __init__(self, watch: Watch | None = None) -> None:
        self.number = 0  # of the signal that arrived; 0: none has
        self.interrupted: float | None = None  # when SIGINT first arrived at this process, in seconds of the monotonic clock
        self.watch = watch or Watch()

    def __bool__(self) -> bool:
        return self.number != 0

    def is_second_interrupt(self) -> bool:
        """Return whether this SIGINT is another one than the first, and no copy of it."""
        if self.interrupted is None:
            self.interrupted = time.monotonic()
            return False
        return time.monotonic() - self.interrupted >= SECONDS_OF_COPIES


def _may_take(number: int) -> bool:
    """Return whether a run may take a signal over from what handles it now."""
    handler = signal.getsignal(number)
    if handler is None:  # set by what is not Python
        return False
    if number in OF_OTHER_PROGRAMS:
        return handler is signal.SIG_DFL or _is_own(handler)
    return number == signal.SIGINT or handler is not signal.SIG_IGN


def _is_own(handler: object) -> bool:
    """Return whether debft's command line has set a handler, and not a program that calls debft."""
    module = getattr(handler, "__module__", None)  # None also of a method in C, such as that of a queue
    return module is not None and module.startswith("debft.")


@contextmanager
def stop_requested(show: bool, watch: Watch | None = None, at_once: Callable[[], None] = lambda: None) -> Iterator[StopRequest]:
    """Within the block a signal only sets the request. A second SIGINT that is no copy calls `at_once` and ends the process.

    With `show` a line tells the user. Any other signal that was ignored before stays ignored, as SIGHUP is under nohup, and
    SIGUSR1 and SIGUSR2 stay with a program that has handlers of its own for them. Where SIGINT raised KeyboardInterrupt before, as
    in any program of Python, a second one does so at once instead of ending the process. Python gives signals to its main thread
    alone: in another one nothing is taken over.
    """
    request = StopRequest(watch)

    def note(number: int, _frame: object) -> None:
        if number == signal.SIGINT and request.is_second_interrupt() and not started_by_another():
            at_once()
            if before[signal.SIGINT] is signal.default_int_handler:  # of a program that called: it is the one to end, or to go on
                raise KeyboardInterrupt
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if not request.number:
            request.number = number
            if _is_own(before[number]):
                arrived.append(number)
            tell_parent(number)
            more = "; once more to stop at once" if number == signal.SIGINT else ""
            if show and not cause_is_said():
                with suppress(RuntimeError):  # the signal came while a line was being written
                    say(f"{signal.Signals(number).name}: stopping after this step, with a checkpoint{more}")

    taken = [number for number in SIGNALS if threading.current_thread() is threading.main_thread() and _may_take(number)]
    before = {int(number): signal.getsignal(number) for number in taken}
    try:
        for number in taken:
            signal.signal(number, note)
        yield request
    finally:
        for taken_over, handler in before.items():
            signal.signal(taken_over, handler)


@contextmanager
def ended_without_life(name: str) -> Iterator[Watch]:
    """Within the block a signal after which no sign of life comes ends this process, with exit code 128 + its number.

    A process that waits for another one inside torch never runs Python's handlers; a thread learns of the signal all the same.
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
    """Wait for a signal, then for signs of life. Return when the other end of the pipe is closed."""
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
