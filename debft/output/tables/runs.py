"""This module reads the runs that stand beside the tables."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from debft.config.reading import from_dict
from debft.config.recipe import Recipe
from debft.errors import InputError, disk_failed
from debft.models.names import canonical_name
from debft.published.load import table_names
from debft.runs.directory import RunDirectory
from debft.runs.result import RunResult
from debft.runs.storage import DiskError


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A finished run has a result."""

    path: str
    """Its directory."""
    task: str
    """The task that it was trained and evaluated on."""
    model: str
    """Its model, by the alias where it has one."""
    data: str
    """Where its rows come from: `hub`, `demo` or `directory`."""
    fingerprints: dict[str, str]
    """16 hex digits of its rows, by split."""
    scores: dict[str, float]
    """Its scores in percent by `<split>/<metric>`; those of `train/` in their own unit."""
    not_compared: str | None
    """Why it may not stand beside a published number; None if it may."""
    recipe: Recipe
    """Its recipe."""
    result: RunResult
    """Its whole result."""


ADVICE = "; give the directory that --output named, or one above it"


@dataclass(frozen=True, kw_only=True)
class GivenRuns:
    """These are the runs in the places that a user gave."""

    finished: tuple[FinishedRun, ...]
    """Those that have a result."""
    unfinished: tuple[str, ...]
    """The directories of those that have none."""
    damaged: dict[str, str]
    """What is wrong with those that cannot be read, in one line, by directory."""


def find_runs(places: Sequence[str]) -> GivenRuns:
    """Read the runs in `places`, each a run directory or one that holds runs.

    Raises InputError for a place without a run, and where every finished run is damaged.
    """
    directories = _all_directories(places)
    finished: list[FinishedRun] = []
    unfinished: list[str] = []
    damaged: dict[str, str] = {}
    for path in directories:
        try:
            run = _read(path)
            finished += [run] if run is not None else []
            unfinished += [path_text(path)] if run is None else []
        except (InputError, DiskError) as error:
            damaged[path_text(path)] = error.problems[0]
    if damaged and not finished:
        raise InputError(*damaged.values())
    return GivenRuns(finished=tuple(finished), unfinished=tuple(unfinished), damaged=damaged)


def _all_directories(places: Sequence[str]) -> list[Path]:
    """Return the run directories in these places, each once, by the path under which it was met first."""
    directories: dict[Path, Path] = {}
    for place in places:
        inside = list(_run_directories(Path(place)))
        if not inside:
            hint = f"; --table {place} shows that table" if place in table_names() else ""
            found = "found no result.json in it" if Path(place).exists() else "which is not there"
            raise InputError(f"{place}: expected a run directory or one that holds runs, {found}{hint or ADVICE}")
        for path in inside:
            directories.setdefault(path.resolve(), path)
    return list(directories.values())


def _run_directories(place: Path) -> Iterator[Path]:
    if _is_run(place):
        yield place
    elif place.is_dir():
        yield from sorted({path.parent for name in ("result.json", "recipe.yaml") for path in place.rglob(name)})


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in ("result.json", "recipe.yaml"))


def _read(path: Path) -> FinishedRun | None:
    """Read a run, None where it has no result."""
    directory = RunDirectory(path)
    try:
        result = directory.result()
        if result is None:
            return None
        scores = dict(result.scores)
        if (path / "steps.jsonl").is_file():  # somebody may have kept the results alone
            scores |= directory.logs.training_scores(result)
    except OSError as error:
        if disk_failed(error):
            raise
        raise InputError(f"{error.filename}: {error.strerror}") from None
    return FinishedRun(
        path=path_text(path),
        task=result.task,
        model=canonical_name(result.model),
        data=result.data.source,
        fingerprints=result.data.fingerprints,
        scores=scores,
        not_compared=result.not_compared,
        recipe=from_dict(result.recipe, str(path / "result.json")),
        result=result,
    )


def path_text(path: Path) -> str:
    """Return the path as text that any output can carry."""
    return os.fsencode(path).decode("utf-8", "replace")
