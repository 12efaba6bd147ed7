"""This module writes the files for the leaderboards, checked against their rules before anyone uploads them.

Source of the GLUE format: the FAQ of gluebenchmark.com; file names, label names and the three digits of STS-B as jiant writes them,
nyu-mll/jiant src/evaluate.py _write_glue_preds. Of SQuAD's: evaluate-v2.0.py, which reads `predictions.json` and `na_prob.json`.
"""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debft.console import say
from debft.data.load import load_table
from debft.data.rows import Examples, check_rows, check_texts
from debft.data.sources.table import DataTable
from debft.errors import DebftError, InputError, one_of, shown
from debft.runs.directory import RunDirectory
from debft.runs.storage import write_atomically, write_together
from debft.scoring.inference import assess, predict
from debft.scoring.loading import load_predictor
from debft.scoring.rows import TrainedOn
from debft.scoring.used_model import recipe_of
from debft.tasks import TASKS, QuestionAnswering, Split, Task, TextClassification, task_of

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
NUMBERS = ("index", "idx", "id")  # columns that give the benchmark's number of a row, in its own files and in the hub's
ZIP, PREDICTIONS, NA_PROB = "glue.zip", "predictions.json", "na_prob.json"


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A submission names the files that were written for a leaderboard."""

    files: tuple[Path, ...]
    """Their paths."""
    notes: tuple[str, ...]
    """What a reader should know before uploading them."""


@dataclass(frozen=True, kw_only=True)
class _SubmittedRun:
    """A submitted run is known before its model is loaded."""

    path: str
    """Its directory, as the user gave it."""
    task: Task
    """Its task."""
    trained_on: str
    """Where its training rows came from: hub, demo or a directory."""
    test_source: str
    """Where its test rows come from: hub, demo or a directory."""


@dataclass(frozen=True, kw_only=True)
class _TestRows:
    """These are the rows behind one official file."""

    split: Split
    """The test split."""
    examples: Examples
    """Its rows."""
    numbers: list[int]
    """The benchmark's number of each row."""


def submit(runs: list[str], data: str | None, output: Path, *, partial: bool, precision: str) -> Submission:
    """Predict the test rows of each run's task and write them into `output` as the leaderboard takes them.

    GLUE runs, one per task, go into one zip; a SQuAD run gives predictions.json, and for SQuAD 2.0 na_prob.json, for the dev
    questions (the test questions are hidden). `partial`: also write what is not of the benchmark's rows or not of all of them.
    Raises InputError for two runs of one task, a task without a leaderboard, or other rows than the benchmark's.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"--output {output}: expected an empty directory or none; choose another --output")
    submitted = [_open(run, data) for run in runs]
    names = [run.task.name for run in submitted]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{' '.join(runs)}: expected one run per task, got {names.count(twice)} of {twice}")
    if not any(isinstance(run.task, QuestionAnswering) for run in submitted):
        return _submit_glue(submitted, output, partial, precision)
    if len(submitted) > 1:
        raise InputError(f"{' '.join(runs)}: expected GLUE runs or one SQuAD run, got {one_of(names)}; submit them apart")
    return _submit_squad(submitted[0], output, partial, precision)


def _open(path: str, data: str | None) -> _SubmittedRun:
    if data == "":
        raise InputError("--data: expected hub, demo or a directory, got ''")
    run = RunDirectory(Path(path))
    if not run.exists():
        raise InputError(f"{path}: expected a run directory, found no recipe.yaml in it")
    recipe = recipe_of(run)
    task = task_of(recipe.task or "", recipe.languages)
    if not task.test and not isinstance(task, QuestionAnswering):
        raise InputError(f"{path}: expected a GLUE or SQuAD run, {task.name} has no leaderboard")
    source = data or TrainedOn(recipe=recipe, split=run.split()).source
    return _SubmittedRun(path=path, task=task, trained_on=recipe.data, test_source=source)


def _submit_glue(runs: list[_SubmittedRun], output: Path, partial: bool, precision: str) -> Submission:
    """Write the zip of all GLUE runs.

    Models are loaded one at a time, since the nine together may not fit into memory, and none before all rows are there.
    """
    rows = [[_test_rows(run, split) for split in run.task.test] for run in runs]
    others = [_other_rows(run, test.split, test.examples) for run, tests in zip(runs, rows, strict=True) for test in tests]
    notes = _settle([line for line in others if line], partial)
    members: dict[str, str] = {}
    for run, tests in zip(runs, rows, strict=True):
        members |= _predicted(run, tests, precision)
    content = _zip(members)
    if wrong := check_glue(content, partial=partial):
        raise DebftError(*wrong)
    write_atomically(output / ZIP, content)
    if missing := [name for name in GLUE_FILES.values() if name not in members]:
        notes.append(f"the leaderboard asks for every task; missing: {one_of(missing)}")
    return Submission(files=(output / ZIP,), notes=(*notes, *_trained_on_demo(runs)))


def _test_rows(run: _SubmittedRun, split: Split) -> _TestRows:
    table = load_table(run.task, split, run.test_source)
    return _TestRows(split=split, examples=check_texts(table, run.task), numbers=_numbers(table))


def _numbers(table: DataTable) -> list[int]:
    """Return the benchmark's number of each row: the first column of NUMBERS that is there, else its place in the file, from 0.

    Raises InputError where that column does not number the rows: their places in the benchmark are then not known.
    """
    column = next((name for name in NUMBERS if name in table.columns), None)
    if column is None:
        return list(range(len(table)))
    unused = {form: row for row in range(len(table)) for form in (str(row), f"{row}.0")}
    numbers = []
    for line, value in zip(table.lines, table.columns[column], strict=True):
        number = unused.get(str(value))
        if number is None:
            raise InputError(
                f"{table.path}:{line}: {column}: expected each of 0 to {len(table) - 1} once, the benchmark's numbers of its rows, "
                f"got {shown(value)}; without the column they are numbered as they stand"
            )
        del unused[str(number)], unused[f"{number}.0"]
        numbers.append(number)
    return numbers


def _other_rows(run: _SubmittedRun, split: Split, examples: Examples) -> str | None:
    """Return what tells the rows from the benchmark's; None where nothing does."""
    if run.test_source == "demo":
        return f"{examples.source}: expected the benchmark's {split.num_rows:,} {split.name} rows, got {len(examples):,} demo rows"
    if len(examples) != split.num_rows:
        return f"{examples.source}: expected the benchmark's {split.num_rows:,} {split.name} rows, got {len(examples):,}"
    return None


def _settle(others: list[str], partial: bool) -> list[str]:
    """Return notes on what is written nevertheless. Raises InputError without `partial`."""
    if others and not partial:
        raise InputError(*(f"{line}; give other --data, or --partial to write the files all the same" for line in others))
    return [f"{line}; this is no submission" for line in others]


def _trained_on_demo(runs: list[_SubmittedRun]) -> list[str]:
    return [f"{run.path}: was trained on demo rows" for run in runs if run.trained_on == "demo"]


def _predicted(run: _SubmittedRun, tests: list[_TestRows], precision: str) -> dict[str, str]:
    """Predict the official files of a run's task; return their content by name."""
    predictor = load_predictor(run.path, None, precision)
    files, rows = {}, predict(predictor, {test.split.name: test.examples for test in tests})
    for test in tests:
        numbered = zip(test.numbers, rows[test.split.name], strict=True)
        predictions = {number: _official(run.task, row["prediction"]) for number, row in numbered}
        lines = [HEADER, *(f"{number}\t{predictions[number]}" for number in sorted(predictions))]
        files[GLUE_FILES[f"{run.task.name}/{test.split.name}"]] = "\n".join(lines) + "\n"
    return files


def _official(task: TextClassification, prediction: Any) -> str:
    """Return a prediction as the leaderboard reads it: a score within the range of the task, a label's name or its number."""
    if task.is_regression:
        lowest, highest = task.value_range
        return f"{min(max(lowest, prediction), highest):.3f}"
    return prediction if task.name in BY_NAME else str(task.labels.index(prediction))


def _zip(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in GLUE_FILES.values():
            if name in members:
                archive.writestr(name, members[name])
    return buffer.getvalue()


def check_glue(content: bytes, *, partial: bool) -> list[str]:
    """Return what breaks the rules in a zip's bytes; with `partial` each file may have any number of rows."""
    official = {file: place.split("/") for place, file in GLUE_FILES.items()}
    wrong = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        wrong += [f"{ZIP}: {name}: expected each file once" for name in official if names.count(name) > 1]
        for name in names:
            if name not in official:
                wrong.append(f"{ZIP}: {name}: expected {one_of(official)} at the top of the archive")
                continue
            task_name, split_name = official[name]
            split = next(split for split in TASKS[task_name].test if split.name == split_name)
            problem, num_rows = _check_glue_file(archive.read(name).decode(errors="replace"), TASKS[task_name])
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
        if task.is_regression:
            if not _is_number_within(prediction, *task.value_range):
                return f"line {number + 2}: expected a number from 0 to 5, got {prediction!r}", 0
        elif prediction not in allowed:
            return f"line {number + 2}: expected {one_of(allowed)}, got {prediction!r}", 0
    return None, len(lines)


def _is_number_within(text: str, lowest: float, highest: float) -> bool:
    try:
        return lowest <= float(text) <= highest
    except ValueError:
        return False


def _submit_squad(run: _SubmittedRun, output: Path, partial: bool, precision: str) -> Submission:
    (split,) = run.task.evals
    examples = check_rows(load_table(run.task, split, run.test_source), run.task)
    other = _other_rows(run, split, examples)
    notes = _settle([other] if other else [], partial)
    assessment = assess(load_predictor(run.path, None, precision), {split.name: examples})[split.name]
    files = {name: assessment.files[name] for name in (PREDICTIONS, NA_PROB) if name in assessment.files}
    if wrong := check_squad(files[PREDICTIONS], files.get(NA_PROB), examples.ids):
        raise DebftError(*wrong)
    write_together(output, {name: (json.dumps(content, ensure_ascii=False) + "\n").encode() for name, content in files.items()})
    scores = ", ".join(f"{name} {assessment.scores[name]:.2f}" for name in run.task.metrics)
    notes.append(f"{len(examples):,} questions of {examples.source}: {scores}")
    return Submission(files=tuple(output / name for name in files), notes=(*notes, *_trained_on_demo([run])))


def check_squad(predictions: dict[str, Any], na_prob: dict[str, Any] | None, ids: list[str]) -> list[str]:
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


def print_submission(submission: Submission) -> None:
    """Say the notes, and print the paths of the files on stdout."""
    for note in submission.notes:
        say(note)
    for path in submission.files:
        print(path)
