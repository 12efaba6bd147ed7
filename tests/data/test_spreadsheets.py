"""CSV as spreadsheets write it: semicolons, decimal commas, Windows' encoding, marks, cells that hold nothing."""

import csv

import pytest

from debft.config.recipe import OwnConfig
from debft.data.rows import check_rows
from debft.data.sources.files import read_table
from debft.data.sources.own import own_task
from debft.errors import InputError

ROWS = [
    ("1", "Gut; sehr gut", "positiv", "4,5"),
    ("2", 'Er sagt: "nein"\nund geht', "negativ", "1,0"),
    ("3", "Na ja, geht", "negativ", "2,5"),
]
NAMES = ("Nr", "Text", "Stimmung", "Note")


def write_csv(path, rows=ROWS, *, separator=";", encoding="utf-8", header=NAMES, before="", line_end="\r\n"):
    with path.open("w", newline="", encoding=encoding) as file:
        file.write(before)
        csv.writer(file, delimiter=separator, lineterminator=line_end).writerows([header, *rows])
    return path


def columns_of(path, **options):
    return {name: tuple(values) for name, values in read_table(path, **options).columns.items()}


EXPECTED = dict(zip(NAMES, zip(*ROWS, strict=True), strict=True))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separator_is_found_in_every_encoding(tmp_path, separator, encoding):
    assert columns_of(write_csv(tmp_path / "a.csv", separator=separator, encoding=encoding)) == EXPECTED


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_separator_that_is_no_comma_is_said(tmp_path, separator, name):
    assert read_table(write_csv(tmp_path / "a.csv", separator=separator)).notes == (f"a.csv: columns parted by {name}",)
    assert read_table(write_csv(tmp_path / "a.csv", separator=",")).notes == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("text;label\na, b, c;x\nd, e, f;y\n", ["text", "label"]),  # commas in the texts
        ("text,label\na; b,x\nc; d,y\n", ["text", "label"]),  # semicolons in the texts
        ("a;b,c\nd;e,f\ng;h,i\n", ["a;b", "c"]),  # both could be: a comma, as the ending says
        ("Text;Note, gesamt\na;1\nb;2\n", ["Text", "Note, gesamt"]),  # a comma in the header alone
        ("text\na; b\nc; d\n", ["text"]),  # one column
        ("text;label\n", ["text", "label"]),  # no rows
    ],
)
def test_separator_is_what_the_rows_agree_on(tmp_path, text, names):
    (tmp_path / "a.csv").write_text(text)
    table = read_table(tmp_path / "a.csv")
    assert (list(table.columns), table.unread) == (names, ())


@pytest.mark.parametrize("first", ["sep=|\r\n", '"sep=|"\r\n', "\ufeffSEP=|\n"])
def test_first_line_that_names_the_separator_is_read_and_keeps_its_place(tmp_path, first):
    path = write_csv(tmp_path / "a.csv", separator="|", before=first)
    assert columns_of(path) == EXPECTED
    assert list(read_table(path).lines) == [3, 4, 6]
    assert read_table(path).notes == ("a.csv: columns parted by '|'",)


def test_two_byte_order_marks_before_semicolons_go(tmp_path):
    assert columns_of(write_csv(tmp_path / "a.csv", before="\ufeff\ufeff")) == EXPECTED


def test_columns_without_names_that_hold_nothing_are_left_out(tmp_path):
    """A spreadsheet ends some lines with the separators of columns that were once used, and others without."""
    (tmp_path / "a.csv").write_text("text;label;;\na;x;;\nb;y\nc;x;\nd;y;;;;\n")
    table = read_table(tmp_path / "a.csv")
    assert (table.columns, table.unread) == ({"text": ["a", "b", "c", "d"], "label": ["x", "y", "x", "y"]}, ())


def test_cells_beyond_the_header_that_hold_something_are_a_problem(tmp_path):
    (tmp_path / "a.csv").write_text("text;label\na;x;\nb;y;note\nc\n")
    table = read_table(tmp_path / "a.csv")
    assert table.columns["text"] == ["a"]
    assert table.unread == ((3, "expected 2 columns (text, label), got 3"), (4, "expected 2 columns (text, label), got 1"))


def test_rows_of_empty_cells_are_left_out_and_said(tmp_path):
    (tmp_path / "a.csv").write_text("text;label\na;x\n;\nb;y\n;\n;\n")
    table = read_table(tmp_path / "a.csv")
    assert (table.columns["text"], list(table.lines)) == (["a", "b"], [2, 4])
    assert table.notes == ("a.csv: columns parted by semicolons", "a.csv: 3 rows of empty cells left out")


def test_windows_encoding_is_named_and_converted_only_where_it_is_given(tmp_path):
    rows = [("1", "schön – 5 €", "a", "1"), ("2", "b", "c", "2")]
    path = write_csv(tmp_path / "a.csv", rows, encoding="cp1252")
    ((line, what),) = read_table(path).unread
    assert (line, what) == (
        2,
        "expected UTF-8 text, got byte 0xf6, which is 'ö' in cp1252; convert the file to UTF-8, or give --encoding cp1252 (an option of text, evaluate and predict)",
    )
    assert columns_of(path, encoding="cp1252")["Text"] == ("schön – 5 €", "b")


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("cp9999", "--encoding: expected an encoding such as cp1252 or latin-1, got 'cp9999'"),
        ("rot13", "--encoding: expected an encoding such as cp1252 or latin-1, got 'rot13'"),
        ("ascii", "FILE:2: expected text in ascii, as --encoding says, got byte 0xf6; give another one"),
        ("cp1252", "FILE:3: expected text in cp1252, as --encoding says, got byte 0x81; give another one"),
    ],
)
def test_encoding_that_does_not_fit_is_one_line(tmp_path, encoding, message):
    (tmp_path / "a.csv").write_bytes(b"text;label\nsch\xf6n;a\n\x81;b\n")
    with pytest.raises(InputError) as error:
        read_table(tmp_path / "a.csv", encoding=encoding)
    assert str(error.value).replace(str(tmp_path / "a.csv"), "FILE") == message


def examples_of(path, **settings):
    table = read_table(path)
    return check_rows(table, own_task(OwnConfig(text_columns="Text", **settings), table), train=True)


@pytest.mark.parametrize("suffix", [".xlsx", ".ODS"])
def test_sheet_that_is_no_csv_is_told_what_to_do(tmp_path, suffix):
    (tmp_path / f"a{suffix}").write_bytes(b"PK\x03\x04\xff")
    with pytest.raises(InputError, match=rf"got '{suffix}'; save the sheet as CSV$"):
        read_table(tmp_path / f"a{suffix}")


def test_encoding_of_a_file_that_is_no_text_is_one_line(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"--encoding cp1252: is for text files, .*a\.parquet is none; leave it out"):
        read_table(tmp_path / "a.parquet", encoding="cp1252")


def test_decimal_commas_of_scores_are_numbers_and_said(tmp_path):
    examples = examples_of(write_csv(tmp_path / "a.csv"), label_column="Note")
    assert examples.labels.tolist() == [4.5, 1.0, 2.5]
    assert examples.notes[1:] == ("Note: decimal commas read as points: 4,5 is 4.5",)


def test_whole_numbers_among_decimal_commas_are_numbers(tmp_path):
    path = write_csv(tmp_path / "a.csv", [("1", "a b", "x", "4"), ("2", "c d", "y", "-1,25"), ("3", "e f", "z", " 3 ")])
    assert examples_of(path, label_column="Note").labels.tolist() == [4.0, -1.25, 3.0]


def test_cell_of_another_form_among_decimal_commas_is_no_number(tmp_path):
    path = write_csv(tmp_path / "a.csv", [("1", "a b", "x", "4,5"), ("2", "c d", "y", "1.000,5")])
    with pytest.raises(InputError, match="got '4,5' in line 2, a number in local notation"):
        examples_of(path, label_column="Note")


def test_commas_of_labels_stay_where_they_are_meant_as_labels(tmp_path):
    path = write_csv(tmp_path / "a.csv")
    table = read_table(path)
    assert own_task(OwnConfig(text_columns="Text", label_column="Note", problem="classification"), table).labels == (
        "1,0",
        "2,5",
        "4,5",
    )
    assert table.columns["Note"] == ["4,5", "1,0", "2,5"]


def test_number_in_quotes_between_commas_is_not_guessed(tmp_path):
    """1,234 is a thousand to some: in a file whose columns commas part, nothing says that it is a fraction."""
    with pytest.raises(InputError, match="a number in local notation"):
        examples_of(write_csv(tmp_path / "a.csv", separator=","), label_column="Note")
