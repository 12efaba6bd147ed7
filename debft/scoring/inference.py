"""A fine-tuned model is scored on dev splits and labels new texts. No run directory is changed."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from debft.console import say
from debft.data.examples import Examples, say_notes, say_skipped
from debft.runtime.devices import device_name
from debft.scoring.evaluation import scores_of
from debft.scoring.heads import Assessment
from debft.scoring.inputs import examples_to_label
from debft.scoring.intervals import intervals_of
from debft.scoring.predictor import Predictor
from debft.scoring.rows import find_rows

# Rows of a file that are labelled together: enough to fill batches with rows of about the same length, and so few that the first
# results come out while the others wait.
ROWS_ON_CPU, ROWS_ON_GPU = 1000, 8000


def evaluate(predictor: Predictor, data: str | None, limit: int | None = None, encoding: str | None = None) -> dict[str, Any]:
    """Score the model on the dev splits of its task, those of `data` (as in a recipe, or a file) or of the run's own source.

    Returns what `evaluate_rows` does.
    limit: rows of each split, the first ones; encoding: of text files, None: as the run had them
    """
    task, trained = predictor.loaded.task, predictor.trained_on
    examples = find_rows(task, trained, data, limit, encoding=encoding, skip=predictor.recipe.train.skip_bad_rows)
    say_notes(examples.values())
    say_skipped(examples)
    return evaluate_rows(predictor, examples, data or (trained.recipe.data if trained is not None else "hub"))


def evaluate_rows(predictor: Predictor, examples: Mapping[str, Examples], source: str) -> dict[str, Any]:
    """Score the model on rows, by the name of their split.

    Returns task, model, data (the `source`), scores (percent, by `<split>/<metric>`), their 95 % intervals, num_examples and
    skipped_rows (by split), device, precision and seconds.
    """
    task, start = predictor.loaded.task, time.monotonic()
    assessed = assess(predictor, examples)
    seconds = time.monotonic() - start
    return {
        "task": task.name,
        "model": str(predictor.loaded.files.path),
        "data": source,
        "scores": scores_of(task, assessed),
        "intervals": intervals_of(task, assessed),
        "num_examples": {name: len(rows) for name, rows in examples.items()},
        "skipped_rows": {name: len(rows.skipped) for name, rows in examples.items()},
        "device": device_name(predictor.accelerator.device),
        "precision": predictor.precision,
        "seconds": round(seconds, 3),
    }


def assess(predictor: Predictor, examples: Mapping[str, Examples]) -> dict[str, Assessment]:
    """Score rows that have labels, and predict them. examples: by a name that the progress bar shows, as in the outcome."""
    head = predictor.loaded.head
    splits = {name: head.prepare(predictor.encode(rows, name, cached=True)) for name, rows in examples.items()}
    _say_cut(predictor, sum(split.num_cut for split in splits.values()), sum(len(rows) for rows in examples.values()))
    outcomes = predictor.outcomes(splits)
    with predictor.named():
        return {name: head.assess(outcomes[name], split, examples[name]) for name, split in splits.items()}


def predict(predictor: Predictor, examples: Mapping[str, Examples]) -> dict[str, list[dict[str, Any]]]:
    """Predict rows without labels. examples: by a name that the progress bar shows, as in the outcome."""
    outcomes = predictor.outcomes({name: predictor.encode(rows, name, cached=False) for name, rows in examples.items()})
    with predictor.named():
        return {name: predictor.loaded.head.predict(outcomes[name], rows) for name, rows in examples.items()}


def label(predictor: Predictor, file: str, encoding: str | None = None) -> Iterator[dict[str, Any]]:
    """Label each row of a file, or of stdin (`-`): id, prediction and scores. The rows need no label."""
    usual = predictor.trained_on.encoding if predictor.trained_on is not None else None
    return label_rows(predictor, examples_to_label([file], predictor.loaded.task, encoding, usual))


def label_rows(predictor: Predictor, examples: Examples) -> Iterator[dict[str, Any]]:
    """Label each row, the first ones while the others wait. Behind the last one a line says how many were cut."""
    at_once, num_cut = ROWS_ON_CPU if predictor.accelerator.device.type == "cpu" else ROWS_ON_GPU, 0
    for start in range(0, len(examples), at_once):
        part = examples.part(start, start + at_once)
        split = predictor.encode(part, "rows", cached=False)
        num_cut += split.num_cut
        outcome = predictor.outcomes({"rows": split})["rows"]
        with predictor.named():
            rows = predictor.loaded.head.predict(outcome, part)
        yield from rows
    _say_cut(predictor, num_cut, len(examples))


def _say_cut(predictor: Predictor, num_cut: int, num_rows: int) -> None:
    """Say how many rows the model has not read whole, where there are such."""
    if num_cut:
        longest = predictor.recipe.text.max_seq_length
        say(f"warning: {num_cut:,} of {num_rows:,} rows are longer than the {longest} tokens that the model was trained on: cut")
