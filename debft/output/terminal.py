"""What people see: results beside the published cell on stderr; recipes and plans, which are asked for, on stdout."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable

from debft.config.packaged import recipe_names, recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import SECTIONS, Recipe, to_dict
from debft.console import clock, console, say
from debft.runs.result import RunResult
from debft.training.describe import remarks


def print_result(result: RunResult, output: Path) -> None:
    """The summary of a run: our score(s), the published ones or why there is no comparison, where everything is."""
    languages = {name.partition("/")[0].partition(".")[2] for name in result.scores} - {""}
    console.print(_language_table(result) if languages else _score_table(result))
    if result.not_compared:
        say(f"not compared: {result.not_compared}")
    for note in {row["note"] for row in result.published if row["note"]}:
        say(f"note on the published cell: {note}")
    timing = result.timing
    say(
        f"{result.steps:,} steps in {clock(timing.train_seconds)}, {timing.examples_per_second:,.0f} examples/s; "
        f"evaluation {clock(timing.eval_seconds)}; peak memory {result.peak_memory_bytes / 2**30:.1f} GiB"
    )
    say(f"{output}   model/  result.json  predictions/  steps.jsonl        next: debft predict {output} FILE")


def _score_table(result: RunResult) -> RichTable:
    published = {row["score"]: row for row in result.published}
    table = _table("score", "ours", "published", "diff", "")
    for name, value in result.scores.items():
        row = published.get(name)
        table.add_row(
            name, f"{value:.2f}", *(("-", "", "" if result.published else "not compared") if row is None else _beside(row))
        )
    return table


def _language_table(result: RunResult) -> RichTable:
    """A line per language, the average last; the published row stands beside our scores on test."""
    published = {row["score"]: row for row in result.published}
    metric = next(iter(result.scores)).partition("/")[2]
    parts = dict.fromkeys(name.partition(".")[0] for name in result.scores)
    table = _table("language", *parts, "published", "diff", "")
    for language in dict.fromkeys(name.partition("/")[0].partition(".")[2] for name in result.scores):
        ours = [result.scores.get(f"{part}.{language}/{metric}") for part in parts]
        row = published.get(f"test.{language}/{metric}")
        shown = ("-", "", "not compared") if row is None or row["ours"] is None else _beside(row)
        table.add_row(language, *("-" if score is None else f"{score:.2f}" for score in ours), *shown)
    return table


def _table(*headers: str) -> RichTable:
    table = RichTable(box=None, pad_edge=False)
    for number, header in enumerate(headers):
        table.add_column(header, justify="left" if number in (0, len(headers) - 1) else "right", no_wrap=True)
    return table


def _beside(row: dict[str, Any]) -> tuple[str, str, str]:
    if row["value"] is None:
        return "-", "", f"the card prints {row['cell']}"
    return f"{row['value']:.1f}", f"{row['difference']:+.1f}", row["verdict"]


def plan_dict(plan, output: Path) -> dict[str, Any]:
    return {
        "output": str(output),
        "steps": plan.total_steps,
        "num_examples": {name: len(e) for name, e in plan.examples.items()},
        "fingerprints": plan.fingerprints,
        "skipped_rows": plan.skipped_rows,
        "remarks": remarks(plan),
        "recipe": to_dict(plan.recipe),
    }


def print_plan(plan, output: Path) -> None:
    print_recipe(plan.recipe)
    for name, examples in plan.examples.items():
        print(f"{name:<24} {len(examples):>9,} rows   fingerprint {plan.fingerprints[name]}   {examples.source}")
    print(f"{plan.total_steps:,} optimizer steps into {output}; nothing was trained (--dry-run)")


def recipes_list() -> list[dict[str, Any]]:
    """name, task, model, dialect, reproduces, source, and the hyper-parameters people compare."""
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
    """One line each; `debft recipes NAME` has the rest."""
    print(f"{'recipe':<30} {'dialect':<8} {'epochs':>6} {'warm-up':>8} {'learning rate':>14} {'batch':>6} {'SiFT':>5}")
    for row in rows:
        print(
            f"{row['name']:<30} {row['dialect']:<8} {row['num_train_epochs']:>6g} {row['warmup_steps']:>8g} "
            f"{row['learning_rate']:>14g} {row['train_batch_size']:>6} {row['sift_weight'] or '-':>5}"
        )


def print_recipe(recipe: Recipe) -> None:
    """Every value; what differs from the defaults is marked."""
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
