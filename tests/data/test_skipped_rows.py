"""train.skip_bad_rows in a whole run: what is said, what is counted, which rows stay."""

import json

import pytest
from conftest import dotted, write_mnli

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.errors import InputError
from debft.published.comparison import changed_keys
from debft.training.describe import describe
from debft.training.plan import make_plan
from debft.training.run import finetune

HIDDEN = "; -1 marks a hidden test label, which can be neither trained on nor scored"


@pytest.fixture
def spoilt(tmp_path):
    """100 + 2 x 20 rows, of which 5 and 1 are bad."""
    root = write_mnli(tmp_path / "data")
    for split, bad in (
        ("train", {3: b"cut", 8: b"a\tb\tmaybe", 11: b"\xff\tb\tneutral", 50: b"a\tb\t", 101: b""}),
        ("validation_matched", {2: b"a\tb\t-1"}),
    ):
        path = root / "mnli" / f"{split}.tsv"
        lines = path.read_bytes().splitlines()
        path.write_bytes(b"\n".join(bad.get(number, line) for number, line in enumerate(lines, start=1)) + b"\n")
    return root


SAID = [
    "train: 5 of 100 rows skipped: line 3 (expected 3 tab-separated columns (premise, hypothesis, label), got 1), "
    "line 8 (label: expected entailment, neutral, contradiction, got 'maybe'), "
    "line 11 (expected UTF-8 text, got byte 0xff, which is 'ÿ' in cp1252; convert the file to UTF-8, or give --encoding cp1252 (an option of text, evaluate and predict)), ...",
    f"validation_matched: 1 of 20 rows skipped: line 2 (label: expected entailment, neutral, contradiction, got '-1'{HIDDEN})",
]


def recipe_for(data, **changes):
    return load_recipe(recipe_path("demo"), {"task": "mnli", "data": str(data)} | dotted(changes))


def test_bad_rows_end_the_command_unless_they_are_skipped(spoilt):
    with pytest.raises(InputError) as error:
        make_plan(recipe_for(spoilt))
    assert str(error.value) == (
        f"{spoilt}/mnli/train.tsv:3: expected 3 tab-separated columns (premise, hypothesis, label), got 1"
        " (and 4 more: line 8, 11, 50, ...)"
    )


def test_skipped_rows_are_said_per_split(spoilt, capsys):
    plan = make_plan(recipe_for(spoilt, skip_bad_rows=True))
    describe(plan)
    assert [line for line in capsys.readouterr().err.splitlines() if "rows skipped" in line] == SAID
    assert plan.skipped_rows == {"train": 5, "validation_matched": 1, "validation_mismatched": 0}
    assert [len(examples) for examples in plan.examples.values()] == [95, 19, 20]


def test_max_train_samples_counts_the_rows_that_stay(spoilt):
    plan = make_plan(recipe_for(spoilt, skip_bad_rows=True, max_train_samples=10))
    assert plan.train.ids == ["0", "2", "3", "4", "5", "7", "8", "10", "11", "12"]
    assert plan.skipped_rows["train"] == 5


def test_result_counts_skipped_rows_and_evaluate_skips_the_same(spoilt, tmp_path):
    from debft.scoring import inference, loading

    result = finetune(recipe_for(spoilt, skip_bad_rows=True, max_steps=2), tmp_path / "run")
    assert result.data.skipped_rows == {"train": 5, "validation_matched": 1, "validation_mismatched": 0}
    assert (result.num_train_examples, result.num_examples) == (95, {"validation_matched": 19, "validation_mismatched": 20})
    again = inference.evaluate(loading.load_predictor(str(tmp_path / "run"), None, "auto"), None)
    assert again["scores"] == result.scores
    assert again["skipped_rows"] == {"validation_matched": 1, "validation_mismatched": 0}


def test_predictions_keep_the_ids_of_the_data(tmp_path):
    data = write_mnli(tmp_path / "data")
    path = data / "mnli" / "validation_matched.tsv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header + "\tid", *(f"{row}\tpair-{i}" for i, row in enumerate(rows))]) + "\n")
    finetune(recipe_for(data, max_steps=2), tmp_path / "run")
    predictions = (tmp_path / "run" / "predictions" / "validation_matched.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in predictions] == [f"pair-{i}" for i in range(20)]


def test_leave_to_skip_alone_does_not_keep_a_run_from_its_published_number(mnli):
    recipe = load_recipe(recipe_path("mnli/deberta-v3-small"), {"train.skip_bad_rows": True})
    assert changed_keys(recipe, mnli) == []
