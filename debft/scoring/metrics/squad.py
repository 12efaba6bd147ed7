"""The official SQuAD 2.0 scores are plain functions of answer texts here; the no-answer threshold is searched with them.

An answer is a text, '' where the question is held to be unanswerable. SQuAD 1.1 is scored the same way; its own scorer differs
only for a gold answer of which the normalisation leaves nothing.
Source: evaluate-v2.0.py of https://rajpurkar.github.io/SQuAD-explorer. Legend: N questions.
"""

import operator
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache, reduce

import numpy as np

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


@lru_cache(maxsize=1 << 17)  # gold answers are asked for by every metric, and often again by the next evaluation
def normalize_answer(text: str) -> str:
    """Return the text in lower case without ASCII punctuation and English articles, its words one space apart."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 1.0 where the prediction equals a gold answer once both are normalised, else 0.0. answers: () for none."""
    return float(normalize_answer(prediction) in _gold(answers))


def f1(prediction: str, answers: Sequence[str]) -> float:
    """Return the F1 of the words, a fraction, the best over the gold answers; where one side is empty, the exact match."""
    words = normalize_answer(prediction).split()
    return max(_f1_of_words(words, answer.split()) for answer in _gold(answers))


def scores(predictions: Mapping[str, str], answers: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return f1 and exact_match in percent: over all questions, those with a gold answer (has_answer_), those without (no_answer_).

    Both map question ids; predictions of other questions are left out. The sums run in the order of `answers`: with that of the
    data file, every digit is the official scorer's. Raises ValueError where a question has no prediction.
    """
    if not answers:
        raise ValueError("squad: expected at least one question, got none; give the gold answers of a split with questions")
    for identity in answers:
        if identity not in predictions:
            raise ValueError(f"squad: expected a prediction of question {identity!r}, got none; '' says no answer")
    by_metric = {
        name: {identity: score(predictions[identity], gold) for identity, gold in answers.items()}
        for name, score in (("f1", f1), ("exact_match", exact_match))
    }
    has_answer = [identity for identity, gold in answers.items() if len(gold)]
    no_answer = [identity for identity, gold in answers.items() if not len(gold)]
    return {
        f"{prefix}{name}": _percent([by_id[identity] for identity in group])
        for prefix, group in (("", list(answers)), ("has_answer_", has_answer), ("no_answer_", no_answer))
        if group
        for name, by_id in by_metric.items()
    }


def best_threshold(no_answer_score_N: np.ndarray, score_if_answered_N: np.ndarray, has_answer_N: np.ndarray) -> tuple[float, float]:
    """Return (threshold, mean score in percent) where answering the questions with `no_answer_score <= threshold` scores best.

    score_if_answered_N: in [0, 1], exact match or F1 of the best answer other than ''
    has_answer_N: bool, whether a gold answer is not empty once normalised; without one an unanswered question scores 1, else 0
    The threshold is the no-answer score of the last question answered, or 1 below the smallest where none should be; of several
    best ones, the smallest.

    Two deliberate differences from the official search (find_best_thresh): questions of equal no-answer score are answered
    together, as no threshold can divide them; and answering none is a threshold below all scores, where the official search
    says 0.0 whatever the scores are. Raises ValueError without questions.
    """
    scores_N = np.asarray(no_answer_score_N, dtype=np.float64)
    if not len(scores_N):
        raise ValueError("best_threshold: expected at least one question, got none; give the predictions of a split with questions")
    unanswered_N = 1.0 - np.asarray(has_answer_N, dtype=np.float64)
    answered_N = np.asarray(score_if_answered_N, dtype=np.float64)
    order = np.argsort(scores_N, kind="stable")
    sorted_N = scores_N[order]
    last_of_equals = np.flatnonzero(np.append(sorted_N[1:] != sorted_N[:-1], True))
    gains_N = np.cumsum((answered_N - unanswered_N)[order])[last_of_equals]
    # Rounded to a billionth of a question, so that the error of the sums does not decide between equals.
    gains = np.round(np.append(0.0, gains_N), 9)
    thresholds = np.append(sorted_N[0] - 1.0, sorted_N[last_of_equals])
    threshold = thresholds[gains.argmax()]
    return float(threshold), _percent(np.where(scores_N <= threshold, answered_N, unanswered_N).tolist())


def _gold(answers: Sequence[str]) -> list[str]:
    """Normalise the gold answers; those of which nothing is left count only where nothing is left of any."""
    return [normalized for answer in answers if (normalized := normalize_answer(answer))] or [""]


def _f1_of_words(prediction: list[str], answer: list[str]) -> float:
    """Return the F1 of two lists of words, in which repeated words count as often as in both."""
    if not prediction or not answer:
        return float(prediction == answer)
    left, common = Counter(answer), 0
    for word in prediction:
        if left[word] > 0:
            left[word] -= 1
            common += 1
    if not common:
        return 0.0
    precision, recall = common / len(prediction), common / len(answer)
    return 2 * precision * recall / (precision + recall)


def _percent(values: list[float]) -> float:
    """Return 100 times the mean, added one by one as the official scorer does it; sum() no longer does from Python 3.12 on."""
    return 100.0 * reduce(operator.add, values, 0.0) / len(values)
