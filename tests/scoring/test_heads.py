"""What the kinds of heads make of logits: thresholds, files and rows, against values worked out by hand."""

import ast
from pathlib import Path

import numpy as np
import pytest

import debft
from debft.config.recipe import QuestionConfig
from debft.data.encoding import EncodedSplit
from debft.data.examples import Examples
from debft.scoring.heads import LabelHead, ScoreHead, SpanHead, head_of
from debft.scoring.heads.span import choose_threshold, official_files
from debft.scoring.metrics import by_name
from debft.scoring.spans import DecodedAnswer
from debft.tasks import TASKS


def answer(text: str, no_answer_score: float) -> DecodedAnswer:
    """The whole context is the answer."""
    one = {"starts": [0], "ends": [len(text)], "scores": [1.0], "probabilities": [0.5]}
    return DecodedAnswer(context=text, no_answer_score=no_answer_score, **one)


# Of the second answer, "fox and owl" once "a" is gone, one word of three is right: precision 1/3, recall 1, F1 0.5, no exact match.
ANSWERS = [answer("red fox", -2.0), answer("a fox and owl", -1.0), answer("dog", 3.0)]
GOLD = [("red fox",), ("owl", "fox"), ()]


def test_threshold_is_the_best_for_the_first_metric_and_each_metric_has_its_own_best():
    """F1 is best with two answers; exact match as good with one, and of equals the smallest threshold counts."""
    best = {"best_f1": pytest.approx(250 / 3), "best_exact_match": pytest.approx(200 / 3)}
    assert choose_threshold(ANSWERS, GOLD, ("f1", "exact_match")) == (-1.0, best)
    assert choose_threshold(ANSWERS, GOLD, ("exact_match", "f1")) == (-2.0, best)


def test_official_files_go_by_question_and_the_probability_is_for_unanswerable_tasks_alone():
    texts = {"q1": "fox", "q2": ""}
    files = official_files(texts, [answer(" fox", 0.0), answer("owl", 40.0)], unanswerable=True)
    assert files["predictions.json"] == texts
    assert files["nbest_predictions.json"]["q1"] == [{"text": "fox", "start": 1, "end": 4, "score": 1.0, "probability": 0.5}]
    assert files["na_prob.json"] == {"q1": 0.5, "q2": pytest.approx(1.0)}
    assert "na_prob.json" not in official_files(texts, [answer("fox", 0.0), answer("owl", 9.0)], unanswerable=False)


def test_every_task_gets_the_head_of_its_kind():
    kinds = {name: type(head_of(task, QuestionConfig(), ("a", "b"))) for name, task in TASKS.items()}
    assert {name for name, kind in kinds.items() if kind is SpanHead} == {"squad", "squad2"}
    assert {name for name, kind in kinds.items() if kind is ScoreHead} == {"stsb"}
    assert kinds["mnli"] is LabelHead


def test_row_of_a_score_holds_the_output_as_prediction_and_rounded_under_its_name():
    labels = np.array([2.5, 4.0], dtype=np.float32)
    split = EncodedSplit(ids_T=None, types_T=None, ends_S=None, labels_S=labels, truncated=0)
    examples = Examples(texts=[("a", "b")] * 2, labels=labels, ids=["x", "y"], empty_texts=0, source="rows.tsv")
    outputs = np.array([[2.4000001], [4.0]], dtype=np.float32)
    assessment = ScoreHead(task=TASKS["stsb"], name="score").assess(outputs, split, examples)
    exact = float(np.float32(2.4000001))
    assert assessment.rows == [
        {"id": "x", "label": 2.5, "prediction": exact, "scores": {"score": 2.4}},
        {"id": "y", "label": 4.0, "prediction": 4.0, "scores": {"score": 4.0}},
    ]
    assert assessment.scores == {"pearson": 100.0, "spearmanr": 100.0}


def test_every_metric_of_a_task_is_computed_by_name():
    classifications = [task for name, task in TASKS.items() if name not in ("squad", "squad2")]
    assert {metric for task in classifications for metric in task.metrics} <= set(by_name.METRICS)


def test_no_run_loads_the_evaluate_library():
    """It copies code into a cache under a lock; the export alone may import it."""
    package = Path(debft.__file__).parent
    for path in package.rglob("*.py"):
        if path.is_relative_to(package / "scoring" / "metrics" / "export"):
            continue
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
        assert not [name for name in names if name.split(".")[0] == "evaluate" or ".metrics.export" in name], path
