"""The rules of the leaderboards: the names of their files, and what breaks the rules in one.

Source of the GLUE format: the FAQ of gluebenchmark.com; file names, label names and the three digits of STS-B as jiant writes them,
nyu-mll/jiant src/evaluate.py _write_glue_preds. Of SQuAD's: evaluate-v2.0.py, which reads `predictions.json` and `na_prob.json`.
"""

import io
import zipfile
from collections.abc import Sequence
from typing import Any

from debft.errors import one_of, shown
from debft.tasks import TextClassification
from debft.tasks.glue import GLUE

# The official file of each test split. Predictions are label names for the tasks of BY_NAME, else the benchmark's numbers.
GLUE_FILES = {
    "cola/test": "CoLA.tsv",
    "sst2/test": "SST-2.tsv",
    "mrpc/test": "MRPC.tsv",
    "stsb/test": "STS-B.tsv",
    "qqp/test": "QQP.tsv",
    "mnli/test_matched": "MNLI-m.tsv",
    "mnli/test_mismatched": "MNLI-mm.tsv",
    "mnli/ax": "AX.tsv",
    "qnli/test": "QNLI.tsv",
    "rte/test": "RTE.tsv",
    "wnli/test": "WNLI.tsv",
}
BY_NAME = ("mnli", "qnli", "rte")
HEADER = "index\tprediction"
ZIP, PREDICTIONS, NA_PROB = "glue.zip", "predictions.json", "na_prob.json"


def check_glue(content: bytes, *, partial: bool) -> list[str]:
    """Return what breaks the rules in a zip's bytes; with `partial` each file may have any number of rows."""
    official = {file: place.split("/") for place, file in GLUE_FILES.items()}
    tasks = {task.name: task for task in GLUE}
    wrong = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        wrong += [f"{ZIP}: {name}: expected each file once" for name in official if names.count(name) > 1]
        for name in names:
            if name not in official:
                wrong.append(f"{ZIP}: {name}: expected {one_of(official)} at the top of the archive")
                continue
            task_name, split_name = official[name]
            split = next(split for split in tasks[task_name].test if split.name == split_name)
            problem, num_rows = _check_glue_file(archive.read(name).decode(errors="replace"), tasks[task_name])
            if not problem and num_rows != split.num_rows and not partial:
                problem = f"expected the benchmark's {split.num_rows:,} rows, got {num_rows:,}"
            wrong += [f"{ZIP}: {name}: {problem}"] if problem else []
    return wrong


def _check_glue_file(text: str, task: TextClassification) -> tuple[str | None, int]:
    """Return (the first thing that breaks the rules, the number of rows)."""
    header, *lines = text.removesuffix("\n").split("\n")
    if header != HEADER:
        return f"expected the header {HEADER!r}, got {header!r}", 0
    allowed = task.labels if task.name in BY_NAME else tuple(str(i) for i in range(len(task.labels)))
    for number, line in enumerate(lines):
        index, tab, prediction = line.partition("\t")
        if not tab or index != str(number):
            return f"line {number + 2}: expected index {number} and a tab, got {line!r}", 0
        if task.value_range is not None:
            lowest, highest = task.value_range
            if not _is_number_within(prediction, lowest, highest):
                return f"line {number + 2}: expected a number from 0 to 5, got {prediction!r}", 0
        elif prediction not in allowed:
            return f"line {number + 2}: expected {one_of(allowed)}, got {prediction!r}", 0
    return None, len(lines)


def _is_number_within(text: str, lowest: float, highest: float) -> bool:
    try:
        return lowest <= float(text) <= highest
    except ValueError:
        return False


def check_squad(predictions: dict[str, Any], na_prob: dict[str, Any] | None, ids: Sequence[str]) -> list[str]:
    """Return what breaks the rules: every question and no other, texts, probabilities from 0 to 1.

    na_prob: the probability that a question has no answer, by its id; None for SQuAD 1.1
    """
    wrong, known = [], set(ids)
    for name, content in ((PREDICTIONS, predictions), (NA_PROB, na_prob)):
        if content is None or content.keys() == known:
            continue
        lacking, unknown = [key for key in ids if key not in content], [key for key in content if key not in known]
        detail = f"{len(lacking):,} are missing, {lacking[0]} first" if lacking else f"{unknown[0]} is none of them"
        wrong.append(f"{name}: expected the {len(ids):,} questions, {detail}")
    wrong += [
        f"{PREDICTIONS}: {key}: expected text, got {shown(text)}" for key, text in predictions.items() if not isinstance(text, str)
    ]
    wrong += [f"{NA_PROB}: {key}: expected 0 to 1, got {shown(p)}" for key, p in (na_prob or {}).items() if not _is_probability(p)]
    return wrong


def _is_probability(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= 1
