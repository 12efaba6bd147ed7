"""Rows from files: every row survives, every wrong one is named by file and line."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from conftest import table_of, write_tsv

from debft.data import load_table
from debft.data.checks import check_rows
from debft.data.files import read_table
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


def test_tsv_keeps_quotes_and_words_that_look_like_nothing(tmp_path, mnli):
    rows = [('"Not closed', "None", "neutral"), ("N/A", "null", "neutral"), ('say "hi"', "", "entailment"), ("nan", "'", "neutral")]
    write_tsv(tmp_path / "mnli" / "train.tsv", HEADER, rows)
    examples = check_rows(load_table(mnli, mnli.train, str(tmp_path)), mnli)
    assert examples.texts == [row[:2] for row in rows]
    assert examples.empty_texts == 1


def test_datasets_own_tsv_reading_would_spring_the_trap(tmp_path):
    import datasets

    write_tsv(tmp_path / "t.tsv", HEADER, [('"Not closed', "x", "neutral"), ("N/A", "x", "neutral"), ('end"', "b", "neutral")])
    loaded = datasets.load_dataset("csv", data_files=str(tmp_path / "t.tsv"), sep="\t", cache_dir=str(tmp_path / "c"))["train"]
    assert len(loaded) < 3 or None in loaded["premise"]


def test_byte_order_mark_and_crlf_are_not_text(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_bytes(b"\xef\xbb\xbfpremise\thypothesis\tlabel\r\na\tb\tneutral\r\n")
    assert read_table(path).columns == {"premise": ["a"], "hypothesis": ["b"], "label": ["neutral"]}


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


BAD_ROWS = [
    ({"label": ["neutral", "maybe"]}, r"rows\.tsv:3: label: expected entailment, neutral, contradiction, got 'maybe'$"),
    ({"label": [0, -1]}, r"rows\.tsv:3: label: expected 0 to 2 \(entailment, neutral, contradiction\), got -1; -1 marks a hidden"),
    ({"label": ["neutral", "-1"]}, r"rows\.tsv:3: label: .* got '-1'; -1 marks a hidden test label"),
    ({"label": [0, 3]}, r"rows\.tsv:3: label: expected 0 to 2 .* got 3$"),
    ({"label": ["neutral", None]}, r"rows\.tsv:3: label: .* got None$"),
    ({"label": ["neutral", True]}, r"rows\.tsv:3: label: .* got True$"),
    ({"label": ["neutral", 0.5]}, r"rows\.tsv:3: label: .* got 0\.5$"),
    ({"label": ["neutral", 1]}, r"rows\.tsv:3: label: .* got 1$"),
    ({"label": ["Neutral", "neutral"]}, r"rows\.tsv:2: label: .* got 'Neutral'$"),
    ({"label": ["neutral", ""]}, r"rows\.tsv:3: label: .* got ''$"),
    ({"premise": ["a", None]}, r"rows\.tsv:3: premise: expected text, got None$"),
    ({"premise": ["a", float("nan")]}, r"rows\.tsv:3: premise: expected text, got nan$"),
    ({"hypothesis": ["a", 7]}, r"rows\.tsv:3: hypothesis: expected text, got 7$"),
    ({"hypothesis": ["a", "\ud800"]}, r"rows\.tsv:3: hypothesis: expected text, got half of a surrogate pair"),
    ({"label": ["x", "y"]}, r"rows\.tsv:2: label: .* got 'x' \(and 1 more: line 3\)$"),
]


@pytest.mark.parametrize(("change", "message"), BAD_ROWS)
def test_bad_row_is_one_clear_line(mnli, change, message):
    columns = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": ["neutral", "neutral"]} | change
    with pytest.raises(InputError, match=message) as error:
        check_rows(table_of(**columns), mnli)
    assert "\n" not in str(error.value)


def test_missing_column_is_named_with_those_that_are_there(mnli):
    with pytest.raises(
        InputError, match=r"expected the columns premise, hypothesis, label, got premise, label; 'hypothesis' is missing"
    ):
        check_rows(table_of(premise=["a"], label=["neutral"]), mnli)


def test_rows_beyond_the_limit_are_checked_as_well(mnli):
    table = table_of(premise=["a", "b"], hypothesis=["c", "d"], label=["neutral", "maybe"])
    with pytest.raises(InputError, match="got 'maybe'"):
        check_rows(table, mnli, limit=1)


BAD_FILES = [
    (
        "t.jsonl",
        b'{"premise": "a", "label": 1}\n{"premise": "b", "la',
        r"t\.jsonl:2: expected one JSON object per line, .* is the line cut off\?",
    ),
    ("t.jsonl", b'{"a": 1}\n{"b": 1}\n', r"t\.jsonl:2: expected the keys of the first row \(a\), 'a' is missing"),
    ("t.jsonl", b"[1]\n", r"t\.jsonl:1: expected one JSON object per line"),
    ("t.jsonl", b"\n", r"t\.jsonl: expected rows, got none"),
    ("t.json", b'[{"a": 1}, {"a"', r"t\.json:1: expected a JSON list of objects, .* is the file cut off\?"),
    ("t.json", b'{"a": 1}', r"t\.json: expected a JSON list of objects"),
    ("t.tsv", b"a\tb\n1\t2\n1\n", r"t\.tsv:3: expected 2 tab-separated columns \(a, b\), got 1"),
    ("t.tsv", b"a\tb\n1\t2\t3\n", r"t\.tsv:2: expected 2 tab-separated columns \(a, b\), got 3"),
    ("t.tsv", b"a\ta\n1\t2\n", r"t\.tsv:1: expected each column once, got 'a' twice"),
    ("t.tsv", b"", r"t\.tsv: expected a header line, got an empty file"),
    ("t.tsv", b"a\tb\n1\t2\n\xff\t3\n", r"t\.tsv:3: expected UTF-8 text, got byte 0xff; convert the file to UTF-8"),
    ("t.tsv", "a\tb\n".encode("utf-16"), r"t\.tsv:1: expected UTF-8 text, got byte 0xff"),
    ("t.csv", b'a,b\n"1,2\n', r"t\.csv:2: expected CSV, .* is a quote left open\?"),
    ("t.csv", b"a,b\n1\n", r"t\.csv:2: expected 2 columns \(a, b\), got 1"),
    ("t.parquet", b"PAR1 but no", r"t\.parquet: expected a Parquet file"),
    ("t.tsv", b"a\tb\r1\t2\r", r"t\.tsv: expected lines that end in .* alone; convert the line ends"),
    ("t.json", b"[" * 3000, r"t\.json: expected a JSON list of objects, got maximum recursion"),
    ("t.jsonl", b'{"a": ' + b"9" * 5000 + b"}", r"t\.jsonl:1: expected one JSON object per line, got Exceeds the limit"),
    ("t.xlsx", b"", r"expected a file ending in .tsv, .csv, .jsonl, .json, .parquet, got '.xlsx'"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD_FILES)
def test_bad_file_is_one_clear_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_table(tmp_path / name)
    assert "\n" not in str(error.value)


def test_directory_without_the_split_says_what_was_looked_for(tmp_path, mnli):
    with pytest.raises(InputError, match=r"expected mnli/train\.tsv .* or MNLI/train\.tsv, found none"):
        load_table(mnli, mnli.train, str(tmp_path))


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


def test_long_csv_field_is_no_error(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "x" * 200_000 + ",1\n")
    assert len(read_table(tmp_path / "t.csv").columns["a"][0]) == 200_000


@pytest.mark.parametrize(
    ("task", "train", "dev"),
    [("cola", 8_551, 1_043), ("rte", 2_490, 277), ("mrpc", 3_668, 408), ("sst2", 20_000, 872), ("stsb", 5_749, 1_500)],
)
def test_real_glue_files_lose_no_row(shared, task, train, dev):
    """CoLA has no header, MRPC a byte order mark and unpaired quotes, STS-B commas in quotes."""
    found = TASKS[task]
    assert [len(check_rows(load_table(found, split, str(shared)), found)) for split in found.splits] == [train, dev]


def test_score_outside_its_range_is_one_line():
    table = table_of(sentence1=["a", "b"], sentence2=["c", "d"], label=["2.5", "5.5"])
    with pytest.raises(InputError, match=r"rows\.tsv:3: label: expected a number from 0 to 5, got '5\.5'$"):
        check_rows(table, TASKS["stsb"])


@pytest.mark.parametrize("label", ["nan", "", "high", None, True, float("inf")])
def test_score_that_is_no_number_is_one_line(label):
    with pytest.raises(InputError, match=r"rows\.tsv:2: label: expected a number from 0 to 5, got"):
        check_rows(table_of(sentence1=["a"], sentence2=["c"], label=[label]), TASKS["stsb"])
