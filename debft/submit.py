"""Files for the leaderboards, checked against their rules before anyone uploads them.

Source of the GLUE format: the FAQ of gluebenchmark.com and its sample submission; of SQuAD's: evaluate-v2.0.py, which reads
`predictions.json` and `na_prob.json`.
"""

import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debft.cache import write_atomically
from debft.data import load_table
from debft.data.checks import check_rows, check_texts
from debft.errors import InputError, one_of
from debft.inference import Predictor, assess, load_predictor, predict
from debft.progress import say
from debft.tasks import TASKS, QuestionAnswering, Split, Task, TextClassification

# Of each test split: the official file. Predictions are numbers for the first group of tasks, label names for the others.
GLUE_FILES = {
    "cola/test": "CoLA.tsv", "sst2/test": "SST-2.tsv", "mrpc/test": "MRPC.tsv", "stsb/test": "STS-B.tsv", "qqp/test": "QQP.tsv",
    "mnli/test_matched": "MNLI-m.tsv", "mnli/test_mismatched": "MNLI-mm.tsv", "mnli/ax": "AX.tsv", "qnli/test": "QNLI.tsv",
    "rte/test": "RTE.tsv", "wnli/test": "WNLI.tsv",
}  # fmt: skip
BY_NAME = ("mnli", "qnli", "rte")
HEADER = "index\tprediction"
ZIP, PREDICTIONS, NA_PROB = "glue.zip", "predictions.json", "na_prob.json"


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What was written. notes: what a reader should know before uploading it."""

    files: tuple[Path, ...]
    notes: tuple[str, ...]


def submit(runs: list[str], data: str | None, output: Path, *, partial: bool, precision: str) -> Submission:
    """Predict the test rows of each run's task and write them into `output` as the leaderboard takes them.

    GLUE runs, one per task, go into one zip; a SQuAD run gives predictions.json and na_prob.json for the dev questions (the test
    questions are hidden). `partial`: also write what the leaderboard would refuse for lack of rows.
    Raises InputError for two runs of one task, a task without a leaderboard, or files that break the rules.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"--output {output}: expected an empty directory or none; choose another --output")
    predictors = [load_predictor(run, None, precision) for run in runs]
    names = [predictor.task.name for predictor in predictors]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{' '.join(runs)}: expected one run per task, got two of {twice}")
    if any(isinstance(predictor.task, QuestionAnswering) for predictor in predictors):
        if len(predictors) > 1:
            raise InputError(f"{' '.join(runs)}: expected one SQuAD run, or GLUE runs, got both; submit them one after the other")
        return _submit_squad(predictors[0], data, output)
    return _submit_glue(predictors, data, output, partial)


def _submit_glue(predictors: list[Predictor], data: str | None, output: Path, partial: bool) -> Submission:
    members = {}
    for predictor in predictors:
        task = predictor.task
        if not task.test:
            raise InputError(f"{predictor.files.path}: expected a GLUE or SQuAD run, {task.name} has no leaderboard file format")
        for split in task.test:
            examples = check_texts(load_table(task, split, data or predictor.data or "hub"), task)
            rows = predict(predictor, examples, split.name)
            members[GLUE_FILES[f"{task.name}/{split.name}"]] = _glue_file(task, rows)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    wrong, short = check_glue(buffer.getvalue())
    if wrong or (short and not partial):
        advice = [] if wrong else ["--partial writes the zip all the same; the leaderboard refuses it"]
        raise InputError(*wrong, *short, *advice)
    write_atomically(output / ZIP, buffer.getvalue())
    missing = [name for name in GLUE_FILES.values() if name not in members]
    notes = [*short, *([f"the leaderboard asks for every task; missing: {one_of(missing)}"] if missing else [])]
    return Submission(files=(output / ZIP,), notes=tuple(notes))


def _glue_file(task: TextClassification, rows: Iterable[dict[str, Any]]) -> str:
    """`index<TAB>prediction` lines: rows are counted from 0, scores lie in the range of the task."""
    lines = [HEADER]
    for index, row in enumerate(rows):
        said = row["prediction"]
        if task.is_regression:
            lowest, highest = task.value_range
            said = f"{min(max(said, lowest), highest):.3f}"
        elif task.name not in BY_NAME:
            said = task.labels.index(said)
        lines.append(f"{index}\t{said}")
    return "\n".join(lines) + "\n"


def check_glue(content: bytes) -> tuple[list[str], list[str]]:
    """(what breaks the rules, which files have another number of rows than the benchmark) of a zip's bytes."""
    official = {file: place.split("/") for place, file in GLUE_FILES.items()}
    wrong, short = [], []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            if name not in official:
                wrong.append(f"{ZIP}: {name}: expected one of {one_of(official)}, at the top of the archive")
                continue
            task_name, split_name = official[name]
            split = next(split for split in TASKS[task_name].test if split.name == split_name)
            problem, num_rows = _check_glue_file(archive.read(name).decode(), TASKS[task_name])
            if problem:
                wrong.append(f"{ZIP}: {name}: {problem}")
            elif num_rows != split.num_rows:
                short.append(f"{ZIP}: {name}: expected the benchmark's {split.num_rows:,} test rows, got {num_rows:,}")
    return wrong, short


def _check_glue_file(text: str, task: TextClassification) -> tuple[str | None, int]:
    """(the first thing that breaks the rules, rows)."""
    header, *lines = text.removesuffix("\n").split("\n")
    if header != HEADER:
        return f"expected the header {HEADER!r}, got {header!r}", 0
    allowed = task.labels if task.name in BY_NAME else tuple(str(i) for i in range(len(task.labels)))
    for number, line in enumerate(lines):
        index, tab, said = line.partition("\t")
        if not tab or index != str(number):
            return f"line {number + 2}: expected index {number} and a tab, got {line!r}", 0
        if task.is_regression:
            if not _is_number_within(said, *task.value_range):
                return f"line {number + 2}: expected a number from 0 to 5, got {said!r}", 0
        elif said not in allowed:
            return f"line {number + 2}: expected {one_of(allowed)}, got {said!r}", 0
    return None, len(lines)


def _is_number_within(text: str, lowest: float, highest: float) -> bool:
    try:
        return lowest <= float(text) <= highest
    except ValueError:
        return False


def _submit_squad(predictor: Predictor, data: str | None, output: Path) -> Submission:
    task, source = predictor.task, data or predictor.data or "hub"
    (split,) = task.evals
    examples = check_rows(load_table(task, split, source), task)
    assessment = assess(predictor, examples, split.name)
    files = {name: content for name, content in assessment.files.items() if name in (PREDICTIONS, NA_PROB)}
    if wrong := check_squad(files[PREDICTIONS], files.get(NA_PROB), examples.ids):
        raise InputError(*wrong)
    for name, content in files.items():
        write_atomically(output / name, (json.dumps(content, ensure_ascii=False) + "\n").encode())
    scores = ", ".join(f"{name} {assessment.scores[name]:.2f}" for name in task.metrics)
    notes = [f"{len(examples):,} questions of {examples.source}: {scores}", *_other_rows(task, split, len(examples))]
    return Submission(files=tuple(output / name for name in files), notes=tuple(notes))


def _other_rows(task: Task, split: Split, num_rows: int) -> list[str]:
    if num_rows == split.num_rows:
        return []
    return [f"the benchmark's {split.name} has {split.num_rows:,} questions: this is no submission for {task.name}"]


def check_squad(predictions: dict[str, Any], na_prob: dict[str, Any] | None, ids: list[str]) -> list[str]:
    """What breaks the rules: every question once, texts, probabilities from 0 to 1."""
    wrong = []
    for name, content in ((PREDICTIONS, predictions), (NA_PROB, na_prob)):
        if content is not None and list(content) != ids:
            lacking = [identity for identity in ids if identity not in content]
            detail = f"{len(lacking):,} are missing, {lacking[0]} first" if lacking else f"got {len(content):,}"
            wrong.append(f"{name}: expected each of {len(ids):,} questions once, {detail}")
    no_text = {key: said for key, said in predictions.items() if not isinstance(said, str)}
    wrong += [f"{PREDICTIONS}: {key}: expected text, got {said!r}" for key, said in no_text.items()]
    wrong += [f"{NA_PROB}: {key}: expected 0 to 1, got {p!r}" for key, p in (na_prob or {}).items() if not 0 <= p <= 1]
    return wrong


def print_submission(submission: Submission) -> None:
    for note in submission.notes:
        say(note)
    for path in submission.files:
        print(path)
