"""This module writes the files for the leaderboards, checked against their rules before anyone uploads them."""

import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from debft.console import put, say
from debft.data.examples import Examples
from debft.data.load import load_table
from debft.data.rows import check_rows, check_texts
from debft.data.sources.table import DataTable
from debft.errors import DebftError, InputError, one_of, shown
from debft.output.leaderboard_rules import BY_NAME, GLUE_FILES, HEADER, NA_PROB, PREDICTIONS, ZIP, check_glue, check_squad
from debft.output.use import describe_use, preview
from debft.runs.directory import RunDirectory
from debft.runs.storage import write_atomically, write_together
from debft.scoring.inference import assess, predict
from debft.scoring.loading import load_predictor
from debft.scoring.rows import TrainedOn
from debft.scoring.used_model import find_used_model, recipe_of
from debft.tasks import QuestionAnswering, Split, Task, TextClassification, task_of

NUMBERS = ("index", "idx", "id")  # columns that give the benchmark's number of a row, in its own files and in the hub's


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


def submit(runs: list[str], data: str | None, output: Path, *, partial: bool, precision: str, dry_run: bool = False) -> Submission:
    """Predict the test rows of each run's task and write them into `output` as the leaderboard takes them.

    GLUE runs, one per task, go into one zip; a SQuAD run gives predictions.json, and for SQuAD 2.0 na_prob.json, for the dev
    questions (the test questions are hidden). `partial`: also write what is not of the benchmark's rows or not of all of them.
    dry_run: check all rows and say what would be written, with no model.
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
        return _submit_glue(submitted, output, partial, precision, dry_run)
    if len(submitted) > 1:
        raise InputError(f"{' '.join(runs)}: expected GLUE runs or one SQuAD run, got {one_of(names)}; submit them apart")
    return _submit_squad(submitted[0], output, partial, precision, dry_run)


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


def _submit_glue(runs: list[_SubmittedRun], output: Path, partial: bool, precision: str, dry_run: bool) -> Submission:
    """Write the zip of all GLUE runs.

    Models are loaded one at a time, since the nine together may not fit into memory, and none before all rows are there.
    """
    rows = [[_test_rows(run, split) for split in run.task.test] for run in runs]
    others = [_other_rows(run, test.split, test.examples) for run, tests in zip(runs, rows, strict=True) for test in tests]
    notes = _settle([line for line in others if line], partial)
    if dry_run:
        for run, tests in zip(runs, rows, strict=True):
            _preview(run, {test.split.name: test.examples for test in tests}, precision)
        return _not_written(output / ZIP, notes)
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
    task = run.task
    assert isinstance(task, TextClassification), "GLUE asks for labels and scores"
    predictor = load_predictor(run.path, None, precision)
    files, rows = {}, predict(predictor, {test.split.name: test.examples for test in tests})
    for test in tests:
        numbered = zip(test.numbers, rows[test.split.name], strict=True)
        predictions = {number: _official(task, row["prediction"]) for number, row in numbered}
        lines = [HEADER, *(f"{number}\t{predictions[number]}" for number in sorted(predictions))]
        files[GLUE_FILES[f"{run.task.name}/{test.split.name}"]] = "\n".join(lines) + "\n"
    return files


def _official(task: TextClassification, prediction: Any) -> str:
    """Return a prediction as the leaderboard reads it: a score within the range of the task, a label's name or its number."""
    if task.value_range is not None:
        lowest, highest = task.value_range
        return f"{min(max(lowest, prediction), highest):.3f}"
    return prediction if task.name in BY_NAME else str(task.labels.index(prediction))


def _preview(run: _SubmittedRun, examples: dict[str, Examples], precision: str) -> None:
    """Say what the run would be asked, and encode the rows."""
    used = find_used_model(run.path, None)
    describe_use(used, run.test_source, examples)
    preview(used, examples, precision, "auto")


def _not_written(file: Path, notes: list[str]) -> Submission:
    return Submission(files=(), notes=(*notes, f"no model ran, {file} was not written (--dry-run)"))


def _zip(members: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in GLUE_FILES.values():
            if name in members:
                archive.writestr(name, members[name])
    return buffer.getvalue()


def _submit_squad(run: _SubmittedRun, output: Path, partial: bool, precision: str, dry_run: bool) -> Submission:
    (split,) = run.task.evals
    examples = check_rows(load_table(run.task, split, run.test_source), run.task)
    other = _other_rows(run, split, examples)
    notes = _settle([other] if other else [], partial)
    if dry_run:
        _preview(run, {split.name: examples}, precision)
        return _not_written(output / PREDICTIONS, notes)
    assessment = assess(load_predictor(run.path, None, precision), {split.name: examples})[split.name]
    files = {name: assessment.files[name] for name in (PREDICTIONS, NA_PROB) if name in assessment.files}
    if wrong := check_squad(files[PREDICTIONS], files.get(NA_PROB), examples.ids):
        raise DebftError(*wrong)
    write_together(output, {name: (json.dumps(content, ensure_ascii=False) + "\n").encode() for name, content in files.items()})
    scores = ", ".join(f"{name} {assessment.scores[name]:.2f}" for name in run.task.metrics)
    notes.append(f"{len(examples):,} questions of {examples.source}: {scores}")
    return Submission(files=tuple(output / name for name in files), notes=(*notes, *_trained_on_demo([run])))


def print_submission(submission: Submission) -> None:
    """Say the notes, and print the paths of the files on stdout."""
    for note in submission.notes:
        say(note)
    for path in submission.files:
        put(path)
