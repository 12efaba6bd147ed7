"""Files reach the disk whole or not at all. When a function returns they are on it; where the disk refuses there is one error."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from types import TracebackType

from debft.errors import DebftError, MachineError

PARTIAL = ".partial"  # ends the name of everything that is not whole yet; the name begins with a dot


class DiskError(MachineError):
    """The disk refused to be written or read. `refusal` holds where and why, without what to do."""

    def __init__(self, refusal: str) -> None:
        self.refusal = refusal
        super().__init__(f"{refusal}; make room or mend the disk, then run the same command again")


class disk_errors:  # noqa: N801  read as contextlib.suppress is
    """A block that reads or writes below `folder` raises DiskError, which is one line, where the system refuses.

    Beside OSError these are errors of safetensors and tokenizers, which carry the system's number in their text alone.
    """

    def __init__(self, folder: Path, verb: str = "written") -> None:
        self.folder, self.verb = folder, verb

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if (reason := _reason(error)) is not None:
            raise DiskError(f"{self.folder}: cannot be {self.verb}: {reason}") from error


def _reason(error: BaseException | None) -> str | None:
    """Return the system's words for what it refused, None for any other error."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if not isinstance(error, Exception) or isinstance(error, DebftError):
        return None
    number = re.search(r"\(os error (\d+)\)", str(error))
    return os.strerror(int(number[1])) if number else None


def write_atomically(path: Path, content: bytes) -> None:
    """Write all of `content` to `path`. A process that dies or power that fails in between leaves what was there before."""
    with disk_errors(path.parent):
        make_directory(path.parent)
        temporary = path.parent / f".{path.name[:64]}.{token_hex(8)}{PARTIAL}"
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
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
    with disk_errors(path.parent):
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
    """Give a directory to fill. When the block ends it is synced and takes the place of `final`; where it fails it is gone."""
    temporary = final.with_name(f".{final.name}.{os.getpid()}{PARTIAL}")
    with disk_errors(final.parent):
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            make_directory(temporary)
            yield temporary
            for path in (*temporary.rglob("*"), temporary):
                sync(path)
            remove_directory(final)
            temporary.rename(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync(final.parent)


def remove_directory(path: Path) -> None:
    """Remove the directory `path`. A process that dies in between leaves no half of it under that name."""
    if not path.is_dir():
        return
    with disk_errors(path.parent):
        aside = path.with_name(f".{path.name}.{os.getpid()}.old{PARTIAL}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def remove_partial(directory: Path) -> None:
    """Remove what a dead process left half-written in `directory`. Only the one process that may write there may call this."""
    for path in directory.glob(f".*{PARTIAL}"):
        with disk_errors(directory):
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
