"""The predictions that several runs made of different rows are scored together."""

from typing import Any

from debft.scoring.heads.head import scores_in_percent
from debft.scoring.heads.multilabel import EXTRA
from debft.scoring.intervals import split_intervals
from debft.scoring.outcomes import outcomes_of
from debft.several.summary import Pooled
from debft.tasks import TextClassification


def pooled_scores(task: TextClassification, rows: list[dict[str, Any]], file: str) -> Pooled:
    """Score the rows, which `file` holds and `predictions/<split>.jsonl` of the runs, with the bootstrap over them."""
    metrics = (*task.metrics, *(EXTRA if task.multilabel else ()))
    split, columns = task.evals[0].name, outcomes_of(task, rows)
    scores = scores_in_percent(metrics, columns["prediction"], columns["reference"])
    intervals = split_intervals(columns, list(metrics))
    return Pooled(
        n=len(rows),
        file=file,
        scores={f"{split}/{metric}": score for metric, score in scores.items()},
        intervals={f"{split}/{metric}": low_high for metric, low_high in intervals.items() if low_high is not None},
    )
