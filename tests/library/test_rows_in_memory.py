"""Rows in memory: whatever table they come in, they are the files of a run, and an error says which row it is."""

import json

import datasets
import numpy
import pandas
import pyarrow
import pytest

import debft
from debft.library.rows import as_lines, records_of
from debft.library.use import rows_to_label
from debft.runs.directory import RunDirectory
from debft.tasks import TASKS

ROWS = [{"text": f"{('bad', 'good')[i % 2]} film {i}", "label": ("neg", "pos")[i % 2]} for i in range(40)]
SHORT = {"model": "demo", "from_scratch": True, "max_steps": 2, "train_batch_size": 4, "precision": "fp32", "quiet": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a run on rows in memory."""
    output = tmp_path_factory.mktemp("rows") / "run"
    debft.finetune("text", train=ROWS, validation=ROWS[:8], output=output, **SHORT)
    return output


@pytest.fixture(scope="module")
def model(run):
    return debft.load(run)


def files_beside(run):
    return sorted(run.parent.glob("*.rows-*/*"))


class Polars:
    """What polars' DataFrame offers; polars is not installed."""

    columns = ("text", "label")

    def to_dict(self):
        raise AssertionError("gives series, not rows")

    def to_dicts(self):
        return ROWS


COLUMNS = {name: [row[name] for row in ROWS] for name in ("text", "label")}
LABELLED = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})


@pytest.mark.parametrize(
    "table",
    [
        ROWS,
        iter(ROWS),
        COLUMNS,
        {name: numpy.array(column) for name, column in COLUMNS.items()},
        pandas.DataFrame(ROWS),
        pandas.DataFrame(ROWS, index=range(100, 140)),
        pandas.DataFrame(ROWS).astype({"label": "category"}),
        Polars(),
        pyarrow.Table.from_pylist(ROWS),
        datasets.Dataset.from_list(ROWS),
        datasets.Dataset.from_dict({"text": COLUMNS["text"], "label": [0, 1] * 20}, features=LABELLED),
    ],
    ids=["list", "iterator", "dict", "arrays", "pandas", "index", "category", "polars", "pyarrow", "dataset", "names"],
)
def test_every_table_gives_the_same_rows(table):
    assert records_of(table, "train") == ROWS


def test_missing_value_of_pandas_is_none():
    frame = pandas.DataFrame({"text": ["a", None], "label": [1.0, float("nan")], "n": pandas.array([1, None], dtype="Int64")})
    assert records_of(frame, "train")[1] == {"text": None, "label": None, "n": None}


def test_lines_are_rows_whatever_is_in_them():
    rows = [{"text": "a\nb\u2028c\ud800"}, {"text": "\r"}]
    assert [json.loads(line) for line in as_lines(rows).splitlines()] == rows


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (
            "reviews.csv",
            "train: expected a list of dicts, a dict of columns, a DataFrame or a Dataset, got 'reviews.csv'; a file goes",
        ),
        (7, "train: expected a list of dicts"),
        ([], "train: expected rows, got none"),
        ([{"text": "a"}, "b"], "train[1]: expected a dict of a row's columns, got 'b'"),
        ([{"text": object}], "train[0]: text: expected a text, a number or a list of them, got <class 'object'>"),
        ({"text": ["a"], "label": [1, 2]}, "train: expected columns of one length, got {'label': 2, 'text': 1}"),
        ({"train": {"text": ["a"]}}, "a dict whose 'train' is {'text': ['a']}, which is no column"),
    ],
)
def test_what_is_no_table_is_named(rows, line):
    with pytest.raises(debft.InputError) as raised:
        records_of(rows, "train")
    assert line in str(raised.value)


def with_row(number, row):
    return [*ROWS[:number], row, *ROWS[number + 1 :]]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"train": with_row(17, {"text": 7, "label": "pos"})}, "train[17]: text: expected text, got 7"),
        ({"train": with_row(17, {"text": "a"})}, "train[17]: label: expected neg, pos, got nothing, the key is missing"),
        ({"train": ROWS, "validation": [{"text": "a", "label": "zz"}]}, "validation[0]: label: expected neg, pos, got 'zz'"),
        ({"train": ROWS, "data": "demo"}, "data: does not go with train"),
        ({"validation": ROWS}, "train: expected rows beside those of validation, got none"),
        ({"train": ROWS, "validation": 2.0}, "validation: expected a number"),
    ],
)
def test_bad_row_is_named_as_the_caller_has_it_and_nothing_is_left(given, line, tmp_path):
    with pytest.raises(debft.InputError) as raised:
        debft.finetune("text", output=tmp_path / "new" / "run", **given, **SHORT)
    assert line in str(raised.value) and list(tmp_path.iterdir()) == []


def test_benchmark_tasks_take_no_rows_in_memory():
    with pytest.raises(debft.InputError, match=r"^train: rows in memory are for the task text, got rte"):
        debft.finetune("rte", train=ROWS)


def test_rows_lie_beside_the_run_as_files(run):
    train, validation = files_beside(run)
    assert debft.read_table(train) == ROWS and debft.read_table(validation) == ROWS[:8]
    assert RunDirectory(run).recipe().data == str(train.parent)


def test_run_on_rows_goes_on_with_them_and_with_no_others(run):
    before = files_beside(run)
    result = debft.finetune("text", train=ROWS, validation=ROWS[:8], output=run, resume=True, **SHORT)
    assert result == RunDirectory(run).result()
    with pytest.raises(debft.InputError, match=r"data: the run in .* has .*, got 'the rows'; leave that out to continue it"):
        debft.finetune("text", train=ROWS[:30], validation=ROWS[:8], output=run, resume=True, **SHORT)
    assert files_beside(run) == before


def test_share_is_held_out_of_rows_in_memory(tmp_path):
    debft.finetune("text", train=ROWS, validation=0.25, output=tmp_path / "run", **SHORT)
    split = RunDirectory(tmp_path / "run").split()["held_out"]
    assert split["shares"] == {"validation": 0.25} and len(split["ids"]["validation"]) == 10


def test_command_line_scores_a_run_on_rows_in_memory(run):
    """`debft evaluate` finds its rows again, with the score that the run had."""
    expected = RunDirectory(run).result().scores
    assert debft.evaluate(run, quiet=True)["scores"] == expected


def test_evaluation_of_rows_in_memory(run):
    result = debft.evaluate(run, data=pandas.DataFrame(ROWS[:5]), quiet=True)
    assert result["num_examples"] == {"rows": 5} and set(result["scores"]) == {"rows/accuracy", "rows/macro_f1"}
    with pytest.raises(debft.InputError, match=r"^data\[1\]: label: expected neg, pos, got 'x'"):
        debft.evaluate(run, data=[ROWS[0], {"text": "a", "label": "x"}], quiet=True)


def test_predictions_are_the_rows_that_the_command_prints(model, run, capsys):
    from debft.cli import use

    use.predict(str(run), ["good film", "bad"])
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    rows = model.predict(["good film", "bad"])
    assert [row["prediction"] for row in rows] == [row["prediction"] for row in printed]
    for row, other in zip(rows, printed, strict=True):
        assert row["scores"] == pytest.approx(other["scores"], abs=1e-5)  # printed with six digits, of batches of the same rows


def test_model_takes_texts_dicts_and_tables(model):
    expected = model.predict(["good film", "bad"])
    assert model.predict([{"text": "good film"}, {"text": "bad", "label": "x"}]) == expected
    assert (
        model.predict({"text": ["good film", "bad"]}) == model.predict(pandas.DataFrame({"text": ["good film", "bad"]})) == expected
    )
    assert model.predict([]) == [] and len(model.predict(["one"])) == 1


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("a text", "rows: expected a list of texts or rows, got 'a text'; write [text]"),
        (["a", 3], "rows[1]: expected a text or a dict, got 3"),
        (["a", ("b", "c")], "rows[1]: expected a text or a dict, got ('b', 'c')"),
        (["a", {"text": 4}, "b"], "rows[1]: text: expected text, got 4"),
    ],
)
def test_bad_row_to_label_is_named(model, rows, line):
    with pytest.raises(debft.InputError) as raised:
        model.predict(rows)
    assert str(raised.value) == line


def test_pairs_stand_under_the_columns_of_their_task():
    rows = rows_to_label([("a", "b"), ["c", "d"], {"premise": "e", "hypothesis": "f"}], TASKS["mnli"])
    assert [tuple(row.values()) for row in rows] == [("a", "b"), ("c", "d"), ("e", "f")] and rows[0].keys() == rows[2].keys()


def test_table_that_is_not_there_is_an_input_error(tmp_path):
    with pytest.raises(debft.InputError, match=r"none\.csv: expected a file, found none"):
        debft.read_table(tmp_path / "none.csv")


def test_table_in_another_encoding_is_one_line_that_names_the_keyword(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n" + "schön,good\n" * 300, encoding="latin-1")
    with pytest.raises(debft.InputError) as raised:
        debft.read_table(tmp_path / "rows.csv")
    assert len(raised.value.problems) == 1 and "or give encoding='cp1252'" in str(raised.value)
    assert "(and 299 more: line 3, 4, 5, ...)" in str(raised.value)


def test_evaluation_takes_an_encoding(run, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n" + "schön,pos\n", encoding="utf-16-le")
    evaluated = debft.evaluate(run, data=tmp_path / "rows.csv", encoding="utf-16-le", quiet=True)
    assert evaluated["num_examples"] == {"rows": 1}
