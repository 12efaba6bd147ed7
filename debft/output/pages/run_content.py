"""This module puts one run into words and numbers ready to print on its page, from the files of its directory alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from debft.config.differences import SCORE_KEYS
from debft.config.reading import from_dict
from debft.config.recipe import SECTIONS, Recipe, to_dict, value_at
from debft.console import clock
from debft.output.text import DASH, disk_size, interval_text, signed
from debft.published.comparison import frozen_beside
from debft.runs.analysis import AnalysedRow, Analysis, ClassScores, SplitAnalysis
from debft.runs.result import ComparedScore, Lengths, RunResult
from debft.runs.sessions import changes_in_words
from debft.tasks import TEXT
from debft.tasks.titles import score_title, task_title

MOST_LABELS = 12  # rows of a confusion matrix on the page
MOST_SPLITS = 6  # whose rows are listed one by one
MOST_CLASSES = 100  # labels in the table of classes
KINDS = {
    "correct": "correct",
    "boundary": "boundary: overlaps a gold answer, but is not the same",
    "wrong_span": "wrong span: overlaps no gold answer",
    "missed_answer": "missed answer: said to have none",
    "answered_unanswerable": "answered, though there is no answer",
}


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
class Matrix:
    """A confusion matrix, as it is printed."""

    labels: list[str]
    """The labels shown, of rows and columns."""
    rows: list[list[tuple[str, float]]]
    """Count and share of the true label, 0 to 1, by true and predicted label."""
    left_out: int
    """Labels that are not shown, the rare ones."""


@dataclass(frozen=True, kw_only=True)
class ShownRow:
    """One of the worst rows, as it is printed."""

    id: str
    """Its id."""
    texts: list[tuple[str, str]]
    """Its texts by column."""
    label: str
    """What is true."""
    prediction: str
    """What was predicted, with its probability."""
    facts: str
    """Its loss, its tokens and whether it was cut."""


@dataclass(frozen=True, kw_only=True)
class SplitPart:
    """The part of the page on one split."""

    name: str
    """Name of the split."""
    anchor: str
    """Its HTML id."""
    rows: str
    """How many rows it has."""
    loss: str
    """The mean loss of its rows; empty where there is none."""
    classes: list[list[str]]
    """Label, precision, recall, F1, rows, predictions."""
    matrix: Matrix | None
    """The confusion matrix."""
    answers: list[tuple[str, str, str, list[ShownRow]]]
    """Kind in words, count, share and examples."""
    worst: list[ShownRow]
    """The worst rows."""
    analysis: SplitAnalysis
    """What was analysed, for the figures."""


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


def run_content(result: RunResult, analysis: Analysis | None) -> RunContent:
    """Put a run into words. analysis: None for a run of an older debft."""
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
        splits=[_split_part(name, split) for name, split in (analysis.splits if analysis else {}).items()],
        cost=_cost(result),
        data=_data(result),
        fingerprints=list(result.data.fingerprints.items()),
        changed=_changed(recipe),
        recipe=_flat(to_dict(recipe)),
        environment=_environment(result),
    )


def _warnings(result: RunResult) -> list[str]:
    """Return what is odd about the run and its rows, and where it ended early."""
    early = result.stopped_early
    ended = [f"ended after step {early.step:,} of {early.of:,}: {early.reason}"] if early else []
    return [*result.warnings, *ended, *changes_in_words(result.sessions), *map(str, result.data.warnings)]


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


def _split_part(name: str, split: SplitAnalysis) -> SplitPart:
    return SplitPart(
        name=name,
        anchor="split-" + "".join(c if c.isalnum() or c in "-_" else "-" for c in name),
        rows=f"{split.rows:,}",
        loss="" if split.loss is None else f"{split.loss:.4g}",
        classes=[
            [one.label, f"{one.precision:.1f}", f"{one.recall:.1f}", f"{one.f1:.1f}", f"{one.support:,}", f"{one.predicted:,}"]
            for one in _shown_classes(split.classes)
        ],
        matrix=_matrix(split),
        answers=[
            (KINDS[one.kind], f"{one.questions:,}", f"{100 * one.questions / split.rows:.1f} %", list(map(_shown, one.examples)))
            for one in split.answers
        ],
        worst=list(map(_shown, split.worst)),
        analysis=split,
    )


def _shown_classes(classes: Sequence[ClassScores]) -> list[ClassScores]:
    """Return all labels, or of very many those that the model is worst at, of the ones that the rows have."""
    if len(classes) <= MOST_CLASSES:
        return list(classes)
    return sorted(classes, key=lambda one: (not one.support, one.f1, -one.support))[:MOST_CLASSES]


def _matrix(split: SplitAnalysis) -> Matrix | None:
    if not split.confusion:
        return None
    counts = Counter({(cell.label, cell.prediction): cell.rows for cell in split.confusion})
    support = {one.label: one.support for one in split.classes}
    frequent = sorted(support, key=lambda label: -support[label])[:MOST_LABELS]
    labels = [label for label in support if label in frequent]
    rows = [[(f"{counts[t, p]:,}", counts[t, p] / support[t] if support[t] else 0.0) for p in labels] for t in labels]
    return Matrix(labels=labels, rows=rows, left_out=len(support) - len(labels))


def _shown(row: AnalysedRow) -> ShownRow:
    probability = "" if isinstance(row.prediction, list) else row.scores.get(str(row.prediction))
    if probability is None:
        probability = row.scores.get("answer" if row.prediction else "no_answer", "")
    sure = f" ({probability:.2f})" if isinstance(probability, float | int) and not isinstance(row.prediction, float) else ""
    cut = ", longer than what the model reads at once" if row.cut else ""
    return ShownRow(
        id=row.id,
        texts=list(row.texts.items()),
        label=_words(row.label),
        prediction=_words(row.prediction) + sure,
        facts=f"loss {row.loss:.3g}, {row.tokens:,} tokens{cut}",
    )


def _words(value: Any) -> str:
    """Return a label, the labels, the answers or a score as text."""
    if isinstance(value, list):
        return " | ".join(dict.fromkeys(map(str, value))) or "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value) or "no answer"


def _cost(result: RunResult) -> list[tuple[str, str]]:
    timing = result.timing
    return [
        ("steps", f"{result.steps:,}"),
        ("training", f"{clock(timing.train_seconds)}, {timing.examples_per_second:,.0f} examples/s"),
        ("evaluation", clock(timing.eval_seconds)),
        ("tokens trained on", f"{result.num_tokens:,}, {timing.tokens_per_second:,.0f} per second"),
        ("peak memory", disk_size(result.peak_memory_bytes)),
    ]


def _data(result: RunResult) -> list[tuple[str, str]]:
    counts = [("training rows", f"{result.num_train_examples:,}")]
    if result.label_counts:
        counts.append(("training rows by label", ", ".join(f"{label} {n:,}" for label, n in result.label_counts.items())))
    if len(result.num_examples) > MOST_SPLITS:
        counts.append(("evaluated", f"{len(result.num_examples)} splits, {sum(result.num_examples.values()):,} rows"))
    else:
        counts += [(f"rows of {split}", f"{n:,}") for split, n in result.num_examples.items()]
    counts += [(f"skipped rows of {split}", f"{n:,}") for split, n in result.data.skipped_rows.items() if n]
    return [("source", source_in_words(result)), *counts, *_held_out(result), *_lengths(result)]


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


def _changed(recipe: Recipe) -> list[tuple[str, str, str]]:
    """Return the keys that move the score and are not at their default, the task and its data left out."""
    usual = Recipe()
    keys = [key for key in SCORE_KEYS if "." in key and value_at(recipe, key) != value_at(usual, key)]
    return [(key, _value(value_at(recipe, key)), _value(value_at(usual, key))) for key in keys]


def _flat(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    flat = [(key, _value(value)) for key, value in values.items() if key not in SECTIONS]
    return flat + [(f"{name}.{key}", _value(one)) for name in SECTIONS for key, one in values.get(name, {}).items()]


def _value(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _environment(result: RunResult) -> list[tuple[str, str]]:
    facts = {"command": result.command, "started": result.started, "finished": result.finished}
    facts |= {name: value for name, value in result.environment.items() if name != "attention"}
    if result.paths is not None:
        facts["attention"] = result.paths.attention
    return [(name, str(value)) for name, value in facts.items() if value is not None]
