"""This module prints what people see of runs, plans and recipes: results on stderr, what was asked for on stdout."""

import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table as RichTable

from debft.config.recipe import to_dict
from debft.console import byte_size, clock, put, say, say_field
from debft.data.sources.own import split_columns
from debft.models.settings import SETTINGS
from debft.output.layout import print_table
from debft.output.plain import plain_table
from debft.output.recipes import changes_yaml
from debft.output.text import counted, interval_text
from debft.published.comparison import beside_published, frozen_beside, why_not_compared
from debft.published.load import PublishedScore
from debft.runs.result import ComparedScore, RunResult
from debft.tasks import TASKS, TEXT
from debft.tasks.titles import score_title
from debft.training.describe import remarks

if TYPE_CHECKING:
    from debft.training.plan import Plan
    from debft.training.probe import Estimate

DEMO_TEXTS = ("who slept here", "the fox slept here")  # a question, a text or the first one of a pair, and the second
FILES_OF_RUN = ("model/", "result.json", "report.html", "predictions/", "steps.jsonl")


def print_result(result: RunResult, output: Path) -> None:
    """Show the scores of a run, what they are compared with or why with nothing, the time, and where everything is."""
    compared = {row.score: row for row in result.published}
    languages = {split_and_language(name)[1] for name in result.scores} - {""}
    print_table((_language_table if languages else _score_table)(result, compared))
    if languages:
        say(_rows_of_languages(result.num_examples))
    for line in _below(result, compared):
        say(line)
    for line in result.warnings:
        say(f"warning: {line}")
    if early := result.stopped_early:
        say_field("early stop", f"after step {early.step:,} of {early.of:,}: {early.reason}")
    timing = result.timing
    say_field(
        "time",
        f"{counted(result.steps, 'step')} in {clock(timing.train_seconds)}, {timing.examples_per_second:,.0f} examples/s; "
        f"evaluation {clock(timing.eval_seconds)}; peak memory {result.peak_memory_bytes / 2**30:.1f} GiB",
    )
    say_field("run", str(output))
    say_field("", "  ".join(name for name in FILES_OF_RUN if (output / name.rstrip("/")).exists()))
    say_field("next", predict_line(result, output), whole=True)


def predict_line(result: RunResult, output: Path) -> str:
    """Return a command that labels a text with the run, or a pair, as it can be typed."""
    task = TASKS[result.task]
    own = json.loads((output / "model" / "config.json").read_text("utf-8")).get(SETTINGS) if task is TEXT else None
    columns = split_columns(own["text_columns"]) if own else task.text_keys
    texts: tuple[str, ...] = DEMO_TEXTS
    if result.data.source != "demo":
        texts = tuple(f"your {column} here" for column in columns) if len(columns) > 1 else ("your text here",)
    return f"{command_name()} predict {shlex.join([str(output), *texts[: len(columns)]])}"


def command_name() -> str:
    """Return the word that starts debft here: `debft` where the shell finds it, else the path by which it was started."""
    started = Path(sys.argv[0])
    return str(started) if started.name == "debft" and shutil.which("debft") is None else "debft"


def _below(result: RunResult, compared: Mapping[str, ComparedScore]) -> list[str]:
    """Return the lines below the scores: what the comparison means, and what a reader should know of it."""
    lines = [f"note on the published cell: {note}" for note in dict.fromkeys(row.note for row in compared.values() if row.note)]
    if frozen := frozen_beside(result):
        mean = next(iter(frozen.values()))
        lines.append(
            f"frozen: the mean of {mean.seeds} runs of ours with this recipe on these rows, +/- their standard deviation "
            f"(debft tables --table {mean.table}); not a published number"
        )
    elif result.not_compared and result.task != "text":
        lines.append(f"not compared: {result.not_compared}")
    if result.published:
        first = result.published[0]
        row = f"{first.table} --row {shlex.quote(first.row)} --task {result.task}"
        lines.append(f"one seed decides nothing: {command_name()} reproduce {row} runs several and judges")
    return lines


def _score_table(result: RunResult, compared: Mapping[str, ComparedScore]) -> RichTable:
    """Return a line per score: its interval, its rows, and the number that it is compared with where there is one."""
    frozen = frozen_beside(result)
    beside = ("published", "diff", "") if compared else ("frozen", "diff", "") if frozen else ()
    table = plain_table("", "ours", "95 % interval", "rows", *beside, left=("",), wrapped=("",))
    for name, value in result.scores.items():
        rows = result.num_examples.get(name.partition("/")[0])
        interval = interval_text(result.intervals.get(name), "-")
        cells = [score_title(result.task, name), f"{value:.2f}", interval, "-" if rows is None else f"{rows:,}"]
        if compared:
            cells += _beside(compared[name]) if name in compared else ("-", "", "")
        elif frozen:
            cells += _beside_frozen(frozen[name], value) if name in frozen else ("-", "", "")
        table.add_row(*cells)
    return table


def _language_table(result: RunResult, compared: Mapping[str, ComparedScore]) -> RichTable:
    """Return a line per language, the average last; the published number stands beside our score on test, as its interval does."""
    scores = result.scores
    metric = next(iter(scores)).partition("/")[2]
    parts = list(dict.fromkeys(split_and_language(name)[0] for name in scores))
    beside = ("published", "diff", "") if compared else ()
    table = plain_table("language", *parts, "95 % interval", *beside, left=("language", ""), wrapped=("",))
    for language in dict.fromkeys(split_and_language(name)[1] for name in scores):
        ours = [scores.get(f"{part}.{language}/{metric}") for part in parts]
        cells = [language, *("-" if score is None else f"{score:.2f}" for score in ours)]
        cells.append(interval_text(result.intervals.get(f"{parts[-1]}.{language}/{metric}"), "-"))
        if compared:
            row = compared.get(f"test.{language}/{metric}")
            cells += ("-", "", "not compared") if row is None or row.ours is None else _beside(row)
        table.add_row(*cells)
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


def _beside_frozen(frozen: PublishedScore, ours: float) -> tuple[str, str, str]:
    """Return our frozen number, the difference, and whether it is within three standard deviations, as all but 3 of 1,000 are."""
    assert frozen.value is not None and frozen.sd is not None
    usual = abs(ours - frozen.value) <= 3 * frozen.sd
    return f"{frozen.value:.1f} +/- {frozen.sd:.1f}", f"{ours - frozen.value:+.1f}", "as usual" if usual else "unusual"


def split_and_language(score: str) -> tuple[str, str]:
    """Return (`test`, `fr`) for `test.fr/accuracy`; no language for `validation/accuracy`."""
    split, _, language = score.partition("/")[0].partition(".")
    return split, language


def plan_dict(plan: "Plan", output: Path, estimate: "Estimate") -> dict[str, Any]:
    """Return what `--dry-run --json` prints."""
    rows, reason = _compared_with(plan)
    return {
        "output": str(output),
        "steps": plan.total_steps,
        "num_examples": {name: len(e) for name, e in plan.examples.items()},
        "label_counts": plan.label_counts,
        "fingerprints": plan.fingerprints,
        "skipped_rows": plan.skipped_rows,
        "remarks": remarks(plan),
        "estimate": asdict(estimate),
        "compared_with": [{"table": r.table, "row": r.row, "cell": r.cell, "score": r.score, "value": r.value} for r in rows],
        "not_compared": reason,
        "recipe": to_dict(plan.recipe),
    }


def print_plan(plan: "Plan", output: Path, estimate: "Estimate") -> None:
    """Print what the recipe sets, the rows of each split, what the run takes and is compared with, and that nothing was trained."""
    put(changes_yaml(plan.recipe))
    for name, examples in plan.examples.items():
        put(f"{name:<24} {len(examples):>9,} rows   fingerprint {plan.fingerprints[name]}   {examples.source}")
    for name, lengths in estimate.lengths.items():
        cut = f", {lengths.cut:,} are cut" if lengths.cut else ""
        put(f"{name:<24} tokens: median {lengths.median}, 95 % up to {lengths.p95}, longest {lengths.longest}{cut}")
    put("\n".join(estimate_lines(estimate)))
    rows, reason = _compared_with(plan)
    cells = dict.fromkeys(f"{row.cell} of {row.row} in {row.table}" for row in rows)
    put(f"compared  {'; '.join(cells) if cells else f'not: {reason}' if reason else 'with nothing: no number was published'}")
    put(f"{plan.total_steps:,} optimizer steps into {output}; nothing was trained (--dry-run)")


def estimate_lines(estimate: "Estimate") -> list[str]:
    """Return the lines that tell time and memory of a run."""
    copy = f"; {byte_size(estimate.copy_bytes)} of the host for a copy while a checkpoint is written" if estimate.copy_bytes else ""
    return [
        f"time      about {clock(estimate.train_seconds)} to train on {estimate.num_tokens:,} tokens, and "
        f"{clock(estimate.eval_seconds)} to evaluate {estimate.eval_tokens:,}, without the computation of scores",
        f"          measured by {counted(estimate.probed_steps, 'step')} on {estimate.device}, {estimate.precision}",
        f"memory    {estimate.peak_memory_bytes / 2**30:.1f} GiB at most in these steps{copy}",
    ]


def _compared_with(plan: "Plan") -> tuple[list[ComparedScore], str | None]:
    """Return (the published numbers that the run would stand beside, why it would stand beside none)."""
    reason = why_not_compared(plan.recipe, plan.task, {name: len(examples) for name, examples in plan.examples.items()})
    return ([] if reason else beside_published(plan.recipe, plan.task, {})), reason
