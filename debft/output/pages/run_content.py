"""This module puts one run into words and numbers ready to print on its page, from the files of its directory alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from debft.config.reading import from_dict
from debft.config.recipe import to_dict
from debft.models.settings import NO_ANSWER_THRESHOLD, THRESHOLDS
from debft.output.pages.run_facts import changed_keys, cost_facts, data_facts, environment_facts, flat_keys
from debft.output.pages.split_content import SplitPart, split_part
from debft.output.text import DASH, interval_text, signed
from debft.published.comparison import frozen_beside
from debft.runs.analysis import Analysis
from debft.runs.result import ComparedScore, RunResult
from debft.runs.sessions import changes_in_words
from debft.tasks import TEXT
from debft.tasks.titles import score_title, task_title


@dataclass(frozen=True, kw_only=True)
class ScoreLine:
    """A line of the scores, as it is printed."""

    name: str
    """What is scored, `MNLI-m`."""
    ours: str
    """Our score."""
    interval: str
    """Its 95 % interval."""
    rows: str
    """The rows that it is over."""
    published: str
    """The published number; empty where the run is compared with none."""
    difference: str
    """Ours minus the published one."""
    verdict: str
    """What one run can say."""


@dataclass(frozen=True, kw_only=True)
class RunContent:
    """The whole page of a run, as it is printed."""

    title: str
    """Task and model."""
    summary: str
    """The scores in one line."""
    word: str
    """What stands beside the scores: `published` numbers, `frozen` ones of our own, or nothing."""
    verdict: str
    """What the comparison says, or why there is none."""
    warnings: list[str]
    """What should make a reader doubt the scores: of the run, then of its rows."""
    notes: list[str]
    """What a reader should know of the published numbers."""
    scores: list[ScoreLine]
    """The scores; of a task in several languages their means."""
    languages: list[list[str]]
    """Language, a score of each part, interval, published number and difference; the first line is the head."""
    chosen: str
    """What was chosen on the dev rows for the use of the model; empty where nothing was."""
    splits: list[SplitPart]
    """The analysed splits."""
    cost: list[tuple[str, str]]
    """Time, tokens and memory."""
    data: list[tuple[str, str]]
    """Rows and labels."""
    fingerprints: list[tuple[str, str]]
    """Digest of the rows of each split."""
    changed: list[tuple[str, str, str]]
    """Key, value and default of what the recipe has otherwise."""
    recipe: list[tuple[str, str]]
    """All keys and values."""
    environment: list[tuple[str, str]]
    """Code, versions and hardware, and the command."""


def run_content(result: RunResult, analysis: Analysis | None, chosen: Mapping[str, Any] | None = None) -> RunContent:
    """Put a run into words.

    analysis: None for a run of an older debft
    chosen: what was chosen on dev rows and is saved with the model, thresholds
    """
    chosen = chosen or {}
    recipe = from_dict(result.recipe, "result.json")
    compared, word = _beside(result)
    lines = [_score_line(result, name, compared.get(name)) for name in _headline(result.scores)]
    return RunContent(
        title=f"{task_title(result.task)}: {result.model}",
        summary=", ".join(f"{line.name} {line.ours} {line.interval}".strip() for line in lines[:2]),
        word=word,
        verdict=_verdict(result, word),
        warnings=_warnings(result),
        notes=list(dict.fromkeys(row.note for row in result.published if row.note)),
        scores=lines,
        languages=_languages(result, compared, word),
        chosen=_chosen(chosen),
        splits=[
            split_part(name, split, chosen.get(THRESHOLDS, {})) for name, split in (analysis.splits if analysis else {}).items()
        ],
        cost=cost_facts(result),
        data=data_facts(result),
        fingerprints=list(result.data.fingerprints.items()),
        changed=changed_keys(recipe),
        recipe=flat_keys(to_dict(recipe)),
        environment=environment_facts(result),
    )


def _warnings(result: RunResult) -> list[str]:
    """Return what is odd about the run and its rows, and where it ended early."""
    early = result.stopped_early
    ended = [f"ended after step {early.step:,} of {early.of:,}: {early.reason}"] if early else []
    return [*result.warnings, *ended, *changes_in_words(result.sessions), *map(str, result.data.warnings)]


def _chosen(chosen: Mapping[str, Any]) -> str:
    """Return the line on the thresholds that the scores were made with."""
    if chosen.get(THRESHOLDS):
        return "A label is predicted from its own threshold on, the best one for its F1 on the dev rows; the model carries it."
    if NO_ANSWER_THRESHOLD in chosen:
        return (
            f"A question has no answer where that is better by more than {chosen[NO_ANSWER_THRESHOLD]:.3g} than the best answer, "
            "the best threshold for the F1 on the dev rows; the model carries it."
        )
    return ""


def _beside(result: RunResult) -> tuple[dict[str, ComparedScore], str]:
    """Return what stands beside the scores, by score, and what kind of numbers these are."""
    if result.published:
        return {row.score: row for row in result.published}, "published"
    frozen = {
        name: ComparedScore(
            score=name,
            value=one.value,
            difference=result.scores[name] - one.value,
            verdict="as usual" if abs(result.scores[name] - one.value) <= 3 * one.sd else "unusual",
            table=one.table,
        )
        for name, one in frozen_beside(result).items()
        if one.value is not None and one.sd is not None
    }
    return frozen, "frozen" if frozen else ""


def _headline(scores: Mapping[str, float]) -> list[str]:
    """Return the scores of the first table: all, or the means where there are several languages."""
    means = [name for name in scores if name.partition("/")[0].endswith(".avg")]
    return means or list(scores)


def _score_line(result: RunResult, name: str, row: ComparedScore | None) -> ScoreLine:
    split = name.partition("/")[0]
    count = result.num_examples.get(split) or next((n for one, n in result.num_examples.items() if _same_part(one, split)), None)
    return ScoreLine(
        name=score_title(result.task, name),
        ours=f"{result.scores[name]:.2f}",
        interval=interval_text(result.intervals.get(name)),
        rows=DASH if count is None else f"{count:,}",
        published=DASH if row is None or row.value is None else f"{row.value:.1f}",
        difference=DASH if row is None or row.difference is None else signed(row.difference, 1),
        verdict="" if row is None else row.verdict,
    )


def _same_part(split: str, mean: str) -> bool:
    return mean.endswith(".avg") and split.partition(".")[0] == mean.partition(".")[0]


def _verdict(result: RunResult, word: str) -> str:
    if word == "frozen":
        return "Beside the mean of runs of ours with this recipe on these rows, which is no published number."
    if result.task == TEXT.name:
        return ""  # nobody published a number for these rows
    if result.not_compared:
        return f"Not compared with a published number: {result.not_compared}."
    verdicts = list(dict.fromkeys(row.verdict for row in result.published if row.verdict))
    cells = ", ".join(dict.fromkeys(f"{row.row} in table {row.table}" for row in result.published))
    return f"Beside the published numbers of {cells}: {'; '.join(verdicts)}. One seed decides nothing." if cells else ""


def _languages(result: RunResult, compared: Mapping[str, ComparedScore], word: str) -> list[list[str]]:
    """Return a line for each language with the score of each part, and the number that stands beside the last of them."""
    names = [name.partition("/") for name in result.scores if "." in name.partition("/")[0]]
    if not names:
        return []
    parts = list(dict.fromkeys(split.partition(".")[0] for split, _, _ in names))
    metric = names[0][2]
    lines = [["language", *parts, "95 % interval", *([word, "difference"] if compared else [])]]
    for language in dict.fromkeys(split.partition(".")[2] for split, _, _ in names):
        scores = [result.scores.get(f"{part}.{language}/{metric}") for part in parts]
        last = f"{parts[-1]}.{language}/{metric}"
        line = [
            language,
            *(DASH if one is None else f"{one:.2f}" for one in scores),
            interval_text(result.intervals.get(last), DASH),
        ]
        if compared:
            row = compared.get(last)
            line += [DASH if row is None or row.value is None else f"{row.value:.1f}"]
            line += [DASH if row is None or row.difference is None else signed(row.difference, 1)]
        lines.append(line)
    return lines
