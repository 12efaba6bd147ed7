"""Bad rows, one file each: the exact line without --skip-bad-rows, and exactly what is left out with it."""

import json
from itertools import pairwise

import pyarrow
import pyarrow.parquet
import pytest
from conftest import table_of, write_tsv

from debft.data.load import load_table
from debft.data.rows import check_rows, check_texts
from debft.data.sources.files import read_table
from debft.errors import InputError
from debft.tasks import TASKS

NAN, NO_KEY = float("nan"), object()
GOOD = {
    "mnli": {
        "premise": ["a", "b", "c", "d"],
        "hypothesis": ["e", "f", "g", "h"],
        "label": ["neutral", "entailment", "neutral", "contradiction"],
    },
    "cola": {"sentence": ["a", "b", "c", "d"], "label": ["acceptable", "unacceptable", "acceptable", "acceptable"]},
    "stsb": {"sentence1": ["a", "b", "c", "d"], "sentence2": ["e", "f", "g", "h"], "label": [0, 2.5, 5.0, "3.75"]},
}
EXPECTED = {
    "mnli": "expected entailment, neutral, contradiction",
    "cola": "expected unacceptable, acceptable",
    "stsb": "expected a number from 0 to 5",
}
HIDDEN = "; -1 marks a hidden test label, which can be neither trained on nor scored"

# (column, value, what is said of it); TEXT is the task's last text, EXPECTED what its labels are.
VALUES = [
    ("TEXT", None, "TEXT: expected text, got None"),
    ("TEXT", NAN, "TEXT: expected text, got nan"),
    ("TEXT", 7, "TEXT: expected text, got 7"),
    ("TEXT", 1.5, "TEXT: expected text, got 1.5"),
    ("TEXT", True, "TEXT: expected text, got True"),
    ("TEXT", ["a", "b"], "TEXT: expected text, got ['a', 'b']"),
    ("TEXT", ["a"] * 10_000, "TEXT: expected text, got ['a', 'a', 'a', ...]"),
    ("TEXT", {"en": "a"}, "TEXT: expected text, got {'en': 'a'}"),
    ("TEXT", "\ud800", "TEXT: expected text, got half of a surrogate pair; the file was not written as UTF-8"),
    ("TEXT", NO_KEY, "TEXT: expected text, got nothing, the key is missing"),
    ("label", None, "label: EXPECTED, got None"),
    ("label", NAN, "label: EXPECTED, got nan"),
    ("label", float("inf"), "label: EXPECTED, got inf"),
    ("label", "", "label: EXPECTED, got ''"),
    ("label", "maybe", "label: EXPECTED, got 'maybe'"),
    ("label", "x" * 1000, "label: EXPECTED, got '" + "x" * 27 + "..." + "x" * 28 + "'"),
    ("label", True, "label: EXPECTED, got True"),
    ("label", [1], "label: EXPECTED, got [1]"),
    ("label", {"a": 1}, "label: EXPECTED, got {'a': 1}"),
    ("label", -1, f"label: EXPECTED, got -1{HIDDEN}"),
    ("label", "-1", f"label: EXPECTED, got '-1'{HIDDEN}"),
    ("label", -1.0, f"label: EXPECTED, got -1.0{HIDDEN}"),
    ("label", 5.5, "label: EXPECTED, got 5.5"),
    ("label", 10**400, "label: EXPECTED, got 1" + "0" * 17 + "..." + "0" * 19),
    ("label", "\udcff", r"label: EXPECTED, got '\udcff'"),
    ("label", NO_KEY, "label: EXPECTED, got nothing, the key is missing"),
]
CLASS_VALUES = [
    ("label", 1, "label: EXPECTED, got 1"),  # the file has names
    ("label", "1", "label: EXPECTED, got '1'"),
    ("label", "Acceptable", "label: EXPECTED, got 'Acceptable'"),
    ("label", "neutral ", "label: EXPECTED, got 'neutral '"),
]


def objects(task, **replaced):
    """The good rows with column=(row, value) replaced."""
    rows = [dict(zip(GOOD[task], values, strict=True)) for values in zip(*GOOD[task].values(), strict=True)]
    for column, (row, value) in replaced.items():
        rows[row][column] = value
    return [{key: value for key, value in row.items() if value is not NO_KEY} for row in rows]


def write_objects(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) if path.suffix == ".jsonl" else json.dumps(rows))


def read(root, task, *, skip):
    entry = TASKS[task]
    return check_rows(load_table(entry, entry.train, str(root)), entry, train=True, skip=skip)


def message_of(root, task, file, *, skip=False):
    with pytest.raises(InputError) as error:
        read(root, task, skip=skip)
    return str(error.value).replace(str(root / file), "FILE")


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
@pytest.mark.parametrize(
    ("task", "column", "value", "what"),
    [(task, *case) for task in GOOD for case in VALUES] + [(task, *case) for task in ("mnli", "cola") for case in CLASS_VALUES],
)
def test_bad_value_is_one_exact_line_or_one_row_less(tmp_path, task, column, value, what, suffix):
    text = TASKS[task].text_keys[-1]
    what = what.replace("TEXT", text).replace("EXPECTED", EXPECTED[task])
    file = f"{task}/train{suffix}"
    write_objects(tmp_path / file, objects(task, **{text if column == "TEXT" else column: (2, value)}))
    assert message_of(tmp_path, task, file) == f"FILE:3: {what}"
    kept = read(tmp_path, task, skip=True)
    assert str(kept.skipped) == f"1 of 4 rows skipped: line 3 ({what})"
    assert [texts[-1] for texts in kept.texts] == [value for row, value in enumerate(GOOD[task][text]) if row != 2]
    assert kept.ids == ["0", "1", "3"]


@pytest.mark.parametrize("task", GOOD)
@pytest.mark.parametrize("column", ["text", "label"])
def test_null_in_parquet_is_one_exact_line_or_one_row_less(tmp_path, task, column):
    column = TASKS[task].text_keys[0] if column == "text" else "label"
    rows = objects(task, **{column: (2, None)})
    if task == "stsb":
        rows = [row | {"label": None if row["label"] is None else float(row["label"])} for row in rows]
    write_objects(tmp_path / task / "train.parquet", rows)
    what = f"label: {EXPECTED[task]}, got None" if column == "label" else f"{column}: expected text, got None"
    assert message_of(tmp_path, task, f"{task}/train.parquet") == f"FILE:3: {what}"
    assert str(read(tmp_path, task, skip=True).skipped) == f"1 of 4 rows skipped: line 3 ({what})"


MNLI, COLA, STSB = "mnli/train.tsv", "CoLA/train.tsv", "stsb/stsb-en-train.csv"
COLUMNS = "(premise, hypothesis, label)"
UTF8 = "expected UTF-8 text, got byte 0x{}, which is {!r} in cp1252; convert the file to UTF-8, or give --encoding cp1252 (an option of text, evaluate and predict)"
OBJECT = "expected one JSON object per line, got"
CUT = "Unterminated string starting at: line 1 column 32 (char 31)"
QUOTE = "expected CSV, got ',' expected after '\"'; is a quote left open?"
NAMES, SCORE = f"label: {EXPECTED['mnli']}", f"label: {EXPECTED['stsb']}"
HEADER = b"premise\thypothesis\tlabel\n"
P = HEADER + b"a\tb\tneutral\n"
C = b"premise,hypothesis,label\na,b,neutral\n"
J = b'{"premise": "a", "hypothesis": "b", "label": "neutral"}\n'
E = b'{"premise": "e", "hypothesis": "f", "label": "entailment"}\n'

# task, file, content, the line without skipping, what is said with it
ROWS = {
    "tsv with too few columns": (
        "mnli",
        MNLI,
        P + b"c\tneutral\ne\tf\tentailment\n",
        f"FILE:3: expected 3 tab-separated columns {COLUMNS}, got 2",
        f"1 of 3 rows skipped: line 3 (expected 3 tab-separated columns {COLUMNS}, got 2)",
    ),
    "tsv with too many columns": (
        "mnli",
        MNLI,
        P + b"e\tf\tentailment\nc\td\te\tneutral\n",
        f"FILE:4: expected 3 tab-separated columns {COLUMNS}, got 4",
        f"1 of 3 rows skipped: line 4 (expected 3 tab-separated columns {COLUMNS}, got 4)",
    ),
    "tsv with a blank line": (
        "mnli",
        MNLI,
        P + b"\ne\tf\tentailment\n",
        f"FILE:3: expected 3 tab-separated columns {COLUMNS}, got 1",
        f"1 of 3 rows skipped: line 3 (expected 3 tab-separated columns {COLUMNS}, got 1)",
    ),
    "tsv of bytes that are not utf-8": (
        "mnli",
        MNLI,
        P + b"caf\xe9\td\tneutral\ne\tf\tentailment\n",
        f"FILE:3: {UTF8.format('e9', 'é')}",
        f"1 of 3 rows skipped: line 3 ({UTF8.format('e9', 'é')})",
    ),
    "tsv cut inside a character": (
        "mnli",
        MNLI,
        P + b"e\tf\tentailment\ng\t\xe2\x82",
        f"FILE:4: {UTF8.format('e2', 'â')}",
        f"1 of 3 rows skipped: line 4 ({UTF8.format('e2', 'â')})",
    ),
    "tsv of surrogates written as utf-8": (
        "mnli",
        MNLI,
        P + b"e\tf\tentailment\n\xed\xa0\x80\td\tneutral\n",
        f"FILE:4: {UTF8.format('ed', 'í')}",
        f"1 of 3 rows skipped: line 4 ({UTF8.format('ed', 'í')})",
    ),
    "headerless tsv with too few columns": (
        "cola",
        COLA,
        b"s\t1\t\tHe slept.\nx\t0\tSlept he.\ns\t0\t*\tHe.\n",
        "FILE:2: expected 4 tab-separated columns (source, label, mark, sentence), got 3",
        "1 of 3 rows skipped: line 2 (expected 4 tab-separated columns (source, label, mark, sentence), got 3)",
    ),
    "headerless tsv whose first line is not utf-8": (
        "cola",
        COLA,
        b"s\t1\t\tH\xff.\ns\t1\t\tHe slept.\ns\t0\t*\tHe.\n",
        f"FILE:1: {UTF8.format('ff', 'ÿ')}",
        f"1 of 3 rows skipped: line 1 ({UTF8.format('ff', 'ÿ')})",
    ),
    "headerless tsv with a number that is no label": (
        "cola",
        COLA,
        b"s\t1\t\tHe slept.\ns\t0\t*\tHe.\ns\t2\t\tShe.\n",
        "FILE:3: label: expected 0 to 1 (unacceptable, acceptable), got '2'",
        "1 of 3 rows skipped: line 3 (label: expected 0 to 1 (unacceptable, acceptable), got '2')",
    ),
    "headerless tsv with a fraction as label": (
        "cola",
        COLA,
        b"s\t1\t\tHe slept.\ns\t0\t*\tHe.\ns\t0.5\t\tShe.\n",
        "FILE:3: label: expected 0 to 1 (unacceptable, acceptable), got '0.5'",
        "1 of 3 rows skipped: line 3 (label: expected 0 to 1 (unacceptable, acceptable), got '0.5')",
    ),
    "headerless tsv with names among numbers": (
        "cola",
        COLA,
        b"s\t1\t\tHe slept.\ns\t0\t*\tHe.\ns\tacceptable\t\tShe.\n",
        "FILE:3: label: expected 0 to 1 (unacceptable, acceptable), got 'acceptable'",
        "1 of 3 rows skipped: line 3 (label: expected 0 to 1 (unacceptable, acceptable), got 'acceptable')",
    ),
    "headerless csv with too many columns": (
        "stsb",
        STSB,
        b'a,b,2.5\nc,d,e,1\n"f, g",h,0\n',
        "FILE:2: expected 3 columns (sentence1, sentence2, label), got 4",
        "1 of 3 rows skipped: line 2 (expected 3 columns (sentence1, sentence2, label), got 4)",
    ),
    "csv with a score out of range": (
        "stsb",
        STSB,
        b"a,b,2.5\nc,d,5.01\ne,f,0\n",
        f"FILE:2: {SCORE}, got '5.01'",
        f"1 of 3 rows skipped: line 2 ({SCORE}, got '5.01')",
    ),
    "csv with a score that is not a number": (
        "stsb",
        STSB,
        b"a,b,nan\nc,d,5\ne,f,0\n",
        f"FILE:1: {SCORE}, got 'nan'",
        f"1 of 3 rows skipped: line 1 ({SCORE}, got 'nan')",
    ),
    "csv with words as score": (
        "stsb",
        STSB,
        b"a,b,high\nc,d,5\ne,f,0\ng,h,\n",
        f"FILE:1: {SCORE}, got 'high' (and 1 more: line 4)",
        f"2 of 4 rows skipped: line 1 ({SCORE}, got 'high'), line 4 ({SCORE}, got '')",
    ),
    "csv with too few columns": (
        "mnli",
        "mnli/train.csv",
        C + b"c,neutral\ne,f,entailment\n",
        f"FILE:3: expected 3 columns {COLUMNS}, got 2",
        f"1 of 3 rows skipped: line 3 (expected 3 columns {COLUMNS}, got 2)",
    ),
    "csv of bytes that are not utf-8": (
        "mnli",
        "mnli/train.csv",
        C + b'"c\n\xff",d,neutral\ne,f,entailment\n',
        f"FILE:3: {UTF8.format('ff', 'ÿ')}",
        f"1 of 3 rows skipped: line 3 ({UTF8.format('ff', 'ÿ')})",
    ),
    "csv with text behind a quote": (
        "mnli",
        "mnli/train.csv",
        C + b'"c" d,e,neutral\ne,f,entailment\n',
        f"FILE:3: {QUOTE}",
        f"1 of 3 rows skipped: line 3 ({QUOTE})",
    ),
    "csv with a lone carriage return": (
        "mnli",
        "mnli/train.csv",
        C + b"c\rd,e,neutral\ne,f,entailment\n",
        r"FILE:3: expected CSV, got \r outside quotes",
        r"1 of 3 rows skipped: line 3 (expected CSV, got \r outside quotes)",
    ),
    "jsonl cut off": (
        "mnli",
        "mnli/train.jsonl",
        J + E + b'{"premise": "b", "hypothesis": "c',
        f"FILE:3: {OBJECT} {CUT}; is the line cut off?",
        f"1 of 3 rows skipped: line 3 ({OBJECT} {CUT}; is the line cut off?)",
    ),
    "jsonl of bytes that are not utf-8": (
        "mnli",
        "mnli/train.jsonl",
        J + E.replace(b"f", b"\xff") + E,
        f"FILE:2: {UTF8.format('ff', 'ÿ')}",
        f"1 of 3 rows skipped: line 2 ({UTF8.format('ff', 'ÿ')})",
    ),
    "jsonl with a line that is no object": (
        "mnli",
        "mnli/train.jsonl",
        b"[1]\n" + J + b"\n" + E + b"7\n",
        f"FILE:1: {OBJECT} '[1]' (and 1 more: line 5)",
        f"2 of 4 rows skipped: line 1 ({OBJECT} '[1]'), line 5 ({OBJECT} '7')",
    ),
    "jsonl with a number too long to read": (
        "mnli",
        "mnli/train.jsonl",
        J + b'{"a": ' + b"9" * 5000 + b"}\n" + E,
        f"FILE:2: {OBJECT} Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits; "
        "use sys.set_int_max_str_digits() to increase the limit; is the line cut off?",
        f"1 of 3 rows skipped: line 2 ({OBJECT} Exceeds the limit (4300 digits) for integer string conversion: value has 5000 digits; "
        "use sys.set_int_max_str_digits() to increase the limit; is the line cut off?)",
    ),
    "jsonl whose first row lacks a key": (
        "mnli",
        "mnli/train.jsonl",
        b'{"premise": "a", "hypothesis": "b"}\n' + J + E,
        f"FILE:1: {NAMES}, got nothing, the key is missing",
        f"1 of 3 rows skipped: line 1 ({NAMES}, got nothing, the key is missing)",
    ),
    "json with an element that is no object": (
        "mnli",
        "mnli/train.json",
        b"[" + J + b",[]," + E + b"]",
        "FILE:2: expected a JSON list of objects, one per row, got '[]'",
        "1 of 3 rows skipped: line 2 (expected a JSON list of objects, one per row, got '[]')",
    ),
    "bad in reading and bad in checking": (
        "mnli",
        MNLI,
        P + b"c\td\tmaybe\nc\n\xff\td\tneutral\nc\td\t\ne\tf\tentailment\n",
        f"FILE:3: {NAMES}, got 'maybe' (and 3 more: line 4, 5, 6)",
        f"4 of 6 rows skipped: line 3 ({NAMES}, got 'maybe'), line 4 (expected 3 tab-separated columns {COLUMNS}, got 1), "
        f"line 5 ({UTF8.format('ff', 'ÿ')}), ...",
    ),
    "more rows than are shown": (
        "mnli",
        MNLI,
        P + b"c\td\t\n" * 5 + b"e\tf\tentailment\n",
        f"FILE:3: {NAMES}, got '' (and 4 more: line 4, 5, 6, ...)",
        f"5 of 7 rows skipped: line 3 ({NAMES}, got ''), line 4 ({NAMES}, got ''), line 5 ({NAMES}, got ''), ...",
    ),
    "header again": (
        "mnli",
        MNLI,
        P + HEADER + b"e\tf\tentailment\n",
        f"FILE:3: expected a row, got the header again {COLUMNS}; were two files joined?",
        f"1 of 3 rows skipped: line 3 (expected a row, got the header again {COLUMNS}; were two files joined?)",
    ),
    "header again behind a byte order mark": (
        "mnli",
        "mnli/train.csv",
        C + b"\xef\xbb\xbf" + C + b"e,f,entailment\n",
        f"FILE:3: expected a row, got the header again {COLUMNS}; were two files joined?",
        f"1 of 4 rows skipped: line 3 (expected a row, got the header again {COLUMNS}; were two files joined?)",
    ),
    "header among objects": (
        "mnli",
        "mnli/train.jsonl",
        J + E + b'{"premise": "premise", "hypothesis": "hypothesis", "label": "label"}\n',
        f"FILE:3: expected a row, got the header again {COLUMNS}; were two files joined?",
        f"1 of 3 rows skipped: line 3 (expected a row, got the header again {COLUMNS}; were two files joined?)",
    ),
    "two problems in one row": (
        "mnli",
        "mnli/train.jsonl",
        J + b'{"premise": null, "hypothesis": 1, "label": 7}\n' + E,
        "FILE:2: premise: expected text, got None",
        "1 of 3 rows skipped: line 2 (premise: expected text, got None)",
    ),
}


def write(root, file, content):
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_bytes(content)


@pytest.mark.parametrize("name", ROWS)
def test_bad_row_is_one_exact_line_or_one_row_less(tmp_path, name):
    task, file, content, message, skipped = ROWS[name]
    write(tmp_path, file, content)
    assert message_of(tmp_path, task, file) == message
    kept = read(tmp_path, task, skip=True)
    assert str(kept.skipped) == skipped
    assert len(kept) == kept.skipped.num_rows - len(kept.skipped)


@pytest.mark.parametrize("name", [name for name, case in ROWS.items() if not case[1].endswith(("json", "csv"))])
def test_skipping_equals_a_file_without_the_bad_lines(tmp_path, name):
    task, file, content, _, _ = ROWS[name]
    write(tmp_path, file, content)
    kept = read(tmp_path, task, skip=True)
    bad = {line for line, _ in kept.skipped.rows}
    good = [line for number, line in enumerate(content.split(b"\n"), start=1) if number not in bad]
    write(tmp_path, file, b"\n".join(good))
    assert kept.fingerprint() == read(tmp_path, task, skip=False).fingerprint()


# task, file, content, the line; the same with and without skipping unless a second one is there
FILES = {
    "csv quote left open": (
        "mnli",
        "mnli/train.csv",
        C + b'"c,d,neutral\ne,f,entailment\n',
        "FILE:3: expected CSV, got unexpected end of data; is a quote left open?",
    ),
    "csv quote left open in the last line": (
        "mnli",
        "mnli/train.csv",
        C + b'"c,d,neutral',
        "FILE:3: expected CSV, got unexpected end of data; is a quote left open?",
    ),
    "csv quote that swallows a row before it closes": (
        "mnli",
        "mnli/train.csv",
        C + b'"c,d,neutral\n"e",f,entailment\n',
        f"FILE:3: {QUOTE}",
    ),
    "headerless csv quote left open": (
        "stsb",
        STSB,
        b'a,b,1\n"c,d,2\ne,f,3\n',
        "FILE:2: expected CSV, got unexpected end of data; is a quote left open?",
    ),
    "json cut off": (
        "mnli",
        "mnli/train.json",
        b'[{"premise": "a"}, {"premise"',
        "FILE:1: expected JSON, got Expecting ':' delimiter: line 1 column 30 (char 29); is the file cut off?",
    ),
    "json object": (
        "mnli",
        "mnli/train.json",
        b'{"premise": "a"}',
        "FILE: expected a JSON list of objects, one per row, or SQuAD's {'data': [...]}, got {'premise': 'a'}",
    ),
    "json of bytes that are not utf-8": (
        "mnli",
        "mnli/train.json",
        b"[" + J + b",\n" + E.replace(b"f", b"\xff") + b"]",
        f"FILE:3: {UTF8.format('ff', 'ÿ')}",
    ),
    "json without rows": ("mnli", "mnli/train.json", b"[]", "FILE: expected rows, got none"),
    "tsv without a column": (
        "mnli",
        MNLI,
        b"premise\tlabel\na\tneutral\n",
        "FILE: expected the columns premise, hypothesis, label, got premise, label; 'hypothesis' is missing",
    ),
    "tsv without the score": (
        "stsb",
        "stsb/train.tsv",
        b"sentence1\tsentence2\na\tb\n",
        "FILE: expected the columns sentence1, sentence2, label, got sentence1, sentence2; 'label' is missing",
    ),
    "jsonl without a key": (
        "cola",
        "cola/train.jsonl",
        b'{"sentence": "a"}\n{"sentence": "b"}\n',
        "FILE: expected the columns sentence, label, got sentence; 'label' is missing",
    ),
    "jsonl of empty objects": (
        "cola",
        "cola/train.jsonl",
        b"{}\n",
        "FILE: expected the columns sentence, label, got no column; 'sentence' is missing",
    ),
    "tsv with a column twice": (
        "mnli",
        MNLI,
        b"premise\tpremise\na\tb\n",
        "FILE:1: expected each column once, got 'premise' twice",
    ),
    "csv with a column twice": (
        "mnli",
        "mnli/train.csv",
        b"label,label\na,b\n",
        "FILE:1: expected each column once, got 'label' twice",
    ),
    "csv with a broken header": ("mnli", "mnli/train.csv", b'"a"b,c\nd,e\n', f"FILE:1: {QUOTE}"),
    "tsv header that is not utf-8": (
        "mnli",
        MNLI,
        b"pr\xe9mise\thypothesis\tlabel\na\tb\tneutral\n",
        f"FILE:1: {UTF8.format('e9', 'é')}",
    ),
    "tsv in utf-16 that is cut off": (
        "mnli",
        MNLI,
        P.decode().encode("utf-16")[:-1],
        "FILE: expected UTF-16, as its byte order mark says, got truncated data; convert it to UTF-8",
    ),
    "blank header": ("mnli", "mnli/train.csv", b",,\na,b,neutral\n", "FILE:1: expected a header line, got a blank one"),
    "json of several lists": (
        "mnli",
        "mnli/train.json",
        b'{"train": [' + J + b'], "validation": [' + E + b"]}",
        "FILE: expected a JSON list of objects, one per row, got lists under train, validation; write each into a file of its own",
    ),
    "json of lists under data": (
        "mnli",
        "mnli/train.json",
        b'{"columns": ["premise"], "data": [["a"], ["b"]]}',
        "FILE: data: expected a list of objects, one per row, or SQuAD's articles, got [['a'], ['b']]",
    ),
    "tsv with only a header": ("mnli", MNLI, HEADER, "FILE: expected rows, got none"),
    "csv with only a header": ("mnli", "mnli/train.csv", b"premise,hypothesis,label\n", "FILE: expected rows, got none"),
    "empty tsv": ("mnli", MNLI, b"", "FILE: expected a header line, got an empty file"),
    "empty headerless tsv": ("cola", COLA, b"", "FILE: expected rows, got none"),
    "empty csv": ("mnli", "mnli/train.csv", b"\n", "FILE: expected a header line, got an empty file"),
    "empty headerless csv": ("stsb", STSB, b"", "FILE: expected rows, got none"),
    "empty jsonl": ("mnli", "mnli/train.jsonl", b"\n", "FILE: expected rows, got none"),
    "empty json": (
        "mnli",
        "mnli/train.json",
        b"",
        "FILE:1: expected JSON, got Expecting value: line 1 column 1 (char 0); is the file cut off?",
    ),
    "tsv with carriage returns alone": (
        "mnli",
        MNLI,
        P.replace(b"\n", b"\r"),
        r"FILE: expected lines that end in \n, got \r alone; convert the line ends",
    ),
    "headerless tsv with carriage returns alone": (
        "cola",
        COLA,
        b"s\t1\t\ta\rs\t0\t\tb\r",
        r"FILE: expected lines that end in \n, got \r alone; convert the line ends",
    ),
    "tsv with bad rows alone": (
        "mnli",
        MNLI,
        HEADER + b"a\tb\tmaybe\nc\n",
        f"FILE:2: {NAMES}, got 'maybe' (and 1 more: line 3)",
        f"FILE: expected rows, got none; 2 of 2 rows skipped: line 2 ({NAMES}, got 'maybe'), "
        f"line 3 (expected 3 tab-separated columns {COLUMNS}, got 1)",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_file_is_one_exact_line_also_when_rows_are_skipped(tmp_path, name):
    task, file, content, message, *skipping = FILES[name]
    write(tmp_path, file, content)
    assert message_of(tmp_path, task, file) == message
    assert message_of(tmp_path, task, file, skip=True) == (skipping or [message])[0]


@pytest.mark.parametrize("cut", [0, 11, 100, -8])
@pytest.mark.parametrize("task", GOOD)
def test_cut_parquet_is_one_line_with_the_words_of_pyarrow(tmp_path, task, cut):
    path = tmp_path / task / "train.parquet"
    write_objects(path, [row | {"label": 1} for row in objects(task)])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(pyarrow.ArrowException) as original:
        pyarrow.parquet.read_metadata(path)
    words = str(original.value).splitlines()[0]
    for skip in (False, True):
        assert (
            message_of(tmp_path, task, f"{task}/train.parquet", skip=skip)
            == f"FILE: expected a Parquet file of UTF-8 text, got {words}"
        )


def test_parquet_with_a_column_twice_is_one_line(tmp_path):
    path = tmp_path / "mnli" / "train.parquet"
    path.parent.mkdir()
    pyarrow.parquet.write_table(pyarrow.table([["a"], ["b"]], names=["label", "label"]), path)
    assert message_of(tmp_path, "mnli", "mnli/train.parquet") == "FILE: expected each column once, got 'label' twice"


def test_json_nested_too_deep_is_one_line(tmp_path):
    write(tmp_path, "mnli/train.json", b"[" * 100_000)
    assert message_of(tmp_path, "mnli", "mnli/train.json").startswith("FILE: expected JSON, got maximum recursion")


def test_parquet_with_the_header_among_its_rows_is_one_line(tmp_path):
    rows = [
        {"sentence": "a", "label": "acceptable"},
        {"sentence": "sentence", "label": "label"},
        {"sentence": "b", "label": "unacceptable"},
    ]
    write_objects(tmp_path / "cola" / "train.parquet", rows)
    what = "expected a row, got the header again (sentence, label); were two files joined?"
    assert message_of(tmp_path, "cola", "cola/train.parquet") == f"FILE:2: {what}"
    kept = read(tmp_path, "cola", skip=True)
    assert (str(kept.skipped), kept.texts) == (f"1 of 3 rows skipped: line 2 ({what})", [("a",), ("b",)])


@pytest.mark.parametrize("text", ["a,b,,\n1,2,,\n", "a\tb\t\t\n1\t2\t\t\n"])
def test_columns_without_a_name_are_left_out_where_they_are_empty_and_else_called_by_their_place(tmp_path, text):
    path = tmp_path / ("t.csv" if "," in text else "t.tsv")
    path.write_text(text)
    assert read_table(path).columns == {"a": ["1"], "b": ["2"]}
    path.write_text(text[:-1] + "x\n")
    assert read_table(path).columns == {"a": ["1"], "b": ["2"], "column 4": ["x"]}


def test_wrong_file_ending_is_one_line(tmp_path):
    with pytest.raises(InputError) as error:
        read_table(write_tsv(tmp_path / "t.xlsx", ["a"], []) or tmp_path / "t.xlsx")
    assert (
        str(error.value)
        == f"{tmp_path}/t.xlsx: expected a file ending in .tsv, .csv, .jsonl, .json, .parquet, got '.xlsx'; save the sheet as CSV"
    )


# task, file, content, the texts of the first column (or the labels)
KEPT = {
    "empty text": ("mnli", MNLI, P + b"\t\tentailment\n", ["a", ""]),
    "words that look like nothing": ("mnli", MNLI, P + b"None\tN/A\tentailment\nnan\tnull\tneutral\n", ["a", "None", "nan"]),
    "leading quote in tsv": (
        "mnli",
        MNLI,
        P + b'"not closed\t\'\tentailment\nsay "hi"\tb"\tneutral\n',
        ["a", '"not closed', 'say "hi"'],
    ),
    "leading quote in headerless tsv": ("cola", COLA, b's\t1\t\t"Not closed\ns\t0\t\tb"\n', ['"Not closed', 'b"']),
    "line break inside quotes in csv": ("mnli", "mnli/train.csv", C + b'"a\nb",c,entailment\n', ["a", "a\nb"]),
    "carriage return inside quotes in csv": ("mnli", "mnli/train.csv", C + b'"a\rb",c,entailment\n', ["a", "a\rb"]),
    "blank lines in csv": ("mnli", "mnli/train.csv", C + b"\nc,d,entailment\n\n", ["a", "c"]),
    "byte order mark": ("mnli", MNLI, b"\xef\xbb\xbf" + P + b"c\td\tentailment\n", ["a", "c"]),
    "byte order mark without a header": ("cola", COLA, b"\xef\xbb\xbfs\t1\t\ta\ns\t0\t\tb\n", ["a", "b"]),
    "byte order marks where files were joined": (
        "cola",
        "cola/train.jsonl",
        b'\xef\xbb\xbf{"sentence": "a", "label": 1}\n\xef\xbb\xbf{"sentence": "b", "label": 0}\n',
        ["a", "b"],
    ),
    "utf-16 as Windows writes it": (
        "mnli",
        MNLI,
        (P + b"c\td\tentailment\n").replace(b"\n", b"\r\n").decode().encode("utf-16"),
        ["a", "c"],
    ),
    "utf-16 with the other order of bytes": (
        "mnli",
        "mnli/train.csv",
        b"\xfe\xff" + (C + b"c,d,entailment\n").decode().encode("utf-16-be"),
        ["a", "c"],
    ),
    "utf-32": ("mnli", "mnli/train.jsonl", (J + E).decode().encode("utf-32"), ["a", "e"]),
    "columns without a name that hold nothing": (
        "mnli",
        "mnli/train.csv",
        b"premise,hypothesis,label,,\na,b,neutral,,\nc,d,entailment,, \n",
        ["a", "c"],
    ),
    "columns without a name that hold something": (
        "mnli",
        "mnli/train.csv",
        b",premise,hypothesis,label,,\n0,a,b,neutral,,\n1,c,d,entailment,,x\n",
        ["a", "c"],
    ),
    "rows under data": ("mnli", "mnli/train.json", b'{"version": "1", "data": [' + J + b"," + E + b"]}", ["a", "e"]),
    "rows under another key": ("mnli", "mnli/train.json", b'{"validation": [' + J + b"," + E + b"]}", ["a", "e"]),
    "rows beside another list": (
        "mnli",
        "mnli/train.json",
        b'{"features": [{"name": "premise"}], "rows": [' + J + b"," + E + b"]}",
        ["a", "e"],
    ),
    "jsonl that is called json": ("mnli", "mnli/train.json", J + E, ["a", "e"]),
    "header line of a file that has none as a rule": ("stsb", STSB, b"sentence1,sentence2,label\na,b,1\nc,d,2\n", ["a", "c"]),
    "header in a single row of one column": (
        "cola",
        "cola/train.jsonl",
        b'{"sentence": "sentence", "label": 1}\n{"sentence": "b", "label": 0}\n',
        ["sentence", "b"],
    ),
    "crlf": ("mnli", MNLI, (P + b"c\td\tentailment\n").replace(b"\n", b"\r\n"), ["a", "c"]),
    "crlf without a header": ("stsb", STSB, b"a,b,1\r\nc,d,2\r\n", ["a", "c"]),
    "carriage return inside a tsv text": ("mnli", MNLI, P + b"c\rd\te\tentailment\n", ["a", "c\rd"]),
    "no line end in the last line": ("mnli", MNLI, P + b"c\td\tentailment", ["a", "c"]),
    "a very long text": ("mnli", "mnli/train.csv", C + b"c" * 200_000 + b",d,entailment\n", ["a", "c" * 200_000]),
    "an emoji in escapes": ("mnli", "mnli/train.jsonl", J + E.replace(b'"e"', rb'"\ud83d\ude00"'), ["a", "\U0001f600"]),
    "a key that only some rows have": ("mnli", "mnli/train.jsonl", J.replace(b"{", b'{"note": 1, ') + E, ["a", "e"]),
    "another order of the keys": (
        "cola",
        "cola/train.jsonl",
        b'{"label": 1, "sentence": "a"}\n{"sentence": "b", "label": 0}\n',
        ["a", "b"],
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_row_that_looks_bad_and_is_good_is_kept(tmp_path, name):
    task, file, content, texts = KEPT[name]
    write(tmp_path, file, content)
    for skip in (False, True):
        kept = read(tmp_path, task, skip=skip)
        assert [pair[0] for pair in kept.texts] == texts
        assert len(kept.skipped) == 0
    assert kept.empty_texts == (2 if name == "empty text" else 0)


@pytest.mark.parametrize("labels", [[0, 1.0, 2.0], ["0.0", "1.0", "2.0"], [0.0, "1", 2]])
def test_whole_labels_that_became_floats_are_whole_numbers(mnli, labels):
    assert check_rows(table_of(premise=["a"] * 3, hypothesis=["b"] * 3, label=labels), mnli).labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize("label", [1.5, "1.5", 3.0, 3, "01", -0.5])
def test_float_that_is_no_label_is_refused(mnli, label):
    with pytest.raises(InputError) as error:
        check_rows(table_of(premise=["a"] * 3, hypothesis=["b"] * 3, label=[0, 1, label]), mnli)
    assert str(error.value) == f"rows.tsv:4: label: expected 0 to 2 (entailment, neutral, contradiction), got {label!r}"


# id
def rows_with_ids(task, name, ids):
    columns = {key: values[: len(ids)] for key, values in GOOD[task].items()}
    return table_of(**columns, **{name: ids})


IDS = [
    (["x", "y", "x", "z"], "NAME: expected each id once, got 'x' again, first in line 2"),
    ([7, 8, 7, 9], "NAME: expected each id once, got 7 again, first in line 2"),
    ([7, 8, "7", 9], "NAME: expected each id once, got '7' again, first in line 2"),
    (["x", "y", None, "z"], "NAME: expected an id, got None"),
    (["x", "y", "", "z"], "NAME: expected an id, got ''"),
    ([1.0, 2.0, NAN, 4.0], "NAME: expected an id, got nan"),
    (["x", "y", ["z"], "z"], "NAME: expected an id, got ['z']"),
    (["x", "y", "\ud800", "z"], r"NAME: expected an id, got '\ud800'"),
]


@pytest.mark.parametrize("task", GOOD)
@pytest.mark.parametrize("name", ["id", "idx"])
@pytest.mark.parametrize(("ids", "what"), IDS)
def test_bad_id_is_one_exact_line_or_one_row_less(task, name, ids, what):
    table, what = rows_with_ids(task, name, ids), what.replace("NAME", name)
    for check in (lambda: check_rows(table, TASKS[task]), lambda: check_texts(table, TASKS[task])):
        with pytest.raises(InputError) as error:
            check()
        assert str(error.value) == f"rows.tsv:4: {what}"
    kept = check_rows(table, TASKS[task], skip=True)
    assert str(kept.skipped) == f"1 of 4 rows skipped: line 4 ({what})"
    assert kept.ids == [str(ids[0]), str(ids[1]), str(ids[3])]


def test_id_of_a_bad_row_may_come_again(mnli):
    columns = {"premise": [None, "b", "c"], "hypothesis": ["e"] * 3, "label": [0, 1, 2], "id": ["x", "x", "y"]}
    kept = check_rows(table_of(**columns), mnli, skip=True)
    assert (kept.ids, [line for line, _ in kept.skipped.rows]) == (["x", "y"], [2])


def test_rows_without_an_id_are_numbered_as_in_the_file(tmp_path):
    write(tmp_path, MNLI, HEADER + b"c\nd\te\tneutral\n\xff\t\t\nf\tg\tmaybe\nh\ti\tentailment\n")
    assert read(tmp_path, "mnli", skip=True).ids == ["1", "4"]


# one label alone
ALIKE = {
    "names": (
        "mnli",
        {"label": ["neutral"] * 4},
        "labels in the training rows, got 'neutral' in all 4; add rows of entailment or contradiction",
    ),
    "numbers": (
        "cola",
        {"label": [1, 1, 1, 1]},
        "labels in the training rows, got 'acceptable' in all 4; add rows of unacceptable",
    ),
    "scores": (
        "stsb",
        {"label": [2.5, "2.5", "2.50", 2.5]},
        "scores in the training rows, got 2.5 in all 4; add rows with other scores",
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_training_rows_of_one_label_are_an_error_also_when_rows_are_skipped(name):
    task, change, message = ALIKE[name]
    table = table_of(**GOOD[task] | change)
    for skip in (False, True):
        with pytest.raises(InputError) as error:
            check_rows(table, TASKS[task], train=True, skip=skip)
        assert str(error.value) == f"rows.tsv: label: expected at least two {message}"
    assert len(check_rows(table, TASKS[task])) == 4  # to evaluate on


def test_label_that_is_alone_because_the_others_were_skipped_says_so(mnli):
    table = table_of(premise=["a"] * 3, hypothesis=["b"] * 3, label=["neutral", "Neutral", "neutral"])
    with pytest.raises(InputError, match=r"got 'neutral' in all 2 rows left of 3; add rows of entailment or contradiction$"):
        check_rows(table, mnli, train=True, skip=True)


def test_first_rows_of_one_label_are_an_error_that_names_the_option_and_how_many_it_takes():
    table = table_of(**GOOD["mnli"] | {"label": ["neutral", "neutral", "entailment", "neutral"]})
    with pytest.raises(InputError) as error:
        check_rows(table, TASKS["mnli"], 2, train=True)
    assert str(error.value) == (
        "--max-train-samples 2: expected at least two labels in the rows that are trained on, got 'neutral' in the first 2 of "
        "rows.tsv; give at least 3, or shuffle the file"
    )
    assert len(check_rows(table, TASKS["mnli"], 3, train=True)) == 3
    assert len(check_rows(table, TASKS["mnli"], 1)) == 1  # to evaluate on


def test_real_benchmark_rows_are_all_good(shared):
    """Nothing that people train on is called bad: no id comes twice, no row is left out."""
    for name in ("mnli", "cola", "rte", "mrpc", "sst2", "stsb"):
        task = TASKS[name]
        for split in task.splits:
            kept = check_rows(load_table(task, split, str(shared)), task, train=split is task.train, skip=True)
            assert len(kept.skipped) == 0
            assert all(int(a) < int(b) for a, b in pairwise(kept.ids))
