"""Rows are held out of the user's own rows: stratified, seeded, disjoint and complete, and the same again when a run is used."""

import json
import random
from collections import Counter

import numpy as np
import pytest
import sklearn.model_selection
from conftest import dotted
from hypothesis import given
from hypothesis import strategies as st

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.data.examples import Examples
from debft.data.own_rows import own_rows, record_of
from debft.data.splits import cut, strata_of
from debft.errors import InputError
from debft.training.describe import remarks
from debft.training.plan import make_plan

LABELS = ("bad", "fair", "good")


def recipe_for(data, **changes):
    return load_recipe(recipe_path("demo"), {"task": "text", "data": str(data)} | dotted(changes))


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def different_rows(count, seed=0, label=None):
    rng = random.Random(seed)
    return [
        {"text": f"text number {i}", "label": rng.choices(LABELS, weights=(1, 3, 9))[0] if label is None else label(rng)}
        for i in range(count)
    ]


@pytest.fixture
def file(tmp_path):
    return write_rows(tmp_path / "rows.jsonl", different_rows(400))


def texts_of(rows):
    return {name: [text for (text,) in examples.texts] for name, examples in rows.examples.items()}


def test_a_tenth_of_one_file_is_held_out_where_nothing_is_asked_for(file):
    rows = own_rows(recipe_for(file))
    assert {name: len(examples) for name, examples in rows.examples.items()} == {"train": 360, "validation": 40}
    assert rows.held_out.shares == {"validation": 0.1}
    assert rows.source == "file"


def test_held_out_rows_are_disjoint_and_all_rows_are_there_in_their_order(file):
    rows = own_rows(recipe_for(file, validation=0.2, test=0.1))
    parts = texts_of(rows)
    assert list(parts) == ["train", "validation", "test"]
    every = [row["text"] for row in map(json.loads, file.read_text().splitlines())]
    assert sorted(text for texts in parts.values() for text in texts) == sorted(every)
    for texts in parts.values():
        assert texts == [text for text in every if text in set(texts)]


@given(
    st.lists(st.integers(0, 5), min_size=20, max_size=300),
    st.sampled_from([0.05, 0.1, 0.2, 0.33]),
    st.sampled_from([0.0, 0.1, 0.25]),
)
def test_each_class_is_within_one_row_of_its_share(labels, validation, test):
    """As scikit-learn's StratifiedShuffleSplit promises it, for every part and whatever the classes."""
    shares = [1 - validation - test, validation, test]
    part_N = cut([(f"text {i}",) for i in range(len(labels))], [(label,) for label in labels], shares)
    for label, count in Counter(labels).items():
        for part, share in enumerate(shares):
            got = int(((np.array(labels) == label) & (part_N == part)).sum())
            assert abs(got - share * count) <= 1 + 1e-9, (label, part)


def test_held_out_classes_are_those_of_scikit_learn_within_one_row(file):
    rows = own_rows(recipe_for(file, validation=0.2))
    labels = [row["label"] for row in map(json.loads, file.read_text().splitlines())]
    splitter = sklearn.model_selection.StratifiedShuffleSplit(n_splits=1, test_size=0.2, random_state=0)
    ((_, theirs),) = splitter.split(labels, labels)
    expected = Counter(labels[row] for row in theirs)
    got = Counter(LABELS[label] for label in rows.examples["validation"].labels)
    assert all(abs(expected[label] - got[label]) <= 1 for label in LABELS)


def test_scores_are_held_out_by_their_tenths(tmp_path):
    file = write_rows(tmp_path / "a.jsonl", different_rows(500, label=lambda rng: rng.random() ** 3 * 10))
    rows = own_rows(recipe_for(file, validation=0.2))
    whole = np.concatenate([examples.labels for examples in rows.examples.values()])
    edges = np.quantile(whole, np.linspace(0, 1, 11))[1:-1]
    counts = np.bincount(np.digitize(rows.examples["validation"].labels, edges), minlength=10)
    # 50 rows in each tenth, a fifth of them held out; numpy's edges may put a row on a tenth's edge into the next one
    assert np.abs(counts - 10).max() <= 2


def test_every_label_of_several_is_held_out_by_its_share(tmp_path):
    names = "abcd"
    rows = different_rows(600, label=lambda rng: [name for name in names if rng.random() < 0.1 + 0.2 * names.index(name)])
    read = own_rows(recipe_for(write_rows(tmp_path / "a.jsonl", rows), validation=0.2, problem="multilabel"))
    counts = np.concatenate([examples.labels for examples in read.examples.values()]).sum(axis=0)
    # A row counts for several labels at once, so that the last rows may give one of them a row more than it lacks.
    assert np.abs(read.examples["validation"].labels.sum(axis=0) - 0.2 * counts).max() <= 2


def test_rows_with_the_same_text_are_in_one_split(tmp_path):
    rows = different_rows(100)
    again = [{"text": f"  {row['text'].upper()}", "label": row["label"]} for row in rows[:40]]
    parts = texts_of(own_rows(recipe_for(write_rows(tmp_path / "a.jsonl", rows + again), validation=0.2, test=0.2)))
    plain = {name: {" ".join(text.split()).casefold() for text in texts} for name, texts in parts.items()}
    assert not plain["train"] & plain["validation"] and not plain["test"] & (plain["train"] | plain["validation"])


def test_same_rows_in_another_order_are_held_out_alike(tmp_path, file):
    shuffled = [json.loads(line) for line in file.read_text().splitlines()]
    random.Random(1).shuffle(shuffled)
    other = write_rows(tmp_path / "other.jsonl", shuffled)
    one, two = (texts_of(own_rows(recipe_for(path))) for path in (file, other))
    assert {name: set(texts) for name, texts in one.items()} == {name: set(texts) for name, texts in two.items()}


def test_seed_of_a_run_does_not_move_what_is_held_out_but_the_split_seed_does(file):
    first, again, other = (
        texts_of(own_rows(recipe_for(file, **changes)))["validation"] for changes in ({}, {"seed": 7}, {"split_seed": 7})
    )
    assert first == again != other
    assert len(other) == len(first)


def test_held_out_rows_do_not_depend_on_hashes_of_the_process(file):
    """Python's own hashes of texts differ from one process to the next: these ids are written down."""
    assert own_rows(recipe_for(file)).ids["validation"][:6] == ["7", "19", "33", "47", "51", "63"]


def test_recorded_rows_are_held_out_whatever_would_be_cut_today(file):
    rows = own_rows(recipe_for(file))
    record = json.loads(json.dumps(record_of(rows)))
    record["ids"]["validation"] = ["3", "5"]
    again = own_rows(recipe_for(file), rows.task, record)
    assert again.examples["validation"].ids == ["3", "5"]
    assert len(again.examples["train"]) == 398


def test_recorded_rows_of_another_file_are_refused(tmp_path, file):
    rows = own_rows(recipe_for(file))
    file.write_text(file.read_text() + json.dumps({"text": "one more", "label": "good"}) + "\n")
    with pytest.raises(InputError) as error:
        own_rows(recipe_for(file), rows.task, record_of(rows))
    assert str(error.value) == (
        f"{file}: expected the 400 rows that the run cut into splits, got 401 others; give --data a file to score all of its rows"
    )


def test_test_rows_choose_no_checkpoint(file):
    task = own_rows(recipe_for(file, test=0.1)).task
    assert [split.name for split in task.evals] == ["validation", "test"]
    assert [split.name for split in task.selection_evals] == ["validation"]


def test_what_is_held_out_is_said(file):
    said = next(line for line in remarks(make_plan(recipe_for(file))) if line.startswith("split"))
    assert said == (
        "split   validation 10% (40) of 400 rows held out by label, those with the same text together, seed 42; "
        "another share for validation: --validation"
    )
    said = next(line for line in remarks(make_plan(recipe_for(file, validation=0.2, test=0.1))) if line.startswith("split"))
    assert said.startswith("split   validation 20% (80) and test 10% (40) of 400 rows") and said.endswith("seed 42")


def test_limits_count_the_rows_of_each_split(file):
    rows = own_rows(recipe_for(file, max_train_samples=50, max_eval_samples=10))
    assert {name: len(examples) for name, examples in rows.examples.items()} == {"train": 50, "validation": 10}
    whole = own_rows(recipe_for(file))
    assert texts_of(rows)["train"] == texts_of(whole)["train"][:50]
    assert rows.ids == whole.ids  # what is recorded is the split, not its first rows


def test_rows_that_cannot_give_a_share_are_one_line(tmp_path):
    file = write_rows(tmp_path / "a.jsonl", [{"text": f"t {i}", "label": "ab"[i % 2]} for i in range(4)])
    with pytest.raises(InputError, match=r"--validation 0\.1: expected rows for validation, got none of the 4 in .*a larger share"):
        own_rows(recipe_for(file))


def test_rows_of_one_text_say_why_they_cannot_be_parted(tmp_path):
    file = write_rows(tmp_path / "a.jsonl", [{"text": "The  same", "label": "ab"[i % 2]} for i in range(40)])
    why = "they have 1 different text, and rows with the same text stay together"
    with pytest.raises(InputError, match=f"got none of the 40 in .*: {why}; give a larger share"):
        own_rows(recipe_for(file))


@pytest.mark.parametrize(("validation", "test"), [(0.6, 0.4), (0.5, 0.6)])
def test_nothing_left_to_train_on_is_one_line(file, validation, test):
    with pytest.raises(InputError, match=r"own\.validation: expected a sum with own\.test below 1, got 1"):
        make_plan(recipe_for(file, validation=validation, test=test))


def test_skipped_rows_count_once(tmp_path):
    rows = [*different_rows(100), {"text": 5, "label": "good"}]
    read = own_rows(recipe_for(write_rows(tmp_path / "a.jsonl", rows), skip_bad_rows=True, test=0.2))
    assert {name: len(examples.skipped) for name, examples in read.examples.items()} == {"train": 1, "validation": 0, "test": 0}


def test_folds_are_cut_of_what_the_test_split_leaves(file):
    parts = [texts_of(own_rows(recipe_for(file, test=0.25, folds=3, fold=fold))) for fold in (1, 2, 3)]
    assert all(part["test"] == parts[0]["test"] for part in parts)
    scored = [text for part in parts for text in part["validation"]]
    assert len(scored) == len(set(scored)) == 300
    assert not set(scored) & set(parts[0]["test"])


@pytest.mark.parametrize(
    ("path", "texts", "label", "changes"),
    [
        ("glue_data/SST-2/train.tsv", ("sentence",), "label", {}),
        ("glue_data/MRPC/train.tsv", ("#1 String", "#2 String"), "Quality", {}),
        ("glue_data/RTE/train.tsv", ("sentence1", "sentence2"), "label", {}),
    ],
)
def test_real_rows_are_held_out_by_their_classes(shared, path, texts, label, changes):
    columns = ",".join(texts)
    recipe = recipe_for(shared / path, text_columns=columns, label_column=label, validation=0.1, test=0.1, **changes)
    rows = own_rows(recipe)
    whole = np.concatenate([examples.labels for examples in rows.examples.values()])
    for name, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        counts = np.bincount(rows.examples[name].labels, minlength=len(rows.task.labels))
        # Rows with the same text stay together, so that a class may miss its share by a few rows more than one.
        assert np.abs(counts - share * np.bincount(whole)).max() <= 3
    seen = {name: {tuple(" ".join(t.split()).casefold() for t in pair) for pair in e.texts} for name, e in rows.examples.items()}
    assert not seen["train"] & seen["validation"] and not seen["train"] & seen["test"] and not seen["validation"] & seen["test"]


def test_strata_of_examples_are_read_off_their_labels():
    examples = Examples(texts=[("a",), ("b",)], labels=np.array([1, 0]), ids=["0", "1"], empty_texts=0, source="rows")
    assert strata_of(examples) == [(1,), (0,)]
