"""A fine-tuned model at work: score the dev splits, label new texts. No training, no run directory is changed."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from debft.data import load_table
from debft.data.batches import Collator
from debft.data.checks import Examples, check_rows, check_texts
from debft.data.encoding import EncodedSplit, encode
from debft.data.files import Table, read_table, read_text
from debft.devices import build_accelerator, micro_batch_tokens
from debft.errors import InputError, did_you_mean
from debft.evaluation import predict_logits, prediction_rows, scores_of
from debft.models import ModelFiles, build_model, build_tokenizer, find_model, longest_input, model_labels, read_config
from debft.plan import say_skipped
from debft.progress import say
from debft.recipe import RuntimeConfig
from debft.results import RunDirectory
from debft.tasks import TASKS, Task

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

DEFAULT_LENGTH = 256
ROWS_AT_ONCE = 1000  # of a file that is labelled: results come out while it is read


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A fine-tuned model with all it takes to use it.

    labels: in the order of its outputs; skip_bad_rows: as in the recipe of its run, for scoring alone
    """

    task: Task
    files: ModelFiles
    data: str | None
    skip_bad_rows: bool
    max_seq_length: int
    swap_texts: bool
    labels: tuple[str, ...]
    accelerator: "Accelerator"
    tokenizer: "PreTrainedTokenizerFast"
    model: "PreTrainedModel"
    micro_batch_tokens: int

    def encode(self, examples: Examples, what: str, *, cached: bool) -> EncodedSplit:
        return encode(
            examples, self.tokenizer, max_seq_length=self.max_seq_length, truncation="longest_first", seed=0, what=what,
            swap_texts=self.swap_texts, cached=cached, show=cached,
        )  # fmt: skip

    def logits(self, split: EncodedSplit, what: str) -> np.ndarray:
        """(N, C) float32 in the order of the split."""
        collate = Collator(
            pad_id=self.tokenizer.pad_token_id,
            names=tuple(self.tokenizer.model_input_names),
            device=self.accelerator.device,
            left=self.tokenizer.padding_side == "left",
        )
        return predict_logits(
            self.accelerator, self.model, split, collate=collate, micro_batch_tokens=4 * self.micro_batch_tokens, what=what
        )


def load_predictor(run_or_model: str, task_name: str | None, precision: str) -> Predictor:
    """From a run directory, which knows its task, or from a fine-tuned model and the name of a task.

    Raises InputError where the task is not known or the model has no head for it.
    """
    run = RunDirectory(Path(run_or_model))
    recipe = run.recipe() if run.exists() else None
    if recipe is not None and not (run.model / "config.json").is_file():
        raise InputError(f"{run.path}: expected a complete run with a model/, found none; finish it with --resume")
    if recipe is not None and task_name not in (None, recipe.task):
        raise InputError(f"--task {task_name}: {run.path} is a run of {recipe.task}; leave --task out")
    name = recipe.task if recipe is not None else task_name
    if name is None:
        raise InputError(f"{run_or_model}: expected a run directory, or --task for a model; {did_you_mean('', TASKS)[2:]}")
    if name not in TASKS:
        raise InputError(f"--task: unknown task '{name}'{did_you_mean(name, TASKS)}")
    task = TASKS[name]
    files = find_model(str(run.model) if recipe is not None else run_or_model, from_scratch=False)
    runtime = RuntimeConfig(precision=precision)
    accelerator, _ = build_accelerator(runtime)
    model = build_model(files, task, from_scratch=False, head_dropout=None, seed=0, quiet=True, new_head=False)
    length = recipe.train.max_seq_length if recipe is not None else longest_input(read_config(files.path)) or DEFAULT_LENGTH
    return Predictor(
        task=task,
        files=files,
        data=recipe.data if recipe is not None else None,
        skip_bad_rows=recipe.train.skip_bad_rows if recipe is not None else False,
        max_seq_length=length,
        swap_texts=recipe.train.swap_texts if recipe is not None else False,
        labels=model_labels(files, task),
        accelerator=accelerator,
        tokenizer=build_tokenizer(files),
        model=accelerator.prepare_model(model, evaluation_mode=True),
        micro_batch_tokens=micro_batch_tokens(runtime, accelerator.device),
    )


def evaluate(predictor: Predictor, data: str | None, limit: int | None = None) -> dict[str, Any]:
    """task, model, data, scores in percent by `<split>/<metric>`, num_examples and skipped_rows by split; `data` as in a recipe."""
    task, source = predictor.task, data or predictor.data or "hub"
    skip = predictor.skip_bad_rows
    examples = {split.name: check_rows(load_table(task, split, source), task, limit, skip=skip) for split in task.evals}
    say_skipped(examples)
    splits = {name: _in_model_order(predictor, predictor.encode(rows, name, cached=True)) for name, rows in examples.items()}
    logits = {name: predictor.logits(split, name) for name, split in splits.items()}
    return {
        "task": task.name,
        "model": str(predictor.files.path),
        "data": source,
        "scores": scores_of(task, predictor.labels, logits, splits),
        "num_examples": {name: len(rows) for name, rows in examples.items()},
        "skipped_rows": {name: len(rows.skipped) for name, rows in examples.items()},
    }


def label(predictor: Predictor, file: str) -> Iterator[dict[str, Any]]:
    """id, prediction and scores of each row of a JSONL or other table, or of stdin (`-`); the label is not needed."""
    table = _stdin() if file == "-" else _file(Path(file))
    examples = check_texts(table, predictor.task)
    for start in range(0, len(examples), ROWS_AT_ONCE):
        part = examples.part(start, start + ROWS_AT_ONCE)
        logits = predictor.logits(predictor.encode(part, "rows", cached=False), "rows")
        yield from prediction_rows(predictor.task, predictor.labels, part.ids, logits)


def _in_model_order(predictor: Predictor, split: EncodedSplit) -> EncodedSplit:
    return split if predictor.task.is_regression else split.with_labels(predictor.task.labels, predictor.labels)


def _file(path: Path) -> Table:
    if not path.is_file():
        raise InputError(f"{path}: expected a file with the columns of the task, or - for stdin; found none")
    return read_table(path)


def _stdin() -> Table:
    """JSONL, or TSV with a header line."""
    if sys.stdin.isatty():
        say("reading from the terminal: one JSON object per line, Ctrl-D to end")
    raw = sys.stdin.buffer.read()
    return read_text(Path("stdin"), raw, ".jsonl" if raw.lstrip()[:1] == b"{" else ".tsv")
