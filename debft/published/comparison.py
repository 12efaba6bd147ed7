"""This module decides whether a run may stand beside a published number, and sets it there."""

from pathlib import Path
from typing import Any

from debft.config.differences import differing_keys
from debft.config.packaged import default_recipe_path, recipe_names, recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, source_kind
from debft.published.load import published_scores
from debft.runs.directory import RunDirectory
from debft.tasks import LANGUAGES, Task


def why_not_compared(recipe: Recipe, task: Task, num_rows: dict[str, int]) -> str | None:
    """Say why a run is not set beside a published number; None if it may be.

    num_rows: by split, as trained on and evaluated.
    """
    if source_kind(recipe.data) == "demo":
        return "demo data is never compared with a published number"
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
    """Whether the run in `init_from` is one of the recipe that the published run started from."""
    if not recipe.starts_from or not recipe.init_from:
        return False
    packaged, first = load_recipe(recipe_path(recipe.starts_from)), RunDirectory(Path(recipe.init_from)).recipe()
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


def beside_published(recipe: Recipe, task: Task, scores: dict[str, float]) -> list[dict[str, Any]]:
    """Set each score beside the published one, with the difference in points; both are None where the card prints no number."""
    verdict = "undecided (1 seed, our recipe)" if (recipe.source or "").startswith("ours") else "undecided (1 seed)"
    rows = []
    for cell in published_scores(recipe.model or "", task.name, sift=recipe.sift.weight > 0):
        split = cell.score.partition("/")[0]
        all_of_them = {f"{split.removesuffix('avg')}{language}" for language in LANGUAGES}
        of_some_languages = split.endswith(".avg") and not all_of_them <= {evaluated.name for evaluated in task.evals}
        score = None if of_some_languages else scores.get(cell.score)
        difference = None if cell.value is None or score is None else round(score - cell.value, 4)
        rows.append(
            {
                "score": cell.score,
                "ours": score,
                "value": cell.value,
                "difference": difference,
                "verdict": verdict,
                "table": cell.table,
                "row": cell.row,
                "cell": cell.cell,
                "source": cell.source,
                "note": cell.note,
            }
        )
    return rows
