"""This module checks the place that a run is to be written to: is it free, or does it hold the very run that is to go on?"""

import os
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from debft.config.differences import OPTIMISATION, differing_keys
from debft.config.recipe import SOURCES, Recipe, value_at
from debft.errors import InputError, disk_failed
from debft.runs.directory import RunDirectory
from debft.runs.result import RunResult
from debft.runs.storage import DiskError

# What becomes of a run that is in the directory already. `new` lets there be none; `restart` is `overwrite` by the same run.
Start = Literal["new", "resume", "restart", "overwrite"]

ANOTHER_RUN = "leave that out to continue it, or give another --output, where --init-from starts from the weights of a complete run"


def start_of(*, resume: bool, restart: bool, overwrite: bool) -> Start:
    """Return what three switches ask for. Raises InputError where two of them are on."""
    if resume and overwrite:
        raise InputError("--overwrite: begins anew, where --resume goes on; give one of the two")
    if restart and (resume or overwrite):
        other = "--resume goes on" if resume else "--overwrite takes the options that are typed"
        raise InputError(f"--restart: begins the same run anew, where {other}; give one of the two")
    return "resume" if resume else "restart" if restart else "overwrite" if overwrite else "new"


def check_output(run: RunDirectory, recipe: Recipe, start: Start) -> RunResult | None:
    """Return the result of a complete run that is to go on, None where there is something left to do.

    Raises InputError where the directory holds something else or cannot be written.
    """
    where = f"--output {run.path}"
    check_writable(run.path)
    if not run.occupied():
        return None
    if not run.exists():
        raise InputError(f"{where}: expected an empty directory or a run, got other files; give another --output")
    if start == "new":
        raise InputError(
            f"{where}: holds a run already; --resume continues it, --restart begins it anew, --overwrite puts another one in its "
            "place; or give another --output"
        )
    if start in ("restart", "overwrite"):
        if others := run.foreign_files():
            raise InputError(f"{where}: --{start} removes a run and nothing else, got {others[0]} as well; move that away first")
        return None
    check_same_run(where, run.recipe(), recipe, may_change=OPTIMISATION if run.stopped_not_finite() else ())
    result = run.result()
    if result is not None:
        run.check_model(result)
    return result


def place_of_rows(run: RunDirectory, recipe: Recipe, start: Start) -> str:
    """Return where the rows are read: as the recipe has it; of the run that is there already, where they were."""
    path = run.split().get("path") if start in ("resume", "restart") and run.exists() else None
    return path if path is not None and Path(path).exists() and recipe.data == run.recipe().data else recipe.data


def check_writable(output: Path) -> None:
    """Raise InputError where `output` is, or would lie in, something that is no directory or cannot be written."""
    existing = next(path for path in (output, *output.absolute().parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()  # os.access trusts the mode, which a read-only or special file system ignores
    except OSError as error:
        if disk_failed(error):
            raise DiskError(f"{existing}: cannot be written: {error.strerror}") from None
        raise InputError(
            f"--output {output}: expected a directory that can be written, got {existing} ({error.strerror}); choose another"
        ) from None


def check_same_run(where: str, recorded: Recipe, asked: Recipe, may_change: Collection[str] = ()) -> None:
    """Raise InputError that names the first key that moves the score and differs, of those that may not change."""
    for key in (key for key in differing_keys(recorded, asked, "resume") if key not in may_change):
        old, new = value_at(recorded, key), value_at(asked, key)
        if key not in ("model", "init_from", "data") or not same_place(old, new):
            raise InputError(f"{where}: holds a different run: {key} is {old!r} there and {new!r} here; {ANOTHER_RUN}")


def same_place(one: str | None, other: str | None) -> bool:
    """Return whether two names are equal, or two spellings of one directory or file; an alias is none."""
    if one == other:
        return True
    if one is None or other is None or one in SOURCES or other in SOURCES:
        return False
    if not (os.path.exists(one) and os.path.exists(other)):
        return False
    return Path(one).samefile(other)
