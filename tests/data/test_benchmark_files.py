"""Files of the benchmarks and of other programs, wherever they lie: in a directory, named to `predict`, or on stdin."""

import io
import json
import sys
from types import SimpleNamespace

import pytest
from conftest import table_of, write_tsv

from debft.data.load import load_table
from debft.data.rows import check_rows, check_texts
from debft.data.sources.benchmark_files import in_task_columns
from debft.errors import InputError
from debft.scoring import inputs
from debft.tasks import TASKS

PARSES = "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
# task, the header of the benchmark's test file, a row of it, its texts
TESTS = {
    "mnli": (f"{PARSES}\tsentence1\tsentence2", "0\t7\t8\tfiction\tx\tx\tx\tx\tA owl.\tAn owl.", ("A owl.", "An owl.")),
    "cola": ("index\tsentence", "0\tHe slept.", ("He slept.",)),
    "sst2": ("index\tsentence", "0\tHe slept.", ("He slept.",)),
    "mrpc": ("index\t#1 ID\t#2 ID\t#1 String\t#2 String", "0\t7\t8\tA owl.\tAn owl.", ("A owl.", "An owl.")),
    "stsb": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2",
        "0\tg\tf\t2012\t5\ta\tb\tA owl.\tAn owl.",
        ("A owl.", "An owl."),
    ),
    "qqp": ("id\tquestion1\tquestion2", "0\tWhy?\tWhy not?", ("Why?", "Why not?")),
    "qnli": ("index\tquestion\tsentence", "0\tWhy?\tNo.", ("Why?", "No.")),
    "rte": ("index\tsentence1\tsentence2", "0\tA owl.\tAn owl.", ("A owl.", "An owl.")),
    "wnli": ("index\tsentence1\tsentence2", "0\tA owl.\tAn owl.", ("A owl.", "An owl.")),
    "xnli": ("language\tgold_label\tsentence1\tsentence2", "de\tneutral\tEine Eule.\tEulen.", ("Eine Eule.", "Eulen.")),
}


def texts_of(table, task):
    return check_texts(table, TASKS[task]).texts


def on_stdin(monkeypatch, raw: bytes):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False, buffer=io.BytesIO(raw)))


@pytest.mark.parametrize("task", TESTS)
def test_test_file_of_the_benchmark_is_read_to_be_predicted(tmp_path, monkeypatch, task):
    header, row, texts = TESTS[task]
    (tmp_path / "test.tsv").write_text(f"{header}\n{row}\n")
    assert texts_of(inputs.read_file(tmp_path / "test.tsv", TASKS[task]), task) == [texts]
    on_stdin(monkeypatch, f"\ufeff{header}\n{row}\n".encode())
    assert texts_of(inputs.read_stdin(TASKS[task]), task) == [texts]


@pytest.mark.parametrize(
    ("task", "name", "content", "texts"),
    [
        ("cola", "dev.tsv", "gj04\t1\t\tHe slept.\ngj04\t0\t*\tSlept he.\n", [("He slept.",), ("Slept he.",)]),
        ("stsb", "stsb-en-dev.csv", 'a,a,5.0\n"c, d",e,0.2\n', [("a", "a"), ("c, d", "e")]),
        ("mnli", "snli_1.0_test.txt", "gold_label\tsentence1_parse\tsentence1\tsentence2\n-\tx\ta\tb\n", [("a", "b")]),
        ("mnli", "snli.jsonl", '{"gold_label": "-", "sentence1": "a", "sentence2": "b"}\n', [("a", "b")]),
        ("xnli", "multinli.train.de.tsv", "premise\thypo\tlabel\na\tb\tcontradictory\n", [("a", "b")]),
    ],
)
def test_other_files_of_the_benchmarks_are_read_to_be_predicted(tmp_path, task, name, content, texts):
    (tmp_path / name).write_text(content)
    assert texts_of(inputs.read_file(tmp_path / name, TASKS[task]), task) == texts


def test_first_row_is_taken_for_the_header_where_it_is_no_row(tmp_path):
    """As many columns as CoLA's files have, but no label where they have it."""
    (tmp_path / "x.tsv").write_text("a\tb\tc\td\n1\t1\t1\tHe slept.\n")
    with pytest.raises(InputError, match="expected the columns sentence, got a, b, c, d; 'sentence' is missing"):
        texts_of(inputs.read_file(tmp_path / "x.tsv", TASKS["cola"]), "cola")


def test_own_name_of_a_column_wins_over_the_benchmarks():
    table = table_of(premise=["a"], hypothesis=["b"], sentence1=["c"], gold_label=["-"], label=["neutral"])
    assert in_task_columns(table, TASKS["mnli"]) == table
    partly = in_task_columns(table_of(premise=["a"], sentence1=["c"], sentence2=["d"]), TASKS["mnli"])
    assert (partly.columns["premise"], partly.columns["hypothesis"]) == (["a"], ["d"])


@pytest.mark.parametrize(
    ("task", "folder", "rows", "labels"),
    [
        ("cola", "CoLA", ["s\t1\t\tHe slept.", "s\t0\t*\tSlept he."], [1, 0]),
        ("mnli", "MNLI", ["sentence1\tsentence2\tgold_label", "a\tb\tneutral", "c\td\tentailment"], [1, 0]),
        ("mrpc", "MRPC", ["\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String", "1\t2\t3\ta\tb", "0\t2\t3\tc\td"], [1, 0]),
        ("qqp", "QQP", ["id\tquestion1\tquestion2\tis_duplicate", "7\ta\tb\t1", "8\tc\td\t0"], [1, 0]),
        ("rte", "RTE", ["index\tsentence1\tsentence2\tlabel", "0\ta\tb\tentailment", "1\tc\td\tnot_entailment"], [0, 1]),
    ],
)
def test_folder_of_the_benchmark_is_read_where_the_file_system_has_no_case(tmp_path, task, folder, rows, labels):
    """There `cola/train.tsv`, the hub's layout, finds the benchmark's own `CoLA/train.tsv`."""
    entry = TASKS[task]
    for root, name in (("with", folder), ("without", task)):
        (tmp_path / root / name).mkdir(parents=True)
        (tmp_path / root / name / "train.tsv").write_text("\n".join(rows) + "\n")
    with_header, without_header = (
        check_rows(load_table(entry, entry.train, str(tmp_path / root)), entry) for root in ("with", "without")
    )
    assert with_header.labels.tolist() == without_header.labels.tolist() == labels
    assert with_header.fingerprint() == without_header.fingerprint() and with_header.ids == without_header.ids


def test_hubs_layout_is_still_read_below_its_own_name(tmp_path):
    write_tsv(tmp_path / "cola" / "train.tsv", ["sentence", "label"], [("He slept.", 1), ("Slept he.", 0)])
    entry = TASKS["cola"]
    assert check_rows(load_table(entry, entry.train, str(tmp_path)), entry).labels.tolist() == [1, 0]


PAIR = {"premise": "a", "hypothesis": "б", "id": "p1"}
LINES = f"{json.dumps(PAIR, ensure_ascii=False)}\n{json.dumps(PAIR | {'id': 'p2'})}\n"
TSV = "premise\thypothesis\tid\na\tб\tp1\na\tб\tp2\n"
STDIN = {
    "jsonl": LINES.encode(),
    "jsonl behind a byte order mark": b"\xef\xbb\xbf" + LINES.encode(),
    "jsonl in utf-16": LINES.encode("utf-16"),
    "jsonl behind blank lines": b"\n \n" + LINES.encode(),
    "json": json.dumps([PAIR, PAIR | {"id": "p2"}], indent=1).encode(),
    "rows under data": json.dumps({"data": [PAIR, PAIR | {"id": "p2"}]}).encode(),
    "rows under another key": b"\xef\xbb\xbf" + json.dumps({"rows": [PAIR, PAIR | {"id": "p2"}]}, indent=2).encode(),
    "tsv": TSV.encode(),
    "tsv behind a byte order mark": b"\xef\xbb\xbf" + TSV.encode(),
    "tsv in utf-16 with Windows' line ends": TSV.replace("\n", "\r\n").encode("utf-16"),
}


@pytest.mark.parametrize("name", STDIN)
def test_stdin_gives_the_rows_of_a_file(monkeypatch, name):
    on_stdin(monkeypatch, STDIN[name])
    rows = check_texts(inputs.read_stdin(TASKS["mnli"]), TASKS["mnli"])
    assert (rows.texts, rows.ids) == ([("a", "б")] * 2, ["p1", "p2"])


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("more", [{}, {"notes": [{"by": "x"}]}])
def test_one_object_on_stdin_is_one_row(monkeypatch, indent, more):
    on_stdin(monkeypatch, json.dumps(PAIR | more, indent=indent).encode())
    rows = check_texts(inputs.read_stdin(TASKS["mnli"]), TASKS["mnli"])
    assert (rows.texts, rows.ids) == ([("a", "б")], ["p1"])


def test_squads_nesting_on_stdin_is_read(monkeypatch):
    qas = [{"id": "q1", "question": "Which?"}]
    on_stdin(monkeypatch, json.dumps({"data": [{"title": "t", "paragraphs": [{"context": "c", "qas": qas}]}]}).encode("utf-8-sig"))
    rows = check_texts(inputs.read_stdin(TASKS["squad2"]), TASKS["squad2"])
    assert (rows.texts, rows.ids) == ([("Which?", "c")], ["q1"])


def test_joined_files_on_stdin_name_the_header_between_them(monkeypatch):
    on_stdin(monkeypatch, TSV.encode() + b"\xef\xbb\xbf" + TSV.encode())
    with pytest.raises(InputError) as error:
        check_texts(inputs.read_stdin(TASKS["mnli"]), TASKS["mnli"])
    assert str(error.value).startswith(
        "stdin:4: expected a row, got the header again (premise, hypothesis, id); were two files joined?"
    )
