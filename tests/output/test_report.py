"""The last table of a run: our score beside the published one, or why not."""

from dataclasses import asdict, replace

import pytest

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.output.terminal import print_result
from debft.published.comparison import beside_published
from debft.runs.result import RowsOfRun, RunResult, Timing

SCORES = {"validation_matched/accuracy": 88.2, "validation_mismatched/accuracy": 88.0}


@pytest.fixture
def result(mnli):
    recipe = load_recipe(recipe_path("mnli/deberta-v3-small"))
    return RunResult(
        task="mnli",
        model=recipe.model,
        status="complete",
        scores=SCORES,
        published=beside_published(recipe, mnli, SCORES),
        not_compared=None,
        num_examples={"validation_matched": 9815, "validation_mismatched": 9832},
        intervals={"validation_matched/accuracy": [87.56, 88.84], "validation_mismatched/accuracy": [87.36, 88.64]},
        num_train_examples=1,
        num_tokens=1,
        steps=10,
        peak_memory_bytes=2**30,
        data=RowsOfRun(source="hub", fingerprints={}),
        timing=Timing(train_seconds=75.0, eval_seconds=5.0, examples_per_second=9480.0, tokens_per_second=1.0),
        recipe=asdict(recipe),
        environment={},
    )


def shown(result, tmp_path, capsys):
    print_result(result, tmp_path)
    out, err = capsys.readouterr()
    assert out == ""
    return [" ".join(line.split()) for line in err.splitlines()]


def test_published_score_difference_and_note_stand_beside_ours(result, tmp_path, capsys):
    lines = shown(result, tmp_path, capsys)
    assert "validation_matched/accuracy 88.20 [87.56, 88.84] 9,815 88.3 -0.1 undecided (1 seed)" in lines
    assert "validation_mismatched/accuracy 88.00 [87.36, 88.64] 9,832 87.7 +0.3 undecided (1 seed)" in lines
    assert any(line.startswith("note on the published cell: the DeBERTa paper") for line in lines)
    assert "10 steps in 1:15, 9,480 examples/s; evaluation 0:05; peak memory 1.0 GiB" in lines


def test_run_that_may_not_be_compared_says_why_and_shows_no_published_number(result, tmp_path, capsys):
    lines = shown(replace(result, published=[], not_compared="demo data is never compared"), tmp_path, capsys)
    assert "validation_matched/accuracy 88.20 [87.56, 88.84] 9,815" in lines
    assert "not compared: demo data is never compared" in lines
    assert not any("88.3" in line for line in lines)


def test_languages_have_the_interval_of_the_compared_split_and_say_their_rows(result, tmp_path, capsys):
    scores = {"validation.fr/accuracy": 80.0, "test.fr/accuracy": 79.0}
    rows = {"validation.fr": 2490, "test.fr": 5010}
    intervals = {"validation.fr/accuracy": [78.4, 81.6], "test.fr/accuracy": [77.9, 80.1]}
    lines = shown(replace(result, scores=scores, num_examples=rows, intervals=intervals, published=[]), tmp_path, capsys)
    assert "fr 80.00 79.00 [77.90, 80.10]" in lines
    assert "rows of each language: validation 2,490, test 5,010; the interval is that of test" in lines
