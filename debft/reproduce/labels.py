"""This module says why a run cannot count as a reproduction: other rows, a changed recipe, another precision."""

from debft.config.differences import differing_keys
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, source_kind, value_at
from debft.reproduce.plan import PlannedRun, RecipePlan, TablePlan
from debft.runs.sessions import changes_in_words

SUBSET = {"train.max_train_samples", "train.max_eval_samples"}


def labels_of(run: PlannedRun, recipe_plan: RecipePlan, table_plan: TablePlan) -> list[str]:
    """Return why a run cannot count as a reproduction of its cells; [] where it can."""
    packaged = load_recipe(recipe_path(run.recipe_name))
    changed = differing_keys(run.recipe, packaged, "repeat")
    if run.starts_from:  # it starts from a run, whatever its recipe would do without
        changed = [key for key in changed if key != "train.from_scratch"]
    named_below = table_plan.table.kind == "measured" and SUBSET & set(changed)
    labels = [] if named_below else _labels_of_rows(run, recipe_plan, table_plan)
    for key in changed:
        section, _, name = key.partition(".")
        value, usual = value_at(run.recipe, key), value_at(packaged, key)
        if section != "sift":
            labels.append(f"{name} {value}" if usual is None else f"{name} {value}, not {usual}")
    if any(key.startswith("sift.") for key in changed):
        labels.append("sift changed")
    return [*labels, *_labels_of_precision(run, packaged), *_labels_of_sessions(run)]


def _labels_of_sessions(run: PlannedRun) -> list[str]:
    """Name what the parts of a resumed run were computed with otherwise than the ones before."""
    result = None if run.damage() else run.result()
    return changes_in_words(result.sessions) if result else []


def _labels_of_precision(run: PlannedRun, packaged: Recipe) -> list[str]:
    """Name a precision that is not the recipe's, or not the one that was asked for."""
    asked, usual = run.recipe.runtime.precision, packaged.runtime.precision
    if asked != usual:
        return [f"precision {asked}, not {usual}"]
    result = None if run.damage() else run.result()
    used = result.environment.get("precision", asked) if result else asked
    return [f"precision {used}, not {asked}"] if asked not in ("auto", used) else []


def _labels_of_rows(run: PlannedRun, recipe_plan: RecipePlan, table_plan: TablePlan) -> list[str]:
    """Name rows that are not those of the table: a published one has whole splits, one of our own the rows it was frozen from."""
    if table_plan.table.kind == "measured":
        frozen = table_plan.table.fingerprints[recipe_plan.ready.task.name]
        other = [split for split, fingerprint in run.fingerprints.items() if fingerprint != frozen.get(split)]
        return [f"not on the frozen rows: {', '.join(other)}"] if other else []
    if source_kind(run.recipe.data) == "demo":
        return ["demo data"]
    plan = recipe_plan.ready
    num_rows = {split: len(plan.examples[split.name]) for split in plan.task.splits}
    return [
        f"{split.name}: {count:,} of {split.num_rows:,} rows"
        for split, count in num_rows.items()
        if split.num_rows is not None and count != split.num_rows
    ]
