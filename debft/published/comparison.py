"""This module decides whether a run may stand beside a published number, and sets it there."""

from collections.abc import Mapping, Set

from debft.config.differences import differing_keys
from debft.config.packaged import default_recipe_path, recipe_names, recipe_path
from debft.config.reading import from_dict, load_recipe
from debft.config.recipe import Recipe, source_kind
from debft.published.load import Column, PublishedScore, Row, Table, load_published, published_scores, recipe_of_cell, table_names
from debft.runs.directory import RunDirectory
from debft.runs.result import ComparedScore, RunResult
from debft.tasks import LANGUAGES, TEXT, Task


def why_not_compared(recipe: Recipe, task: Task, num_rows: dict[str, int]) -> str | None:
    """Say why a run is not set beside a published number; None if it may be.

    num_rows: rows trained on and evaluated, by split
    """
    if source_kind(recipe.data) == "demo":
        return "demo data is never compared with a published number"
    if task.name == TEXT.name:
        return "nobody published a number for data of your own"
    if recipe.train.from_scratch:
        return "random weights: the published numbers start from the pre-trained ones"
    if not published_scores(recipe.model or "", task.name, sift=recipe.sift.weight > 0):
        with_sift = " with SiFT" if recipe.sift.weight else ""
        return f"no published number for {recipe.model}{with_sift} on {task.name}"
    for split in task.splits:
        if num_rows[split.name] != split.num_rows:
            return f"{split.name} has {num_rows[split.name]:,} rows, the published benchmark {split.num_rows:,}"
    if recipe.starts_from and not recipe.init_from:
        return f"the published run starts from the run of {recipe.starts_from}, this one from the pre-trained model"
    changed = [*(["init_from"] if recipe.init_from and not starts_as_published(recipe) else []), *changed_keys(recipe, task)]
    return f"not the published recipe: {', '.join(changed)} differs" if changed else None


def starts_as_published(recipe: Recipe) -> bool:
    """Return whether the run in `init_from` is one of the recipe that the published run started from."""
    if not recipe.starts_from or not recipe.init_from:
        return False
    run, step = RunDirectory.at_step(recipe.init_from)
    if step is not None:  # it was not trained to its end
        return False
    packaged, first = load_recipe(recipe_path(recipe.starts_from)), run.recipe()
    return source_kind(first.data) != "demo" and set(differing_keys(packaged, first, "resume")) <= {"data", "train.seed"}


def changed_keys(recipe: Recipe, task: Task) -> list[str]:
    """List the keys in which a run differs from every packaged recipe of its model, by the closest one."""
    of_task = [load_recipe(recipe_path(name)) for name in recipe_names() if name.startswith(f"{task.name}/")]
    published = [
        packaged
        for packaged in of_task
        if packaged.model == recipe.model and packaged.reproduces and bool(packaged.sift.weight) == bool(recipe.sift.weight)
    ]
    if not published:
        return [f"recipe {default_recipe_path(task.name, recipe.model or '').stem}"]
    return min((differing_keys(packaged, recipe, "cell") for packaged in published), key=len)


def beside_published(recipe: Recipe, task: Task, scores: Mapping[str, float]) -> list[ComparedScore]:
    """Set our scores beside every published number of the model on the task."""
    verdict = "undecided (1 seed, our recipe)" if (recipe.source or "").startswith("ours") else "undecided (1 seed)"
    evaluated = {split.name for split in task.evals}
    return [
        _compared(published, None if _lacks_languages(published.score, evaluated) else scores.get(published.score), verdict)
        for published in published_scores(recipe.model or "", task.name, sift=recipe.sift.weight > 0)
    ]


def _compared(published: PublishedScore, ours: float | None, verdict: str) -> ComparedScore:
    return ComparedScore(
        score=published.score,
        ours=ours,
        value=published.value,
        difference=None if published.value is None or ours is None else round(ours - published.value, 4),
        verdict=verdict,
        table=published.table,
        row=published.row,
        cell=published.cell,
        source=published.source,
        note=published.note,
    )


def _lacks_languages(score: str, evaluated: Set[str]) -> bool:
    """Return whether the score is an average over all languages, some of which were not evaluated."""
    split = score.partition("/")[0]
    return split.endswith(".avg") and not {f"{split.removesuffix('avg')}{language}" for language in LANGUAGES} <= evaluated


def frozen_beside(result: RunResult) -> dict[str, PublishedScore]:
    """Return by score what we froze of runs with the recipe and the rows of this one, {} where we froze nothing of that.

    These numbers are ours, not published ones: they tell whether the program still gives what it gave.
    """
    recipe = from_dict(result.recipe, "recipe")
    for table in map(load_published, table_names()):
        for row in table.rows if table.kind == "measured" else ():
            for column in table.columns:
                if row.model == result.model and column.task == result.task and _is_frozen(result, recipe, table, row, column):
                    return {score.score: score for score in row.cells[column.key] if score.score in result.scores}
    return {}


def _is_frozen(result: RunResult, recipe: Recipe, table: Table, row: Row, column: Column) -> bool:
    """Return whether the run is another one of those that a cell of a measured table holds."""
    name = recipe_of_cell(table, row, column)
    rows = table.fingerprints.get(column.task, {})
    if name is None or rows != {split: result.data.fingerprints.get(split) for split in rows}:
        return False
    return not differing_keys(load_recipe(recipe_path(name)), recipe, "repeat")
