"""SQuAD scores against the official scorer's numbers, the no-answer threshold against trying every one."""

import json
from fractions import Fraction

import evaluate
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from debft.scoring.metrics import squad
from debft.scoring.metrics.export import modules

OFFICIAL = {
    "f1": 81.77528052374727,
    "exact_match": 78.74168280973637,
    "has_answer_f1": 80.18183293833516,
    "has_answer_exact_match": 74.10593792172739,
    "no_answer_f1": 83.36417157275021,
    "no_answer_exact_match": 83.36417157275021,
}


@pytest.fixture(scope="module")
def answers(shared):
    articles = json.loads((shared / "squad2" / "official-dev" / "dev-v2.0.json").read_text(encoding="utf-8"))["data"]
    questions = [question for article in articles for paragraph in article["paragraphs"] for question in paragraph["qas"]]
    return {question["id"]: [answer["text"] for answer in question["answers"]] for question in questions}


@pytest.fixture(scope="module")
def predictions(shared):
    return json.loads((shared / "squad2" / "official-dev" / "predictions-bert.json").read_text(encoding="utf-8"))


def test_scores_equal_the_official_scorer_to_the_last_digit(predictions, answers):
    scores = squad.scores(predictions, answers)
    assert scores == OFFICIAL
    assert list(scores) == list(OFFICIAL)


def test_evaluate_module_equals_the_official_scorer(predictions, answers):
    module = evaluate.load(modules.path("squad_v2"), keep_in_memory=True)
    scores = module.compute(
        predictions=[{"id": i, "prediction_text": predictions[i]} for i in answers],
        references=[{"id": i, "answers": {"text": gold, "answer_start": [0] * len(gold)}} for i, gold in answers.items()],
    )
    assert scores == OFFICIAL


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("The  Cat,\tan animal!", "cat animal"),
        ("the", ""),
        ("U.S.A.", "usa"),
        ("a-b", "ab"),
        ("theatre", "theatre"),
        ("“Ünï”", "“ünï”"),
        ("", ""),
    ],
)
def test_normalize_answer_drops_case_punctuation_articles_and_spaces(text, normalized):
    assert squad.normalize_answer(text) == normalized


@pytest.mark.parametrize(
    ("prediction", "gold", "exact_match", "f1"),
    [
        ("the big cat", ["cat", "a big cat."], 1.0, 1.0),
        ("big cat", ["cat"], 0.0, 2 / 3),
        ("cat cat", ["cat dog dog"], 0.0, 0.4),
        ("dog", ["cat"], 0.0, 0.0),
        ("", ["cat"], 0.0, 0.0),
        ("", (), 1.0, 1.0),
        ("the", (), 1.0, 1.0),
        ("cat", (), 0.0, 0.0),
        ("the", ["The", "cat"], 0.0, 0.0),
        ("", ["The"], 1.0, 1.0),
    ],
)
def test_scores_of_one_question_by_hand(prediction, gold, exact_match, f1):
    assert (squad.exact_match(prediction, gold), squad.f1(prediction, gold)) == (exact_match, pytest.approx(f1, rel=1e-15))


def test_scores_leave_out_the_groups_without_questions():
    assert list(squad.scores({"q": "cat"}, {"q": ["cat"]})) == list(OFFICIAL)[:4]
    assert list(squad.scores({"q": "cat"}, {"q": []})) == [*list(OFFICIAL)[:2], *list(OFFICIAL)[4:]]


def test_scores_name_the_first_question_without_a_prediction_and_ignore_other_predictions():
    with pytest.raises(ValueError, match="question 'second'"):
        squad.scores({"first": "", "fourth": ""}, {"first": [], "second": [], "third": []})
    assert squad.scores({"first": "", "fourth": ""}, {"first": []})["f1"] == 100.0


def test_scores_and_threshold_want_a_question():
    with pytest.raises(ValueError, match="at least one question"):
        squad.scores({}, {})
    with pytest.raises(ValueError, match="at least one question"):
        squad.best_threshold(np.array([]), np.array([]), np.array([], dtype=bool))


def exact_best_threshold(questions: list[tuple[float, Fraction, bool]]) -> tuple[float, Fraction]:
    """Every threshold tried, in exact arithmetic; the smallest of the best."""
    scores = sorted({score for score, _, _ in questions})
    best = (scores[0] - 1.0, Fraction(-1))
    for threshold in (scores[0] - 1.0, *scores):
        total = sum(answered if score <= threshold else Fraction(not has_answer) for score, answered, has_answer in questions)
        if total > best[1]:
            best = threshold, total
    return best[0], 100 * best[1] / len(questions)


QUESTION = st.tuples(
    st.integers(-3, 3).map(float) | st.floats(-20, 20, width=32),
    st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(2, 3), Fraction(4, 7), Fraction(1, 10), Fraction(1)]),
    st.booleans(),
)


@given(st.lists(QUESTION, min_size=1, max_size=30))
def test_best_threshold_equals_trying_every_threshold_in_exact_arithmetic(questions):
    scores, answered, has_answer = (np.array(column) for column in zip(*questions, strict=True))
    threshold, mean = squad.best_threshold(scores, answered.astype(float), has_answer)
    expected_threshold, expected_mean = exact_best_threshold(questions)
    assert threshold == expected_threshold
    assert mean == pytest.approx(float(expected_mean), abs=1e-9)


def test_best_threshold_answers_equal_scores_together():
    """The official sweep would stop between the two questions of score 1 and report 100."""
    assert squad.best_threshold(np.array([1.0, 1.0]), np.array([1.0, 0.0]), np.array([True, False])) == (0.0, 50.0)


def test_best_threshold_below_all_scores_answers_nothing():
    """The official search says 0.0, which would answer both."""
    assert squad.best_threshold(np.array([-5.0, -4.0]), np.zeros(2), np.zeros(2, dtype=bool)) == (-6.0, 100.0)


@pytest.mark.parametrize("metric", ["f1", "exact_match"])
def test_best_threshold_on_real_predictions_is_the_scorers_number_and_no_other_is_better(predictions, answers, metric):
    """The no-answer scores are drawn: higher without an answer, a tenth of a logit apart, so that many are equal."""
    rng = np.random.default_rng(0)
    has_answer = np.array([bool(gold) for gold in answers.values()])
    no_answer_score = np.round(rng.normal(size=len(answers)) * 3 - 4 * has_answer, 1)
    score = np.array([getattr(squad, metric)(predictions[i], gold) for i, gold in answers.items()])
    threshold, best = squad.best_threshold(no_answer_score, score, has_answer)
    means = {t: 100 * np.where(no_answer_score <= t, score, ~has_answer).mean() for t in np.unique(no_answer_score)}
    assert threshold == max(means, key=means.get)
    kept = {i: predictions[i] if s <= threshold else "" for i, s in zip(answers, no_answer_score, strict=True)}
    assert squad.scores(kept, answers)[metric] == best
