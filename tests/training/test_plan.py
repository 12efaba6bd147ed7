"""A plan: the facts that it holds, their words, and that both are there before torch is."""

import subprocess
import sys

import pytest
from conftest import write_mnli, write_tsv

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.training.describe import remarks
from debft.training.plan import make_plan

STSB = ["sentence1", "sentence2", "label"]


def plan_of(task, data, **changes):
    return make_plan(load_recipe(recipe_path("demo"), {"task": task, "data": str(data), "train.max_steps": 1, **changes}))


@pytest.fixture
def stsb(tmp_path):
    write_tsv(tmp_path / "stsb" / "train.tsv", STSB, [("a", "b", 0.5), ("c", "d", 2.0), ("e", "f", 3.5)])
    write_tsv(tmp_path / "stsb" / "validation.tsv", STSB, [("a", "b", 4), ("c", "d", 4)])
    return tmp_path


def test_plan_counts_the_labels_of_the_training_rows(tmp_path):
    plan = plan_of("mnli", write_mnli(tmp_path, train=5))
    assert list(plan.label_counts) == list(plan.task.labels) and sum(plan.label_counts.values()) == 5
    assert plan.score_range is None


def test_plan_of_a_regression_has_the_range_of_the_scores_and_no_labels(stsb):
    plan = plan_of("stsb", stsb)
    assert (plan.score_range, plan.label_counts) == ((0.5, 2.0, 3.5), {})


def test_plan_names_eval_splits_whose_rows_all_have_one_score(stsb):
    assert plan_of("stsb", stsb).uniform_labels == {"validation": "4"}


def test_plan_does_not_name_eval_splits_of_several_labels(tmp_path):
    assert plan_of("mnli", write_mnli(tmp_path)).uniform_labels == {}


def test_plan_without_texts_knows_of_the_training_rows_what_it_knew(tmp_path):
    plan, same = (plan_of("mnli", write_mnli(tmp_path)) for _ in range(2))
    plan.let_go_of_texts()
    assert plan.train.texts == () and len(plan.train) == 100
    assert (plan.fingerprints, plan.label_counts) == (same.fingerprints, same.label_counts)
    assert all(plan.examples[split.name].texts for split in plan.task.evals)


def test_plan_of_questions_has_neither_labels_nor_scores():
    plan = plan_of("squad2", "demo", **{"text.max_seq_length": 256})
    assert (plan.label_counts, plan.score_range, plan.uniform_labels, remarks(plan)) == ({}, None, {}, [])


def test_plan_is_shown_before_torch_is_imported(tmp_path):
    """Importing torch takes seconds, in which a wrong row or option would not be seen."""
    code = (
        "import sys; from debft.config.packaged import recipe_path; from debft.config.reading import load_recipe; "
        "from debft.training import run; from pathlib import Path\n"
        "run._run = lambda *_: print('torch' in sys.modules)\n"
        "run.finetune(load_recipe(recipe_path('demo'), {'task': 'mnli', 'data': 'demo'}), Path('run'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert "6,000 train" in done.stderr and "training   2,632 steps" in done.stderr
