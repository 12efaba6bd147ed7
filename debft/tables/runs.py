"""The runs that are set beside the tables, as their result.json tells them."""

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debft.errors import InputError
from debft.models import canonical_name
from debft.recipe import Recipe, from_dict
from debft.results import RunDirectory


@dataclass(frozen=True, kw_only=True)
class Run:
    """data: `hub`, `demo` or `directory`; not_compared: why it may not stand beside a published number, None if it may."""

    path: str
    task: str
    model: str
    data: str
    scores: dict[str, float]
    not_compared: str | None
    recipe: Recipe


def find_runs(places: Sequence[str]) -> tuple[list[Run], list[str]]:
    """The finished runs in `places`, each a run directory or one that holds runs, and the paths of the unfinished ones.

    Raises InputError for a place without a run and for a result.json that is none.
    """
    found: dict[Path, Path] = {}
    for place in places:
        directories = list(_run_directories(Path(place)))
        if not directories:
            raise InputError(f"{place}: expected a run directory or one that holds runs, found no result.json in it")
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
    where = path / "result.json"
    try:
        content = json.loads(where.read_text(encoding="utf-8"))
        run = Run(
            path=_shown(path), task=content["task"], model=canonical_name(content["model"]), data=content["data"]["source"],
            scores=content["scores"] | RunDirectory(path).training_scores(),
            not_compared=content["not_compared"], recipe=from_dict(content["recipe"], str(where)),
        )  # fmt: skip
    except (ValueError, TypeError, KeyError, OSError, RecursionError, InputError):
        raise InputError(f"{where}: expected the result of a run, got something else") from None
    texts = (run.task, run.model, run.data, run.not_compared or "", *run.scores)
    if not all(isinstance(text, str) for text in texts) or not all(_is_number(score) for score in run.scores.values()):
        raise InputError(f"{where}: expected the result of a run, got something else")
    return run


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _shown(path: Path) -> str:
    """The path as text that any output can carry."""
    return os.fsencode(path).decode("utf-8", "replace")
