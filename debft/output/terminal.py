"""This module prints what people see of runs, plans and recipes: results on stderr, what was asked for on stdout."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table as RichTable

from debft.config.packaged import recipe_names, recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import SECTIONS, Recipe, to_dict
from debft.console import clock, plain_table, print_table, say
from debft.output.text import interval_text
from debft.runs.result import ComparedScore, RunResult
from debft.training.describe import remarks

if TYPE_CHECKING:
    from debft.training.plan import Plan


def print_result(result: RunResult, output: Path) -> None:
    """Show the scores of a run, the published ones or why there is no comparison, the time, and where everything is."""
    compared = {row.score: row for row in result.published}
    languages = {split_and_language(name)[1] for name in result.scores} - {""}
    print_table((_language_table if languages else _score_table)(result, compared))
    if languages:
        say(_rows_of_languages(result.num_examples))
    if result.not_compared:
        say(f"not compared: {result.not_compared}")
    for note in dict.fromkeys(row.note for row in compared.values() if row.note):
        say(f"note on the published cell: {note}")
    timing = result.timing
    say(
        f"{result.steps:,} steps in {clock(timing.train_seconds)}, {timing.examples_per_second:,.0f} examples/s; "
        f"evaluation {clock(timing.eval_seconds)}; peak memory {result.peak_memory_bytes / 2**30:.1f} GiB"
    )
    say(f"{output}   model/  result.json  predictions/  steps.jsonl        next: debft predict {output} FILE")


def _score_table(result: RunResult, compared: Mapping[str, ComparedScore]) -> RichTable:
    heads = ("published", "diff", "") if compared else ()
    table = plain_table("score", "ours", "95 % interval", "n", *heads, left=("score", ""), wrapped=("score", ""))
    for name, value in result.scores.items():
        row, n = compared.get(name), result.num_examples.get(name.partition("/")[0])
        beside = (("-", "", "") if row is None else _beside(row)) if compared else ()
        table.add_row(name, f"{value:.2f}", interval_text(result.intervals.get(name), "-"), "-" if n is None else f"{n:,}", *beside)
    return table


def _language_table(result: RunResult, compared: Mapping[str, ComparedScore]) -> RichTable:
    """Return a line per language, the average last; the published number stands beside our score on test, as its interval does."""
    scores = result.scores
    metric = next(iter(scores)).partition("/")[2]
    parts = list(dict.fromkeys(split_and_language(name)[0] for name in scores))
    heads = ("published", "diff", "") if compared else ()
    table = plain_table("language", *parts, "95 % interval", *heads, left=("language", ""), wrapped=("",))
    for language in dict.fromkeys(split_and_language(name)[1] for name in scores):
        ours = [scores.get(f"{part}.{language}/{metric}") for part in parts]
        row = compared.get(f"test.{language}/{metric}")
        beside = (("-", "", "not compared") if row is None or row.ours is None else _beside(row)) if compared else ()
        interval = interval_text(result.intervals.get(f"{parts[-1]}.{language}/{metric}"), "-")
        table.add_row(language, *("-" if score is None else f"{score:.2f}" for score in ours), interval, *beside)
    return table


def _rows_of_languages(num_examples: Mapping[str, int]) -> str:
    """Return what the table of languages does not say: the rows that each language has, and whose interval it is."""
    rows = {name.partition(".")[0]: count for name, count in num_examples.items()}
    counts = ", ".join(f"{part} {count:,}" for part, count in rows.items())
    return f"rows of each language: {counts}; the interval is that of {list(rows)[-1]}"


def _beside(row: ComparedScore) -> tuple[str, str, str]:
    """Return the published number, the difference and the verdict."""
    if row.value is None:
        return "-", "", f"the card prints {row.cell}"
    return f"{row.value:.1f}", f"{row.difference:+.1f}", row.verdict


def split_and_language(score: str) -> tuple[str, str]:
    """Return (`test`, `fr`) for `test.fr/accuracy`; no language for `validation/accuracy`."""
    split, _, language = score.partition("/")[0].partition(".")
    return split, language


def plan_dict(plan: "Plan", output: Path) -> dict[str, Any]:
    """Return what `--dry-run --json` prints."""
    return {
        "output": str(output),
        "steps": plan.total_steps,
        "num_examples": {name: len(e) for name, e in plan.examples.items()},
        "fingerprints": plan.fingerprints,
        "skipped_rows": plan.skipped_rows,
        "remarks": remarks(plan),
        "recipe": to_dict(plan.recipe),
    }


def print_plan(plan: "Plan", output: Path) -> None:
    """Print the recipe, the rows of each split, and the steps that were not trained."""
    print_recipe(plan.recipe)
    for name, examples in plan.examples.items():
        print(f"{name:<24} {len(examples):>9,} rows   fingerprint {plan.fingerprints[name]}   {examples.source}")
    print(f"{plan.total_steps:,} optimizer steps into {output}; nothing was trained (--dry-run)")


def recipes_list() -> list[dict[str, Any]]:
    """Return name, task, model, dialect, reproduces, source, and the hyper-parameters people compare, of every packaged recipe."""
    rows = []
    for name in recipe_names():
        recipe = load_recipe(recipe_path(name))
        train = {
            key: getattr(recipe.train, key) for key in ("num_train_epochs", "warmup_steps", "learning_rate", "train_batch_size")
        }
        train["sift_weight"] = recipe.sift.weight
        rows.append(
            {"name": name, **{key: getattr(recipe, key) for key in ("task", "model", "dialect", "reproduces", "source")}, **train}
        )
    return rows


def print_recipes(rows: list[dict[str, Any]]) -> None:
    """Print a line for each recipe; `debft recipes NAME` has the rest."""
    print(f"{'recipe':<30} {'dialect':<8} {'epochs':>6} {'warm-up':>8} {'learning rate':>14} {'batch':>6} {'SiFT':>5}")
    for row in rows:
        print(
            f"{row['name']:<30} {row['dialect']:<8} {row['num_train_epochs']:>6g} {row['warmup_steps']:>8g} "
            f"{row['learning_rate']:>14g} {row['train_batch_size']:>6} {row['sift_weight'] or '-':>5}"
        )


def print_recipe(recipe: Recipe) -> None:
    """Print every value; what differs from the defaults is marked."""
    for name in ("task", "model", "data", "starts_from", "dialect", "reproduces", "source", "note"):
        if getattr(recipe, name):
            print(f"{name:<11} {getattr(recipe, name)}")
    for section in SECTIONS:
        print(f"{section}:")
        usual = getattr(Recipe(), section)
        for f in fields(usual):
            value = getattr(getattr(recipe, section), f.name)
            mark = "" if value == getattr(usual, f.name) else "   *"
            print(f"  {f.name:<20} {'null' if value is None else value}{mark}")
