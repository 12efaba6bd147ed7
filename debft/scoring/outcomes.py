"""The predictions of a split become numbers of which its scores can be computed for any weights of the rows.

Legend: N rows, C labels.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from debft.scoring.metrics import squad
from debft.tasks import QuestionAnswering, Task


def outcomes_of(task: Task, rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Return the columns that `weighted_score` reads, (N,) each or (N, C). rows: as `predictions/<split>.jsonl` has them.

    Labels are counted in the task's order, so that F1 is that of its label 1. Names that the task does not know, as those of own
    data may be, come after it in their order; the metrics of own data do not depend on it.
    """
    if isinstance(task, QuestionAnswering):
        return {
            "f1": np.array([squad.f1(row["prediction"], row["label"]) for row in rows]),
            "exact_match": np.array([squad.exact_match(row["prediction"], row["label"]) for row in rows]),
            "answerable": np.array([bool(row["label"]) for row in rows]),
        }
    if rows and isinstance(rows[0]["label"], list):
        labels = sorted({label for row in rows for label in (*row["label"], *row["prediction"])})
        return {
            column: np.array([[label in row[name] for label in labels] for row in rows], dtype=bool).reshape(len(rows), -1)
            for column, name in (("reference", "label"), ("prediction", "prediction"))
        }
    columns = {"reference": [row["label"] for row in rows], "prediction": [row["prediction"] for row in rows]}
    if rows and isinstance(rows[0]["label"], float):
        return {name: np.array(values, dtype=np.float64) for name, values in columns.items()}
    others = sorted({*columns["reference"], *columns["prediction"]} - set(task.labels))
    number = {label: i for i, label in enumerate([*task.labels, *others])}
    return {name: np.array([number[value] for value in values]) for name, values in columns.items()}
