"""This module counts the verdicts of a report and puts them into one line."""

from collections.abc import Collection
from dataclasses import dataclass

from debft.output.pages.records import Report, ReportedTable, RunStatus, VerdictWord
from debft.output.text import plural

VERDICTS: tuple[VerdictWord, ...] = ("reproduced", "above", "below", "undecided", "labelled", "not run")
MEANINGS = {
    "reproduced": "our mean is the same within the tolerance",
    "above": "our mean is higher by more than the tolerance",
    "below": "our mean is lower by more than the tolerance",
    "undecided": "the seeds spread too far, or are too few, to tell",
    "labelled": "not comparable whatever the score, for the reason given",
    "not run": "there is no finished run",
}
UNCOUNTED: tuple[RunStatus, ...] = ("failed", "interrupted", "damaged")  # statuses of runs that stopped or cannot be read
# The symbol carries the verdict or the status where colour does not.
SYMBOLS = {
    "reproduced": "✓",
    "above": "▲",
    "below": "▼",
    "undecided": "○",
    "labelled": "◇",
    "no number": "–",
    "not run": "–",
    "failed": "✗",
    "interrupted": "‖",
    "damaged": "✗",
    "complete": "✓",
}


@dataclass(frozen=True, kw_only=True)
class Count:
    """A count says how many scores have a verdict, or how many runs a status."""

    name: str
    """The verdict or the status."""
    unit: str
    """What is counted, `score` or `runs`, in the number that fits `count`."""
    count: int
    """How many there are."""


def reference_word(table: ReportedTable) -> str:
    """Return `frozen` for numbers that we measured ourselves, which nobody published, else `published`."""
    return "frozen" if table.kind == "measured" else "published"


def meanings(table: ReportedTable, verdicts: Collection[str]) -> list[str]:
    """Explain the words that a table of cells uses, in the order of the verdicts."""
    frozen = "frozen: the mean of earlier runs of ours, kept so that a change is noticed; nobody published it"
    lines = [frozen] if table.kind == "measured" else []
    return lines + [f"{word}: {MEANINGS[word]}" for word in VERDICTS if word in verdicts]


def count_verdicts(report: Report) -> list[Count]:
    """Count the verdicts over the scores that have a number in the table, then the runs that failed, stopped or are damaged.

    Every verdict is there, and `failed`; the other statuses only where a run has them.
    """
    verdicts = [cell.verdict for cell in report.cells if cell.value is not None]
    statuses = [run.status for run in report.runs]
    scores = [_count(name, "score", verdicts.count(name)) for name in VERDICTS]
    runs = [_count(name, "run", statuses.count(name)) for name in UNCOUNTED]
    return [*scores, *(entry for entry in runs if entry.count or entry.name == "failed")]


def _count(name: str, unit: str, count: int) -> Count:
    return Count(name=name, unit=plural(unit, count), count=count)


def summary_line(counts: list[Count]) -> str:
    """Return one line such as `9 of 14 scores reproduced, 1 above, 2 below, 2 not run; 1 run failed`."""
    by_name = {entry.name: entry.count for entry in counts}
    total = sum(by_name[name] for name in VERDICTS)
    parts = [f"{by_name['reproduced']} of {total} {plural('score', total)} reproduced"]
    parts += [f"{by_name[name]} {name}" for name in VERDICTS[1:] if by_name[name]]
    stopped = [f"{entry.count} {entry.unit} {entry.name}" for entry in counts if entry.name in UNCOUNTED and entry.count]
    return "; ".join([", ".join(parts), *stopped])


def why_no_scores(report: Report) -> str | None:
    """Return why there is no score of ours at all, None where there is one."""
    if any(cell.mean is not None for cell in report.cells):
        return None
    started = any(run.status != "not run" for run in report.runs)
    why = "No run has ended with a score yet" if started else "Nothing was run yet"
    return f"{why}, so there are no scores of ours; the table lists what will be compared."
