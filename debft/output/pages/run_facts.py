"""The plain facts of a run, name and value, ready to print on its page: what it cost, its data, its recipe, what made it."""

from collections.abc import Mapping
from typing import Any

from debft.config.differences import SCORE_KEYS
from debft.config.recipe import SECTIONS, Recipe, value_at
from debft.console import byte_size, clock
from debft.runs.result import Lengths, RunResult

MOST_SPLITS = 6  # whose rows are listed one by one
MOST_COUNTED = 24  # labels whose training rows are listed


def cost_facts(result: RunResult) -> list[tuple[str, str]]:
    """Return time, tokens and memory."""
    timing = result.timing
    return [
        ("steps", f"{result.steps:,}"),
        ("training", f"{clock(timing.train_seconds)}, {timing.examples_per_second:,.0f} examples/s"),
        ("evaluation", clock(timing.eval_seconds)),
        ("tokens trained on", f"{result.num_tokens:,}, {timing.tokens_per_second:,.0f} per second"),
        ("peak memory", byte_size(result.peak_memory_bytes)),
    ]


def data_facts(result: RunResult) -> list[tuple[str, str]]:
    """Return rows, labels and lengths."""
    counts = [("training rows", f"{result.num_train_examples:,}")]
    if result.label_counts:
        counts.append(("training rows by label", _label_counts(result.label_counts)))
    if len(result.num_examples) > MOST_SPLITS:
        counts.append(("evaluated", f"{len(result.num_examples)} splits, {sum(result.num_examples.values()):,} rows"))
    else:
        counts += [(f"rows of {split}", f"{n:,}") for split, n in result.num_examples.items()]
    counts += [(f"skipped rows of {split}", f"{n:,}") for split, n in result.data.skipped_rows.items() if n]
    return [("source", source_in_words(result)), *counts, *_held_out(result), *_lengths(result)]


def _label_counts(counts: Mapping[str, int]) -> str:
    """Return the training rows of each label; of very many labels those of the most frequent ones."""
    shown = list(counts) if len(counts) <= MOST_COUNTED else sorted(counts, key=lambda label: -counts[label])[:MOST_COUNTED]
    more = [f"{len(counts) - len(shown):,} more labels in result.json"] if len(shown) < len(counts) else []
    return ", ".join([*(f"{label} {counts[label]:,}" for label in shown), *more])


def source_in_words(result: RunResult) -> str:
    """Return the kind of the source of the rows, with its name where the recipe has one."""
    kind, name = result.data.source, result.recipe.get("data")
    return kind if not name or name == kind else f"{kind} {name}"


def _held_out(result: RunResult) -> list[tuple[str, str]]:
    """Return what was held out of the training rows, and which rows these were."""
    if (held_out := result.data.held_out) is None:
        return []
    shares = ", ".join(f"{name} {share:.0%}" for name, share in held_out.shares.items())
    rows = f"{held_out.of:,} rows with the fingerprint {held_out.fingerprint}"
    return [("held out", f"{shares} of {rows}, by the seed {held_out.seed}; split.json has the ids")]


def _lengths(result: RunResult) -> list[tuple[str, str]]:
    """Return how long the inputs of each split are and how many were cut; of many splits those where some were."""
    few = len(result.data.lengths) <= MOST_SPLITS
    return [
        (f"lengths of {name}", _lengths_in_words(one))
        for name, one in result.data.lengths.items()
        if few or one.cut or name == "train"
    ]


def _lengths_in_words(lengths: Lengths) -> str:
    words = f"median {lengths.median:,} tokens, 95 % up to {lengths.p95:,}, longest {lengths.longest:,}"
    was = f", the longest from {lengths.uncut:,} tokens" if lengths.cut and lengths.uncut else ""
    return f"{words}; {lengths.cut:,} cut{was}"


def changed_keys(recipe: Recipe) -> list[tuple[str, str, str]]:
    """Return the keys that move the score and are not at their default, the task and its data left out."""
    usual = Recipe()
    keys = [key for key in SCORE_KEYS if "." in key and value_at(recipe, key) != value_at(usual, key)]
    return [(key, _value(value_at(recipe, key)), _value(value_at(usual, key))) for key in keys]


def flat_keys(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return all keys of a recipe, by their dotted names."""
    flat = [(key, _value(value)) for key, value in values.items() if key not in SECTIONS]
    return flat + [(f"{name}.{key}", _value(one)) for name in SECTIONS for key, one in values.get(name, {}).items()]


def _value(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def environment_facts(result: RunResult) -> list[tuple[str, str]]:
    """Return the command, when it ran, and the code, versions and hardware."""
    facts = {"command": result.command, "started": result.started, "finished": result.finished}
    facts |= {name: value for name, value in result.environment.items() if name != "attention"}
    if result.paths is not None:
        facts["attention"] = result.paths.attention
    return [(name, str(value)) for name, value in facts.items() if value is not None]
