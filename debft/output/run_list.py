"""Finished runs are listed: one line each, with what it was, what it has otherwise than the others, and what it scored."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from debft.config.differences import SCORE_KEYS
from debft.config.recipe import value_at
from debft.console import broken, clock
from debft.output.layout import fitted
from debft.output.tables.runs import FinishedRun, find_runs
from debft.output.text import DASH, interval_text
from debft.tasks.titles import score_title

SORTS = ("date", "score", "time")
NAMED = ("task", "model", "train.seed")  # keys that have a column of their own
KEYS_SHOWN = 4  # of what a run has otherwise; --format json has all
NAME_WIDTHS = (48, 40, 32, 28, 24, 20, 16, 12)  # characters of a path in one line; the widest that fits is taken


@dataclass(frozen=True, kw_only=True)
class ListedRun:
    """A run is listed."""

    run: str
    """Its directory."""
    task: str
    """Its task."""
    model: str
    """Its model."""
    seed: int
    """Its seed."""
    score: str
    """`<split>/<metric>` of the score that is shown: the first of the task, or the mean over languages."""
    value: float
    """That score in percent."""
    interval: list[float] | None
    """Its 95 % interval; null where it has none, or an older debft recorded none."""
    rows: int | None
    """Rows that it is over."""
    scores: dict[str, float]
    """All scores."""
    seconds: float
    """Seconds of training and evaluation."""
    finished: str
    """When it was finished, in UTC as ISO 8601 writes it; where the run does not say, when its result was last written."""
    changed: dict[str, Any] = field(default_factory=dict)
    """Keys of the recipe in which it differs from most listed runs of the task, with its values."""


@dataclass(frozen=True, kw_only=True)
class RunList:
    """The runs in the places that a user gave."""

    runs: list[ListedRun]
    """Those that have a result."""
    unfinished: list[str]
    """Directories of those that have none."""
    damaged: list[str]
    """What is wrong with those that cannot be read, one line each."""


def list_runs(places: Sequence[str], sort: str) -> RunList:
    """List the runs in `places`: the newest, the best or the longest one first. Raises InputError where there is none."""
    found = find_runs(places)
    runs = [_listed(run, _changed(run, found.finished)) for run in found.finished]
    key = {"date": lambda run: run.finished, "score": lambda run: run.value, "time": lambda run: run.seconds}[sort]
    return RunList(
        runs=sorted(runs, key=key, reverse=True), unfinished=list(found.unfinished), damaged=list(found.damaged.values())
    )


def _listed(run: FinishedRun, changed: dict[str, Any]) -> ListedRun:
    result = run.result
    score = headline(result.scores)
    split = score.partition("/")[0]
    of_part = [n for name, n in result.num_examples.items() if name == split or _is_mean_of(split, name)]
    return ListedRun(
        run=run.path,
        task=run.task,
        model=run.model,
        seed=run.recipe.train.seed,
        score=score,
        value=result.scores[score],
        interval=result.intervals.get(score),
        rows=of_part[0] if of_part else None,
        scores=result.scores,
        seconds=result.timing.train_seconds + result.timing.eval_seconds,
        finished=result.finished or _written(Path(run.path) / "result.json"),
        changed=changed,
    )


def headline(scores: dict[str, float]) -> str:
    """Return the name of the score that stands for a run: the last mean over languages, else the first score."""
    means = [name for name in scores if name.partition("/")[0].endswith(".avg")]
    return means[-1] if means else next(iter(scores))


def _is_mean_of(split: str, name: str) -> bool:
    return split.endswith(".avg") and name.partition(".")[0] == split.partition(".")[0]


def _written(path: Path) -> str:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")


def _changed(run: FinishedRun, runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """Return the keys in which a run has another value than most runs of its task; where no value is the usual one, its own."""
    others, found = [one.recipe for one in runs if one.task == run.task], {}
    for key in SCORE_KEYS:
        counts = Counter(repr(value_at(recipe, key)) for recipe in others).most_common(2)
        usual = counts[0][0] if len(counts) == 1 or counts[0][1] > counts[1][1] else None
        if key not in NAMED and repr(value_at(run.recipe, key)) != usual:
            found[key] = value_at(run.recipe, key)
    return found


def printed(found: RunList, width: int) -> list[str]:
    """Return the lines for people, none wider than `width`: names are broken where they are long, numbers never."""
    shared = {"model": {run.model for run in found.runs}, "score": {score_title(run.task, run.score) for run in found.runs}}
    same = [f"{name} {next(iter(values))}" for name, values in shared.items() if len(values) == 1 < len(found.runs)]
    own = [name for name, values in shared.items() if f"{name} {next(iter(values), '')}" not in same]
    heading = broken(f"all: {', '.join(same)}", width) if same else []
    return [*heading, *(_table(found.runs, own, width) if found.runs else []), *_below(found, width)]


def _table(runs: Sequence[ListedRun], own: Sequence[str], width: int) -> list[str]:
    """Return the lines of the table, with names as wide as the numbers leave room for."""
    for name_width in NAME_WIDTHS:
        blocks = fitted(_rows(runs, own, name_width), width, turn=False, right=range(1, 6), whole=range(7))
        if len(blocks) == 1:
            break
    return [line.plain for block in blocks for line in block]


def _rows(runs: Sequence[ListedRun], own: Sequence[str], name_width: int) -> list[list[str]]:
    """Return the header and a row for each run. own: what is said of each run, `model` or `score`, as all do not share it."""
    head = ["run", "seed", "percent", "95 % interval", "rows", "time", "date"]
    return [
        head,
        *(
            [
                "\n".join(_named(run, own, name_width)),
                str(run.seed),
                f"{run.value:.2f}",
                interval_text(run.interval, DASH),
                DASH if run.rows is None else f"{run.rows:,}",
                clock(run.seconds),
                run.finished[:10],
            ]
            for run in runs
        ),
    ]


def _named(run: ListedRun, own: Sequence[str], width: int) -> list[str]:
    """Return the path of a run in lines, and below it what it is and has otherwise than the others."""
    below = [text for name, text in (("model", run.model), ("score", score_title(run.task, run.score))) if name in own]
    below += [f"{key.rpartition('.')[2]} {value}" for key, value in list(run.changed.items())[:KEYS_SHOWN]]
    below += [f"and {len(run.changed) - KEYS_SHOWN} more"] if len(run.changed) > KEYS_SHOWN else []
    indented = [f"  {line}" for text in below for line in _broken_name(text, width - 2)]
    return [*_broken_name(run.run, width), *indented]


def _broken_name(name: str, width: int) -> list[str]:
    """Return a name in lines of at most `width` characters, broken behind a slash or a space where there is one."""
    found = [""]
    for part in re.split(r"(?<=[/ ])", name):
        for piece in (part[i : i + width] for i in range(0, len(part), width)):
            if found[-1] and len(found[-1] + piece.rstrip()) > width:
                found.append("")
            found[-1] += piece
    return [line.rstrip() for line in found]


def _below(found: RunList, width: int) -> list[str]:
    named = [("not complete", path) for path in found.unfinished] + [("damaged", line) for line in found.damaged]
    return ["", *(line for what, one in named for line in broken(f"{what}: {one}", width))] if named else []


def as_csv(found: RunList) -> str:
    """Return the runs as CSV with a header; what a run has otherwise is in one cell, `key=value` by `; `."""
    columns = [one.name for one in fields(ListedRun) if one.name not in ("scores", "interval", "changed")]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*columns, "low", "high", "changed"])
    for run in found.runs:
        changed = "; ".join(f"{key}={value}" for key, value in run.changed.items())
        writer.writerow([*(getattr(run, name) for name in columns), *(run.interval or ("", "")), changed])
    return out.getvalue()


def as_dict(found: RunList) -> dict[str, Any]:
    """Return what `--json` prints."""
    return asdict(found)
