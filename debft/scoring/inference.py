"""A fine-tuned model at work: score the dev splits, label new texts. No training, no run directory is changed."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from debft.config.recipe import Recipe, TrainConfig
from debft.console import say
from debft.data.load import absent_languages, load_table, present
from debft.data.rows import Examples, check_rows, check_texts, say_skipped
from debft.data.sources.files import Table, decoded, lists_of_objects, read_table, read_text
from debft.data.sources.foreign import header_for, in_task_columns
from debft.data.sources.own import own_task_of_model
from debft.errors import InputError, did_you_mean
from debft.models.files import ModelFiles, find_model
from debft.models.json_files import read_config
from debft.models.outputs import are_numbers, output_names
from debft.models.settings import USE_ANSWERS, USE_TEXTS, read_settings, use_config
from debft.runs.directory import RunDirectory
from debft.runtime.devices import build_accelerator, check_precision, micro_batch_tokens
from debft.scoring.evaluation import scores_of
from debft.scoring.heads import Assessment
from debft.scoring.loaded import load_model
from debft.scoring.predictor import Predictor
from debft.tasks import TASKS, TEXT, Task, TextClassification, task_of
from debft.tasks.rules import check_lengths

ROWS_AT_ONCE = 1000  # of a file that is labelled: results come out while it is read


def recipe_of(run: RunDirectory) -> Recipe:
    """Of a run that has come to its end. Raises InputError for one that has no model yet, or not the one it wrote."""
    if not (run.model / "config.json").is_file():
        raise InputError(f"{run.path}: expected a complete run with a model/, found none; finish it with --resume")
    if (result := run.result()) is not None:
        run.check_model(result)
    return run.recipe()


def load_predictor(run_or_model: str, task_name: str | None, precision: str) -> Predictor:
    """From a run directory, or from a fine-tuned model, whose config.json names its task, or else `task_name` does.

    precision: `auto` is that in which the model was trained, where it says so and this machine has it

    Raises InputError where the task is not known or the model has no head for it.
    """
    run = RunDirectory(Path(run_or_model))
    recipe = recipe_of(run) if run.exists() else None
    if not run.path.exists() and "/" in run_or_model and run.path.parent.is_dir():  # a path, not the name of a model on the hub
        raise InputError(f"{run_or_model}: no such run or model directory")
    files = find_model(str(run.model) if recipe is not None else run_or_model, from_scratch=False)
    settings = read_settings(files)
    own = settings.get("task")
    if None not in (own, task_name) and own != task_name:
        raise InputError(f"--task {task_name}: {run_or_model} is a model of {own}; leave --task out")
    name = own or task_name
    if name is None:
        raise InputError(f"{run_or_model}: expected a run directory, or --task for a model; {did_you_mean('', TASKS)[2:]}")
    if name not in TASKS:
        raise InputError(f"--task: unknown task '{name}'{did_you_mean(name, TASKS)}")
    if recipe is not None:  # of a run of an earlier version, whose model does not carry all of it yet
        settings = {key: getattr(recipe.train, key) for key in (*USE_TEXTS, *USE_ANSWERS)} | settings
    config, runtime = use_config(files, settings)
    task = (
        _own_texts(files, config, foreign=own is None) if name == TEXT.name else task_of(name, recipe.train if recipe else config)
    )
    if own is None and isinstance(task, TextClassification):
        _check_outputs(files, task)
    check_lengths(task, config, f"{files.path / 'config.json'}: debft.")
    if recipe is not None:
        config = replace(config, skip_bad_rows=recipe.train.skip_bad_rows)
    runtime = replace(runtime, precision=_precision(precision, runtime.precision))
    accelerator, _ = build_accelerator(runtime.precision)
    loaded = load_model(files, task, config, accelerator.device, threshold=settings.get("no_answer_threshold", 0.0))
    return Predictor(
        loaded=replace(loaded, model=accelerator.prepare_model(loaded.model, evaluation_mode=True)),
        data=recipe.data if recipe is not None else None,
        config=config,
        accelerator=accelerator,
        micro_batch_tokens=micro_batch_tokens(runtime.micro_batch_tokens, accelerator.device),
    )


def _precision(asked: str, trained: str) -> str:
    """What to compute in: as asked for, else as the model was trained, else, where this machine lacks that, what it has."""
    if asked != "auto":
        return asked
    try:
        return check_precision(trained)
    except InputError:
        say(f"the model was trained in {trained}, which this machine lacks: {check_precision('auto')} is used")
        return "auto"


def _own_texts(files: ModelFiles, config: TrainConfig, *, foreign: bool) -> TextClassification:
    """The task of a model of own texts. foreign: saved by another program; its outputs' names and number are all that it says."""
    names = output_names(files)
    if not foreign:
        return own_task_of_model(config, names)
    if len(names) == 1 or read_config(files.path).get("problem_type") == "regression":
        return own_task_of_model(replace(config, problem="regression"), names)
    return replace(own_task_of_model(config, names), numbered=are_numbers(names))


def _check_outputs(files: ModelFiles, task: TextClassification) -> None:
    """Tell what is taken for granted about a model of another program whose outputs have no names.

    Raises InputError for one that gives each text any number of labels.
    """
    where, names = files.path / "config.json", output_names(files)
    if read_config(files.path).get("problem_type") == "multi_label_classification":
        raise InputError(f"{where}: problem_type: expected one label for each text, got multi_label_classification")
    if task.is_regression or not are_numbers(names):
        return
    if task.name == TEXT.name:
        say(f"{where}: names no labels: the outputs are called {', '.join(names)}, and 0, 1, ... in a file of labels are theirs")
    elif len(names) == len(task.labels):
        say(
            f"{where}: names no labels: its outputs are taken for {', '.join(task.labels)}, in the order of {task.name}, which may "
            "not be that of the model; where it is not, name them in id2label"
        )


def evaluate(predictor: Predictor, data: str | None, limit: int | None = None) -> dict[str, Any]:
    """task, model, data, scores in percent by `<split>/<metric>`, num_examples and skipped_rows by split; `data` as in a recipe."""
    if data == "":
        raise InputError("--data: expected hub, demo or a directory, got ''")
    task, source = predictor.loaded.task, data or predictor.data or "hub"
    evals, skip = present(task, source).evals, predictor.config.skip_bad_rows
    if lacking := absent_languages(task, evals) if task.some_evals_suffice else []:
        say(f"no rows of {', '.join(lacking)} in {source}: evaluated on the others")
    examples = {split.name: check_rows(load_table(task, split, source), task, limit, skip=skip) for split in evals}
    say_skipped(examples)
    assessed = {name: assess(predictor, rows, name) for name, rows in examples.items()}
    return {
        "task": task.name,
        "model": str(predictor.loaded.files.path),
        "data": source,
        "scores": scores_of(task, assessed),
        "num_examples": {name: len(rows) for name, rows in examples.items()},
        "skipped_rows": {name: len(rows.skipped) for name, rows in examples.items()},
    }


def assess(predictor: Predictor, examples: Examples, what: str) -> Assessment:
    """Scores and predictions of rows with labels."""
    split = predictor.loaded.head.prepare(predictor.encode(examples, what, cached=True))
    return predictor.loaded.head.assess(predictor.logits(split, what), split, examples)


def predict(predictor: Predictor, examples: Examples, what: str) -> list[dict[str, Any]]:
    """Predictions of rows without labels."""
    split = predictor.encode(examples, what, cached=False)
    return predictor.loaded.head.predict(predictor.logits(split, what), split, examples)


def label(predictor: Predictor, file: str) -> Iterator[dict[str, Any]]:
    """id, prediction and scores of each row of a JSONL or other table, or of stdin (`-`); the label is not needed."""
    table = _stdin(predictor.loaded.task) if file == "-" else _file(Path(file), predictor.loaded.task)
    examples = check_texts(table, predictor.loaded.task)
    for start in range(0, len(examples), ROWS_AT_ONCE):
        part = examples.part(start, start + ROWS_AT_ONCE)
        yield from predict(predictor, part, "rows")


def _json_lines(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False)


def _tsv_lines(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    """A header, then a line per row; a score has a column of its own. A tab or line end in a text is written as \\t or \\n."""
    for number, row in enumerate(rows):
        cells = [*((key, value) for key, value in row.items() if key != "scores"), *row["scores"].items()]
        if not number:
            yield "\t".join(name.translate(_ESCAPES) for name, _ in cells)
        yield "\t".join("" if value is None else str(value).translate(_ESCAPES) for _, value in cells)


_ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"})
FORMATS = {"jsonl": _json_lines, "tsv": _tsv_lines}


def _file(path: Path, task: Task) -> Table:
    if not path.is_file():
        raise InputError(f"{path}: expected a file with the columns of the task, or - for stdin; found none")
    return in_task_columns(read_table(path, header_for(task)), task)


def _stdin(task: Task) -> Table:
    """JSONL, JSON, or TSV with a header line, by how it begins."""
    if sys.stdin.isatty():
        say("reading from the terminal: one JSON object per line, Ctrl-D to end")
    path = Path("stdin")
    text = decoded(path, sys.stdin.buffer.read())
    begin = text.lstrip()[:1]
    if begin not in ("{", "["):
        table = read_text(path, text, ".tsv", header_for(task))
    else:
        table = read_text(path, *(_one_object(text, task) if begin == "{" else (text, ".json")))
    return in_task_columns(table, task)


def _one_object(text: str, task: Task) -> tuple[str, str]:
    """(text, its ending as a file) of what begins with an object: several of them, or one that is a row or holds the rows."""
    try:
        whole = json.loads(text)
    except ValueError:
        return text, ".jsonl"
    if whole.keys() & {*task.text_keys} or not ("data" in whole or lists_of_objects(whole)):
        return f"[{text}]", ".json"  # one row, which may stand on several lines
    return text, ".json"
