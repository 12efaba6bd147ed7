"""`debft export`: a model is written as ONNX, with what a program needs beside it, if it answers every dev row as debft does.

The directory appears when everything in it has been checked; where a check fails, nothing of it stays.
"""

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from debft import __version__
from debft.config.recipe_hash import recipe_hash
from debft.data.encoding import EncodedSplit
from debft.data.examples import Examples
from debft.errors import InputError
from debft.models.weights import weight_files
from debft.output.onnx.example import write_beside
from debft.output.onnx.gate import (
    Agreement,
    Answers,
    Scope,
    agreement,
    answers_of_example,
    answers_of_run,
    deciding_word,
    load_example,
    steady_head,
)
from debft.output.onnx.graph import BIGGEST, OPSET, weight_bytes, write_onnx
from debft.output.onnx.int8 import quantize, timed
from debft.output.onnx.names import EXAMPLE, INT8, MODEL, RECORD
from debft.output.use import describe_device
from debft.runs.storage import whole_directory
from debft.runs.written import files_of
from debft.runtime.devices import device_name
from debft.runtime.progress import activity
from debft.scoring.heads import Head
from debft.scoring.loaded import load_model
from debft.scoring.loading import load_used
from debft.scoring.used_model import UsedModel

FORMAT_VERSION = 1
PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "tokenizers", "numpy")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """An exported model is held against debft's own answers to the same rows.

    head: tells what the answers are made of
    examples: the rows by the name of their split; splits: the same as tokens; answers: debft's
    """

    head: Head
    examples: Mapping[str, Examples]
    splits: Mapping[str, EncodedSplit]
    answers: Mapping[str, Answers]


def export_model(
    used: UsedModel, examples: Mapping[str, Examples], place: Path, *, int8: bool, attention: str = "auto"
) -> dict[str, Any]:
    """Write the export of a model to `place`, and return the content of its RECORD.

    examples: the rows that it has to answer as debft does, by split; int8: whether a model of 8-bit weights is written as well
    Raises InputError where the type of model cannot be exported, or an answer is another one; then nothing is written.
    """
    with whole_directory(place) as directory:
        with activity("loading the model"):
            predictor = load_used(used, "fp32", attention)
        describe_device(predictor.accelerator.device, predictor.precision, predictor.loaded.attention)
        big, head = _write_model(used, directory), predictor.loaded.head
        splits = {name: head.prepare(predictor.encode(rows, name, cached=True)) for name, rows in examples.items()}
        answers = answers_of_run(predictor, splits, examples)
        write_beside(directory, replace(predictor.loaded, head=steady_head(head, answers)), used.recipe)
        reference = Reference(head=head, examples=examples, splits=splits, answers=answers)
        scope, start = load_example(directory / EXAMPLE), time.monotonic()
        theirs = answers_of_example(scope, head, splits, examples, "onnx")
        rate = sum(map(len, examples.values())) / (time.monotonic() - start)
        agreed = agreement(head, answers, theirs, examples)
        _require_agreement(used, agreed, deciding_word(head))
        content = _record(used, reference, agreed, theirs, device_name(predictor.accelerator.device))
        if int8:
            content["int8"] = _with_int8(directory, scope, reference, theirs, big=big, rate=rate)
        content["files"] = {name: asdict(file) for name, file in files_of(directory).items()}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        (directory / RECORD).write_text(text, encoding="utf-8")
    return content


def _write_model(used: UsedModel, directory: Path) -> bool:
    """Write the model and what lies beside it; return whether its weights take a file of their own."""
    with activity("exporting the model"):
        loaded = load_model(used.files, used.task, used.recipe, torch.device("cpu"), attention="eager", chosen=used.settings)
        write_onnx(loaded, directory / MODEL)
        return weight_bytes(loaded.model) > BIGGEST


def _require_agreement(used: UsedModel, agreed: Agreement, deciding: str) -> None:
    """Raise InputError unless every answer is the same."""
    if agreed.first is None:
        return
    raise InputError(
        f"{used.named}: expected the exported model to answer all {agreed.rows:,} rows as debft does, got {agreed.flips:,} other "
        f"answers and a largest difference of {agreed.largest:.2g} ({deciding}), first {agreed.first}; nothing was written"
    )


def _record(used: UsedModel, reference: Reference, agreed: Agreement, theirs: Mapping[str, Answers], device: str) -> dict[str, Any]:
    """Return what RECORD holds of the exported model; no path of the user's machine."""
    recipe = used.trained_on.recipe if used.trained_on is not None else None
    weights = files_of(used.files.path)
    return {
        "format_version": FORMAT_VERSION,
        "task": used.task.name,
        "model": Path((recipe.model if recipe is not None else None) or used.named).name,
        "recipe_hash": recipe_hash(recipe) if recipe is not None else None,
        "weights": {file.name: weights[file.name].sha256 for file in weight_files(used.files.path)},
        "rows": {name: len(rows) for name, rows in reference.examples.items()},
        "data": {name: rows.fingerprint() for name, rows in reference.examples.items()},
        "agreement": _numbers(agreed, deciding_word(reference.head)),
        "scores": _scores(theirs),
        "opset": OPSET,
        "versions": {"debft": __version__, "python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "compared_on": device,
        "cpu_cores": os.cpu_count(),
    }


def _numbers(agreed: Agreement, deciding: str) -> dict[str, Any]:
    return {"rows": agreed.rows, "flips": agreed.flips, "max_difference": agreed.largest, "difference_of": deciding}


def _scores(answers: Mapping[str, Answers]) -> dict[str, float]:
    """Return percent by `<split>/<metric>`."""
    return {f"{name}/{metric}": value for name, one in answers.items() for metric, value in one.scores.items()}


def _with_int8(
    directory: Path, scope: Scope, reference: Reference, fp32: Mapping[str, Answers], *, big: bool, rate: float
) -> dict[str, Any]:
    """Write the model of 8-bit weights, score it on the same rows, time both, and return what RECORD holds of it."""
    from onnxruntime import InferenceSession

    with activity("rounding the weights to 8 bits"):
        quantize(directory / MODEL, directory / INT8, big=big)
        sessions = scope["session"], InferenceSession(directory / INT8)
    head, examples = reference.head, reference.examples
    scope["session"] = sessions[1]
    answers = answers_of_example(scope, head, reference.splits, examples, "int8")
    agreed, scores, before = agreement(head, reference.answers, answers, examples), _scores(answers), _scores(fp32)
    speed = timed(scope, sessions, head, max(examples.values(), key=len), rate)
    return {
        "agreement": _numbers(agreed, deciding_word(head)),
        "scores": scores,
        "loss": {name: round(before[name] - score, 10) for name, score in scores.items()},
        "rows_timed": speed.rows,
        "rows_per_second": {"fp32": speed.fp32, "int8": speed.int8},
    }
