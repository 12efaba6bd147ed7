"""The rows that a model is scored on: those of its run, as the run had them, or those of a file, a directory or a data set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from debft.config.recipe import SOURCES, Recipe, with_values
from debft.console import say
from debft.data.examples import Examples
from debft.data.load import absent_languages, load_table, present
from debft.data.own_rows import own_rows, rows_to_score
from debft.data.rows import check_rows
from debft.errors import InputError
from debft.scoring.inputs import read_file
from debft.tasks import TEXT, Task, TextClassification


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """What a run says about the rows that it was trained on.

    recipe: that of the run
    split: its split.json, {} for a run of a version that wrote none
    """

    recipe: Recipe
    split: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """Return where the rows are now. Raises InputError where they are no longer there."""
        typed, path = self.recipe.data, self.split.get("path")
        if path is None or Path(path).exists():
            return path or typed
        if not Path(typed).exists():
            raise InputError(
                f"--data {typed}: the rows of the run were in {path}, which is gone; give --data the place where they are"
            )
        return typed

    @property
    def encoding(self) -> str | None:
        """Return the encoding of its text files, None for UTF-8."""
        return self.recipe.own.encoding

    def holds(self, data: str) -> bool:
        """Tell whether `data` is where the rows of the run are."""
        path = self.split.get("path")
        if path is not None and data not in SOURCES and Path(data).exists():
            return Path(path).exists() and Path(data).samefile(path)
        both_there = not {data, self.recipe.data} & set(SOURCES) and Path(data).exists() and Path(self.recipe.data).exists()
        return data == self.recipe.data or (both_there and Path(data).samefile(self.recipe.data))


def find_rows(
    task: Task, trained: TrainedOn | None, data: str | None, limit: int | None, *, skip: bool, encoding: str | None = None
) -> dict[str, Examples]:
    """Read and check the first `limit` rows of each split to score, by its name: those of `data`, or of the run itself.

    A file is a split of its own, under its name.

    skip: whether bad rows are left out; encoding: of text files, None: UTF-8, or as the run had them
    Raises InputError where there are none.
    """
    if data == "":
        raise InputError("--data: expected hub, demo, a file or a directory, got ''")
    of_run = trained if trained is not None and (data is None or trained.holds(data)) else None
    source = of_run.source if of_run is not None else data or "hub"
    in_splits = source != "demo" and (of_run is not None or not Path(source).is_file())
    if isinstance(task, TextClassification) and task.name == TEXT.name and in_splits:
        recipe = of_run.recipe if of_run is not None else Recipe()
        recipe = with_values(recipe, {"data": source, "train.max_eval_samples": limit, "train.skip_bad_rows": skip})
        if encoding is not None:
            recipe = with_values(recipe, {"own.encoding": encoding})
        held_out = of_run.split.get("held_out") if of_run is not None else None
        if held_out is None:
            return rows_to_score(recipe, task)
        rows = own_rows(recipe, task, held_out)
        return {split.name: rows.examples[split.name] for split in rows.task.evals}
    if source not in SOURCES and Path(source).is_file():
        path = Path(source)
        table = read_file(path, task, encoding, trained.encoding if trained is not None else None)
        return {path.stem.replace(".", "_"): check_rows(table, task, limit, skip=skip)}
    evals = present(task, source).evals
    if lacking := absent_languages(task, evals) if task.some_evals_suffice else []:
        say(f"no rows of {', '.join(lacking)} in {source}: evaluated on the others")
    return {split.name: check_rows(load_table(task, split, source), task, limit, skip=skip) for split in evals}
