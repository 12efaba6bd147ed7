"""A run gives way to another one: it is set aside, and removed, or brought back, by the process that holds its directory.

Of a directory everything stays or nothing: a run without half of its checkpoints could neither be continued nor begun anew. So
each part is renamed, the result first, before anything that it speaks of, which a power cut could take alone, and the recipe last.
"""

import os
from pathlib import Path

from debft.runs.files import FILES
from debft.runs.storage import PARTIAL, disk_errors, remove_partial, sync

ASIDE, AGAIN = "set-aside", "brought-back"  # names in a run directory; the next process that holds it removes what is left there


def remove_run(path: Path) -> None:
    """Remove the run in the directory `path`."""
    set_aside(path)
    remove_set_aside(path)


def set_aside(path: Path) -> None:
    """Take the run out of its place, until `remove_set_aside` removes it or `bring_back` undoes that."""
    aside = path / f".{ASIDE}{PARTIAL}"
    with disk_errors(path):
        aside.mkdir()
        for name in FILES:
            _move(path / name, aside / name)
            if name in (FILES[0], FILES[-1]):
                sync(path)


def remove_set_aside(path: Path) -> None:
    """Remove the run that was set aside, where there is one."""
    remove_partial(path, ASIDE)


def bring_back(path: Path) -> bool:
    """Put the run that was set aside into the place of the one that was begun since, and tell whether there is one."""
    aside, again = path / f".{ASIDE}{PARTIAL}", path / f".{AGAIN}{PARTIAL}"
    if not aside.is_dir():
        return False
    with disk_errors(path):
        aside.rename(again)
        remove_run(path)
        for name in reversed(FILES):
            if name == FILES[0]:
                sync(path)
            _move(again / name, path / name)
        again.rmdir()
        sync(path)
    return True


def _move(path: Path, to: Path) -> None:
    """Give a file, a directory or a link another place, where it is there."""
    if os.path.lexists(path):
        path.rename(to)
