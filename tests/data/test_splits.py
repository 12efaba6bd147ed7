"""Rows are cut into parts: stratified as scikit-learn does it, equal texts together, the same cut whatever the order of the rows."""

import random
from collections import Counter

import numpy as np
import pytest
from conftest import random_texts, table_of
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from debft.data.examples import Examples
from debft.data.rows import check_rows
from debft.data.splits import cut, folds_of, strata_of
from debft.tasks import TASKS


def examples_of(texts, labels):
    return Examples(texts=texts, labels=np.asarray(labels), ids=list(map(str, range(len(texts)))), empty_texts=0, source="rows")


def different(count):
    return [(f"text {number}",) for number in range(count)]


@given(st.lists(st.integers(0, 4), min_size=10, max_size=120), st.integers(2, 7))
def test_folds_of_different_texts_are_as_even_as_those_of_scikit_learn(labels, folds):
    """No two folds differ by more than one row of a label, which is what StratifiedKFold gives, nor by more rows than there."""
    fold_N = folds_of(examples_of(different(len(labels)), labels), folds)
    assert set(fold_N) <= set(range(1, folds + 1))
    of_each = {
        label: [int(((np.array(labels) == label) & (fold_N == fold)).sum()) for fold in range(1, folds + 1)] for label in labels
    }
    assert all(max(counts) - min(counts) <= 1 for counts in of_each.values())
    sizes = np.bincount(fold_N, minlength=folds + 1)[1:]
    counts = Counter(labels)
    if min(counts.values()) >= folds:  # else scikit-learn warns, or refuses
        theirs = [len(test) for _, test in StratifiedKFold(folds).split(labels, labels)]
        assert sizes.max() - sizes.min() <= max(theirs) - min(theirs) + 1


def test_rows_with_the_same_texts_come_into_one_fold():
    rng = random.Random(0)
    texts = [(text,) for text in random_texts(150, seed=1)] * 2
    texts += [(text.upper() + "  ",) for (text,) in texts[:20]]
    labels = [rng.randrange(3) for _ in texts]
    fold_N = folds_of(examples_of(texts, labels), 5)
    by_text = {}
    for (text,), fold in zip(texts, fold_N.tolist(), strict=True):
        by_text.setdefault(" ".join(text.split()).casefold(), set()).add(fold)
    assert all(len(folds) == 1 for folds in by_text.values())


def test_folds_with_groups_are_as_well_stratified_as_those_of_scikit_learn():
    """By the spread of the shares of the labels over the folds. Rows of the same text have one label, but for a few."""
    rng = random.Random(3)
    texts = [(f"text {rng.randrange(250)}",) for _ in range(400)]
    usual = {text: rng.choices((0, 1, 2), weights=(1, 3, 12))[0] for text in sorted(set(texts))}
    labels = np.array([usual[text] if rng.random() < 0.95 else rng.randrange(3) for text in texts])
    fold_N = folds_of(examples_of(texts, labels), 5)
    ours = [labels[fold_N == fold] for fold in range(1, 6)]
    theirs = [
        labels[test]
        for _, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, [text for (text,) in texts])
    ]

    def spread(folds):
        return sum(np.std([np.mean(fold == label) for fold in folds]) for label in (0, 1, 2))

    assert spread(ours) <= spread(theirs) + 1 / 80  # a row of one fold


def test_cut_does_not_depend_on_the_order_of_the_rows():
    texts, labels = different(60), [number % 3 for number in range(60)]
    fold_of = dict(zip(texts, folds_of(examples_of(texts, labels), 5).tolist(), strict=True))
    order = random.Random(2).sample(range(60), 60)
    again = folds_of(examples_of([texts[i] for i in order], [labels[i] for i in order]), 5)
    assert {texts[i]: fold for i, fold in zip(order, again.tolist(), strict=True)} == fold_of


def test_cut_is_seeded():
    texts, strata = different(60), [(number % 3,) for number in range(60)]
    cuts = [cut(texts, strata, [0.5, 0.5], seed=seed).tolist() for seed in (1, 1, 2)]
    assert cuts[0] == cuts[1] != cuts[2]


def test_cut_never_changes():
    """Runs are known by the rows that a cut gave them: these are frozen."""
    assert folds_of(examples_of(different(12), [0, 1] * 6), 3).tolist() == FROZEN


FROZEN = [3, 1, 3, 2, 2, 3, 1, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.1), (0.9, 0.1), (0.5, 0.25, 0.25)])
def test_parts_have_their_share_of_every_label(shares):
    labels = [number % 10 // 7 for number in range(400)]
    part_N = cut(different(400), [(label,) for label in labels], shares)
    for label in (0, 1):
        of_label = np.array(labels) == label
        for part, share in enumerate(shares):
            assert abs((part_N[of_label] == part).sum() - share * of_label.sum()) <= 1


@given(st.lists(st.integers(1, 12), min_size=1, max_size=60), st.sampled_from([0.1, 0.15, 0.2, 0.5]))
def test_held_out_share_is_kept_of_each_label_and_of_all_rows(sizes, share):
    """Of each label to less than a row, as scikit-learn's train_test_split does it; of all rows to one, but for labels of one row,
    which are never held out."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    part_N = cut(different(len(labels)), [(label,) for label in labels.tolist()], [1 - share, share])
    for label, size in enumerate(sizes):
        assert abs((part_N[labels == label] == 1).sum() - share * size) < 1
        assert (part_N[labels == label] == 0).any()
    assert abs(part_N.sum() - share * len(labels)) <= 1 + sizes.count(1)


def test_very_many_labels_of_few_rows_are_held_out_as_often_as_asked():
    labels = np.repeat(np.arange(300), 3)
    for share in (0.1, 0.2):
        part_N = cut(different(900), [(label,) for label in labels.tolist()], [1 - share, share])
        _, held_out = train_test_split(labels, test_size=share, random_state=0)
        assert abs(part_N.sum() - len(held_out)) <= 1


def test_several_labels_of_a_row_keep_their_shares():
    rng = random.Random(5)
    labels_NC = np.array([[rng.random() < p for p in (0.5, 0.2, 0.05)] for _ in range(300)], dtype=np.float32)
    part_N = cut(different(300), strata_of(examples_of(different(300), labels_NC)), [0.2] * 5)
    for column_N in labels_NC.T:
        counts = [int(column_N[part_N == part].sum()) for part in range(5)]
        assert max(counts) - min(counts) <= max(3, 0.15 * column_N.sum())  # the rarest is dealt first, the others follow its rows


def test_scores_are_stratified_by_their_tenth():
    scores = np.random.default_rng(0).normal(size=200).astype(np.float32)
    fold_N = folds_of(examples_of(different(200), scores), 5)
    means = [scores[fold_N == fold].mean() for fold in range(1, 6)]
    assert max(means) - min(means) < 0.1  # a random cut of 40 rows each has a standard error of 0.16


def test_chosen_rows_keep_the_ids_that_they_have_in_the_file():
    task = TASKS["sst2"]
    whole = check_rows(table_of(sentence=["a b", "", "c d", "e"], label=[0, 1, 1, 0]), task)
    part = whole.chosen([1, 3], "part")
    assert (list(part.ids), part.labels.tolist(), part.texts, part.empty_texts) == (["1", "3"], [1, 0], [("",), ("e",)], 1)
