"""Start and end logits of windows become the best spans of each question's context, and a no-answer score.

Legend: Q questions, W windows of all of them, T tokens of all windows end to end; C windows of one chunk, L tokens of the
longest of these; K tokens an answer may have; P tokens that may begin one of the best spans; S spans that are among the best.

Every span of a window is a candidate. The search leaves out, before it ranks any, the starts that cannot begin one of the best:
benchmarks/RESULTS.md has what that saves.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

NO_SPAN = 1e9  # the no-answer score of a question without any span: finite, so that JSON holds it
CHUNK = 256  # windows searched together
COLUMNS = ("question_S", "start_S", "end_S", "score_S")  # of BestSpans, as `_best_spans` returns them
KINDS = (np.int64, np.int64, np.int64, np.float32)  # of these columns


@dataclass(frozen=True, kw_only=True)
class Windows:
    """The windows of all questions lie end to end, those of a question together; each holds a stretch of its question's context.

    offsets_T2: int32, the characters [start, end) of the context that a token covers, spaces trimmed, never falling from one token
        to the next; start -1 for a token that is not context; the context's tokens lie side by side
    ends_W: int64, where each window ends in T
    cls_W: where the CLS token is, counted from the window's first token
    question_W: the number of the window's question, never falling
    """

    offsets_T2: np.ndarray
    ends_W: np.ndarray
    cls_W: np.ndarray
    question_W: np.ndarray

    def __len__(self) -> int:
        return len(self.ends_W)

    def begins(self) -> np.ndarray:
        """Return where each window begins in T, (W,)."""
        return np.append(0, self.ends_W)[:-1]


@dataclass(frozen=True, kw_only=True)
class BestSpans:
    """The best spans of Q questions are known, and no logits are needed any more.

    question_Q: int64, the numbers of the questions, ascending
    null_Q: the null score of each, the sum of start and end logit of the CLS token, the smallest of the question's windows
    question_S, start_S, end_S: int64, the question of each span and its characters [start, end) of the context
    score_S: the start logit plus the end logit; the spans of a question lie together, the best first
    """

    question_Q: np.ndarray
    null_Q: np.ndarray
    question_S: np.ndarray
    start_S: np.ndarray
    end_S: np.ndarray
    score_S: np.ndarray


class Span(NamedTuple):
    """A span is a candidate for an answer.

    text: the characters [start, end) of the context
    score: the start logit plus the end logit
    probability: among the best spans of its question
    """

    text: str
    start: int
    end: int
    score: float
    probability: float


@dataclass(frozen=True, kw_only=True)
class DecodedAnswer:
    """The logits give this answer to one question.

    context: where it is asked
    starts, ends, scores, probabilities: of the best spans, best first; as lists of numbers, since SQuAD's dev set has 237,000 spans
    no_answer_score: the null score minus the score of the best span, in logits
    """

    context: str
    starts: list[int]
    ends: list[int]
    scores: list[float]
    probabilities: list[float]
    no_answer_score: float

    @property
    def best(self) -> str:
        """Return the text of the best span, '' where there is none."""
        return self.context[self.starts[0] : self.ends[0]] if self.starts else ""

    @property
    def n_best(self) -> tuple[Span, ...]:
        """Return the best spans, best first."""
        texts = [self.context[start:end] for start, end in zip(self.starts, self.ends, strict=True)]
        return tuple(map(Span, texts, self.starts, self.ends, self.scores, self.probabilities))


def decode(
    logits_T2: np.ndarray,
    windows: Windows,
    contexts: Sequence[str],
    *,
    with_null: bool,
    max_answer_length: int = 30,
    n_best_size: int = 20,
) -> list[DecodedAnswer]:
    """Return the answer of each question, in the order of `contexts` (Q texts). logits_T2: float32, start and end.

    Every span of at most `max_answer_length` tokens, from one context token to the same or a later one in the same window, is a
    candidate unless its text is empty; the same characters from several windows count once, with their best score. Equal scores:
    the earlier start first, then the shorter. Probabilities are a softmax over the best spans, and `with_null` over the null
    score too. A question without any span has the answer '' and the no-answer score NO_SPAN.

    Source: transformers examples/pytorch/question-answering/utils_qa.py postprocess_qa_predictions, with one deliberate
    difference: that looks at the 20 best starts x the 20 best ends only, and misses a best span where these do not pair.
    """
    assert len(contexts) > windows.question_W.max(initial=-1)
    best = search(logits_T2, windows, max_answer_length=max_answer_length, n_best_size=n_best_size)
    return answers(best, contexts, with_null=with_null)


def search(logits_T2: np.ndarray, windows: Windows, *, max_answer_length: int, n_best_size: int) -> BestSpans:
    """Return the best spans of each question that has a window, as `decode` ranks them."""
    assert len(logits_T2) == len(windows.offsets_T2)
    assert max_answer_length > 0 and n_best_size > 0
    question_Q, null_Q = _null_scores(logits_T2, windows)
    chunks = [_best_spans(logits_T2, windows, chunk, max_answer_length, n_best_size) for chunk in _chunks(windows.question_W)]
    columns = [np.concatenate(column) for column in zip(*chunks, strict=True)] or [np.empty(0, dtype=kind) for kind in KINDS]
    return BestSpans(question_Q=question_Q, null_Q=null_Q, **dict(zip(COLUMNS, columns, strict=True)))


def merged(parts: Sequence[BestSpans]) -> BestSpans:
    """Return the best spans of the questions of all parts, of which no two have a question in common."""
    columns = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(BestSpans)}
    order_Q, order_S = (np.argsort(columns[name], kind="stable") for name in ("question_Q", "question_S"))
    return BestSpans(**{name: column[order_Q if name.endswith("Q") else order_S] for name, column in columns.items()})


def answers(best: BestSpans, contexts: Sequence[str], *, with_null: bool) -> list[DecodedAnswer]:
    """Return the answer of each question, in the order of `contexts`, from its best spans."""
    null_Q = np.full(len(contexts), np.inf, dtype=np.float32)
    null_Q[best.question_Q] = best.null_Q
    ends = np.searchsorted(best.question_S, np.arange(len(contexts)), side="right").tolist()
    starts, stops, scores = best.start_S.tolist(), best.end_S.tolist(), best.score_S.tolist()
    return [
        _answer(context, starts[begin:end], stops[begin:end], scores[begin:end], null, with_null)
        for context, begin, end, null in zip(contexts, [0, *ends], ends, null_Q.tolist(), strict=False)
    ]


def no_answer_probability(score: float) -> float:
    """Return the logistic function of a no-answer score: 0.5 where no answer and the best span score the same."""
    small = math.exp(-abs(score))
    return (1.0 if score >= 0 else small) / (1.0 + small)


def _null_scores(logits_T2: np.ndarray, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the questions, (Q,), and their null scores, (Q,) float32."""
    question_Q, place_W = np.unique(windows.question_W, return_inverse=True)
    null_Q = np.full(len(question_Q), np.inf, dtype=np.float32)
    np.minimum.at(null_Q, place_W, logits_T2[windows.begins() + windows.cls_W].sum(axis=1))
    return question_Q, null_Q


def _chunks(question_W: np.ndarray) -> Iterator[slice]:
    """Cut the windows into chunks of about CHUNK, each of whole questions."""
    cuts = np.unique(np.searchsorted(question_W, question_W[::CHUNK]))
    yield from map(slice, cuts.tolist(), [*cuts[1:].tolist(), len(question_W)])


def _best_spans(
    logits_T2: np.ndarray, windows: Windows, chunk: slice, max_answer_length: int, n_best_size: int
) -> tuple[np.ndarray, ...]:
    """Return question, start, end and score of the `n_best_size` best spans of each question, in the order of `decode`."""
    begins_C, ends_C, question_C = windows.begins()[chunk], windows.ends_W[chunk], windows.question_W[chunk]
    lengths_C = ends_C - begins_C
    K = min(max_answer_length, int(lengths_C.max()))
    # K - 1 columns of padding, so that every start has K ends
    column_L = np.arange(lengths_C.max() + K - 1)
    token_CL = np.minimum(begins_C[:, None] + column_L, ends_C[:, None] - 1)
    context_CL = (column_L < lengths_C[:, None]) & (windows.offsets_T2[token_CL, 0] >= 0)
    logits_CL2 = np.where(context_CL[..., None], logits_T2[token_CL], np.float32(-np.inf))
    offsets_CL2 = np.where(context_CL[..., None], windows.offsets_T2[token_CL], -1)

    window_P, column_P, floor_C = _promising_starts(logits_CL2, offsets_CL2, K, n_best_size)
    end_columns_PK = column_P[:, None] + np.arange(K)
    score_PK = logits_CL2[window_P, column_P, 0][:, None] + logits_CL2[window_P[:, None], end_columns_PK, 1]
    start_P = offsets_CL2[window_P, column_P, 0]
    end_PK = offsets_CL2[window_P[:, None], end_columns_PK, 1]
    p, k = np.nonzero((score_PK >= floor_C[window_P][:, None]) & (end_PK > start_P[:, None]))
    return _ranked(question_C[window_P[p]], start_P[p], end_PK[p, k], score_PK[p, k], n_best_size)


def _promising_starts(
    logits_CL2: np.ndarray, offsets_CL2: np.ndarray, K: int, n_best_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the tokens that can begin one of the n best spans of their window, and the least that such a span scores.

    Returns their windows in the chunk and their columns, (P,) each, and the least score of each window, (C,).

    The best span of each token that is not empty and starts at a character of its own is a span of its own. So where n such tokens
    of a window reach some score, no span below it is among the n best; and of tokens that just reach it, none after n others.
    """
    L = offsets_CL2.shape[1] - K + 1
    start_CL, end_CL = offsets_CL2[:, :L, 0], offsets_CL2[:, :L, 1]
    best_CL = logits_CL2[:, :L, 0] + _running_max(logits_CL2[..., 1], K)
    own_CL = (end_CL > start_CL) & (np.diff(start_CL, axis=1, prepend=-1) > 0)
    own_best_CL = np.where(own_CL, best_CL, np.float32(-np.inf))
    rank = max(L - n_best_size, 0)
    floor_C = np.partition(own_best_CL, rank, axis=1)[:, rank] if n_best_size <= L else np.full(len(best_CL), -np.inf)
    earlier_CL = np.cumsum(own_best_CL == floor_C[:, None], axis=1)
    promising_CL = (best_CL > floor_C[:, None]) | ((best_CL == floor_C[:, None]) & (earlier_CL <= n_best_size))
    windows_P, columns_P = np.nonzero(promising_CL & (start_CL >= 0))
    return windows_P, columns_P, floor_C


def _running_max(values_CL: np.ndarray, width: int) -> np.ndarray:
    """Return the maximum of each value and the `width` - 1 after it, for all columns but the last `width` - 1."""
    reach = 1
    while reach < width:
        step = min(reach, width - reach)
        values_CL = np.maximum(values_CL[:, :-step], values_CL[:, step:])
        reach += step
    return values_CL


def _ranked(
    question: np.ndarray, start: np.ndarray, end: np.ndarray, score: np.ndarray, n_best_size: int
) -> tuple[np.ndarray, ...]:
    """Return the best spans of each question, best first, each span once with its best score."""
    order = np.lexsort((-score, end, start, question))
    spans = np.stack([question, start, end])[:, order]
    first = np.append(True, (spans[:, 1:] != spans[:, :-1]).any(axis=0))[: len(order)]
    order = order[first]
    order = order[np.lexsort((end[order], start[order], -score[order], question[order]))]
    rank = np.arange(len(order)) - np.searchsorted(question[order], question[order])
    order = order[rank < n_best_size]
    return question[order], start[order], end[order], score[order]


def _answer(context: str, starts: list[int], ends: list[int], scores: list[float], null: float, with_null: bool) -> DecodedAnswer:
    """Return the answer to a question. starts, ends, scores: of its best spans, best first; null: the null score."""
    probabilities, no_answer_score = [], NO_SPAN
    if scores:
        top = max(scores[0], null) if with_null else scores[0]
        weights = [math.exp(score - top) for score in scores]
        total = sum(weights) + (math.exp(null - top) if with_null else 0.0)
        probabilities, no_answer_score = [weight / total for weight in weights], null - scores[0]
    return DecodedAnswer(
        context=context, starts=starts, ends=ends, scores=scores, probabilities=probabilities, no_answer_score=no_answer_score
    )
