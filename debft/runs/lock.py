"""A lock lets one process at a time into a directory. It ends with the process that holds it, `kill -9` included.

The lock is the system's (flock), on a file that says who holds it. That file is removed by nobody but its holder, and only while it
is still held: a process that has opened it in between sees that its name is gone, and opens it anew. After the release, two
processes could hold two files of one name.
"""

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from debft.console import say

MISSING = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # what a file system answers that keeps no locks
SECONDS_TO_SIGN = 1.0  # that the holder is given to write its name
SECONDS_BETWEEN_TRIES = 0.02


class HeldError(Exception):
    """Another process holds the lock. `by` says which one: its pid, its machine, and since when."""

    def __init__(self, by: str) -> None:
        super().__init__(by)
        self.by = by


@dataclass
class Lock:
    """A lock that is held. `removed` says whether its file went with what it was in."""

    path: Path
    handle: int
    removed: bool = False

    def remove_file(self) -> None:
        """Remove the file of the lock, which is still held."""
        self.path.unlink(missing_ok=True)
        self.removed = True


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[Lock]:
    """Hold the lock whose file is `path`, which is made where there is none and stays.

    wait: until another process has released it, in place of raising HeldError
    Where the file system keeps no locks, a line says so and the block is entered without. Raises OSError where the file cannot be
    opened, FileNotFoundError where its directory is gone.
    """
    lock = Lock(path, _take(path, wait=wait))
    try:
        _sign(lock.handle, f"pid {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n")
        yield lock
    finally:
        if not lock.removed:
            _sign(lock.handle, "")
        _release(lock.handle)


def _take(path: Path, *, wait: bool) -> int:
    """Return the open file of the lock, once this process holds it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)  # a link would lead to another's file
        try:
            _flock(handle, path, wait=wait)
            if _is_file_of(handle, path):
                return handle
        except BlockingIOError:
            by = _holder(handle)
            os.close(handle)
            raise HeldError(by) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _flock(handle: int, path: Path, *, wait: bool) -> None:
    """Take the system's lock. Raises BlockingIOError where another process has it and this one is not to `wait`."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno not in MISSING:
            raise
        say(
            f"warning: {path}: its file system keeps no locks ({error.strerror}): nothing keeps a second process out; "
            "start no other one that writes there"
        )


def _release(handle: int) -> None:
    """End the lock, also where a forked process still has the file open."""
    try:
        fcntl.flock(handle, fcntl.LOCK_UN)
    except OSError as error:
        if error.errno not in MISSING:
            raise
    finally:
        os.close(handle)


def _is_file_of(handle: int, path: Path) -> bool:
    """Tell whether the open file still has that name: its holder may have removed it in between."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _sign(handle: int, text: str) -> None:
    """Write who holds the lock, or nobody. The lock holds without it, so a full disk is no reason to stop."""
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, text.encode(), 0)
    except OSError as error:
        if text:
            say(f"the lock is held without a name in its file: {error.strerror}")


def _holder(handle: int) -> str:
    """Return what the holder wrote about itself. It may be about to write it, over the name of one that was killed."""
    deadline = time.monotonic() + SECONDS_TO_SIGN
    while True:
        text = os.pread(handle, 200, 0).decode(errors="replace").strip()
        if (text and not _is_dead(text)) or time.monotonic() > deadline:
            return text or "which has not said its name"
        time.sleep(SECONDS_BETWEEN_TRIES)


def _is_dead(text: str) -> bool:
    """Tell whether the text names a process of this machine that is no more."""
    words = text.split()
    if len(words) < 4 or not words[1].isdecimal():
        return True
    if words[3] != socket.gethostname():
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
