"""Rows that are odd together are found before training: their numbers against pandas, nearly the same ones against every pair."""

import random
import string

import numpy as np
import pandas
import pytest
from conftest import SHARED

from debft.config.recipe import OwnConfig, Recipe
from debft.data.giveaways import giveaway_columns
from debft.data.load import load_examples, task_for
from debft.data.near_duplicates import near_duplicates
from debft.data.row_warnings import row_warnings
from debft.data.rows import check_rows
from debft.data.same_texts import normalised, same_rows
from debft.data.sources.own import own_task
from debft.data.sources.table import DataTable


def table_of(name="train.tsv", **columns):
    count = len(next(iter(columns.values())))
    return DataTable(columns=columns, path=f"some/where/{name}", lines=range(2, 2 + count))


def warnings_of(train, validation=None, near=False, **settings):
    """The warnings about own rows, by kind."""
    task = own_task(OwnConfig(**settings), train)
    examples = {"train": check_rows(train, task), "validation": check_rows(validation or train.rows([0]), task)}
    counts = {}
    if not task.is_regression and not task.multilabel:
        counts = dict(zip(task.labels, np.bincount(examples["train"].labels).tolist(), strict=True))
    found = row_warnings(task, examples, counts, giveaways=giveaway_columns(train, task), near=near)
    return {warning.kind: warning for warning in found}


def some_table(**more):
    texts = [f"text number {word} of these" for word in ("one", "two", "three", "four", "five", "six")]
    return table_of(text=texts, label=["a", "b"] * 3, **more)


def test_row_that_is_scored_and_trained_on_is_named_with_both_places():
    validation = table_of("dev.tsv", text=["new", "Text  number TWO of these", "text number six of these"], label=["a", "b", "a"])
    assert str(warnings_of(some_table(), validation)["leak"]) == (
        "2 of 3 validation rows are in train as well, 1 of them with another label: dev.tsv:3 and train.tsv:3; "
        "dev.tsv:4 and train.tsv:7"
    )


def test_rows_without_anything_odd_give_no_warning():
    assert warnings_of(table_of(text=list("abcdefghij"), label=["x y", "z w"] * 5), table_of(text=["k"], label=["x y"])) == {}


def test_row_that_repeats_an_earlier_one_is_named():
    train = table_of(text=["Für uns", "b", "Fu\u0308r\u00a0uns", "c", "FÜR  UNS "], label=["x", "y", "x", "y", "x"])
    assert (
        str(warnings_of(train)["duplicate"])
        == "2 of 5 train rows are the same as an earlier one: train.tsv:4 and 2; train.tsv:6 and 2"
    )


def test_text_with_two_labels_is_named_with_both():
    train = table_of(text=["a", "b", "a", "A"], label=["x", "y", "y", "x"])
    assert str(warnings_of(train)["two_labels"]) == "1 text has two labels in train: x in train.tsv:2, y in train.tsv:4"


def test_text_with_two_scores_is_named():
    train = table_of(text=["a", "b", "a"], score=[0.5, 1.5, 2.5])
    assert str(warnings_of(train)["two_labels"]) == "1 text has two scores in train: 0.5 in train.tsv:2, 2.5 in train.tsv:4"


def test_labels_with_few_rows_are_counted():
    train = table_of(text=list(string.ascii_letters[:13]), label=["often"] * 10 + ["once"] + ["seldom"] * 2)
    assert str(warnings_of(train)["few_rows"]) == "2 labels have fewer than 5 train rows: once 1; seldom 2"


def test_empty_texts_are_named_by_their_lines():
    train = table_of(text=["a", "", "b", " ", "c"], label=["x", "y"] * 2 + ["x"])
    assert str(warnings_of(train)["empty"]) == "2 empty train texts, kept: train.tsv:3; train.tsv:5"


def test_text_of_which_nothing_is_seen_is_empty():
    train = table_of(text=["a", "\u200b\u200d", "b", "\ufeff \u2060", "\u0301", "-"], label=["x", "y"] * 3)
    assert str(warnings_of(train)["empty"]) == "2 empty train texts, kept: train.tsv:3; train.tsv:5"


def test_only_the_first_examples_are_shown():
    train = table_of(text=["a"] * 9 + ["b"], label=["x"] * 9 + ["y"])
    warning = warnings_of(train)["duplicate"]
    assert (warning.count, warning.of, len(warning.examples), str(warning).endswith("; ...")) == (8, 10, 3, True)


def test_texts_that_name_their_label_are_found():
    texts = [f"[{label}] text {number}" for number in range(10) for label in ("refund", "thanks")]
    train = table_of(text=texts, label=["refund", "thanks"] * 10)
    assert warnings_of(train)["label_in_text"].examples == [
        "'refund' in 10 of 10, in 0 of 10 others",
        "'thanks' in 10 of 10, in 0 of 10 others",
    ]


def test_label_that_is_a_usual_word_is_not_named_by_its_texts():
    train = table_of(text=[f"a text {number}" for number in range(20)], label=["a", "b"] * 10)
    assert "label_in_text" not in warnings_of(train)


COLUMNS = {  # of 600 rows with labels x, y, z in turn: the values, and whether they give the label away
    "the label in other words": (["good", "bad", "so so"] * 200, True),
    "one wrong row": (["good", "bad", "so so"] * 199 + ["good", "bad", "bad"], True),
    "numbers of a third each": ([number % 3 + number / 1000 for number in range(600)], True),
    "nothing to do with it": (["p", "p", "p", "q"] * 150, False),
    "values that never recur": ([f"v{number}" for number in range(600)], False),
    "numbers that count the rows": (list(range(600)), False),
    "always the same": (["p"] * 600, False),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_column_that_tells_the_label_is_found(name):
    values, gives_away = COLUMNS[name]
    table = table_of(text=[f"text {number}" for number in range(600)], label=["x", "y", "z"] * 200, other=values)
    assert giveaway_columns(table, own_task(OwnConfig(text_columns="text"), table)) == (["other"] if gives_away else [])


def test_column_of_mostly_one_label_gives_nothing_away():
    table = table_of(text=[f"t {i}" for i in range(100)], label=["x"] * 97 + ["y"] * 3, other=["p", "q"] * 50)
    assert giveaway_columns(table, own_task(OwnConfig(text_columns="text"), table)) == []


def test_column_that_tells_the_score_is_found():
    scores = [number / 7 for number in range(50)]
    random.Random(0).shuffle(scores)
    table = table_of(text=[f"t {i}" for i in range(50)], score=scores, percent=[3 * score + 1 for score in scores])
    assert giveaway_columns(table, own_task(OwnConfig(text_columns="text"), table)) == ["percent"]


def words(rng, count):
    return [f"w{rng.randrange(3000)}" for _ in range(count)]


def share(one, other):
    """Jaccard's similarity of the words and pairs of words of two texts, by the definition."""
    sets = [set(text.split()) | set(zip(text.split(), text.split()[1:], strict=False)) for text in (one, other)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_near_duplicates_are_those_of_every_pair():
    rng = random.Random(1)
    known = [words(rng, rng.randrange(4, 40)) for _ in range(400)]
    changed = [[word if rng.random() > 0.15 * (i % 4) / 3 else "new" for word in text] for i, text in enumerate(known)]
    train, dev = [" ".join(text) for text in known], [" ".join(text) for text in (*changed, *(words(rng, 12) for _ in range(100)))]
    task_table = table_of(text=train, label=["a", "b"] * 200)
    task = own_task(OwnConfig(), task_table)
    rows = check_rows(task_table, task)
    asked = check_rows(table_of("dev.tsv", text=dev, label=["a", "b"] * 250), task)
    twins = dict(near_duplicates(rows, {"validation": asked})["validation"].twins)
    alike = {row for row, text in enumerate(dev) if any(share(text, other) >= 0.7 for other in train)}
    assert set(twins) <= alike
    # The rows that just share enough are found with a probability of 99.7 %, the others of more; 3 of hundreds may be missed.
    assert len(alike) > 200 and len(alike - set(twins)) <= 3
    assert all(share(dev[row], train[twin]) >= 0.7 for row, twin in twins.items())


def test_pair_is_nearly_the_same_where_both_texts_are():
    premise, hypothesis = " ".join(map(str, range(60))), "it is so"
    train = table_of(premise=[premise, "p"], hypothesis=[hypothesis, "h"], label=["x", "y"])
    dev = table_of(
        "dev.tsv", premise=[premise, premise.replace("30", "x")], hypothesis=["it was otherwise", hypothesis], label=["x", "x"]
    )
    warning = warnings_of(train, dev, near=True)["near_duplicate"]
    assert (warning.count, warning.examples) == (1, ["dev.tsv:3 and train.tsv:2"])


def test_texts_without_spaces_are_compared_by_characters():
    text = "这是一个很长的句子我们用它来比较两个文本是否几乎相同"
    train = table_of(text=[text, "另外"], label=["x", "y"])
    assert warnings_of(train, table_of("dev.tsv", text=[text + "了"], label=["x"]), near=True)["near_duplicate"].count == 1


def test_same_rows_are_those_of_pandas_on_texts_of_few_words():
    rng = random.Random(2)
    rows = [tuple(rng.choice(["", " "]).join(rng.choices("aAbé\t", k=3)) for _ in range(2)) for _ in range(3000)]
    repeated, _ = same_rows(rows, {})
    frame = pandas.Series([normalised(row) for row in rows])
    assert [row for row, _ in repeated] == np.flatnonzero(frame.duplicated()).tolist()
    assert all(normalised(rows[row]) == normalised(rows[first]) and first < row for row, first in repeated)


@pytest.mark.parametrize("task", ["cola", "mrpc", "rte", "sst2", "stsb", "mnli"])
def test_counts_on_real_data_are_those_of_pandas(task):
    if not SHARED.is_dir():
        pytest.skip(f"needs the real data in {SHARED}")
    recipe = Recipe(task=task, data=str(SHARED))
    task = task_for(recipe)
    examples = load_examples(task, recipe)
    train, dev = (
        pandas.Series(["\0".join(normalised(texts)) for texts in examples[split.name].texts]) for split in task.splits[:2]
    )
    found = {
        warning.kind: warning for warning in row_warnings(task, examples, {}) if warning.split in ("train", task.evals[0].name)
    }
    assert (found["leak"].count if "leak" in found else 0) == dev.isin(set(train)).sum()
    assert (found["duplicate"].count if "duplicate" in found else 0) == train.duplicated().sum()
    torn = pandas.Series(examples["train"].labels).groupby(train).nunique()
    assert (found["two_labels"].count if "two_labels" in found else 0) == (torn > 1).sum()
