"""A fine-tuned model at work: score the dev splits, label new texts. No training, no run directory is changed."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from debft.checks import check_lengths
from debft.data import encode_split, load_table, present
from debft.data.batches import Collator
from debft.data.checks import Examples, check_rows, check_texts
from debft.data.encoding import EncodedSplit
from debft.data.files import Table, read_table, read_text
from debft.data.own import own_task_of_model
from debft.devices import build_accelerator, micro_batch_tokens
from debft.errors import InputError, did_you_mean
from debft.evaluation import predict_logits, scores_of
from debft.heads import Assessment, Head, head_of
from debft.models import (
    ModelFiles,
    build_model,
    build_tokenizer,
    check_vocabulary,
    find_model,
    model_labels,
    model_names,
    read_settings,
    use_config,
)  # fmt: skip
from debft.plan import say_skipped
from debft.progress import say
from debft.recipe import Recipe, RuntimeConfig, TrainConfig
from debft.results import RunDirectory
from debft.tasks import TASKS, TEXT, Task, task_of

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

ROWS_AT_ONCE = 1000  # of a file that is labelled: results come out while it is read


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A fine-tuned model with all it takes to use it. data: what a run was trained on, None for a model."""

    task: Task
    files: ModelFiles
    data: str | None
    config: TrainConfig
    head: Head
    accelerator: "Accelerator"
    tokenizer: "PreTrainedTokenizerFast"
    model: "PreTrainedModel"
    micro_batch_tokens: int

    def encode(self, examples: Examples, what: str, *, cached: bool) -> EncodedSplit:
        split = encode_split(self.task, examples, self.tokenizer, self.config, what=what, cached=cached, show=cached)
        check_vocabulary(self.files, int(split.ids_T.max()))
        return split

    def logits(self, split: EncodedSplit, what: str) -> list[np.ndarray]:
        """Of every sequence, in the order of the split."""
        collate = Collator(
            pad_id=self.tokenizer.pad_token_id,
            names=tuple(self.tokenizer.model_input_names),
            device=self.accelerator.device,
            left=self.tokenizer.padding_side == "left",
        )
        return predict_logits(
            self.accelerator,
            self.model,
            self.head,
            split,
            collate=collate,
            micro_batch_tokens=4 * self.micro_batch_tokens,
            what=what,
        )


def recipe_of(run: RunDirectory) -> Recipe:
    """Of a run that has come to its end. Raises InputError for one that has no model yet, or not the one it wrote."""
    if not (run.model / "config.json").is_file():
        raise InputError(f"{run.path}: expected a complete run with a model/, found none; finish it with --resume")
    if (result := run.result()) is not None:
        run.check_model(result)
    return run.recipe()


def load_predictor(run_or_model: str, task_name: str | None, precision: str) -> Predictor:
    """From a run directory, or from a fine-tuned model, whose config.json names its task, or else `task_name` does.

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
    config = use_config(files, settings)
    task = (
        own_task_of_model(config, model_names(files))
        if name == TEXT.name and own
        else task_of(name, recipe.train if recipe else config)
    )
    check_lengths(task, config, f"{files.path / 'config.json'}: debft.")
    if recipe is not None:
        config = replace(config, skip_bad_rows=recipe.train.skip_bad_rows)
    runtime = RuntimeConfig(precision=precision)
    accelerator, _ = build_accelerator(runtime)
    model = build_model(files, task, from_scratch=False, head_dropout=None, seed=0, quiet=True, new_head=False)
    return Predictor(
        task=task,
        files=files,
        data=recipe.data if recipe is not None else None,
        config=config,
        head=head_of(task, config, model_labels(files, task), settings.get("no_answer_threshold", 0.0)),
        accelerator=accelerator,
        tokenizer=build_tokenizer(files),
        model=accelerator.prepare_model(model, evaluation_mode=True),
        micro_batch_tokens=micro_batch_tokens(runtime, accelerator.device),
    )


def evaluate(predictor: Predictor, data: str | None, limit: int | None = None) -> dict[str, Any]:
    """task, model, data, scores in percent by `<split>/<metric>`, num_examples and skipped_rows by split; `data` as in a recipe."""
    if data == "":
        raise InputError("--data: expected hub, demo or a directory, got ''")
    task, source = predictor.task, data or predictor.data or "hub"
    evals, skip = present(task, source).evals, predictor.config.skip_bad_rows
    examples = {split.name: check_rows(load_table(task, split, source), task, limit, skip=skip) for split in evals}
    say_skipped(examples)
    assessed = {name: assess(predictor, rows, name) for name, rows in examples.items()}
    return {
        "task": task.name,
        "model": str(predictor.files.path),
        "data": source,
        "scores": scores_of(task, assessed),
        "num_examples": {name: len(rows) for name, rows in examples.items()},
        "skipped_rows": {name: len(rows.skipped) for name, rows in examples.items()},
    }


def assess(predictor: Predictor, examples: Examples, what: str) -> Assessment:
    """Scores and predictions of rows with labels."""
    split = predictor.head.prepare(predictor.encode(examples, what, cached=True))
    return predictor.head.assess(predictor.logits(split, what), split, examples)


def predict(predictor: Predictor, examples: Examples, what: str) -> list[dict[str, Any]]:
    """Predictions of rows without labels."""
    split = predictor.encode(examples, what, cached=False)
    return predictor.head.predict(predictor.logits(split, what), split, examples)


def label(predictor: Predictor, file: str) -> Iterator[dict[str, Any]]:
    """id, prediction and scores of each row of a JSONL or other table, or of stdin (`-`); the label is not needed."""
    table = _stdin() if file == "-" else _file(Path(file))
    examples = check_texts(table, predictor.task)
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


def _file(path: Path) -> Table:
    if not path.is_file():
        raise InputError(f"{path}: expected a file with the columns of the task, or - for stdin; found none")
    return read_table(path)


def _stdin() -> Table:
    """JSONL, JSON, or TSV with a header line, by how it begins."""
    if sys.stdin.isatty():
        say("reading from the terminal: one JSON object per line, Ctrl-D to end")
    raw = sys.stdin.buffer.read()
    return read_text(Path("stdin"), raw, _ending(raw))


def _ending(raw: bytes) -> str:
    """What the ending of a file with this content would be. One object with `data` is SQuAD's nesting, any other a row."""
    begin = raw.lstrip()[:1]
    if begin != b"{":
        return ".json" if begin == b"[" else ".tsv"
    try:
        whole = json.loads(raw)
    except ValueError:
        return ".jsonl"
    return ".json" if "data" in whole else ".jsonl"
