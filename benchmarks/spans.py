"""What the search for answers costs on a whole dev set: the plain cube of spans beside the pruned search, the two in turn.

    python benchmarks/spans.py SQUAD2/dev-v2.0.json [--repeats 5] [--questions 11873] [--kinds peaks noise constant]

The contexts are SQuAD's own, cut into pieces of at most six letters, about as many as SentencePiece makes of them, in windows of
384 tokens that share 128. The logits are drawn with a seed: `peaks` as a trained model gives them, `noise`, or `constant`, where
every span ties.
"""

import argparse
import json
import re
import time
from pathlib import Path

import numpy as np

from debft.scoring import spans
from debft.scoring.spans import Windows

LENGTH, STRIDE, N_BEST, MAX_ANSWER = 384, 128, 20, 30
AT_ONCE = 8  # windows of the cube: the fastest of 8, 32 and 64
PIECE = re.compile(r"\w{1,6}|[^\w\s]")


def windows_of(questions: list[tuple[str, str]]) -> Windows:
    """Cut [CLS] question [SEP] context [SEP] of every question into windows."""
    offsets, ends, question_W = [], [], []
    for number, (question, context) in enumerate(questions):
        front = 2 + min(64, len(PIECE.findall(question)))
        tokens = np.array([piece.span() for piece in PIECE.finditer(context)], dtype=np.int32)
        room, start = LENGTH - front - 1, 0
        while True:
            part = tokens[start : start + room]
            offsets.append(np.concatenate([np.full((front, 2), -1), part, [[-1, -1]]]).astype(np.int32))
            ends.append(len(offsets[-1]))
            question_W.append(number)
            if start + room >= len(tokens):
                break
            start += room - STRIDE
    return Windows(
        offsets_T2=np.concatenate(offsets),
        ends_W=np.cumsum(ends, dtype=np.int64),
        cls_W=np.zeros(len(ends), dtype=np.int64),
        question_W=np.array(question_W),
    )


def logits_of(kind: str, windows: Windows, seed: int) -> np.ndarray:
    """Draw (T, 2) float32; with `peaks`, CLS and a few tokens of every window lie high above the others."""
    rng = np.random.default_rng(seed)
    logits_T2 = rng.standard_normal((len(windows.offsets_T2), 2), dtype=np.float32)
    if kind == "constant":
        return np.zeros_like(logits_T2)
    if kind == "peaks":
        logits_T2 = 1.5 * logits_T2 - 7.0
        lengths = np.diff(windows.ends_W, prepend=0)
        for column in (0, 1):
            for height in (12.0, 10.0, 8.0, 6.0):
                logits_T2[windows.begins() + rng.integers(0, lengths), column] += height
            logits_T2[windows.begins(), column] += 10.0
    return logits_T2


def cube(logits_T2: np.ndarray, windows: Windows, chunk: slice, max_answer_length: int, n_best_size: int) -> tuple[np.ndarray, ...]:
    """Do what `spans._best_spans` does, over the cube of all spans."""
    pieces = [slice(first, min(first + AT_ONCE, chunk.stop)) for first in range(chunk.start, chunk.stop, AT_ONCE)]
    parts = [_candidates(logits_T2, windows, piece, max_answer_length, n_best_size) for piece in pieces]
    return spans._ranked(*(np.concatenate(column) for column in zip(*parts, strict=True)), n_best_size)


def _candidates(logits_T2: np.ndarray, windows: Windows, piece: slice, max_answer_length: int, n: int) -> tuple[np.ndarray, ...]:
    """Return question, start, end and score of the spans that score at least as much as the n-th best of their window.

    Several tokens may cover the same characters; the first of them alone counts for the n-th best.
    """
    begins_C, ends_C = windows.begins()[piece], windows.ends_W[piece]
    L = int((ends_C - begins_C).max())
    K = min(max_answer_length, L)
    token_CL = np.minimum(begins_C[:, None] + np.arange(L + K - 1), ends_C[:, None] - 1)
    context_CL = (np.arange(L + K - 1) < (ends_C - begins_C)[:, None]) & (windows.offsets_T2[token_CL, 0] >= 0)
    offsets_CL2 = np.where(context_CL[..., None], windows.offsets_T2[token_CL], -1)
    logits_CL2 = np.where(context_CL[..., None], logits_T2[token_CL], np.float32(-np.inf))
    ends = [np.lib.stride_tricks.sliding_window_view(array[..., 1], K, axis=1) for array in (offsets_CL2, logits_CL2)]
    start_CL, end_CLK = offsets_CL2[:, :L, 0], ends[0]
    score_CLK = np.where(end_CLK > start_CL[:, :, None], logits_CL2[:, :L, :1] + ends[1], np.float32(-np.inf))
    first_CL2 = np.diff(offsets_CL2, axis=1, prepend=-1) > 0
    first_CLK = first_CL2[:, :L, :1] & np.lib.stride_tricks.sliding_window_view(first_CL2[..., 1], K, axis=1)
    scores = np.where(first_CLK, score_CLK, np.float32(-np.inf)).reshape(len(begins_C), -1)
    floor_C = np.partition(scores, -n, axis=1)[:, -n] if scores.shape[1] >= n else np.full(len(scores), -np.inf)
    w, s, k = np.nonzero((score_CLK >= floor_C[:, None, None]) & (score_CLK > -np.inf))
    return windows.question_W[piece][w], start_CL[w, s], end_CLK[w, s, k], score_CLK[w, s, k]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dev", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--questions", type=int)
    parser.add_argument("--kinds", nargs="+", default=["peaks", "noise", "constant"])
    options = parser.parse_args()
    articles = json.loads(options.dev.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    questions = [(qa["question"], p["context"]) for p in paragraphs for qa in p["qas"]][: options.questions]
    windows = windows_of(questions)
    print(f"{len(questions):,} questions, {len(windows):,} windows, {len(windows.offsets_T2):,} tokens")
    ways = {"pruned": spans._best_spans, "cube": cube}
    for kind in options.kinds:
        logits_T2 = logits_of(kind, windows, seed=1)
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        best = {}
        for _ in range(options.repeats):
            for name, way in ways.items():
                started = time.perf_counter()
                parts = [way(logits_T2, windows, chunk, MAX_ANSWER, N_BEST) for chunk in spans._chunks(windows.question_W)]
                seconds[name].append(time.perf_counter() - started)
                best[name] = [np.concatenate(column) for column in zip(*parts, strict=True)]
        same = all(np.array_equal(one, other) for one, other in zip(best["pruned"], best["cube"], strict=True))
        fastest = {name: min(times) for name, times in seconds.items()}
        shown = "   ".join(f"{name} {time:6.2f} s" for name, time in fastest.items())
        print(f"{kind:<9} {shown}   ratio {fastest['cube'] / fastest['pruned']:5.2f}   same spans: {same}", flush=True)


main()
