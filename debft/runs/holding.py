"""One process at a time holds the directory of a run, and what it leaves there by being killed is removed by the next."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from debft.errors import InputError
from debft.runs.directory import RunDirectory
from debft.runs.files import FILES, LOCK
from debft.runs.lock import HeldError, Lock, locked
from debft.runs.storage import disk_errors, make_directory, remove_partial
from debft.runtime.launch.group import is_main_process

MOST_TRIES = 100  # to make a directory that another process removes again


@contextmanager
def hold(run: RunDirectory) -> Iterator[None]:
    """Let only one process at a time write into a run. The main process holds the lock, which ends with it, `kill -9` included.

    The file of the lock stays where a run was begun. Where none was, it is removed while the lock is still held, with the
    directories that were made for it. Raises InputError that names the holder where another process has the lock.
    """
    if not is_main_process():
        yield
        return
    made = [path for path in (run.path, *run.path.parents) if not path.exists()]
    with ExitStack() as stack:
        lock = _take_lock(run.path, stack)
        try:
            _check_links(run.path)
            for folder in (run.path, run.checkpoints, run.path / "predictions"):
                remove_partial(folder)
            yield
        finally:
            if not run.occupied():
                lock.remove_file()
                _remove_empty(made)


def _take_lock(path: Path, stack: ExitStack) -> Lock:
    """Return the lock of the directory, which ends with `stack`."""
    with disk_errors(path):
        for _ in range(MOST_TRIES):
            try:
                make_directory(path)
                return stack.enter_context(locked(path / LOCK))
            except HeldError as error:
                raise InputError(
                    f"--output {path}: another process is training into it ({error.by}); wait for it or end it"
                ) from None
            except FileNotFoundError as error:  # another process has just removed the directory that it began nothing in
                gone = error
        raise gone


def _check_links(path: Path) -> None:
    """Raise InputError where a part of the run is a link that leads out of it, to what may be somebody else's."""
    for part in (path / name for name in FILES):
        if part.is_symlink() and not part.resolve().is_relative_to(path.resolve()):
            raise InputError(
                f"{part}: expected a part of the run, got a link to {part.resolve()}, outside of it; remove it (the whole "
                "run may lie elsewhere, behind a link to it)"
            )


def _remove_empty(made: list[Path]) -> None:
    """Remove directories that were made for nothing, innermost first, up to one that is in use."""
    for path in made:
        try:
            path.rmdir()
        except OSError:
            return
