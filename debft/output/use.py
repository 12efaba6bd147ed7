"""A person reads here what evaluate, predict and submit are about to do, and the scores that were computed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from debft.console import clock, put, say, say_field
from debft.data.encoding import EncodedSplit
from debft.data.examples import Examples
from debft.data.load import encode_split
from debft.errors import InputError
from debft.models.tokens.tokenizer import build_tokenizer, check_vocabulary
from debft.output.text import counted, interval_text
from debft.runtime.devices import check_precision, device_name, device_type
from debft.scoring.used_model import UsedModel
from debft.tasks import TextClassification
from debft.tasks.titles import task_title

MOST_SHOWN = 8  # labels or splits in one line


def describe_use(used: UsedModel, source: str, examples: Mapping[str, Examples]) -> None:
    """Say which model does which task on which rows, before torch is imported."""
    describe_model(used)
    counts = [f"{name} {counted(len(rows), 'row')}".strip() for name, rows in examples.items()]
    more = f", ... ({sum(map(len, examples.values())):,} in all)" if len(counts) > MOST_SHOWN else ""
    say_field("data", f"{source}: {', '.join(counts[:MOST_SHOWN])}{more}")


def describe_model(used: UsedModel) -> None:
    """Say which model does which task."""
    task = used.task
    labels = list(task.labels) if isinstance(task, TextClassification) else []
    more = f", ... ({len(labels)} in all)" if len(labels) > MOST_SHOWN else ""
    gives = ", ".join(labels[:MOST_SHOWN]) + more if labels else task.gives
    say_field("task", f"{task_title(task.name)}: {', '.join(task.text_keys)} -> {gives}")
    made_of = used.trained_on.recipe.model if used.trained_on is not None else None
    say_field("model", f"{used.named}, a run of {made_of}" if made_of else used.named)


def describe_device(device: Any, precision: str, attention: str) -> None:
    """Say what computes. device: torch's"""
    say_field("device", f"{device_name(device)}, {precision}, attention {attention}")


def preview(used: UsedModel, examples: Mapping[str, Examples], precision: str, attention: str) -> dict[str, dict[str, Any]]:
    """Encode the rows, say how long they are, what is cut of them and what would compute, and run no model.

    Returns by split: rows, sequences, median, p95 and longest (tokens), cut (rows that are longer than the maximum).
    """
    import torch

    from debft.models.attention.backends import attention_for
    from debft.models.json_files import read_config

    tokenizer, shown = build_tokenizer(used.files, used.task), {}
    for name, rows in examples.items():
        split = encode_split(used.task, rows, tokenizer, used.recipe, what=name, cached=False)
        check_vocabulary(used.files, split.largest_id())
        shown[name] = {"rows": len(rows)} | _lengths(split)
        windows = "" if len(split) == len(rows) else f"{len(split):,} windows: "
        words = "median {median} tokens, 95 % up to {p95}, longest {longest}".format(**shown[name])
        say_field("lengths", "; ".join([f"{name and name + ': '}{windows}{words}", *split.remarks()]))
    backend, _ = attention_for(attention, read_config(used.files.path), device_type())
    describe_device(torch.device(device_type()), precision_here(precision, used), backend)
    return shown


def precision_here(asked: str, used: UsedModel) -> str:
    """Return the precision that is used for the one asked for: for `auto` that of the training, where this machine has it."""
    if asked != "auto":
        return check_precision(asked)
    try:
        return check_precision(used.recipe.runtime.precision)
    except InputError:
        return check_precision("auto")


def _lengths(split: EncodedSplit) -> dict[str, int]:
    median, p95, longest = map(int, np.percentile(split.lengths(), (50, 95, 100)))
    return {"sequences": len(split), "median": median, "p95": p95, "longest": longest, "cut": split.truncated}


def print_scores(result: Mapping[str, Any]) -> None:
    """Print each score with its 95 % interval and its rows on stdout, and say how long it took. result: of `evaluate`"""
    counts, width = result["num_examples"], max(map(len, result["scores"]))
    put(f"{'':<{width}}  {'score':>6}  {'95 % interval':>16}  {'rows':>7}")
    for name, score in result["scores"].items():
        rows = counts.get(name.partition("/")[0])
        interval = interval_text(result["intervals"].get(name), "-")
        put(f"{name:<{width}}  {score:6.2f}  {interval:>16}  {'-' if rows is None else format(rows, ','):>7}")
    if any(name.partition("/")[0] not in counts for name in result["scores"]):
        say("a mean over languages is of the rows of each of them")
    seconds, rows = result["seconds"], sum(counts.values())
    say_field("time", f"{clock(seconds)}, {rows / max(seconds, 1e-9):,.0f} rows/s")
