"""The runs that are set beside the tables, as their result.json tells them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from debft.config.reading import from_dict
from debft.config.recipe import Recipe
from debft.errors import InputError
from debft.models.names import canonical_name
from debft.published.load import table_names
from debft.runs.directory import RunDirectory
from debft.runs.storage import DiskError


@dataclass(frozen=True, kw_only=True)
class Run:
    """data: `hub`, `demo` or `directory`; fingerprints: of its rows, by split;
    not_compared: why it may not stand beside a published number, None if it may
    """

    path: str
    task: str
    model: str
    data: str
    fingerprints: dict[str, str]
    scores: dict[str, float]
    not_compared: str | None
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class FoundRuns:
    """finished: read whole; unfinished: paths of runs without a result; damaged: by path, what is wrong in one line"""

    finished: tuple[Run, ...]
    unfinished: tuple[str, ...]
    damaged: dict[str, str]


def find_runs(places: Sequence[str]) -> FoundRuns:
    """The runs in `places`, each a run directory or one that holds runs.

    Raises InputError for a place without a run, and where every finished run is damaged.
    """
    found: dict[Path, Path] = {}
    for place in places:
        directories = list(_run_directories(Path(place)))
        if not directories:
            hint = f"; --table {place} shows that table" if place in table_names() else ""
            raise InputError(f"{place}: expected a run directory or one that holds runs, found no result.json in it{hint}")
        for path in directories:
            found.setdefault(path.resolve(), path)
    finished, damaged = [], {}
    unfinished = [path for path in found.values() if not (path / "result.json").is_file()]
    for path in (path for path in found.values() if path not in unfinished):
        try:
            finished.append(_read(path))
        except (InputError, DiskError) as error:
            damaged[_shown(path)] = error.problems[0]
    if damaged and not finished:
        raise InputError(*damaged.values())
    return FoundRuns(finished=tuple(finished), unfinished=tuple(map(_shown, unfinished)), damaged=damaged)


def _run_directories(place: Path) -> Iterator[Path]:
    if _is_run(place):
        yield place
    elif place.is_dir():
        yield from sorted({path.parent for name in ("result.json", "recipe.yaml") for path in place.rglob(name)})


def _is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in ("result.json", "recipe.yaml"))


def _read(path: Path) -> Run:
    directory = RunDirectory(path)
    try:
        result = directory.result()
        scores = dict(result.scores)
        if (path / "steps.jsonl").is_file():  # somebody may have kept the results alone
            scores |= directory.training_scores(result)
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from None
    return Run(
        path=_shown(path),
        task=result.task,
        model=canonical_name(result.model),
        data=result.data.source,
        fingerprints=result.data.fingerprints,
        scores=scores,
        not_compared=result.not_compared,
        recipe=from_dict(result.recipe, str(path / "result.json")),
    )


def _shown(path: Path) -> str:
    """The path as text that any output can carry."""
    return os.fsencode(path).decode("utf-8", "replace")
