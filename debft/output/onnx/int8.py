"""The weights of an exported model become whole numbers of 8 bits, and the two models are timed on the same rows."""

import logging
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from debft.data.examples import Examples
from debft.output.onnx.gate import Scope, logits_in_batches
from debft.runtime.progress import meter
from debft.scoring.heads import Head, SpanHead

ROUNDS = 5  # of each model, by turns, so that a machine that grows slower in between slows both
SECONDS = 2.0  # of one round, about
LEAST_ROWS, MOST_ROWS = 8, 512  # that are timed


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Two models went over the same rows, tokens included.

    rows: how many
    fp32, int8: rows per second, the median of ROUNDS
    """

    rows: int
    fp32: float
    int8: float


def quantize(fp32: Path, int8: Path, *, big: bool) -> None:
    """Write the model with the weights of its matrix products in 8 bits; their inputs are rounded while it runs.

    Each output column has a scale of its own. The weights take 7 of the 8 bits: with 8, the AVX2 and AVX-512 instructions of CPUs
    without VNNI add two products beyond 16 bits and clip them, so that the model would answer otherwise there.
    Source: onnxruntime's documentation of quantization, "When and why do I need to try U8U8?" and `reduce_range`.

    big: whether the weights lie in a file of their own
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            fp32,
            int8,
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=big,
        )


def timed(scope: Scope, sessions: tuple[object, object], head: Head, rows: Examples, rate: float) -> Speed:
    """Time the model of each session, fp32 and int8, through predict.py. rate: rows per second that the first is expected to do"""
    count = min(len(rows), max(LEAST_ROWS, min(MOST_ROWS, int(rate * SECONDS))))
    texts = [list(rows.texts[row]) for row in np.linspace(0, len(rows) - 1, count).astype(int)]
    seconds: tuple[list[float], list[float]] = ([], [])
    with meter("speed", 2 * ROUNDS, "rounds") as progress:
        for _ in range(ROUNDS):
            for session, taken in zip(sessions, seconds, strict=True):
                scope["session"] = session
                start = time.perf_counter()
                _answer(scope, head, texts)
                taken.append(time.perf_counter() - start)
                progress.advance(1, f"{len(texts)} rows")
    fp32, int8 = (count / statistics.median(taken) for taken in seconds)
    return Speed(rows=count, fp32=round(fp32, 2), int8=round(int8, 2))


def _answer(scope: Scope, head: Head, texts: list[list[str]]) -> None:
    if isinstance(head, SpanHead):
        for question, context in texts:
            scope["answer"](question, context)
    else:
        logits_in_batches(scope, texts)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the advice that the quantizer gives through the root logger, to prepare a model that needs no preparation."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger().setLevel(level)
