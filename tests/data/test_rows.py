"""Rows from files: every one survives, in every format and layout; test_bad_rows.py has the wrong ones."""

import hashlib
import json
import re
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest
from conftest import table_of, write_tsv
from hypothesis import given
from hypothesis import strategies as st

from debft.data.load import load_table
from debft.data.rows import check_rows
from debft.data.sources import decoding, delimited, progress
from debft.data.sources.files import read_table
from debft.errors import InputError
from debft.tasks import TASKS

ROWS = [("A man sleeps.", "He rests.", "entailment"), ("A dog.", "A cat.", "contradiction"), ("It rains.", "It is May.", "neutral")]
HEADER = ["premise", "hypothesis", "label"]


def objects():
    return [dict(zip(HEADER, row, strict=True)) for row in ROWS]


def write(path, suffix):
    if suffix == ".tsv":
        write_tsv(path, HEADER, ROWS)
    elif suffix == ".csv":
        path.write_text("premise,hypothesis,label\n" + "".join(f'"{p}",{h},{label}\n' for p, h, label in ROWS))
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps(o) + "\n" for o in objects()))
    elif suffix == ".json":
        path.write_text(json.dumps(objects()))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(objects()), path)


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl", ".json", ".parquet"])
def test_every_format_gives_the_same_rows(tmp_path, mnli, suffix):
    path = tmp_path / "mnli" / f"train{suffix}"
    path.parent.mkdir()
    write(path, suffix)
    examples = check_rows(load_table(mnli, mnli.train, str(tmp_path)), mnli)
    assert examples.texts == [row[:2] for row in ROWS]
    assert examples.labels.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("texts", "read"),
    [(['"Not closed', "a", 'end"'], ["Not closed\tx\tneutral\na\tx\tneutral\nend"]), (["N/A", "b"], [None, "b"])],
    ids=["quote", "nothing"],
)
def test_datasets_own_tsv_reading_would_spring_the_trap(tmp_path, texts, read):
    """A leading quote swallows rows, and a word becomes nothing. If this fails, datasets reads them as they are: simplify."""
    import datasets

    write_tsv(tmp_path / "t.tsv", HEADER, [(text, "x", "neutral") for text in texts])
    loaded = datasets.load_dataset("csv", data_files=str(tmp_path / "t.tsv"), sep="\t", cache_dir=str(tmp_path / "c"))["train"]
    assert list(loaded["premise"]) == read


def test_line_separators_inside_a_text_do_not_split_the_row(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("premise\thypothesis\tlabel\na\u2028b\x0bc\x85d\te\tneutral\n", encoding="utf-8")
    assert read_table(path).columns["premise"] == ["a\u2028b\x0bc\x85d"]


def test_csv_text_may_span_lines_and_the_place_is_its_first(tmp_path, mnli):
    path = tmp_path / "t.csv"
    path.write_text('premise,hypothesis,label\n"a\nb",c,neutral\nd,e,wrong\n')
    with pytest.raises(InputError, match=r"t\.csv:4: label"):
        check_rows(read_table(path), mnli)


def test_benchmark_layout_is_detected(tmp_path, mnli):
    write_tsv(tmp_path / "MNLI" / "dev_matched.tsv", ["index", "sentence1", "sentence2", "gold_label"], [(0, "a", "b", "neutral")])
    write_tsv(tmp_path / "glue_data" / "MNLI" / "train.tsv", ["sentence1", "sentence2", "gold_label"], [("a", "b", "entailment")])
    assert check_rows(load_table(mnli, mnli.evals[0], str(tmp_path)), mnli).texts == [("a", "b")]
    assert check_rows(load_table(mnli, mnli.train, str(tmp_path)), mnli).labels.tolist() == [0]


def test_real_mnli_has_all_its_rows(shared, mnli):
    counts = [len(check_rows(load_table(mnli, split, str(shared)), mnli)) for split in mnli.splits]
    assert counts == [10_014, 2_000, 3_912]


@pytest.mark.parametrize("labels", [["entailment", "neutral", "contradiction"], [0, 1, 2], ["0", "1", "2"]])
def test_labels_are_names_or_the_hubs_integers(mnli, labels):
    table = table_of(premise=["a"] * 3, hypothesis=["b"] * 3, label=labels)
    assert check_rows(table, mnli).labels.tolist() == [0, 1, 2]


def test_rows_beyond_the_limit_are_checked_as_well(mnli):
    table = table_of(premise=["a", "b"], hypothesis=["c", "d"], label=["neutral", "maybe"])
    with pytest.raises(InputError, match="got 'maybe'"):
        check_rows(table, mnli, limit=1)


def test_directory_without_the_split_says_what_was_looked_for(tmp_path, mnli):
    with pytest.raises(InputError, match=r"expected mnli/train\.tsv .* or MNLI/train\.tsv, found none"):
        load_table(mnli, mnli.train, str(tmp_path))


@pytest.mark.parametrize("given", ["data/mnli", "data/MNLI"])
def test_directory_of_the_task_is_answered_with_the_one_that_it_is_in(tmp_path, monkeypatch, mnli, given):
    write(tmp_path / given / "train.tsv", ".tsv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"found none; give --data data$"):
        load_table(mnli, mnli.train, given)
    monkeypatch.chdir(given)
    with pytest.raises(InputError, match=f"found none; give --data {re.escape(str(tmp_path / 'data'))}$"):
        load_table(mnli, mnli.train, ".")


def test_two_files_for_one_split_are_an_error(tmp_path, mnli):
    (tmp_path / "mnli").mkdir()
    for suffix in (".tsv", ".csv"):
        write(tmp_path / "mnli" / f"train{suffix}", suffix)
    with pytest.raises(InputError, match="expected one file for train, got"):
        load_table(mnli, mnli.train, str(tmp_path))


def test_fingerprint_follows_texts_labels_and_order(mnli):
    base = check_rows(table_of(premise=["a", "b"], hypothesis=["c", "d"], label=[0, 1]), mnli).fingerprint()
    assert base == check_rows(table_of(premise=["a", "b"], hypothesis=["c", "d"], label=["0", "1"]), mnli).fingerprint()
    assert base != check_rows(table_of(premise=["b", "a"], hypothesis=["d", "c"], label=[1, 0]), mnli).fingerprint()
    assert base != check_rows(table_of(premise=["a", "b"], hypothesis=["c", "d"], label=[0, 2]), mnli).fingerprint()


def test_examples_without_texts_keep_what_is_known_of_them(mnli):
    examples = check_rows(table_of(premise=["a", "b"], hypothesis=["c", ""], label=[0, 1]), mnli)
    alone = examples.without_texts()
    assert (len(alone), alone.labels.tolist(), alone.empty_texts) == (2, [0, 1], 1)
    assert alone.fingerprint() == examples.fingerprint() and not alone.texts and not alone.lines
    assert alone.ids == examples.ids  # which name the rows of a step that is not finite


def test_rows_are_hashed_once(mnli, monkeypatch):
    examples = check_rows(table_of(premise=["a", "b"], hypothesis=["c", "d"], label=[0, 1]), mnli)
    started, sha256 = [], hashlib.sha256
    monkeypatch.setattr("debft.data.examples.hashlib", SimpleNamespace(sha256=lambda content: started.append(1) or sha256(content)))
    assert examples.fingerprint() == examples.digest[:16] == examples.without_texts().fingerprint()
    assert started == [1]


CELLS = st.text(alphabet=["a", "é", " ", '"', "\u2028", "\udc80"], max_size=4)
LINES = st.lists(st.lists(CELLS, min_size=1, max_size=4) | st.just(["premise", "label"]), max_size=12)


@given(lines=LINES, cuts=st.sets(st.integers(1, 12)))
def test_tsv_read_in_blocks_equals_tsv_read_line_by_line(lines, cuts):
    """Rows that are wrong (another number of cells, the header again, bytes that are not UTF-8) are set aside with their line."""
    texts = ["\t".join(cells) + "\n" for cells in [["premise", "label"], *lines]]
    blocks = [
        "".join(texts[begin:end]) for begin, end in pairwise(sorted({0, *(cut for cut in cuts if cut < len(texts)), len(texts)}))
    ]
    sound = {n: cells for n, cells in enumerate(lines, start=2) if len(cells) == 2 and "\udc80" not in "".join(cells)}
    sound = {n: cells for n, cells in sound.items() if cells != ["premise", "label"]}
    table = delimited.read_tsv(Path("t.tsv"), blocks, None)
    assert list(table.lines) == list(sound)
    assert table.columns == {"premise": [cells[0] for cells in sound.values()], "label": [cells[1] for cells in sound.values()]}
    assert [line for line, _ in table.unread] == [n for n in range(2, 2 + len(lines)) if n not in sound]


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl"])
def test_long_file_shows_how_far_it_is_read(tmp_path, suffix, monkeypatch):
    path, seen = tmp_path / f"t{suffix}", []
    if suffix == ".jsonl":
        path.write_text('{"premise": "a"}\n' * 25)
    else:
        path.write_text("premise\n" + "a\n" * 25)
    monkeypatch.setattr(progress, "meter", lambda what, total, unit, show: nullcontext(Shown(seen, total, show)))
    monkeypatch.setattr(progress, "LARGE", 10)
    monkeypatch.setattr(decoding, "BYTES_AT_ONCE", 20)
    assert len(read_table(path)) == 25
    assert len(seen) >= 2 and seen == sorted(seen) and seen[-1] == path.stat().st_size


class Shown:
    """A meter that notes how far it was moved."""

    def __init__(self, seen, total, show):
        assert show and total >= 25
        self.seen, self.done = seen, 0

    def advance(self, count, note):
        self.done += count
        self.seen.append(self.done)


@pytest.mark.parametrize(
    ("task", "train", "dev"),
    [("cola", 8_551, 1_043), ("rte", 2_490, 277), ("mrpc", 3_668, 408), ("sst2", 20_000, 872), ("stsb", 5_749, 1_500)],
)
def test_real_glue_files_lose_no_row(shared, task, train, dev):
    """CoLA has no header, MRPC a byte order mark and unpaired quotes, STS-B commas in quotes."""
    entry = TASKS[task]
    assert [len(check_rows(load_table(entry, split, str(shared)), entry)) for split in entry.splits] == [train, dev]
