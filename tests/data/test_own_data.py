"""`debft text`: what is found in the user's own files, the exact line for what cannot be, and a run from files to labels."""

import csv
import json
import os
import random
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import processes
import pyarrow
import pyarrow.parquet
import pytest
import sklearn.metrics
from conftest import dotted

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import OwnConfig
from debft.data.label_names import label_name, single
from debft.data.load import load_table
from debft.data.rows import check_rows
from debft.data.sources.files import read_table
from debft.data.sources.own import own_task, own_task_of_model, settings_of
from debft.errors import InputError
from debft.scoring import inference, loading
from debft.tasks import TASKS, TEXT
from debft.training.describe import remarks
from debft.training.plan import make_plan
from debft.training.run import finetune

NAN, NO_KEY = float("nan"), object()
FORM = ("tsv", "csv", "jsonl", "json", "parquet")


def rows_of(**columns):
    return [{k: v for k, v in zip(columns, row, strict=True) if v is not NO_KEY} for row in zip(*columns.values(), strict=True)]


def write(path, rows):
    """Rows in the form that the ending asks for; a CSV value is what str() makes of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",", lineterminator="\n")
            writer.writerows([list(rows[0]), *(row.values() for row in rows)])


def task_in(root, skip=False, **settings):
    return own_task(OwnConfig(**settings), load_table(TEXT, TEXT.train, str(root)), skip=skip)


def read(root, *, split=0, skip=False, **settings):
    task = task_in(root, skip, **settings)
    return check_rows(load_table(task, task.splits[split], str(root)), task, train=not split, skip=skip)


def message_of(root, file, **options):
    with pytest.raises(InputError) as error:
        read(root, **options)
    return str(error.value).replace(str(root / file), "FILE").replace(str(root), "DIR")


# columns
WORDS, OTHERS = ["a b", "c d", "e f"], ["g", "h", "i"]
# columns of the file, settings, texts, label
COLUMNS = {
    "text and label": ({"text": WORDS, "label": ["p", "n", "p"]}, {}, ("text",), "label"),
    "any name": ({"Review": WORDS, "Class": ["p", "n", "p"]}, {}, ("Review",), "Class"),
    "label first": ({"category": ["p", "n", "p"], "body": WORDS}, {}, ("body",), "category"),
    "two texts of a known pair": (
        {"Hypothesis": OTHERS, "label": ["p", "n", "p"], "Premise": WORDS},
        {},
        ("Premise", "Hypothesis"),
        "label",
    ),
    "two texts given": ({"b": OTHERS, "label": ["p", "n", "p"], "a": WORDS}, {"text_columns": "b,a"}, ("b", "a"), "label"),
    "column of codes": ({"text": WORDS, "lang": ["en", "de", "en"], "label": ["p", "n", "p"]}, {}, ("text",), "label"),
    "column of single words": (
        {"body": WORDS, "aspect": ["food", "price", "food"], "label": ["p", "n", "p"]},
        {},
        ("body",),
        "label",
    ),
    "columns about the row": (
        {
            "split": ["train"] * 3,
            "Created At": ["1 May 2020"] * 3,
            "source": ["the local news"] * 3,
            "body": WORDS,
            "label": ["p", "n", "p"],
        },
        {},
        ("body",),
        "label",
    ),
    "dates": (
        {"seen": ["2020-01-02 10:00:00", "2020-01-03", "3.4.2021 8:00"], "body": WORDS, "label": ["p", "n", "p"]},
        {},
        ("body",),
        "label",
    ),
    "text of single words wins by its name": (
        {"aspect": OTHERS, "text": ["good", "bad", "fine"], "label": ["p", "n", "p"]},
        {},
        ("text",),
        "label",
    ),
    "pair beside what is known of it": (
        {"genre": ["short fiction"] * 3, "sentence_2": WORDS, "sentence_1": WORDS, "label": ["p", "n", "p"]},
        {},
        ("sentence_1", "sentence_2"),
        "label",
    ),
    "name that is no text, alone": ({"source": WORDS, "label": ["p", "n", "p"]}, {}, ("source",), "label"),
    "numeric columns are no texts": (
        {"n": [1, 2, 3], "x": ["1.5", "2", "-3"], "text": WORDS, "label": ["p", "n", "p"]},
        {},
        ("text",),
        "label",
    ),
    "numeric column with gaps": (
        {"n": [1, None, 3], "x": ["1.5", "", "nan"], "text": WORDS, "label": ["p", "n", "p"]},
        {},
        ("text",),
        "label",
    ),
    "booleans, lists and nothing are no texts": (
        {
            "flag": [True, False, True],
            "tags": [["x"], [], ["y"]],
            "none": [None] * 3,
            "empty": ["", " ", ""],
            "text": WORDS,
            "label": ["p", "n", "p"],
        },
        {},
        ("text",),
        "label",
    ),
    "one word among numbers makes a text": ({"text": ["1", "two", "3"], "label": ["p", "n", "p"]}, {}, ("text",), "label"),
    "ids are no texts": ({"id": ["x1", "x2", "x3"], "text": WORDS, "label": ["p", "n", "p"]}, {}, ("text",), "label"),
    "index without a name": ({"": [0, 1, 2], "text": WORDS, "label": ["p", "n", "p"]}, {}, ("text",), "label"),
    "spaces around the names": ({" text": WORDS, " Label ": ["p", "n", "p"]}, {}, (" text",), " Label "),
    "label column given": (
        {"text": WORDS, "label": ["p", "n", "p"], "tone": ["x", "y", "x"]},
        {"label_column": "tone", "text_columns": "text"},
        ("text",),
        "tone",
    ),
    "one of three texts given": (
        {"title": OTHERS, "text": WORDS, "author": OTHERS, "label": ["p", "n", "p"]},
        {"text_columns": "text"},
        ("text",),
        "label",
    ),
    "two of three texts given in another order": (
        {"title": OTHERS, "text": WORDS, "author": OTHERS, "label": ["p", "n", "p"]},
        {"text_columns": "text, title"},
        ("text", "title"),
        "label",
    ),
    "numeric texts given": ({"code": ["1", "2", "3"], "label": ["p", "n", "p"]}, {"text_columns": "code"}, ("code",), "label"),
    "name with a comma found": ({"title, body": WORDS, "label": ["p", "n", "p"]}, {}, ("title, body",), "label"),
    "name with a comma given": (
        {"title, body": WORDS, "x": OTHERS, "label": ["p", "n", "p"]},
        {"text_columns": "title, body"},
        ("title, body",),
        "label",
    ),
    "names with commas and quotes given": (
        {"title, body": WORDS, 'the "x"': OTHERS, "label": ["p", "n", "p"]},
        {"text_columns": '"title, body","the ""x"""'},
        ("title, body", 'the "x"'),
        "label",
    ),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_found(tmp_path, name):
    columns, settings, texts, label = COLUMNS[name]
    write(tmp_path / "train.jsonl", rows_of(**columns))
    task = task_in(tmp_path, **settings)
    assert (task.text_keys, task.label_key, task.labels) == (texts, label, ("x", "y") if label == "tone" else ("n", "p"))
    config = OwnConfig(**settings_of(task))
    assert own_task_of_model(config, task.labels) == task  # the model knows them again


@pytest.mark.parametrize("form", FORM)
@pytest.mark.parametrize("place", ["", "text"])
def test_every_form_of_file_is_the_same_data(tmp_path, form, place):
    write(tmp_path / place / f"train.{form}", rows_of(text=WORDS, label=["p", "n", "p"]))
    examples = read(tmp_path)
    assert (examples.texts, examples.labels.tolist()) == ([("a b",), ("c d",), ("e f",)], [1, 0, 1])


def test_line_breaks_and_quotes_inside_csv_texts_stay(tmp_path):
    texts = ['a "b"\nc', "d\r\ne, f", "x"]
    write(tmp_path / "train.csv", rows_of(text=texts, label=["p", "n", "p"]))
    assert [text for (text,) in read(tmp_path).texts] == ['a "b"\nc', "d\ne, f", "x"]


LABELS = ["p", "n", "p"]
COULD = "label, labels, class, category, target, score"
# columns of the file, settings, the line
UNCLEAR = {
    "no label column": (
        {"text": WORDS, "tone": LABELS},
        {},
        f"FILE: expected a label column, none is called {COULD}; --label-column names it; there are text, tone",
    ),
    "two label columns": (
        {"text": WORDS, "label": LABELS, "Score": [1, 2, 3]},
        {},
        "FILE: expected a label column, label, Score could each be it; name it with --label-column",
    ),
    "texts alone": (
        {"text": WORDS},
        {},
        "FILE: expected a label column beside text, found none; training needs labels, and `debft predict` gives them to texts",
    ),
    "no header line": (
        {"it came two weeks too late": WORDS, "bad": LABELS},
        {},
        f"FILE: expected a label column, none is called {COULD}; the first line reads like a row ('it came two weeks too late'): "
        "put the names of the columns above it",
    ),
    "three texts": (
        {"title": WORDS, "body": WORDS, "label": LABELS, "note": OTHERS},
        {},
        "FILE: expected one or two text columns, title ('a b'), body ('a b'), note ('g') could each be one; name them with --text-columns A or A,B",
    ),
    "two texts": (
        {"b": OTHERS, "label": LABELS, "a": OTHERS},
        {},
        "FILE: expected one or two text columns, b ('g'), a ('g') could each be one; name them with --text-columns A or A,B",
    ),
    "a text and a title": (
        {"title": WORDS, "text": [None, "x" * 40, "c"], "label": LABELS},
        {},
        f"FILE: expected one or two text columns, title ('a b'), text ('{'x' * 30}...') could each be one; name them with --text-columns A or A,B",
    ),
    "a pair and an explanation": (
        {"premise": WORDS, "hypothesis": WORDS, "why": WORDS, "label": LABELS},
        {},
        "FILE: expected one or two text columns, premise ('a b'), hypothesis ('a b'), why ('a b') could each be one; name them with --text-columns A or A,B",
    ),
    "two pairs": (
        {"question": WORDS, "sentence": WORDS, "answer": OTHERS, "label": LABELS},
        {},
        "FILE: expected one or two text columns, question ('a b'), sentence ('a b'), answer ('g') could each be one; name them with --text-columns A or A,B",
    ),
    "a text in two cases": (
        {"Text": WORDS, "text": OTHERS, "label": LABELS},
        {},
        "FILE: expected one or two text columns, Text ('a b'), text ('g') could each be one; name them with --text-columns A or A,B",
    ),
    "a long text in a column called source": (
        {"source": ["one two three four five"] * 3, "mt": WORDS, "label": LABELS},
        {},
        "FILE: expected one or two text columns, source ('one two three four five'), mt ('a b') could each be one; name them with --text-columns A or A,B",
    ),
    "texts that do not part their words": (
        {"a": ["今天天气很好我们"] * 3, "b": ["他昨天去了北京城里"] * 3, "label": LABELS},
        {},
        "FILE: expected one or two text columns, a ('今天天气很好我们'), b ('他昨天去了北京城里') could each be one; name them with --text-columns A or A,B",
    ),
    "one with a comma": (
        {"title, year": WORDS, "text": WORDS, "label": LABELS},
        {},
        "FILE: expected one or two text columns, \"title, year\" ('a b'), text ('a b') could each be one; name them with --text-columns A or A,B",
    ),
    "no text": (
        {"n": [1, 2, 3], "label": LABELS},
        {},
        "FILE: expected one or two text columns, none of n, label holds words; name them with --text-columns A or A,B",
    ),
    "the label alone": (
        {"label": LABELS},
        {},
        "FILE: expected one or two text columns, none of label holds words; name them with --text-columns A or A,B",
    ),
    "label column that is not there": (
        {"text": WORDS, "label": LABELS},
        {"label_column": "tone"},
        "--label-column tone: FILE has no such column; it has text, label",
    ),
    "text column that is not there": (
        {"text": WORDS, "label": LABELS},
        {"text_columns": "text,body"},
        "--text-columns body: FILE has no such column; it has text, label",
    ),
    "a column of many that is not there": (
        {f"c{i}": WORDS for i in range(14)} | {"label": LABELS},
        {"text_columns": "body"},
        "--text-columns body: FILE has no such column; it has c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11, ...",
    ),
    "the label as a text": (
        {"text": WORDS, "label": LABELS},
        {"text_columns": "text,label"},
        "--text-columns text,label: expected one column, or two as A,B, and not the label label",
    ),
    "one text twice": (
        {"text": WORDS, "label": LABELS},
        {"text_columns": "text,text"},
        "--text-columns text,text: expected one column, or two as A,B, and not the label label",
    ),
    "three texts given": (
        {"a": WORDS, "b": WORDS, "c": WORDS, "label": LABELS},
        {"text_columns": "a,b,c"},
        "--text-columns a,b,c: expected one column, or two as A,B, and not the label label",
    ),
    "a line break outside of quotes": (
        {"text": WORDS, "label": LABELS},
        {"text_columns": "a\nb"},
        r"--text-columns: expected names with commas between them, got 'a\nb'; put quotes around one with a line break",
    ),
    "no text given": (
        {"text": WORDS, "label": LABELS},
        {"text_columns": ""},
        "--text-columns : expected one column, or two as A,B, and not the label label",
    ),
    "lists of several labels": (
        {"text": WORDS, "label": [["p", "n"]] * 3},
        {"problem": "classification"},
        "FILE: label: expected labels, got ['p', 'n'] in line 1; rows of several labels take --problem multilabel",
    ),
    "labels of objects": (
        {"text": WORDS, "label": [None, {"name": "p"}, {"name": "n"}]},
        {},
        "FILE: label: expected labels, got {'name': 'p'} in line 2; name another column with --label-column",
    ),
    "labels that look the same": (
        {"text": WORDS, "label": ["spam", "ham", "spam\u200b"]},
        {},
        r"FILE: label: expected labels that look different, got 'spam' (line 1) and 'spam\u200b' (line 3), which look the same; write them the same",
    ),
    "labels of nothing": (
        {"text": WORDS, "label": [None, "", NAN]},
        {},
        "FILE: label: expected labels, got nan in line 3, which is none, in 3 rows; name another column with --label-column",
    ),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_cannot_be_told_is_one_exact_line(tmp_path, name):
    columns, settings, message = UNCLEAR[name]
    write(tmp_path / "train.jsonl", rows_of(**columns))
    for skip in (False, True):
        assert message_of(tmp_path, "train.jsonl", skip=skip, **settings) == message


def test_labels_that_do_not_recur_are_one_exact_line(tmp_path):
    write(tmp_path / "train.csv", rows_of(text=WORDS * 20, label=[f"label {i % 35}" for i in range(60)]))
    assert message_of(tmp_path, "train.csv") == (
        "FILE: label: expected labels that recur, got 35 different ones in 60 rows; "
        "name another column with --label-column, or give --problem regression for scores"
    )
    write(tmp_path / "train.csv", rows_of(text=WORDS * 20, label=[f"label {i % 30}" for i in range(60)]))
    assert len(task_in(tmp_path).labels) == 30


# labels
# values, settings, labels in their order
CLASSES = {
    "names": (["pos", "neg", "neutral"], {}, ("neg", "neutral", "pos")),
    "whole numbers from 1": ([5, 1, 3, 2, 4], {}, ("1", "2", "3", "4", "5")),
    "whole numbers as text": (["10", "9", "-1"], {}, ("-1", "9", "10")),
    "whole numbers that became floats": ([1.0, 2.0, 10.0], {}, ("1", "2", "10")),
    "the same as text": (["1.0", "2.0", "10.0"], {}, ("1", "2", "10")),
    "one label in four forms": ([1, 1.0, "1", "1.0", 2], {}, ("1", "2")),
    "zeros in front are another name": (["01", "1", "001", "2"], {}, ("001", "01", "1", "2")),
    "numbers and names": ([1, "1a", 10, "b"], {}, ("1", "10", "1a", "b")),
    "dashes": (["-", "--5", "5"], {}, ("-", "--5", "5")),
    "digits too many for a number": (["9" * 5000, "1"], {}, ("1", "9" * 5000)),
    "very large numbers": ([10**400, 1], {}, ("1", str(10**400))),
    "mixed case": (["Yes", "NO", "maybe"], {}, ("NO", "Yes", "maybe")),
    "case alone tells them apart": (["yes", "Yes", "no"], {}, ("Yes", "no", "yes")),
    "spaces around do not": (["yes", "yes ", " no"], {}, ("no", "yes")),
    "booleans as JSON has them": ([True, False, True], {}, ("false", "true")),
    "words for nothing are names": (["None", "nan", "n/a"], {}, ("None", "n/a", "nan")),
    "other alphabets": (["да", "нет", "是"], {}, ("да", "нет", "是")),
    "whole numbers beside nothing": ([1, 2, None, NAN, ""], {}, ("1", "2")),
    "twenty whole numbers": (list(range(20)), {}, tuple(map(str, range(20)))),
    "many whole numbers that recur": ([*range(30), *range(30)], {}, tuple(map(str, range(30)))),
    "many whole numbers from 1": ([*range(1, 51), *range(1, 51)], {}, tuple(map(str, range(1, 51)))),
    "lists of one": ([["yes"], ["no"], "yes"], {}, ("no", "yes")),
    "lists of one as text": (["['yes']", '["no"]', "[yes]"], {}, ("[yes]", "no", "yes")),
    "whole numbers with spaces around": ([" 1", "2 ", " 1 "], {}, ("1", "2")),
    "many whole numbers when asked": ([*range(25), *range(25)], {"problem": "classification"}, tuple(map(str, range(25)))),
    "lists that Python cannot make": (["[{{1}}]", "[{[1]: 2}]", "[{[]}]"], {}, ("[{[1]: 2}]", "[{[]}]", "[{{1}}]")),
    "fractions when asked": ([0.5, "1.5", 0.5], {"problem": "classification"}, ("0.5", "1.5")),
}


@pytest.mark.parametrize("name", CLASSES)
def test_labels_are_found_in_a_stable_order(tmp_path, name):
    values, settings, labels = CLASSES[name]
    for given in (values, values[::-1]):
        write(tmp_path / "train.jsonl", rows_of(text=["a b"] * len(values), label=given))
        task = task_in(tmp_path, **settings)
        assert (task.labels, task.is_regression, task.metrics) == (labels, False, ("accuracy", "macro_f1"))
        kept = read(tmp_path, skip=True, **settings)
        names = [label_name(single(value)) for value in given]
        assert [task.labels[i] for i in kept.labels] == [name for name in names if name]


def test_order_of_labels_does_not_depend_on_the_process(tmp_path):
    """Sets of text come in another order in every process."""
    write(tmp_path / "train.csv", rows_of(text=["a b"] * 6, label=["1", "01", "001", "0001", "2", "02"]))
    code = (
        "from debft.data.load import load_table; from debft.data.sources.own import own_task; from debft.tasks import TEXT; "
        "from debft.config.recipe import OwnConfig; "
        f"print(own_task(OwnConfig(), load_table(TEXT, TEXT.train, {str(tmp_path)!r})).labels)"
    )
    orders = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout
        for seed in "123"
    }
    assert orders == {"('0001', '001', '01', '1', '02', '2')\n"}


# values, settings, scores that are kept
SCORES = {
    "fractions": ([0.5, 1, 2.25], {}, [0.5, 1, 2.25]),
    "fractions as text": (["0.5", "1", "-2.25e1"], {}, [0.5, 1, -22.5]),
    "a gap among fractions": ([0.5, None, 1.5], {}, [0.5, 1.5]),
    "a key that is missing": ([0.5, NO_KEY, 1.5], {}, [0.5, 1.5]),
    "NaN and infinity among fractions": ([0.5, NAN, float("inf"), "-inf", "nan", 1.5], {}, [0.5, 1.5]),
    "minus one is a score": ([-1, -0.5, 0], {}, [-1, -0.5, 0]),
    "many whole numbers when asked": (list(range(21)), {"problem": "regression"}, list(range(21))),
    "more than float32 holds": ([0.5, 1e39, "-1e300", 10**300, 1.5], {}, [0.5, 1.5]),
    "the largest of float32": ([0.5, "3.4028235e38", -1.5], {}, [0.5, float(np.finfo(np.float32).max), -1.5]),
    "lists of one score": ([[0.5], 1.5, "[2.5]"], {}, [0.5, 1.5, 2.5]),
    "whole numbers when asked": ([1, 2, 5], {"problem": "regression"}, [1, 2, 5]),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_found(tmp_path, name):
    values, settings, scores = SCORES[name]
    write(tmp_path / "train.jsonl", rows_of(text=["a b"] * len(values), label=values))
    task = task_in(tmp_path, **settings)
    assert (task.labels, task.is_regression, task.metrics) == ((), True, ("pearson", "spearmanr"))
    assert read(tmp_path, skip=True, **settings).labels.tolist() == scores


NUMBER = "label: expected a number, got"
# columns, settings, the line without skipping, what is said with it
BAD = {
    "label of null": ({"text": WORDS, "label": ["p", None, "n"]}, {}, "label: expected n, p, got None"),
    "empty label": ({"text": WORDS, "label": ["p", "", "n"]}, {}, "label: expected n, p, got ''"),
    "blank label": ({"text": WORDS, "label": ["p", " ", "n"]}, {}, "label: expected n, p, got ' '"),
    "label of NaN": ({"text": WORDS, "label": ["p", NAN, "n"]}, {}, "label: expected n, p, got nan"),
    "label of infinity": ({"text": WORDS, "label": [1, float("inf"), 2]}, {}, "label: expected 1, 2, got inf"),
    "labels in a list": (
        {"text": WORDS, "label": ["p", ["p", "n"], "n"]},
        {},
        "label: expected n, p, got ['p', 'n']; rows of several labels take --problem multilabel",
    ),
    "labels in a list written as text": (
        {"text": WORDS, "label": ["p", "['p', 'n']", "n"]},
        {},
        "label: expected n, p, got \"['p', 'n']\"; rows of several labels take --problem multilabel",
    ),
    "label in an empty list": (
        {"text": WORDS, "label": ["p", [], "n"]},
        {},
        "label: expected n, p, got []; rows without a label take --problem multilabel",
    ),
    "label in an object": ({"text": WORDS, "label": ["p", {"name": "p"}, "n"]}, {}, "label: expected n, p, got {'name': 'p'}"),
    "several scores": (
        {"text": WORDS, "label": [0.5, [1.5, 2], 1.5]},
        {},
        f"{NUMBER} [1.5, 2]; rows of several labels take --problem multilabel",
    ),
    "half of a surrogate pair as label": (
        {"text": WORDS, "label": ["p", "\ud800", "n"]},
        {},
        r"label: expected n, p, got '\ud800'",
    ),
    "label missing": ({"text": WORDS, "label": ["p", NO_KEY, "n"]}, {}, "label: expected n, p, got nothing, the key is missing"),
    "score of null": ({"text": WORDS, "label": [0.5, None, 1.5]}, {}, f"{NUMBER} None"),
    "score of NaN": ({"text": WORDS, "label": [0.5, NAN, 1.5]}, {}, f"{NUMBER} nan"),
    "score of infinity": ({"text": WORDS, "label": [0.5, "inf", 1.5]}, {}, f"{NUMBER} 'inf'"),
    "score beyond float32": (
        {"text": WORDS, "label": [0.5, 1e39, 1.5]},
        {},
        f"{NUMBER} 1e+39; models compute with less than 3.4e+38, so divide the scores",
    ),
    "empty score": ({"text": WORDS, "label": ["0.5", "", "1.5"]}, {}, f"{NUMBER} ''"),
    "words as score": ({"text": WORDS, "label": [0.5, "high", 1.5]}, {"problem": "regression"}, f"{NUMBER} 'high'"),
    "true as score": ({"text": WORDS, "label": [0, True, 1]}, {"problem": "regression"}, f"{NUMBER} True"),
    "text of null": ({"text": ["a b", None, "c"], "label": ["p", "n", "n"]}, {}, "text: expected text, got None"),
    "text as a number": ({"text": ["a b", 7, "c"], "label": ["p", "n", "n"]}, {}, "text: expected text, got 7"),
    "text missing": (
        {"text": ["a b", NO_KEY, "c"], "label": ["p", "n", "n"]},
        {},
        "text: expected text, got nothing, the key is missing",
    ),
    "half of a surrogate pair": (
        {"text": ["a b", "\ud800", "c"], "label": ["p", "n", "n"]},
        {},
        "text: expected text, got half of a surrogate pair; the file was not written as UTF-8",
    ),
    "second text of null": (
        {"a": WORDS, "b": ["x", None, "y"], "label": ["p", "n", "n"]},
        {"text_columns": "a,b"},
        "b: expected text, got None",
    ),
    "id twice": (
        {"id": [7, "7", 8], "text": WORDS, "label": ["p", "n", "n"]},
        {},
        "id: expected each id once, got '7' again, first in line 1",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_value_is_one_exact_line_or_one_row_less(tmp_path, name):
    columns, settings, what = BAD[name]
    write(tmp_path / "train.jsonl", rows_of(**columns))
    assert message_of(tmp_path, "train.jsonl", **settings) == f"FILE:2: {what}"
    kept = read(tmp_path, skip=True, **settings)
    assert str(kept.skipped) == f"1 of 3 rows skipped: line 2 ({what})"
    assert len(kept) == 2


def test_words_for_a_regression_that_was_asked_for_are_all_bad(tmp_path):
    write(tmp_path / "train.csv", rows_of(text=WORDS, label=LABELS))
    assert message_of(tmp_path, "train.csv", problem="regression") == f"FILE:2: {NUMBER} 'p' (and 2 more: line 3, 4)"


@pytest.mark.parametrize(
    ("values", "unseen", "what"),
    [
        (["p", "n", "p"], "neutral", "label: expected n, p, got 'neutral'; the training rows have no such label"),
        (["p", "n", "p"], "P", "label: expected n, p, got 'P'; the training rows have no such label"),
        ([1, 2, 1], 0, "label: expected 1, 2, got 0; the training rows have no such label"),
        ([1, 2, 1], -1, "label: expected 1, 2, got -1; the training rows have no such label"),
        ([1, 2, 1], "01", "label: expected 1, 2, got '01'; the training rows have no such label"),
        ([True, False, True], "True", "label: expected false, true, got 'True'; the training rows have no such label"),
        ([0.5, 1.5, 2], "high", "label: expected a number, got 'high'"),
        (
            ["p", "n\u00a0o", "p"],
            "n o",
            r"label: expected n\xa0o, p, got 'n o', which looks like 'n\xa0o'; write them the same".replace(
                r"n\xa0o, p", "n\xa0o, p"
            ),
        ),
    ],
)
def test_label_that_training_does_not_have_is_one_exact_line(tmp_path, values, unseen, what):
    write(tmp_path / "train.jsonl", rows_of(text=WORDS, label=values))
    write(tmp_path / "validation.jsonl", rows_of(text=WORDS, label=[values[0], unseen, values[1]]))
    assert message_of(tmp_path, "validation.jsonl", split=1) == f"FILE:2: {what}"
    assert str(read(tmp_path, split=1, skip=True).skipped) == f"1 of 3 rows skipped: line 2 ({what})"


def test_many_labels_are_not_all_listed(tmp_path):
    write(tmp_path / "train.csv", rows_of(text=["a b"] * 30, label=[f"c{i % 15:02}" for i in range(30)]))
    write(tmp_path / "validation.csv", rows_of(text=WORDS, label=["c00", "c15", "c01"]))
    twelve = ", ".join(f"c{i:02}" for i in range(12))
    assert message_of(tmp_path, "validation.csv", split=1) == (
        f"FILE:3: label: expected {twelve}, ..., got 'c15'; the training rows have no such label"
    )


def test_other_form_of_the_same_labels_in_the_validation_file_is_read(tmp_path):
    """pandas writes 1.0 where a column had a gap."""
    write(tmp_path / "train.csv", rows_of(text=WORDS, label=["1.0", "2.0", "1.0"]))
    write(tmp_path / "validation.jsonl", rows_of(text=WORDS, label=[2, "1", 1.0]))
    assert read(tmp_path, split=1).labels.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["p"] * 3, "FILE: label: expected at least two labels in the training rows, got 'p' in all 3; add rows of another label"),
        ([0.5] * 3, "FILE: label: expected at least two scores in the training rows, got 0.5 in all 3; add rows with other scores"),
    ],
)
def test_one_label_alone_is_one_exact_line(tmp_path, values, message):
    write(tmp_path / "train.jsonl", rows_of(text=WORDS, label=values))
    assert message_of(tmp_path, "train.jsonl") == message


# files
def test_file_of_a_header_alone_is_one_line(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\n")
    for skip in (False, True):
        assert message_of(tmp_path, "train.csv", skip=skip) == "FILE: expected rows, got none"


def test_file_without_a_readable_row_is_one_line(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\na\nb\n")
    what = "expected 2 columns (text, label), got 1"
    assert message_of(tmp_path, "train.csv") == f"FILE:2: {what} (and 1 more: line 3)"
    assert message_of(tmp_path, "train.csv", skip=True) == (
        f"FILE: expected rows, got none; 2 of 2 rows skipped: line 2 ({what}), line 3 ({what})"
    )


ENDINGS = "(or .csv, .jsonl, .json, .parquet)"


def test_missing_file_says_what_is_there(tmp_path):
    assert message_of(tmp_path, "x") == f"--data DIR: expected train.tsv {ENDINGS}, found none"
    write(tmp_path / "train.csv", rows_of(text=WORDS, label=LABELS))
    assert message_of(tmp_path, "x", split=1) == f"--data DIR: expected validation.tsv {ENDINGS}, found train.csv"
    write(tmp_path / "dev.csv", rows_of(text=WORDS, label=LABELS))
    (tmp_path / "notes.md").write_text("x")
    assert message_of(tmp_path, "x", split=1) == f"--data DIR: expected validation.tsv {ENDINGS}, found dev.csv, train.csv"


@pytest.mark.parametrize("second", ["train.tsv", "text/train.csv"])
def test_two_files_for_one_split_are_one_line(tmp_path, second):
    for file in ("train.csv", second):
        write(tmp_path / file, rows_of(text=WORDS, label=LABELS))
    first, other = sorted(["train.csv", second], key=lambda file: (not file.startswith("text/"), file.endswith("csv")))
    assert message_of(tmp_path, "x") == f"--data DIR: expected one file for train, got DIR/{first} and DIR/{other}"


def test_validation_file_with_other_columns_is_one_line(tmp_path):
    write(tmp_path / "train.csv", rows_of(text=WORDS, label=LABELS))
    write(tmp_path / "validation.csv", rows_of(body=WORDS, label=LABELS))
    assert message_of(tmp_path, "validation.csv", split=1) == (
        "FILE: expected the columns text, label, got body, label; 'text' is missing"
    )


def recipe_for(data, **changes):
    return load_recipe(recipe_path("demo"), {"task": "text", "data": str(data)} | dotted(changes))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("hub", "--data hub: text reads your own rows; give --data FILE, a directory with train and validation files, or a hub id"),
        (
            "nowhere",
            "--data nowhere: expected 'demo', a file, a directory or a hub id (OWNER/NAME), found no such file or directory; "
            "an id of the hub has an owner, as in stanfordnlp/imdb",
        ),
        (
            "nowhere/at/all",
            "--data nowhere/at/all: expected 'demo', a file, a directory or a hub id (OWNER/NAME), found no such file or directory",
        ),
        (
            "texts/reviews.csv",
            "--data texts/reviews.csv: expected 'demo', a file, a directory or a hub id (OWNER/NAME), found no such file or directory",
        ),
    ],
)
def test_data_that_is_no_directory_is_one_line(data, message):
    with pytest.raises(InputError) as error:
        make_plan(recipe_for(data))
    assert str(error.value) == message


def test_options_of_own_data_are_refused_for_other_tasks():
    with pytest.raises(InputError) as error:
        make_plan(replace(recipe_for("demo", label_column="tone"), task="mnli"))
    assert str(error.value) == "own.label_column: is for own data, the task is mnli; leave it out"


# whole runs
def own_rows(count, seed, label):
    """Texts that say plainly how good they are, one row in ten very long."""
    rng, rows = random.Random(seed), []
    for i in range(count):
        goodness = i % 3
        words = rng.choices(["fox", "cat", "slept", "the"], k=90 if i % 10 == 9 else 6)
        rows.append(
            {
                "key": i,
                "title, short": " ".join(words),
                "body": ("red", "white", "green")[goodness],
                "tone": ("Bad", "good", "so-so")[goodness] if label is None else label(goodness),
            }
        )
    return rows


def write_splits(directory, label=None):
    for split, count in (("train", 90), ("validation", 30)):
        write(directory / f"{split}.csv", own_rows(count, len(split), label))
    return directory


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    """A run through the command line, and what it said."""
    root = tmp_path_factory.mktemp("own")
    data = write_splits(root / "data")
    arguments = ["--data", data, "--output", root / "run", "--label-column", "tone", "--text-columns", '"title, short",body']
    arguments += ["--recipe", "demo", "--max-steps", 60, "--max-seq-length", 32, "--json"]
    done = processes.run("text", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), root / "run", data, done.stderr.splitlines()


def test_run_shows_columns_labels_lengths_and_truncation_before_it_trains(classified):
    result, _, data, log = classified
    before = log[: log.index("training from step 1")]
    assert f"data       {data}: 90 train, 30 validation rows" in before
    assert 'columns    texts: "title, short", body   label: tone' in before
    assert "labels     Bad 30   good 30   so-so 30" in before
    lengths = [line for line in before if line.startswith("lengths ")]
    assert [line.split()[1] for line in lengths] == ["train:", "validation:"]
    assert "longest 32; 9 of 90 are longer than the maximum and were cut, the longest from " in lengths[0]
    assert "longest 32; 3 of 30 are longer than the maximum and were cut, the longest from " in lengths[1]
    assert "--long-texts windows reads long texts whole, a larger --max-seq-length more of them" in before
    assert result["data"]["source"] == "directory" and result["published"] == []


def test_run_learns_the_users_labels(classified):
    result, run, _, _ = classified
    assert result["scores"]["validation/accuracy"] > 60
    rows = [json.loads(line) for line in (run / "predictions" / "validation.jsonl").read_text().splitlines()]
    assert {row["label"] for row in rows} == {"Bad", "good", "so-so"}
    truth, predictions = [row["label"] for row in rows], [row["prediction"] for row in rows]
    assert result["scores"]["validation/macro_f1"] == pytest.approx(
        100 * sklearn.metrics.f1_score(truth, predictions, average="macro")
    )
    assert result["scores"]["validation/accuracy"] == pytest.approx(100 * sklearn.metrics.accuracy_score(truth, predictions))


def test_saved_model_knows_columns_and_labels(classified):
    config = json.loads((classified[1] / "model" / "config.json").read_text())
    assert config["id2label"] == {"0": "Bad", "1": "good", "2": "so-so"}
    assert config["debft"] == {
        "task": "text",
        "text_columns": '"title, short",body',
        "label_column": "tone",
        "problem": "classification",
        "max_seq_length": 32,
        "swap_texts": False,
        "truncation": "longest_first",
        "seed": 42,
        "precision": "fp32",
    }


def test_model_alone_evaluates_and_predicts_with_the_users_names(classified, tmp_path):
    result, run, data, _ = classified
    predictor = loading.load_predictor(str(run / "model"), None, "auto")
    assert inference.evaluate(predictor, str(data))["scores"] == result["scores"]
    of_run = [json.loads(line) for line in (run / "predictions" / "validation.jsonl").read_text().splitlines()]
    unlabelled = [{"body": row["body"], "title, short": row["title, short"]} for row in own_rows(30, len("validation"), None)]
    write(tmp_path / "new.jsonl", unlabelled)
    rows = list(inference.label(predictor, str(tmp_path / "new.jsonl")))
    assert [row["prediction"] for row in rows] == [row["prediction"] for row in of_run]
    assert set(rows[0]["scores"]) == {"Bad", "good", "so-so"}
    write(tmp_path / "wrong.csv", rows_of(text=WORDS))
    with pytest.raises(InputError) as error:
        list(inference.label(predictor, str(tmp_path / "wrong.csv")))
    assert str(error.value) == f"{tmp_path}/wrong.csv: expected the columns title, short, body, got text; 'title, short' is missing"


def test_run_evaluates_its_own_data(classified):
    evaluated = inference.evaluate(loading.load_predictor(str(classified[1]), None, "auto"), None)
    assert evaluated["scores"] == classified[0]["scores"]


def test_model_is_trained_on_with_its_own_order_of_labels(classified, tmp_path):
    """Labels that come in another order in new data mean what they meant."""
    _, run, data, _ = classified
    recipe = replace(
        recipe_for(
            data, label_column="tone", text_columns='"title, short",body', max_steps=1, from_scratch=False, learning_rate=1e-9
        ),
        model=str(run / "model"),
    )
    assert finetune(recipe, tmp_path / "run").scores["validation/accuracy"] > 60


def test_score_is_trained_evaluated_and_predicted(tmp_path):
    data = write_splits(tmp_path / "data", label=lambda goodness: goodness / 2)
    recipe = recipe_for(data, label_column="tone", text_columns="body", max_steps=60)
    result = finetune(recipe, tmp_path / "run")
    assert result.scores["validation/pearson"] > 60 and set(result.scores) == {"validation/pearson", "validation/spearmanr"}
    predictor = loading.load_predictor(str(tmp_path / "run" / "model"), None, "auto")
    assert (predictor.loaded.task.is_regression, predictor.loaded.task.text_keys, predictor.loaded.task.label_key) == (
        True,
        ("body",),
        "tone",
    )
    assert inference.evaluate(predictor, str(data))["scores"] == result.scores
    rows = list(inference.label(predictor, str(data / "validation.csv")))
    assert all(row["scores"] == {"score": pytest.approx(row["prediction"], abs=1e-6)} for row in rows)
    assert remarks(make_plan(recipe)) == ["columns   text: body   label: tone", "scores 0 to 1, mean 0.50"]


def test_whole_numbers_taken_for_labels_say_how_to_make_them_a_score(tmp_path):
    for split in ("train", "validation"):
        write(tmp_path / f"{split}.csv", rows_of(text=["a b"] * 42, label=[*range(21)] * 2))
    labels = remarks(make_plan(recipe_for(tmp_path)))[1]
    assert labels.startswith("labels   0 2   1 2") and labels.endswith(
        "... (21 in all)   (whole numbers are labels; --problem regression makes them a score)"
    )
    assert remarks(make_plan(recipe_for(tmp_path, problem="regression")))[1] == "scores 0 to 20, mean 10.00"
    assert remarks(make_plan(recipe_for(tmp_path, problem="classification")))[1].endswith("   ... (21 in all)")


@pytest.mark.parametrize(
    ("values", "lowest", "highest"),
    [
        ([*range(101)] * 3, 0, 100),  # ratings
        ([*range(1990, 2020)] * 3, 1990, 2019),  # years
        ([*range(0, 60, 2)] * 3, 0, 58),  # with gaps
        ([*range(30)], 0, 29),  # each once
        ([*range(-15, 15)] * 3, -15, 14),
    ],
)
def test_whole_numbers_that_could_be_either_are_asked_about(tmp_path, values, lowest, highest):
    write(tmp_path / "train.csv", rows_of(text=["a b"] * len(values), label=values))
    assert message_of(tmp_path, "train.csv") == (
        f"FILE: label: expected labels or scores, got {len(set(values))} different whole numbers from {lowest} to {highest} in "
        f"{len(values)} rows, which could be either; say which with --problem classification or --problem regression"
    )
    assert task_in(tmp_path, problem="regression").is_regression


def test_columns_that_are_not_read_are_said(tmp_path):
    for split in ("train", "validation"):
        rows = rows_of(Id=["x1", "x2"], text=["a b", "c d"], lang=["en", "de"], n=[1, 2], label=["p", "n"])
        write(tmp_path / f"{split}.csv", rows)
    assert remarks(make_plan(recipe_for(tmp_path)))[:2] == ["columns   text: text   label: label", "not read: lang, n"]
    assert remarks(make_plan(recipe_for(tmp_path, text_columns="text")))[1].startswith("labels")


def test_labels_that_differ_in_case_alone_are_said(tmp_path):
    for split in ("train", "validation"):
        write(tmp_path / f"{split}.csv", rows_of(text=["a b", "c d", "e f"], label=["Yes", "yes", "no"]))
    assert remarks(make_plan(recipe_for(tmp_path)))[1:] == [
        "labels   Yes 1   no 1   yes 1",
        "labels that differ in case alone: Yes, yes",
    ]


def test_eval_rows_of_one_label_are_said(tmp_path):
    for split in ("train", "validation"):
        write(tmp_path / f"{split}.csv", rows_of(text=["a b"] * 4, label=["a", "a", "b", "b"]))
    assert remarks(make_plan(recipe_for(tmp_path)))[1:] == ["labels   a 2   b 2"]
    assert remarks(make_plan(recipe_for(tmp_path, max_eval_samples=2)))[1:] == [
        "labels   a 2   b 2",
        "validation: all of the first 2 rows are labelled a; its scores say little",
    ]


def test_label_that_no_training_row_has_is_said(tmp_path):
    for split in ("train", "validation"):
        write(tmp_path / f"{split}.csv", rows_of(text=["a b"] * 6, label=["a", "a", "b", "b", "c", "c"]))
    assert remarks(make_plan(recipe_for(tmp_path, max_train_samples=4)))[1:] == [
        "labels   a 2   b 2   c 0",
        "no training row in the first 4 is labelled c: the model cannot learn it",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [("café", "cafe\u0301"), ("a b", "a\u00a0b"), ("x", "x\ufeff"), ("a b", "a  b"), ("x", "\u200dx"), ("❤", "❤\ufe0f")],
)
def test_labels_that_nobody_can_tell_apart_are_refused(tmp_path, one, other):
    write(tmp_path / "train.jsonl", rows_of(text=["a b"] * 4, label=["z", one, other, one]))
    first, second = sorted([one, other])
    places = {one: "line 2", other: "line 3"}
    assert message_of(tmp_path, "train.jsonl") == (
        f"FILE: label: expected labels that look different, got {first!a} ({places[first]}) and {second!a} ({places[second]}), "
        "which look the same; write them the same"
    )


def test_ids_are_found_in_any_case_and_two_such_columns_are_refused(tmp_path):
    write(tmp_path / "train.csv", rows_of(Id=["501", "502", "503"], text=WORDS, label=LABELS))
    assert read(tmp_path).ids == ["501", "502", "503"]
    write(tmp_path / "train.csv", rows_of(ID=["5", "6", "7"], Id=["1", "2", "3"], text=WORDS, label=LABELS))
    assert message_of(tmp_path, "train.csv") == "FILE: expected one column of ids, got ID, Id; rename the others"
    write(tmp_path / "train.csv", rows_of(ID=["5", "6", "7"], id=["1", "2", "3"], text=WORDS, label=LABELS))
    assert read(tmp_path).ids == ["1", "2", "3"]


def test_demo_rows_are_there_for_own_data_too():
    assert make_plan(recipe_for("demo")).task.labels == TASKS["text"].labels


def test_skipped_rows_are_counted_and_do_not_take_part(tmp_path):
    write_splits(tmp_path)
    lines = (tmp_path / "train.csv").read_text().splitlines()
    lines[3], lines[7] = "2,a,b", '6,"a b",red,'
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    settings = {"label_column": "tone", "text_columns": "body"}
    with pytest.raises(InputError) as error:
        make_plan(recipe_for(tmp_path, **settings))
    columns = "key, title, short, body, tone"
    assert str(error.value) == f"{tmp_path}/train.csv:4: expected 4 columns ({columns}), got 3 (and 1 more: line 8)"
    plan = make_plan(recipe_for(tmp_path, skip_bad_rows=True, **settings))
    assert plan.skipped_rows == {"train": 2, "validation": 0}
    assert len(plan.train) == 88


def test_table_of_the_shared_reader_is_what_is_checked(tmp_path):
    """Detection and checks see the same file: no guess about missing values in between."""
    write(tmp_path / "train.tsv", rows_of(text=["None", "N/A", "null"], label=["None", "b", "None"]))
    assert read_table(tmp_path / "train.tsv").columns["text"] == ["None", "N/A", "null"]
    assert task_in(tmp_path).labels == ("None", "b")


def rows_with(tmp_path, labels: list, name: str = "train.jsonl"):
    """A table of one text and these labels, one row each, under a column called label."""
    file = tmp_path / name
    file.write_text("".join(json.dumps({"text": f"text number {i}", "label": label}) + "\n" for i, label in enumerate(labels)))
    return read_table(file)


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (["0,5", "2,7", "0,5", "1,1"], "got '0,5' in line 1, a number in local notation"),
        (["7%", "12%", "7%", "7%"], "got '7%' in line 1, a number in local notation"),
        (["1.000,5", "12", "12", "3"], "got '1.000,5' in line 1, a number in local notation"),
        ([float("inf")] * 4, "got inf in line 1, which is none"),
    ],
)
def test_labels_that_are_none_are_shown_with_their_reason(tmp_path, labels, problem):
    with pytest.raises(InputError, match=re.escape(problem)):
        own_task(OwnConfig(), rows_with(tmp_path, labels))


def test_local_numbers_are_labels_where_the_user_says_so(tmp_path):
    assert own_task(OwnConfig(problem="classification"), rows_with(tmp_path, ["7%", "12%", "7%"])).labels == ("12%", "7%")


def test_fingerprint_knows_the_names_of_own_labels(tmp_path):
    """Else an interrupted run would go on with other names for what its outputs learned."""
    prints = []
    for names in (("neg", "pos"), ("pos", "quite")):
        table = rows_with(tmp_path, [names[0], names[1], names[0]])
        prints.append(check_rows(table, own_task(OwnConfig(), table)).fingerprint())
    assert prints[0] != prints[1]


def test_key_that_an_object_has_twice_is_an_error(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one", "text": "two", "label": "x"}\n')
    with pytest.raises(InputError, match="expected each key once in an object, got 'text' twice"):
        check_rows(read_table(tmp_path / "a.jsonl"), TASKS["text"])
    (tmp_path / "a.json").write_text('[{"text": "one", "label": "x", "label": "y"}]')
    with pytest.raises(InputError, match="expected each key once in an object, got 'label' twice"):
        read_table(tmp_path / "a.json")


def test_every_mark_at_the_beginning_goes(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf\xef\xbb\xbftext,label\na b,x\n")
    assert list(read_table(tmp_path / "a.csv").columns) == ["text", "label"]
