"""What a person reads of an export: how it reads long texts, whether it agrees, and what 8 bits cost and bring."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from debft.config.recipe import Recipe, window_stride
from debft.console import put, say, say_field
from debft.output.onnx.names import EXAMPLE, INT8, MODEL, usage
from debft.output.text import counted, signed
from debft.tasks import QuestionAnswering, Task

MUCH = 1.0  # points of a score: what int8 loses beyond it is a warning
DIFFERENCE = {"probability": "max |dp|", "score": "max |d score|", "logit": "max |d logit|"}


def describe_long_texts(task: Task, recipe: Recipe) -> None:
    """Say what predict.py does with a text that is too long; model.onnx itself takes tokens."""
    text, length = recipe.text, f"{recipe.text.max_seq_length} tokens"
    if isinstance(task, QuestionAnswering):
        how = f"contexts are read in windows of {length}, which share {recipe.questions.doc_stride}"
    elif text.long_texts == "windows":
        how = f"longer texts are read in windows of {length}, which share {window_stride(text)}; their {text.pooling} counts"
    else:
        how = f"longer texts are cut to {length}" + (", at ends that are drawn" if text.truncation == "random_ends" else "")
    say_field("lengths", f"{EXAMPLE} does as the run: {how}; {MODEL} itself takes tokens")


def print_export(content: Mapping[str, Any], task: Task, place: Path) -> None:
    """Say what was written and what was found out about it; print the scores of int8 on stdout. content: of the RECORD"""
    agreed = content["agreement"]
    say_field("agreement", f"{_agreement(agreed)}: onnxruntime alone answers all of them as debft does")
    if (int8 := content.get("int8")) is not None:
        say_field("int8", _agreement(int8["agreement"]))
        fp32, fast = int8["rows_per_second"]["fp32"], int8["rows_per_second"]["int8"]
        rows = counted(int8["rows_timed"], "row")
        say_field(
            "speed", f"fp32 {fp32:,.1f} rows/s, int8 {fast:,.1f} rows/s, {fast / fp32:.2f} times as many ({rows} over and over)"
        )
        print_loss(content["scores"], int8)
    sizes = ((name, file["bytes"]) for name, file in content["files"].items())
    say_field("written", ", ".join(f"{name} {size / 1e6:,.1f} MB" if size > 1e5 else name for name, size in sizes))
    say_field("next", f"python {place / EXAMPLE} {usage(task.text_keys)}", whole=True)


def _agreement(agreed: Mapping[str, Any]) -> str:
    same = agreed["rows"] - agreed["flips"]
    largest = f"{DIFFERENCE[agreed['difference_of']]} {agreed['max_difference']:.2g}"
    if agreed["difference_of"] == "score":
        return f"{agreed['rows']:,} rows, {largest}"
    what = "label flips" if agreed["difference_of"] == "probability" else "other answers"
    return f"{same:,} of {agreed['rows']:,} rows, {what} {agreed['flips']:,}, {largest}"


def print_loss(before: Mapping[str, float], int8: Mapping[str, Any]) -> None:
    """Print each score of both models on stdout, and warn of a loss that is large."""
    width = max(map(len, int8["scores"]))
    put(f"{'':<{width}}  {'fp32':>6}  {'int8':>6}  {'change':>6}")
    for name, score in int8["scores"].items():
        put(f"{name:<{width}}  {before[name]:6.2f}  {score:6.2f}  {signed(score - before[name]):>6}")
    if (worst := max(int8["loss"].values())) > MUCH:
        say(f"warning: int8 loses up to {worst:.2f} points; {INT8} is written all the same, use {MODEL} where that is too much")
