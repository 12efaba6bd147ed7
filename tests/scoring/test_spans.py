"""Decoding against plain loops over every span, and against the search of transformers' run_qa where that finds the best span."""

import math
import random

import numpy as np
import pytest

from debft.scoring import spans
from debft.scoring.spans import NO_SPAN, Span, Windows, decode, no_answer_probability

OUTSIDE = (-1, -1)  # the offsets of a token that is not context


def windows_of(*windows: tuple[int, list[tuple[int, int]], int]) -> Windows:
    """`windows`: (question, offsets, position of CLS)."""
    return Windows(
        offsets_T2=np.array([offset for _, offsets, _ in windows for offset in offsets], dtype=np.int32).reshape(-1, 2),
        ends_W=np.cumsum([len(offsets) for _, offsets, _ in windows], dtype=np.int64),
        cls_W=np.array([cls for _, _, cls in windows], dtype=np.int64),
        question_W=np.array([question for question, _, _ in windows], dtype=np.int64),
    )


def logits_of(*pairs: tuple[float, float]) -> np.ndarray:
    return np.array(pairs, dtype=np.float32)


def token_offsets(rng: random.Random) -> tuple[str, list[tuple[int, int]]]:
    """A context and its tokens: spaces between some, empty ones, several over the same characters as bytes of one emoji are."""
    context, offsets = "", []
    for _ in range(rng.randrange(30)):
        context += rng.choice(("", " "))
        start, length = len(context), rng.choice((0, 1, 1, 2, 5))
        context += "".join(rng.choices("abc", k=length))
        offsets += [(start, len(context))] * rng.choice((1, 1, 1, 4))
    return context, offsets


def random_case(seed: int, distinct_logits: int) -> tuple[np.ndarray, Windows, list[str]]:
    """Questions with 0 to 4 windows that overlap, CLS first or last, the context before or after the question."""
    rng = random.Random(seed)
    contexts, windows = [], []
    for question in range(rng.randrange(1, 8)):
        context, offsets = token_offsets(rng)
        contexts.append(context)
        size, stride = rng.randrange(1, 20), rng.randrange(1, 12)
        for begin in range(0, len(offsets), stride)[: rng.randrange(5)]:
            part, others = offsets[begin : begin + size], [OUTSIDE] * rng.randrange(4)
            cls_last = rng.random() < 0.5
            tokens = [*part, *others, OUTSIDE] if cls_last else [OUTSIDE, *others, *part]
            windows.append((question, tokens, len(tokens) - 1 if cls_last else 0))
    together = windows_of(*windows)
    values = np.random.default_rng(seed).normal(size=distinct_logits).astype(np.float32)
    return np.random.default_rng(seed + 1).choice(values, size=(len(together.offsets_T2), 2)), together, contexts


def split_windows(logits_T2: np.ndarray, windows: Windows):
    """(question, logits, offsets, position of CLS) of each window."""
    begin = 0
    for question, end, cls in zip(windows.question_W, windows.ends_W, windows.cls_W, strict=True):
        yield int(question), logits_T2[begin:end], windows.offsets_T2[begin:end].tolist(), int(cls)
        begin = end


def every_span(logits_T2: np.ndarray, windows: Windows, num_questions: int, max_answer_length: int):
    """By plain loops: per question (-score, start, end), best first, and the null score."""
    best = [{} for _ in range(num_questions)]
    null = [math.inf] * num_questions
    for question, logits, offsets, cls in split_windows(logits_T2, windows):
        null[question] = min(null[question], float(logits[cls, 0] + logits[cls, 1]))
        for first, (start, _) in enumerate(offsets):
            for last in range(first, min(first + max_answer_length, len(offsets))):
                end = offsets[last][1]
                if start >= 0 and offsets[last][0] >= 0 and end > start:
                    score = float(logits[first, 0] + logits[last, 1])
                    best[question][start, end] = max(score, best[question].get((start, end), -math.inf))
    return [sorted((-score, start, end) for (start, end), score in spans_of.items()) for spans_of in best], null


@pytest.mark.parametrize("distinct_logits", [1, 4, 1000])
@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.sweep) for seed in range(8, 60))])
def test_decode_equals_plain_loops_over_every_span(seed, distinct_logits, monkeypatch):
    monkeypatch.setattr(spans, "CHUNK", 3)
    logits_T2, windows, contexts = random_case(seed, distinct_logits)
    max_answer_length, n_best_size = random.Random(seed).choice(((1, 1), (3, 2), (5, 4), (8, 20), (30, 5), (1000, 1000)))
    answers = decode(logits_T2, windows, contexts, max_answer_length=max_answer_length, n_best_size=n_best_size, with_null=False)
    expected, null = every_span(logits_T2, windows, len(contexts), max_answer_length)
    assert [[(-span.score, span.start, span.end) for span in answer.n_best] for answer in answers] == [
        every[:n_best_size] for every in expected
    ]
    assert [answer.no_answer_score for answer in answers] == [
        null_score + every[0][0] if every else NO_SPAN for null_score, every in zip(null, expected, strict=True)
    ]
    for context, answer in zip(contexts, answers, strict=True):
        assert [span.text for span in answer.n_best] == [context[span.start : span.end] for span in answer.n_best]
        assert answer.best == (answer.n_best[0].text if answer.n_best else "")


def run_qa_best(logits_T2: np.ndarray, windows: Windows, num_questions: int, max_answer_length: int = 30):
    """As run_qa searches: per question (score, start, end) of the best pair of 20 starts and 20 ends, and null - start - end."""
    best = [(-math.inf, 0, 0)] * num_questions
    diffs, null = [math.nan] * num_questions, [math.inf] * num_questions
    for question, logits, _, cls in split_windows(logits_T2, windows):
        null[question] = min(null[question], logits[cls, 0] + logits[cls, 1])
    for question, logits, offsets, _ in split_windows(logits_T2, windows):
        for first in np.argsort(logits[:, 0])[::-1][:20]:
            for last in np.argsort(logits[:, 1])[::-1][:20]:
                if -1 in (offsets[first][0], offsets[last][0]) or not 0 <= last - first < max_answer_length:
                    continue
                score = float(logits[first, 0] + logits[last, 1])
                if score > best[question][0]:
                    best[question] = (score, offsets[first][0], offsets[last][1])
                    diffs[question] = float(null[question] - logits[first, 0] - logits[last, 1])
    return best, diffs


def test_best_span_equals_run_qa_search_wherever_that_finds_the_best():
    rng = np.random.default_rng(0)
    offsets = [OUTSIDE] * 10 + [(6 * i, 6 * i + 5) for i in range(100)] + [OUTSIDE]
    windows = windows_of(*[(question // 2, offsets, 0) for question in range(200)])
    logits_QWL2 = rng.normal(size=(100, 2, len(offsets), 2)).astype(np.float32) * 3
    # In every other question the likely starts lie behind the likely ends, so that the best 20 of each hardly pair.
    logits_QWL2[::2] += np.linspace((-9, 9), (9, -9), len(offsets), dtype=np.float32)
    logits_T2 = logits_QWL2.reshape(-1, 2)
    answers = decode(logits_T2, windows, ["words " * 100] * 100, with_null=True)
    run_qa, diffs = run_qa_best(logits_T2, windows, 100)
    best = [(answer.n_best[0].score, answer.n_best[0].start, answer.n_best[0].end) for answer in answers]
    same = [own == other for own, other in zip(best, run_qa, strict=True)]
    assert all(own[0] > other[0] for own, other, equal in zip(best, run_qa, same, strict=True) if not equal)
    assert 50 <= sum(same) < 100
    for answer, diff, equal in zip(answers, diffs, same, strict=True):
        assert not equal or answer.no_answer_score == pytest.approx(diff, abs=1e-5)  # float32: logits of about 10


CAT = [OUTSIDE, (0, 3), (4, 7), (8, 11)]  # "the cat sat"


def test_a_span_in_two_windows_counts_once_with_its_best_score():
    windows = windows_of((0, CAT[:3], 0), (0, [OUTSIDE, *CAT[2:]], 0))
    logits_T2 = logits_of((0, 0), (-9, -9), (1, 1), (0, 0), (2, 2), (-9, -9))
    answer = decode(logits_T2, windows, ["the cat sat"], with_null=False)[0]
    assert [(span.text, span.score) for span in answer.n_best if span.text == "cat"] == [("cat", 4.0)]
    assert answer.best == "cat"


def test_max_answer_length_counts_tokens_and_windows_are_not_bridged():
    windows = windows_of((0, CAT, 0), (1, CAT[:2], 0), (1, [OUTSIDE, *CAT[2:]], 0))
    logits_T2 = logits_of((0, 0), (9, 0), (0, 0), (0, 9), (0, 0), (9, 0), (0, 0), (0, 0), (0, 9))
    best = [
        [answer.best for answer in decode(logits_T2, windows, ["the cat sat"] * 2, max_answer_length=length, with_null=False)]
        for length in (2, 3)
    ]
    assert best == [["the", "the"], ["the cat sat", "the"]]


@pytest.mark.parametrize("cls_last", [False, True])
def test_null_score_is_the_smallest_of_the_windows_wherever_cls_is(cls_last):
    def window(null: float, score: float):
        pairs = [(null, null / 2), (score, score)]
        return pairs[::-1] if cls_last else pairs

    offsets = [(0, 3), OUTSIDE] if cls_last else [OUTSIDE, (0, 3)]
    windows = windows_of(*[(0, offsets, int(cls_last))] * 2)
    answer = decode(logits_of(*window(4, 0), *window(2, 5)), windows, ["cat"], with_null=True)[0]
    assert answer.no_answer_score == 3.0 - 10.0


def test_equal_scores_go_to_the_earlier_start_then_to_the_shorter_span():
    answer = decode(np.zeros((4, 2), dtype=np.float32), windows_of((0, CAT, 0)), ["the cat sat"], n_best_size=4, with_null=False)[0]
    assert [span.text for span in answer.n_best] == ["the", "the cat", "the cat sat", "cat"]


def test_an_empty_text_is_never_an_answer():
    windows = windows_of((0, [OUTSIDE, (0, 0), (0, 3)], 0))
    answer = decode(logits_of((0, 0), (9, 9), (0, 0)), windows, ["cat"], with_null=False)[0]
    assert [(span.text, span.score) for span in answer.n_best] == [("cat", 9.0)]


def test_a_question_without_a_span_has_no_answer():
    """The first has a window without context, the second none at all."""
    nothing = decode(logits_of((1, 1), (2, 2)), windows_of((0, [OUTSIDE, OUTSIDE], 0)), ["cat", "dog"], with_null=True)
    assert [(answer.best, answer.no_answer_score, answer.n_best) for answer in nothing] == [("", NO_SPAN, ())] * 2
    assert math.isfinite(NO_SPAN) and no_answer_probability(NO_SPAN) == 1.0


def test_no_questions_have_no_answers():
    assert decode(np.empty((0, 2), dtype=np.float32), windows_of(), [], with_null=True) == []


@pytest.mark.parametrize(("with_null", "rest"), [(False, 0.0), (True, math.exp(1.0))])
def test_probabilities_are_a_softmax_over_the_best_spans_and_the_null_score(with_null, rest):
    windows = windows_of((0, CAT[:3], 0))
    answer = decode(logits_of((0.5, 0.5), (2, 0), (0, 3)), windows, ["the cat"], n_best_size=2, with_null=with_null)[0]
    total = math.exp(5) + math.exp(3) + rest
    expected = [("the cat", 0, 7, 5.0, math.exp(5) / total), ("cat", 4, 7, 3.0, math.exp(3) / total)]
    assert answer.n_best == tuple(
        Span(text=text, start=start, end=end, score=score, probability=pytest.approx(probability, rel=1e-12))
        for text, start, end, score, probability in expected
    )


def test_probabilities_of_large_logits_do_not_overflow():
    windows = windows_of((0, CAT[:2], 0))
    for null, probability in ((-5000.0, 1.0), (5000.0, 0.0)):
        answer = decode(logits_of((null, null), (0, 0)), windows, ["the"], with_null=True)[0]
        assert answer.n_best[0].probability == probability


def test_no_answer_probability_is_the_logistic_function_without_overflow():
    for score in (-30.0, -1.5, 0.0, 0.25, 30.0):
        assert no_answer_probability(score) == pytest.approx(1 / (1 + math.exp(-score)), rel=1e-15)
    assert (no_answer_probability(-1e9), no_answer_probability(1e9)) == (0.0, 1.0)


@pytest.mark.parametrize("kind", ["random", "constant"])
def test_decode_of_windows_of_full_length_equals_plain_loops(kind):
    """Constant logits: every span ties."""
    count, length = 5, 384
    offsets_L2 = np.full((length, 2), -1, dtype=np.int32)
    offsets_L2[20:-1, 0] = np.arange(length - 21) * 5
    offsets_L2[20:-1, 1] = offsets_L2[20:-1, 0] + 4
    windows = Windows(
        offsets_T2=np.tile(offsets_L2, (count, 1)),
        ends_W=np.arange(1, count + 1) * length,
        cls_W=np.zeros(count, dtype=np.int64),
        question_W=np.arange(count),
    )
    logits_T2 = np.zeros((count * length, 2), dtype=np.float32)
    if kind == "random":
        logits_T2 = np.random.default_rng(0).standard_normal(logits_T2.shape, dtype=np.float32)
    answers = decode(logits_T2, windows, ["word " * length] * count, with_null=True)
    expected, _ = every_span(logits_T2, windows, count, max_answer_length=30)
    assert [[(-span.score, span.start, span.end) for span in answer.n_best] for answer in answers] == [
        best[:20] for best in expected
    ]
