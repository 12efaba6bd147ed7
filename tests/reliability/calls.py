"""Every call of a run that opens, writes, syncs, renames, removes or makes a file fails once, and from then on.

A site is the n-th call of its kind on what lies in the run's directory or in the cache, whichever library makes it. Each of them is
refused with each error, until the run makes no such call any more.
"""

import errno
import os
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from disk_run import SAVED_EVERY, Ended, check_complete, check_goes_on, debft, half_written, uninterrupted, warm, whole_checkpoints
from parts import Case, Part
from system_calls import KINDS, Call

ERRORS = ("ENOSPC", "EIO", "EINTR")
ALLOWED = (0, 5)  # exit codes: a call may be made again, or not matter; else the machine has failed


class Refusal:
    """The n-th call of a kind is refused, and with `lasting` every later one as well."""

    def __init__(self, kind: str, n: int, error: str, lasting: bool) -> None:
        self.kind, self.n, self.number, self.lasting = kind, n, getattr(errno, error), lasting
        self.count = 0
        self.refused: list[Call] = []

    def __call__(self, call: Call) -> int:
        if call.kind != self.kind:
            return 0
        self.count += 1
        if self.count != self.n and not (self.lasting and self.count > self.n):
            return 0
        self.refused.append(call)
        return self.number


def check(folder: Path, kind: str, n: int, error: str, lasting: bool) -> str:
    """Run with one refusal and resume; return what happened, or raise AssertionError."""
    expected, _ = uninterrupted()
    refusal = Refusal(kind, n, error, lasting)
    ended = debft(folder, answer=refusal)
    where = str(refusal.refused[0]).replace(f"{folder}/", "") if refusal.refused else "no such call"
    try:
        outcome = _check_ended(folder, ended, refusal)
        if ended.code == 0 and not (kind == "unlink" and lasting):
            check_complete(folder, expected)
        else:  # what the disk kept until the end is removed by the next command, also where the run is complete
            check_goes_on(folder, expected)
    except AssertionError as problem:
        raise AssertionError(f"{where}: {problem}") from None
    return f"{where}: {outcome}"


def _check_ended(folder: Path, ended: Ended, refusal: "Refusal | Full") -> str:
    assert "Traceback" not in ended.text, f"a traceback: {ended.text[-3000:]}"
    assert ended.code in ALLOWED, f"exit code {ended.code}: {ended.text[-1500:]}"
    reasons = (os.strerror(refusal.number), "of free disk")  # the second is said before the first step
    said = [line for line in ended.lines if any(reason in line for reason in reasons)]
    whole = whole_checkpoints(folder)
    log = folder / "run" / "steps.jsonl"
    steps = len(log.read_bytes().splitlines()) if log.is_file() else 0
    if ended.code == 0:
        assert said or not _must_be_said(refusal), "refused without a word"
        return said[0] if said else "no matter"
    assert said and said[-1] == ended.lines[-1], f"the last line of {ended.lines[-4:]}"
    assert str(folder) in said[-1], f"no place in {said[-1]!r}"
    last = steps // SAVED_EVERY * SAVED_EVERY
    assert steps < 2 * SAVED_EVERY or (whole and max(whole) >= last - SAVED_EVERY), f"{steps} steps, checkpoints of {whole}"
    left = half_written(folder)
    assert not left or refusal.kind in ("unlink", "open"), f"half-written: {left}"
    return f"exit code 5 after step {steps}"


def _must_be_said(refusal: "Refusal | Full") -> bool:
    """Tell whether a run that goes on has to say what was refused: Python tries an interrupted call again, and `mkdir` finds what
    is there; what cannot be removed is removed at the second try or by the next run. A lock holds without a name in its file."""
    lost = isinstance(refusal, Refusal) and refusal.kind in ("write", "fsync", "rename") and refusal.number != errno.EINTR
    return lost and any(not call.path.endswith(".lock") for call in refusal.refused)


class Full:
    """The disk is filled to its last byte before the n-th call that changes a file, and nobody makes room."""

    kind, number = "write", errno.ENOSPC

    def __init__(self, n: int, ballast: Path) -> None:
        self.n, self.ballast = n, ballast
        self.count = 0
        self.refused: list[Call] = []

    def __call__(self, call: Call) -> int:
        if call.kind == "open" and not call.flags & (os.O_CREAT | os.O_TRUNC):
            return 0
        self.count += 1
        if self.count == self.n:
            self.refused.append(call)
            with self.ballast.open("wb", buffering=0) as file:
                size = 2**20
                while size:  # tmpfs gives whole pages, the last one as well
                    try:
                        file.write(bytes(size))
                    except OSError:
                        size //= 2
        return 0


def check_full(folder: Path, n: int) -> str:
    """Run on a tmpfs of 8 MiB that fills up, make room and resume; return what happened, or raise AssertionError."""
    expected, _ = uninterrupted()
    disk = folder / "disk"
    disk.mkdir()
    if why := mount(disk):
        return f"not done: {why}"
    try:
        full = Full(n, disk / "ballast")
        ended = debft(disk, answer=full)
        where = str(full.refused[0]).replace(f"{disk}/", "") if full.refused else "no such call"
        outcome = _check_ended(disk, ended, full)
        full.ballast.unlink(missing_ok=True)
        if ended.code == 0:
            check_complete(disk, expected)
        else:
            check_goes_on(disk, expected)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return f"{where}: {outcome}"


def mount(folder: Path) -> str:
    """Mount a small tmpfs. Return why that cannot be done, "" where it is."""
    try:
        command = ["mount", "-t", "tmpfs", "-o", "size=8m", "debft-tests", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return "there is no program to mount by"
    return "" if done.returncode == 0 else f"a tmpfs cannot be mounted: {done.stderr.strip()}"


def _run_full(n: int, folder: Path) -> str:
    return warm().ask(check_full, folder, n)


def _run(kind: str, n: int, error: str, lasting: bool, folder: Path) -> str:
    return warm().ask(check, folder, kind, n, error, lasting)


def cases() -> Iterator[Case]:
    """Every site with every error, and every tenth on a real disk that is full from then on.

    EINTR comes once: a call that is interrupted again and again is made again and again.
    """
    _, calls = warm().ask(uninterrupted)
    for n in range(1, sum(call.kind != "open" or bool(call.flags & (os.O_CREAT | os.O_TRUNC)) for call in calls) + 1, 10):
        yield Case(name=f"tmpfs full {n}", run=partial(_run_full, n))
    counts = {kind: sum(call.kind == kind for call in calls) for kind in KINDS}
    for lasting in (False, True):
        for error in ERRORS:
            if lasting and error == "EINTR":
                continue
            for kind, count in counts.items():
                for n in range(1, count + 2):
                    name = f"{error} {kind} {n}{' on' if lasting else ''}"
                    yield Case(name=name, run=partial(_run, kind, n, error, lasting))


PART = Part(
    name="calls",
    claim="every call of a run that writes fails: one line, exit code 0 or 5, the same bits after --resume",
    cases=cases,
    few=6,
)
