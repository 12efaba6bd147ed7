"""Start and end logits of windows become answers: the best spans of each question's context, and a no-answer score.

Legend: T tokens and F windows of all questions together, Q questions, W windows at once, L tokens of the longest of these, K tokens
an answer may have, P start tokens that may begin one of the best spans.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

NO_SPAN = 1e9  # the no-answer score of a question without any span: finite, so that JSON holds it
CHUNK = 256  # windows at once


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows end to end, those of a question together; a window holds a stretch of its question's context.

    offsets_T2 int32: the characters [start, end) of the context that a token covers, spaces trimmed, never falling from one token
    to the next; start -1 for a token that is not context, and the context's tokens lie side by side. ends_F int64: where each
    window ends in T. cls_F: where the CLS token is, counted from the window's first token. example_F: the question, never falling.
    """

    offsets_T2: np.ndarray
    ends_F: np.ndarray
    cls_F: np.ndarray
    example_F: np.ndarray

    def __len__(self) -> int:
        return len(self.ends_F)

    def begins(self) -> np.ndarray:
        return np.append(0, self.ends_F)[:-1]


@dataclass(frozen=True, kw_only=True)
class Span:
    """`text` is the characters [start, end) of the context; score: start logit + end logit; probability: among the best spans."""

    text: str
    start: int
    end: int
    score: float
    probability: float


@dataclass(frozen=True, kw_only=True)
class Answers:
    """best: text of the best span, '' without any; no_answer_score: null score - best span's score, in logits; n_best: best first.

    The null score is that of the CLS token as start and end, the smallest of the question's windows.
    """

    best: str
    no_answer_score: float
    n_best: tuple[Span, ...]


def decode(
    logits_T2: np.ndarray,
    windows: Windows,
    contexts: Sequence[str],
    *,
    with_null: bool,
    max_answer_length: int = 30,
    n_best_size: int = 20,
) -> list[Answers]:
    """The answers of each question, in the order of `contexts` (Q texts). logits_T2 float32: start, end.

    Every span of at most `max_answer_length` tokens, from one context token to the same or a later one in the same window, is a
    candidate unless its text is empty; the same characters from several windows count once, with their best score. Equal scores:
    the earlier start first, then the shorter. Probabilities are a softmax over the best spans, and over the null score beside
    them `with_null`. A question without any span has the answer '' and the no-answer score NO_SPAN.

    Source: transformers examples/pytorch/question-answering/utils_qa.py postprocess_qa_predictions, with one deliberate
    difference: that looks at the 20 best starts x the 20 best ends only, and misses a best span where these do not pair.
    """
    assert len(logits_T2) == len(windows.offsets_T2) and len(contexts) > windows.example_F.max(initial=-1)
    assert max_answer_length > 0 and n_best_size > 0
    null_Q = _null_scores(logits_T2, windows, len(contexts))
    chunks = [_best_spans(logits_T2, windows, chunk, max_answer_length, n_best_size) for chunk in _chunks(windows.example_F)]
    question, *columns = [np.concatenate(column) for column in zip(*chunks, strict=True)] or [np.empty(0)] * 4
    ends = np.searchsorted(question, np.arange(len(contexts)), side="right").tolist()
    spans = list(zip(*(column.tolist() for column in columns), strict=True))
    return [
        _answers(context, spans[begin:end], null, with_null)
        for context, begin, end, null in zip(contexts, [0, *ends], ends, null_Q.tolist(), strict=False)
    ]


def no_answer_probability(score: float) -> float:
    """The logistic function of a no-answer score: 0.5 where no answer and the best span score the same."""
    small = math.exp(-abs(score))
    return (1.0 if score >= 0 else small) / (1.0 + small)


def _null_scores(logits_T2: np.ndarray, windows: Windows, num_questions: int) -> np.ndarray:
    """(Q,) float32, infinite without a window."""
    null_Q = np.full(num_questions, np.inf, dtype=np.float32)
    np.minimum.at(null_Q, windows.example_F, logits_T2[windows.begins() + windows.cls_F].sum(axis=1))
    return null_Q


def _chunks(example_F: np.ndarray) -> Iterator[slice]:
    """Windows of whole questions, about CHUNK at a time."""
    cuts = np.unique(np.searchsorted(example_F, example_F[::CHUNK]))
    yield from map(slice, cuts.tolist(), [*cuts[1:].tolist(), len(example_F)])


def _best_spans(
    logits_T2: np.ndarray, windows: Windows, chunk: slice, max_answer_length: int, n_best_size: int
) -> tuple[np.ndarray, ...]:
    """question, start, end, score of the `n_best_size` best spans of each question in the chunk, in the order of decode."""
    begins_W, ends_W, question_W = windows.begins()[chunk], windows.ends_F[chunk], windows.example_F[chunk]
    lengths_W = ends_W - begins_W
    K = min(max_answer_length, int(lengths_W.max()))
    # K - 1 columns of padding, so that every start has K ends
    column_L = np.arange(lengths_W.max() + K - 1)
    token_WL = np.minimum(begins_W[:, None] + column_L, ends_W[:, None] - 1)
    context_WL = (column_L < lengths_W[:, None]) & (windows.offsets_T2[token_WL, 0] >= 0)
    logits_WL2 = np.where(context_WL[..., None], logits_T2[token_WL], np.float32(-np.inf))
    offsets_WL2 = np.where(context_WL[..., None], windows.offsets_T2[token_WL], -1)

    window_P, column_P, floor_W = _promising_starts(logits_WL2, offsets_WL2, K, n_best_size)
    end_columns_PK = column_P[:, None] + np.arange(K)
    score_PK = logits_WL2[window_P, column_P, 0][:, None] + logits_WL2[window_P[:, None], end_columns_PK, 1]
    start_P = offsets_WL2[window_P, column_P, 0]
    end_PK = offsets_WL2[window_P[:, None], end_columns_PK, 1]
    p, k = np.nonzero((score_PK >= floor_W[window_P][:, None]) & (end_PK > start_P[:, None]))
    return _ranked(question_W[window_P[p]], start_P[p], end_PK[p, k], score_PK[p, k], n_best_size)


def _promising_starts(
    logits_WL2: np.ndarray, offsets_WL2: np.ndarray, K: int, n_best_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """window_P, column_P: tokens that can begin one of the n best spans of their window; floor_W: the least such a span scores.

    The best span of each token that is not empty and starts at a character of its own is a span of its own. So where n such tokens
    of a window reach some score, no span below it is among the n best; and of tokens that just reach it, none after n others.
    """
    L = offsets_WL2.shape[1] - K + 1
    start_WL, end_WL = offsets_WL2[:, :L, 0], offsets_WL2[:, :L, 1]
    best_WL = logits_WL2[:, :L, 0] + _running_max(logits_WL2[..., 1], K)
    own_WL = (end_WL > start_WL) & (np.diff(start_WL, axis=1, prepend=-1) > 0)
    own_best_WL = np.where(own_WL, best_WL, np.float32(-np.inf))
    rank = max(L - n_best_size, 0)
    floor_W = np.partition(own_best_WL, rank, axis=1)[:, rank] if n_best_size <= L else np.full(len(best_WL), -np.inf)
    earlier_WL = np.cumsum(own_best_WL == floor_W[:, None], axis=1)
    promising_WL = (best_WL > floor_W[:, None]) | ((best_WL == floor_W[:, None]) & (earlier_WL <= n_best_size))
    return *np.nonzero(promising_WL & (start_WL >= 0)), floor_W


def _running_max(values_WL: np.ndarray, width: int) -> np.ndarray:
    """The maximum of each value and the `width` - 1 after it; that many columns fewer."""
    reach = 1
    while reach < width:
        step = min(reach, width - reach)
        values_WL = np.maximum(values_WL[:, :-step], values_WL[:, step:])
        reach += step
    return values_WL


def _ranked(
    question: np.ndarray, start: np.ndarray, end: np.ndarray, score: np.ndarray, n_best_size: int
) -> tuple[np.ndarray, ...]:
    """Each question's best spans, best first; each span once, with its best score."""
    order = np.lexsort((-score, end, start, question))
    spans = np.stack([question, start, end])[:, order]
    first = np.append(True, (spans[:, 1:] != spans[:, :-1]).any(axis=0))[: len(order)]
    order = order[first]
    order = order[np.lexsort((end[order], start[order], -score[order], question[order]))]
    rank = np.arange(len(order)) - np.searchsorted(question[order], question[order])
    order = order[rank < n_best_size]
    return question[order], start[order], end[order], score[order]


def _answers(context: str, spans: list[tuple[int, int, float]], null: float, with_null: bool) -> Answers:
    """`spans`: (start, end, score), best first."""
    if not spans:
        return Answers(best="", no_answer_score=NO_SPAN, n_best=())
    top = max(spans[0][2], null) if with_null else spans[0][2]
    weights = [math.exp(score - top) for _, _, score in spans]
    total = sum(weights) + (math.exp(null - top) if with_null else 0.0)
    n_best = tuple(
        Span(text=context[start:end], start=start, end=end, score=score, probability=weight / total)
        for (start, end, score), weight in zip(spans, weights, strict=True)
    )
    return Answers(best=n_best[0].text, no_answer_score=null - n_best[0].score, n_best=n_best)
