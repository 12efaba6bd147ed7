"""Files reach the disk whole or not at all. When a function returns they are on it; where the disk refuses there is one error."""

import errno
import os
import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from types import TracebackType

from debft.console import say
from debft.errors import DISK_FAILURES, DebftError, InputError, MachineError, shown

UNUSABLE = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP)  # what it answers about a path that it will not look up
PARTIAL = ".partial"  # ends the name of everything that is not whole yet; the name begins with a dot
LONGEST_NAME = 64  # characters of a file's own name in that name

_appending = threading.Lock()  # no line is added to a file that a thread is writing anew


class DiskError(MachineError):
    """The disk refused to be written or read. `refusal` holds where and why, without what to do."""

    def __init__(self, refusal: str) -> None:
        self.refusal = refusal
        super().__init__(f"{refusal}; make room or mend the disk, then run the same command again")


class disk_errors:  # noqa: N801  read as contextlib.suppress is
    """A block that reads or writes below `folder` raises DiskError, which is one line, where the system refuses.

    Beside OSError these are errors of safetensors, tokenizers and torch, which carry the system's number in their text alone.
    """

    def __init__(self, folder: Path, verb: str = "written") -> None:
        self.folder, self.verb = folder, verb

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if (reason := refusal_in_words(error)) is not None:
            raise DiskError(f"{self.folder}: cannot be {self.verb}: {reason}") from error


class failing_disk:  # noqa: N801  read as contextlib.suppress is
    """A block in which a disk fails raises DiskError, which names the file; other errors of the system stay what they are.

    reading: the file to name where the error names none, as those of other libraries
    """

    def __init__(self, reading: Path | None = None) -> None:
        self.reading = reading

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if (failure := _failure(error)) is not None:
            place = failure.filename or self.reading
            where = f"{place}: " if place else ""
            raise DiskError(f"{where}the disk failed: {failure.strerror}") from error


class unusable_paths:  # noqa: N801  read as contextlib.suppress is
    """A block in which the system refuses a path for what it is, too long or not permitted, raises InputError, which names it."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, OSError) and error.errno in UNUSABLE and error.filename:
            path = os.fsdecode(error.filename)
            named = shown(path) if error.errno == errno.ENAMETOOLONG else path
            advice = "give another one" if error.errno in (errno.ENAMETOOLONG, errno.ELOOP) else "change that, or give another one"
            raise InputError(f"{named}: expected a path that can be used, got: {error.strerror}; {advice}") from error


def _failure(error: BaseException | None) -> OSError | None:
    """Return the failure of a disk that led to this error, None for any other error.

    transformers raises an OSError of its own, without a number, from that of the system.
    """
    if not isinstance(error, OSError):
        reason = _os_error(error)
        return OSError(reason, os.strerror(reason)) if reason in DISK_FAILURES else None
    while isinstance(error, OSError):
        if error.errno in DISK_FAILURES:
            return error
        error = error.__cause__ or error.__context__
    return None


def refusal_in_words(error: BaseException | None) -> str | None:
    """Return the system's words for what it refused, None for any other error."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    number = _os_error(error)
    return os.strerror(number) if number is not None else None


def _os_error(error: BaseException | None) -> int | None:
    """Return the system's number in the text of an error of safetensors, tokenizers or torch, None for any other error."""
    if not isinstance(error, Exception) or isinstance(error, DebftError):
        return None
    number = re.search(r"\(os error (\d+)\)|^unable to (?:open|mmap).*\((\d+)\)$", str(error), re.MULTILINE)
    return int(number[1] or number[2]) if number else None


def write_atomically(path: Path, content: bytes | Iterable[bytes | memoryview]) -> None:
    """Write all of `content` to `path`. A process that dies or power that fails in between leaves what was there before.

    content: the bytes, or parts of them that need not be in memory together
    """
    with disk_errors(path.parent):
        make_directory(path.parent)
        temporary = path.parent / f".{path.name[:LONGEST_NAME]}.{token_hex(8)}{PARTIAL}"
        try:
            with temporary.open("xb") as file:
                for part in [content] if isinstance(content, bytes) else content:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            _remove(temporary)
            raise
        sync(path.parent)


def write_together(directory: Path, contents: dict[str, bytes]) -> None:
    """Write every file of `contents` below `directory`, or none of them where the disk refuses one."""
    try:
        for name, content in contents.items():
            write_atomically(directory / name, content)
    except DiskError:
        for name in contents:
            (directory / name).unlink(missing_ok=True)
        raise


def append_line(path: Path, line: str) -> None:
    """Add the whole line to the end of `path`, or nothing of it. It is sure to be on the disk only after `sync`."""
    with disk_errors(path.parent), _appending:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size, left = os.fstat(handle).st_size, f"{line}\n".encode()
            try:
                while left:
                    left = left[os.write(handle, left) :]
            except OSError:
                os.ftruncate(handle, size)
                raise
        finally:
            os.close(handle)


@contextmanager
def whole_directory(final: Path) -> Iterator[Path]:
    """Give a directory to fill. When the block ends it is synced and takes the place of `final`; where it fails it is gone.

    Where it fails, and where the disk refuses the exchange, what was under the name `final` is there as before.
    """
    temporary = final.with_name(f".{final.name}.{os.getpid()}{PARTIAL}")
    with disk_errors(final.parent):
        _remove(temporary)
        try:
            make_directory(temporary)
            yield temporary
            for path in (*temporary.rglob("*"), temporary):
                sync(path)
            _take_place(temporary, final)
        except BaseException:
            _remove(temporary)
            raise
        sync(final.parent)


def _take_place(temporary: Path, final: Path) -> None:
    """Give the directory `temporary` the name `final`; a directory that had it is removed once the new one has it."""
    aside = _set_aside(final) if final.is_dir() else None
    try:
        temporary.rename(final)
    except BaseException:
        if aside is not None:
            aside.rename(final)
        raise
    if aside is not None:
        _remove(aside)


def remove_directory(path: Path) -> None:
    """Remove the directory `path`. A process that dies or power that fails in between leaves no half of it under that name."""
    if path.is_dir():
        with disk_errors(path.parent):
            aside = _set_aside(path)
            try:
                sync(path.parent)
            finally:
                _remove(aside)


def _set_aside(path: Path) -> Path:
    """Give the directory `path` a name that says it is to be removed, and return that."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.old{PARTIAL}")
    _remove(aside)
    return path.rename(aside)


def _remove(path: Path) -> None:
    """Remove a file or directory that nobody will look at. What the disk keeps is removed when the next run takes the lock."""
    for _ in range(2):  # a disk that fails once removes it at the second try
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.lexists(path):
            with suppress(OSError):
                path.unlink()


def remove_partial(directory: Path, name: str = "") -> None:
    """Remove what a dead process left half-written in `directory`. Only the one process that may write there may call this.

    name: of the file that this process may write, where it is one alone
    """
    with disk_errors(directory):
        for path in directory.glob(f".{name[:LONGEST_NAME]}*{PARTIAL}"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def make_directory(path: Path) -> None:
    """Make `path` and its parents. Each is on the disk when the function returns."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for one in missing:
        sync(one.parent)


def sync(path: Path) -> None:
    """Bring what `path`, a file or a directory, holds to the disk before the function returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync a directory says so
            raise
    finally:
        os.close(handle)


def sync_or_rewrite(path: Path) -> None:
    """Bring a small file that was appended to to the disk; one that cannot be synced is written anew, and a line says so.

    After a sync that failed Linux takes what it could not write for written, and a second sync would succeed without it.
    Source: Rebello et al., Can Applications Recover from fsync Failures?, USENIX ATC 2020, section 3.
    """
    try:
        sync(path)
    except OSError as error:
        say(f"warning: {path}: cannot be synced: {error.strerror}; writing it anew")
        with _appending:
            with disk_errors(path, "read"):
                content = path.read_bytes()
            write_atomically(path, content)
