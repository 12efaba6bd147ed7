"""A process and one that it started see of each other that they live, through a small file in memory that only they have open.

Each end counts up in it from a thread: a long step, a compilation or a slow disk does not keep it from that, only what stops the
whole process does, such as SIGSTOP, a debugger or a frozen container. A library may hold Python's lock for minutes; so processor
time is a sign of life as well, where the system shows it. Time in which the one that looks was stopped itself does not count.
Behind the numbers stand the stacks of the process that was started, once it is asked for them.
"""

import faulthandler
import os
import signal
import time
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

LIFELINE = "DEBFT_LIFELINE"  # the variable in which a process finds the descriptor of the file, and the seconds, `5:300.0`
SECONDS_TO_START = 300.0  # until the first beat: importing may take minutes where the disk is slow
SECONDS_BETWEEN_BEATS = 1.0
SECONDS_TO_WAKE = 10.0  # of a stopped process that was told to go on
STACKS = 64  # bytes before the stacks in the file
ASK_FOR_STACKS = signal.SIGQUIT
SIZE_OF_PLACE = 8  # bytes


class Place(IntEnum):
    """The numbers in the file."""

    CHILD = 0
    """The beats of the process that was started."""
    PARENT = 1
    """The beats of the process that started it."""
    TOLD = 2
    """The signal by which the process that was started was told to end, 0 where none did."""
    MISSED = 3
    """1 where it has had no sign of life from its parent for too long."""
    SAID = 4
    """1 where the parent has said why the run ends."""


class Lifeline:
    """One end of such a file.

    file: its descriptor; own, other: whose beats are whose; pid: the process at the other end
    seconds: how long that may show no sign of life; infinity: as long as it likes
    """

    def __init__(self, file: int, own: Place, other: Place, pid: int, seconds: float) -> None:
        self.file, self.own, self.other, self.pid, self.seconds = file, own, other, pid, seconds
        self.seconds_silent = 0.0
        self._looked = time.monotonic()
        self._seen: tuple[int, float | None] | None = None

    def get(self, place: Place) -> int:
        """Return a number."""
        return int.from_bytes(os.pread(self.file, SIZE_OF_PLACE, SIZE_OF_PLACE * place), "little")

    def put(self, place: Place, value: int) -> None:
        """Write a number."""
        os.pwrite(self.file, value.to_bytes(SIZE_OF_PLACE, "little"), SIZE_OF_PLACE * place)

    def beat(self) -> None:
        """Give a sign of life."""
        self.put(self.own, self.get(self.own) + 1)

    def between_beats(self) -> float:
        """Return the seconds from one beat to the next."""
        return min(SECONDS_BETWEEN_BEATS, self.seconds / 5)

    def is_silent(self) -> bool:
        """Look at the other end; return whether it has shown no sign of life for too long."""
        now, seen = time.monotonic(), (self.get(self.other), seconds_of_processor(self.pid))
        passed = min(now - self._looked, self.seconds / 4)  # a longer time: this process has been stopped itself
        self._looked = now
        self.seconds_silent = 0.0 if seen != self._seen else self.seconds_silent + passed
        self._seen = seen
        return self.seconds_silent > self.limit()

    def limit(self) -> float:
        """Return the seconds after which the other end counts as silent: it takes a while until it gives its first sign."""
        return self.seconds if self.get(self.other) else max(self.seconds, SECONDS_TO_START)


def seconds_of_processor(pid: int) -> float | None:
    """Return the processor time that a process has used, None where the system does not show it as files."""
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12]) if fields else None  # in ticks; only whether it grows matters


def is_stopped(pid: int) -> bool:
    """Return whether the system says that a process is stopped, by SIGSTOP or a debugger."""
    return _stat(pid)[:1] in (["T"], ["t"])


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third one, the state, on; [] where there are none. Source: proc_pid_stat(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (OSError, UnicodeDecodeError):
        return []


def new_file() -> int:
    """Return the descriptor of a new file that no name leads to, with every number 0."""
    if hasattr(os, "memfd_create"):  # no disk can be full or slow
        file = os.memfd_create("debft-lifeline")
    else:
        import tempfile

        with tempfile.TemporaryFile() as made:
            file = os.dup(made.fileno())
    os.pwrite(file, bytes(STACKS), 0)
    os.lseek(file, STACKS, os.SEEK_SET)  # the place is common to all who have it open: there the stacks begin
    return file


def stacks_in(file: int) -> str:
    """Return the stacks that the process which was started has written."""
    return os.pread(file, os.fstat(file).st_size, STACKS).decode(errors="replace")


_to_parent: list[Lifeline] = []  # the end of this process, where its parent gave it one


def take_lifeline(parent: int) -> Lifeline | None:
    """Take the end that the parent of this process has given it, if it has, and be ready to write stacks to it."""
    file, _, seconds = os.environ.get(LIFELINE, "").partition(":")
    if not seconds or os.getppid() != parent:
        return None
    line = Lifeline(int(file), Place.CHILD, Place.PARENT, parent, float(seconds))
    faulthandler.register(ASK_FOR_STACKS, file=line.file, all_threads=True)
    line.beat()
    _to_parent.append(line)
    return line


def look_at_parent(line: Lifeline, kill: Callable[[int, int], None] = os.kill) -> None:
    """Show life to the parent. One that shows none is told to go on and to end the run; where it does not wake, it is killed."""
    line.beat()
    if line.is_silent():
        line.put(Place.MISSED, 1)
        kill(line.pid, signal.SIGCONT if line.seconds_silent <= line.limit() + SECONDS_TO_WAKE else signal.SIGKILL)


def tell_parent(number: int) -> None:
    """Tell the parent that this process was told to end: the others have to leave with it."""
    for line in _to_parent:
        line.put(Place.TOLD, number)


def cause_is_said(within: float = 0.0) -> bool:
    """Return whether the parent has said why the run ends, or does so within so many seconds: then this process need not."""
    deadline = time.monotonic() + within
    while _to_parent and not (said := any(line.get(Place.SAID) for line in _to_parent)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(_to_parent) and said
