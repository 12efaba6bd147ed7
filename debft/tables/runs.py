"""The runs that are set beside the tables, as their result.json tells them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from debft.errors import InputError
from debft.models import canonical_name
from debft.published import table_names
from debft.recipe import Recipe, from_dict
from debft.results import RunDirectory


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


def find_runs(places: Sequence[str]) -> tuple[list[Run], list[str]]:
    """The finished runs in `places`, each a run directory or one that holds runs, and the paths of the unfinished ones.

    Raises InputError for a place without a run and for a run whose files cannot be read.
    """
    found: dict[Path, Path] = {}
    for place in places:
        directories = list(_run_directories(Path(place)))
        if not directories:
            hint = f"; --table {place} shows that table" if place in table_names() else ""
            raise InputError(f"{place}: expected a run directory or one that holds runs, found no result.json in it{hint}")
        for path in directories:
            found.setdefault(path.resolve(), path)
    finished = [path for path in found.values() if (path / "result.json").is_file()]
    return [_read(path) for path in finished], [_shown(path) for path in found.values() if path not in finished]


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
        path=_shown(path), task=result.task, model=canonical_name(result.model), data=result.data["source"],
        fingerprints=result.data["fingerprints"], scores=scores, not_compared=result.not_compared,
        recipe=from_dict(result.recipe, str(path / "result.json")),
    )  # fmt: skip


def _shown(path: Path) -> str:
    """The path as text that any output can carry."""
    return os.fsencode(path).decode("utf-8", "replace")
