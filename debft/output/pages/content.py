"""This module puts a report into words and numbers ready to print; the page and the Markdown differ only in their marks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from debft.console import clock
from debft.output.pages.printed import PageCell, PageContent, PageOtherRun, PageRecipe, PageRow, PageRun, RunLink
from debft.output.pages.records import Cell, OtherRun, Report, ReportedRun
from debft.output.pages.summary import MEANINGS, SYMBOLS, VERDICTS, count_verdicts, reference_word, summary_line, why_no_scores
from debft.output.text import DASH, Footnotes, linked, relative_link, score_text, signed, tolerance_text
from debft.published.load import printed_decimals
from debft.runs.result import in_percent, possible_range

SCORES_SHOWN = 4  # columns of a table of runs; a run's own list has all its scores


def page_content(report: Report) -> PageContent:
    """Put the report into words, for the page and for the Markdown."""
    anchors = _anchors([run.id for run in report.runs])
    counts, footnotes = count_verdicts(report), Footnotes()
    rows = _rows(report, anchors, footnotes)
    return PageContent(
        title=report.table.title,
        name=report.table.name,
        word=reference_word(report.table),
        source=linked(report.table.source),
        note=linked(report.table.note),
        rule=report.rule,
        command=report.command,
        made=report.made,
        versions=report.versions,
        counts=counts,
        summary=summary_line(counts),
        missing=why_no_scores(report),
        legend=_legend(report.cells),
        rows=rows,
        notes=[linked(text) for text in footnotes.texts],
        recipes=_recipes(report.cells, report.runs, anchors),
        others=[_other(run) for run in report.others],
    )


def _legend(cells: Sequence[Cell]) -> str:
    of_training = any(not in_percent(cell.score) for cell in cells)
    unit = "Scores in percent; what training logged in its own unit." if of_training else "Percent."
    return f"{unit} Ours: the mean ± the standard deviation over the seeds. {_verdicts_explained(cells)}".strip()


def _verdicts_explained(cells: Sequence[Cell]) -> str:
    verdicts = {cell.verdict for cell in cells}
    return " ".join(f"{word.capitalize()}: {MEANINGS[word]}." for word in VERDICTS if word in verdicts)


def as_printed(cell: Cell) -> str:
    """Return the number of the table with the decimals of its cell: `88.1` of `88.1/88.3`; one of ours as our scores are."""
    if cell.value is None or cell.margin is None or not in_percent(cell.score):
        return score_text(cell.score, cell.value)
    return f"{cell.value:.{printed_decimals(cell.cell, cell.value)}f}"


def _rows(report: Report, anchors: Mapping[str, str], footnotes: Footnotes) -> list[PageRow]:
    seeds = {run.id: run.seed for run in report.runs}
    rows: dict[str, list[PageCell]] = {}
    for cell in report.cells:
        source = f"from {cell.source}" if cell.source != report.table.source else None
        links = [RunLink(seed=seeds[run], anchor=anchors[run]) for run in cell.runs]
        rows.setdefault(cell.row, []).append(_cell(cell, links, footnotes.add(cell.note, source)))
    return [PageRow(name=name, cells=cells) for name, cells in rows.items()]


def _cell(cell: Cell, runs: list[RunLink], notes: list[int]) -> PageCell:
    def text(value: float | None) -> str | None:
        return None if value is None else score_text(cell.score, value, like=cell.mean)

    interval = None
    if cell.low is not None and cell.high is not None:
        interval = f"{text(_possible(cell, cell.low))} to {text(_possible(cell, cell.high))}"
    return PageCell(
        header=cell.header,
        score=cell.score,
        verdict=cell.verdict,
        verdict_text=cell.verdict_text,
        symbol=SYMBOLS[cell.verdict],
        labels=[*cell.labels, *(["our recipe"] if cell.ours and "our recipe" not in cell.labels else [])],
        notes=notes,
        value=None if cell.value is None else as_printed(cell),
        cell=cell.cell,
        spread=_spread(cell),
        mean=text(cell.mean),
        sd=text(cell.sd),
        n=cell.n,
        tolerance=None if cell.tolerance is None else tolerance_text(cell.score, cell.tolerance),
        margin=None if cell.margin is None else f"{cell.margin:g}",
        interval=interval,
        difference=_difference(cell),
        runs=runs,
    )


def _possible(cell: Cell, bound: float) -> float:
    """Return the end of an interval within what can be."""
    lowest, highest = possible_range(cell.score)
    return min(max(bound, lowest), highest)


def _difference(cell: Cell) -> str | None:
    return None if cell.difference is None else difference_text(cell.score, cell.difference, cell.mean)


def difference_text(score: str, difference: float, mean: float | None = None) -> str:
    """Return a difference as the score itself is written: points with two decimals, what training logged as the mean is."""
    if in_percent(score):
        return signed(difference)
    text = score_text(score, difference, like=mean)
    return f"+{text}" if difference > 0 else text


def _spread(cell: Cell) -> str:
    parts = []
    if cell.spread is not None:  # of our frozen numbers as ours are written, of a published one as it is printed
        parts.append(f"± {score_text(cell.score, cell.spread, like=cell.value) if cell.margin is None else f'{cell.spread:g}'}")
    return ", ".join(parts + ([f"{cell.seeds} seeds"] if cell.seeds else []))


def _recipes(cells: Sequence[Cell], runs: Sequence[ReportedRun], anchors: Mapping[str, str]) -> list[PageRecipe]:
    sources = {cell.recipe: cell.recipe_source for cell in cells}
    compared: dict[str | None, list[str]] = {}
    for cell in cells:
        compared.setdefault(cell.recipe, []).append(cell.score)
    groups: dict[tuple[str, str], list[ReportedRun]] = {}
    for run in runs:
        groups.setdefault((run.recipe, run.recipe_hash), []).append(run)
    return [
        PageRecipe(
            name=name,
            hash=digest,
            source=linked(sources.get(name)),
            dialect=group[0].dialect,
            columns=(columns := _columns(group, compared.get(name, []))),
            runs=[_run(run, anchors[run.id], columns) for run in group],
        )
        for (name, digest), group in groups.items()
    ]


def _columns(runs: Sequence[ReportedRun], compared: Sequence[str]) -> list[str]:
    """Return the scores that the runs have, the compared ones first."""
    scores = dict.fromkeys(score for run in runs for score in run.scores)
    return sorted(scores, key=lambda score: compared.index(score) if score in compared else len(compared))[:SCORES_SHOWN]


def _run(run: ReportedRun, anchor: str, columns: Sequence[str]) -> PageRun:
    seconds = [value for value in (run.train_seconds, run.eval_seconds) if value is not None]
    environment = run.environment or {}
    return PageRun(
        id=run.id,
        anchor=anchor,
        seed=run.seed,
        status=run.status,
        symbol=SYMBOLS[run.status],
        error=(run.error or "").removeprefix("interrupted " if run.status == "interrupted" else ""),  # the status says it
        href=relative_link(run.directory),
        directory=run.directory,
        command=run.command,
        rows=run.rows,
        labels=run.labels,
        columns=[score_text(score, run.scores.get(score)) for score in columns],
        scores={score: score_text(score, value) for score, value in run.scores.items()},
        wall_time=clock(sum(seconds)) if seconds else DASH,
        speed=DASH if run.examples_per_second is None else f"{run.examples_per_second:,.0f}",
        memory=DASH if run.peak_memory_bytes is None else f"{run.peak_memory_bytes / 2**30:.1f} GiB",
        steps=DASH if run.steps is None else f"{run.steps:,}",
        facts=_facts(run),
        device=environment.get("gpu") or environment.get("device") or DASH,
    )


def _other(run: OtherRun) -> PageOtherRun:
    return PageOtherRun(id=run.id, status=run.status, made_by=run.made_by, href=relative_link(run.directory))


def _facts(run: ReportedRun) -> list[tuple[str, str]]:
    """Return what else is known of a run, by name, leaving out what is not."""
    facts = {
        "model": run.model,
        "starts from": run.starts_from,
        "task": run.task,
        "SiFT weight": run.sift_weight or None,
        "data": run.data,
        "fingerprints": _pairs(run.fingerprints),
        "training rows": _thousands(run.num_train_examples),
        "training tokens": _thousands(run.num_tokens),
        "environment": _pairs(run.environment),
        "labels": ", ".join(run.labels),
    }
    return [(name, str(value)) for name, value in facts.items() if value]


def _pairs(values: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in (values or {}).items() if value is not None)


def _thousands(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _anchors(ids: Sequence[str]) -> dict[str, str]:
    """Return an HTML id for each run that stays when other runs come, unless two differ only in what an id cannot hold."""
    anchors: dict[str, str] = {}
    for run_id in ids:
        wanted = anchor = "run-" + re.sub(r"[^A-Za-z0-9._-]+", "-", run_id).strip("-")
        number = 2
        while anchor in anchors.values():
            anchor, number = f"{wanted}-{number}", number + 1
        anchors[run_id] = anchor
    return anchors
