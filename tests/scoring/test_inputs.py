"""What predict is given: typed texts, lines, files and stdin become the same rows, or one line of an error."""

import csv
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from debft.errors import InputError
from debft.scoring.inputs import examples_to_label
from debft.tasks import TASKS, TEXT

REVIEW = replace(TEXT, text_keys=("review",))  # one text, in a column of the user's own name
TWO = [("sehr schön",), ("läuft nicht, leider",)]
PAIRS = [("a fox", "slept"), ("б", "")]


def on_stdin(monkeypatch, text: str, *, terminal: bool = False) -> None:
    stdin = SimpleNamespace(isatty=lambda: terminal, buffer=io.BytesIO(text.encode()))
    monkeypatch.setattr("sys.stdin", stdin)


def test_typed_texts_are_a_row_each_where_the_model_has_one_text():
    rows = examples_to_label([text for (text,) in TWO], REVIEW)
    assert (rows.texts, rows.ids) == (TWO, ["0", "1"])


@pytest.mark.parametrize("task", ["mnli", "squad2", "qnli"])
def test_two_typed_texts_are_one_row_of_a_pair_in_the_order_of_its_columns(task):
    assert examples_to_label(["Which fox?", "The white one."], TASKS[task]).texts == [("Which fox?", "The white one.")]


@pytest.mark.parametrize("words", [["alone"], ["a", "b", "c", "d"]])
def test_pair_of_another_number_of_texts_is_refused(words):
    with pytest.raises(InputError, match="expected two texts, premise and hypothesis, got"):
        examples_to_label(words, TASKS["mnli"])


@pytest.mark.parametrize("word", ["x.csv", "dir/x", "x.xlsx", "my rows.tsv", "./my rows", "/no/such file"])
def test_word_that_looks_like_a_path_is_never_a_text(word):
    with pytest.raises(InputError, match="expected a file or a text, found no such file"):
        examples_to_label([word], REVIEW)
    with pytest.raises(InputError, match="found no such file"):
        examples_to_label(["a text", word], REVIEW)


@pytest.mark.parametrize("text", ["good", "Good. Or not?", "this and/or that", "3.5", "wow...", "x" * 5000, "a\0b c"])
def test_text_is_no_path(text):
    assert examples_to_label([text], REVIEW).texts == [(text,)]


@pytest.mark.parametrize("words", [[""], [" "], ["a", ""]])
def test_empty_word_is_refused(words):
    with pytest.raises(InputError, match="predict: expected a text or a file, got an empty one"):
        examples_to_label(words, TASKS["mnli"])


def test_file_among_texts_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good").write_text("one\n")
    with pytest.raises(InputError, match="good: expected one file, - for stdin, or texts, got 2 arguments"):
        examples_to_label(["bad", "good"], REVIEW)


FORMS = {
    "lines": "".join(f"{text}\n" for (text,) in TWO),
    "lines without a last line end": "\n".join(text for (text,) in TWO),
    "tsv": "review\tid\n" + "".join(f"{text}\t{i}\n" for i, (text,) in enumerate(TWO)),
    "tsv of one column": "review\n" + "".join(f"{text}\n" for (text,) in TWO),
    "csv": "id,review,label\n" + "".join(f'{i},"{text}",\n' for i, (text,) in enumerate(TWO)),
    "csv of a spreadsheet": "sep=;\nreview;label\n" + "".join(f'"{text}";\n' for (text,) in TWO),
    "jsonl": "".join(json.dumps({"review": text}) + "\n" for (text,) in TWO),
    "json": json.dumps([{"review": text} for (text,) in TWO], indent=1),
    "json in an object": json.dumps({"rows": [{"review": text} for (text,) in TWO]}),
}


@pytest.mark.parametrize("name", FORMS)
def test_stdin_and_a_txt_file_are_told_apart_by_their_first_line(tmp_path, monkeypatch, name):
    (tmp_path / "rows.txt").write_text(FORMS[name])
    on_stdin(monkeypatch, FORMS[name])
    for words in ([str(tmp_path / "rows.txt")], [], ["-"]):
        if not words or words == ["-"]:
            on_stdin(monkeypatch, FORMS[name])
        rows = examples_to_label(words, REVIEW)
        assert (rows.texts, rows.ids) == (TWO, ["0", "1"])


@pytest.mark.parametrize("form", ["jsonl", "csv", "tsv"])
def test_column_called_text_is_the_only_text_and_that_is_said(tmp_path, capsys, form):
    rows = {"jsonl": [json.dumps({"text": text}) for (text,) in TWO]}.get(form, ["text", *(f'"{t}"' for (t,) in TWO)])
    rows = ["text", *(text for (text,) in TWO)] if form == "tsv" else rows
    (tmp_path / f"x.{form}").write_text("\n".join(rows))
    assert examples_to_label([str(tmp_path / f"x.{form}")], REVIEW).texts == TWO
    assert "its column text is read; the model was trained on one called review" in capsys.readouterr().err


def test_case_of_the_column_called_text_makes_no_difference(tmp_path):
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"Text": text}) + "\n" for (text,) in TWO))
    assert examples_to_label([str(tmp_path / "x.jsonl")], REVIEW).texts == TWO


def test_line_with_a_comma_that_begins_as_a_column_is_called_is_a_text(monkeypatch):
    on_stdin(monkeypatch, "review, please\nthanks\n")
    assert examples_to_label([], REVIEW).texts == [("review, please",), ("thanks",)]


def test_device_is_no_file_and_its_content_goes_to_stdin():
    with pytest.raises(InputError, match=r"^/dev/null: expected a file, got a pipe or a device; give its content to stdin"):
        examples_to_label(["/dev/null"], REVIEW)


def test_own_column_comes_before_the_one_called_text(tmp_path, capsys):
    (tmp_path / "x.jsonl").write_text(json.dumps({"text": "a", "review": "b"}))
    assert examples_to_label([str(tmp_path / "x.jsonl")], REVIEW).texts == [("b",)]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("usual", ["cp1252", "utf-16-le"])
def test_file_that_is_not_utf_8_is_read_as_those_of_the_run_and_that_is_said(tmp_path, monkeypatch, capsys, usual):
    (tmp_path / "x.csv").write_text("review\nschön\n", encoding=usual)
    assert examples_to_label([str(tmp_path / "x.csv")], REVIEW, None, usual).texts == [("schön",)]
    assert f"x.csv: not UTF-8; read as {usual}, as the rows of the run were" in capsys.readouterr().err
    stdin = SimpleNamespace(isatty=lambda: False, buffer=io.BytesIO("schön\n".encode(usual)))
    monkeypatch.setattr("sys.stdin", stdin)
    assert examples_to_label([], REVIEW, None, usual).texts == [("schön",)]


def test_file_in_utf_8_stays_that_whatever_the_run_read(tmp_path, capsys):
    (tmp_path / "x.csv").write_text("review\nschön\n", encoding="utf-8")
    assert examples_to_label([str(tmp_path / "x.csv")], REVIEW, None, "cp1252").texts == [("schön",)]
    assert examples_to_label([str(tmp_path / "x.csv")], REVIEW, "cp1252", "cp1252").texts == [("schÃ¶n",)]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("header", ["", "premise\thypothesis\n"])
def test_lines_of_pairs_have_a_tab_between_their_texts(monkeypatch, header):
    on_stdin(monkeypatch, header + "".join(f"{a}\t{b}\n" for a, b in PAIRS))
    assert examples_to_label([], TASKS["mnli"]).texts == PAIRS


def test_questions_and_contexts_are_lines_of_pairs(monkeypatch):
    on_stdin(monkeypatch, "Which?\tThe fox.\n")
    assert examples_to_label([], TASKS["squad2"]).texts == [("Which?", "The fox.")]


@pytest.mark.parametrize("first", ["a" * 200_000, "a\rb", '"a'], ids=["long", "carriage return", "open quote"])
def test_first_line_that_is_no_csv_is_a_text(monkeypatch, first):
    csv.field_size_limit(131_072)  # as in a new process
    on_stdin(monkeypatch, f"{first}\tb\nc\td\n")
    assert examples_to_label([], TASKS["mnli"]).texts == [(first, "b"), ("c", "d")]


WRONG = {
    "one text for a pair": ("mnli", "alone\n", "stdin:1: expected premise, tab, hypothesis in each line, or"),
    "a later pair": ("mnli", "a\tb\nc\n", "stdin:2: expected premise, tab, hypothesis, got 'c'"),
    "half a header": ("mnli", "premise\tsurprise\nc\td\n", "stdin:1: expected premise, tab, hypothesis"),
    "two columns for one text": (
        "sst2",
        "a\tb\n",
        "stdin:1: expected one text in each line, or a header line with the column sentence",
    ),
    "JSON that is cut off": ("sst2", '{"sentence": "a', "stdin:1: expected one JSON object per line"),
    "a JSON list of texts": ("sst2", '["a", "b"]', "stdin:1: expected a JSON list of objects"),
    "nothing": ("sst2", "", "stdin: expected one text in each line, JSONL, or TSV with a header line, got nothing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_lines_are_one_line_of_an_error(monkeypatch, name):
    task, text, message = WRONG[name]
    on_stdin(monkeypatch, text)
    with pytest.raises(InputError) as error:
        examples_to_label([], TASKS[task])
    assert str(error.value).startswith(message)


def test_byte_that_is_no_text_names_its_line(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"good\nsch\xf6n\n")
    with pytest.raises(InputError, match=r"x.txt:2: expected UTF-8"):
        examples_to_label([str(tmp_path / "x.txt")], REVIEW)


def test_blank_line_keeps_its_place_and_is_said(monkeypatch, capsys):
    on_stdin(monkeypatch, "a\n\nb\n")
    assert examples_to_label([], REVIEW).texts == [("a",), ("",), ("b",)]
    assert "stdin: 1 empty text is labelled like any other" in capsys.readouterr().err


def test_text_that_begins_with_a_bracket_is_a_text(monkeypatch):
    on_stdin(monkeypatch, "[sic] good\n{curly} bad\n")
    assert examples_to_label([], REVIEW).texts == [("[sic] good",), ("{curly} bad",)]


def test_terminal_is_told_what_to_type_and_how_to_end(monkeypatch, capsys):
    on_stdin(monkeypatch, "good\n", terminal=True)
    examples_to_label([], REVIEW)
    assert "reading from the terminal: one text in each line" in capsys.readouterr().err
