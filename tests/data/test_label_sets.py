"""Rows of several labels: what is found in the user's files, and the one line for what only looks like it."""

import json

import pytest

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import OwnConfig
from debft.data.label_sets import combining_sign, names_in
from debft.data.load import load_table
from debft.data.rows import check_rows, check_texts
from debft.data.sources.files import read_table
from debft.data.sources.own import own_task, own_task_of_model, settings_of
from debft.errors import InputError
from debft.tasks import TEXT
from debft.tasks.rules import check_recipe
from debft.training.describe import describe_chosen, remarks
from debft.training.plan import make_plan


def table_of(tmp_path, labels, name="train.jsonl"):
    file = tmp_path / name
    file.write_text("".join(json.dumps({"text": f"text number {i}", "label": label}) + "\n" for i, label in enumerate(labels)))
    return read_table(file)


def message_of(tmp_path, labels, **settings):
    table = table_of(tmp_path, labels)
    with pytest.raises(InputError) as error:
        check_rows(table, own_task(OwnConfig(**settings), table), train=True)
    return str(error.value).replace(table.path, "FILE")


# cell, separator, names
CELLS = {
    "a list": (["b", "a"], None, ("b", "a")),
    "a list as text": ("['b', 'a']", None, ("b", "a")),
    "a list of one": (["a"], None, ("a",)),
    "a list of numbers": ([1, 2.0, "3"], None, ("1", "2", "3")),
    "a label twice": (["a", "a"], None, ("a",)),
    "an empty list": ([], None, ()),
    "an empty list as text": ("[]", None, ()),
    "nothing": (None, None, ()),
    "an empty cell": (" ", "|", ()),
    "a cell with separators": ("b | a|b", "|", ("b", "a")),
    "a separator of several signs": ("a; b", "; ", ("a", "b")),
    "a list where separators are asked for": (["a|b", "c"], "|", ("a|b", "c")),
    "a cell without the separator": ("a,b", "|", ("a,b",)),
    "one label": ("a b", None, ("a b",)),
    "a number": (3, "|", ("3",)),
    "an empty part": ("a||b", "|", None),
    "a list with nothing in it": (["a", None], None, None),
    "a list in a list": ([["a"], "b"], None, None),
    "an object": ({"a": 1}, None, None),
}


@pytest.mark.parametrize("name", CELLS)
def test_cell_is_read_as_a_set(name):
    value, separator, names = CELLS[name]
    assert names_in(value, separator) == names


@pytest.mark.parametrize(
    ("labels", "settings"),
    [
        ([["b", "a"], ["a"], [], ["c", "a"]], {}),
        (["['b', 'a']", "['a']", "", "['c', 'a']"], {}),
        ([["b", "a"], ["a"], None, ["c", "a"]], {}),
        (["a|b", "a", "", "c | a"], {"label_separator": "|"}),
        (["b|a", "a", None, "a|c"], {"label_separator": "|", "problem": "multilabel"}),
        ([["a", "b"], "a", "", ["a", "c"]], {"problem": "multilabel"}),
    ],
)
def test_same_sets_in_every_form_are_the_same_task(tmp_path, labels, settings):
    table = table_of(tmp_path, labels)
    task = own_task(OwnConfig(**settings), table)
    assert (task.labels, task.multilabel, task.metrics) == (("a", "b", "c"), True, ("micro_f1", "macro_f1"))
    rows = check_rows(table, task, train=True)
    assert rows.labels.tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 0, 1]] and rows.labels.dtype == "float32"
    assert own_task_of_model(OwnConfig(**settings_of(task)), task.labels) == task  # the model knows them again


def test_order_of_labels_in_a_cell_does_not_matter(tmp_path):
    prints = []
    for cells in (["a|b", "b", "a"], ["b|a", "b", "a"]):
        table = table_of(tmp_path, cells)
        prints.append(check_rows(table, own_task(OwnConfig(label_separator="|"), table)).fingerprint())
    assert prints[0] == prints[1]


def test_fingerprint_sees_every_one_of_many_labels(tmp_path):
    """numpy writes a row of more than a thousand numbers with dots in its middle."""
    names = [f"label {i}" for i in range(1500)]
    prints = set()
    for middle in (names[700], names[701]):
        table = table_of(tmp_path, [names, names, [middle]])
        prints.add(check_rows(table, own_task(OwnConfig(), table)).fingerprint())
    assert len(prints) == 2


def test_lists_of_one_label_alone_stay_a_classification(tmp_path):
    assert not own_task(OwnConfig(), table_of(tmp_path, [["a"], ["b"], ["a"]])).multilabel


def test_rows_to_predict_need_no_labels(tmp_path):
    task = own_task(OwnConfig(), table_of(tmp_path, [["a", "b"], ["b"]]))
    assert check_texts(table_of(tmp_path, [None, None]), task).labels.tolist() == [[0, 0], [0, 0]]


TAGS = ["preis|service", "service|preis", "preis", "lieferung|preis", "service"]


@pytest.mark.parametrize("problem", ["auto", "multilabel"])
def test_cells_that_look_like_several_labels_end_with_what_to_give(tmp_path, problem):
    """Each combination would be a class of its own."""
    assert message_of(tmp_path, TAGS, problem=problem) == (
        "FILE: label: expected one label in a cell, got 'preis|service' in line 1, which looks like several (5 different cells are "
        "made of 3 names); give --label-separator '|', or --problem classification where each is one label"
    )
    assert len(own_task(OwnConfig(problem="classification"), table_of(tmp_path, TAGS)).labels) == 5


@pytest.mark.parametrize(
    ("labels", "sign"),
    [
        (TAGS, "|"),
        (["a;b", "b;c", "c"], ";"),
        (["food, price", "price, food", "staff"], ","),
        (["New York, NY", "Albany, NY", "Boston, MA"], None),  # places: only the last part recurs
        (["Arts, Crafts", "News", "Sports"], None),  # one name with a comma
        (["a|", "|b", "a|b"], None),  # a part is empty
        (["a", "b", "c"], None),
    ],
)
def test_names_whose_parts_recur_look_combined(labels, sign):
    assert combining_sign(tuple(labels)) == sign


def test_many_combinations_are_told_what_to_give(tmp_path):
    """They do not recur, which is found first."""
    cells = [f"a{i % 5}|b{i % 7}" for i in range(30)]
    message = message_of(tmp_path, cells)
    assert "expected labels that recur" in message
    assert message.endswith("--problem regression for scores, or give --label-separator '|' for rows of several labels")


# labels, settings, the line
UNCLEAR = {
    "no label at all": (
        [[], None, ""],
        {"problem": "multilabel"},
        "FILE: label: expected sets of labels, got [], which is none, in 3 rows; name another column with --label-column",
    ),
    "the same set in every row": (
        [["a", "b"]] * 3,
        {},
        "FILE: label: expected at least two labels in the training rows, got 'a' and 'b' in all 3; add rows of a or b",
    ),
    "names that look the same": (
        [["a b", "c"], ["a\u00a0b", "c"]],
        {},
        r"FILE: label: expected labels that look different, got 'a b' (line 1) and 'a\xa0b' (line 2), which look the same; "
        "write them the same",
    ),
    "an empty part": (["a|b", "a||b", "b"], {"label_separator": "|"}, "FILE:2: label: expected any of a, b, got 'a||b'"),
    "names that do not recur": (
        [[f"label {i}", f"tag {i}"] for i in range(20)],
        {},
        "FILE: label: expected labels that recur, got 40 different ones among 40 in 20 rows; name another column with --label-column",
    ),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_cannot_be_sets_is_one_exact_line(tmp_path, name):
    labels, settings, message = UNCLEAR[name]
    assert message_of(tmp_path, labels, **settings) == message


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        (["a", "x"], "got 'x'; the training rows have no such label"),
        (["a", "b\u200b"], r"got 'b\u200b', which looks like 'b'; write them the same"),
        ({"a": 1}, "got {'a': 1}"),
    ],
)
def test_set_that_training_does_not_have_is_one_exact_line(tmp_path, cell, what):
    task = own_task(OwnConfig(), table_of(tmp_path, [["a", "b"], ["b"]]))
    table = table_of(tmp_path, [["a"], cell])
    with pytest.raises(InputError) as error:
        check_rows(table, task)
    assert str(error.value) == f"{table.path}:2: label: expected any of a, b, {what}"
    assert len(check_rows(table, task, skip=True)) == 1


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"own.label_separator": " "}, "own.label_separator: expected what stands between two labels, got ' '"),
        (
            {"own.label_separator": "|", "own.problem": "classification"},
            "own.label_separator: is for own.problem multilabel, got classification; leave one of the two out",
        ),
    ],
)
def test_separator_that_means_nothing_is_refused(values, what):
    with pytest.raises(InputError) as error:
        check_recipe(load_recipe(recipe_path("demo"), {"task": "text", **values}))
    assert str(error.value) == what


def test_plan_shows_the_rows_of_each_label_and_the_labels_of_a_row(tmp_path):
    for split in ("train", "validation"):
        table_of(tmp_path, [["a", "b"], ["b"], [], ["a", "b", "c"], ["b"]], f"{split}.jsonl")
    plan = make_plan(load_recipe(recipe_path("demo"), {"task": "text", "data": str(tmp_path)}))
    assert remarks(plan) == [
        "columns   text: text   label: label",
        "labels   a 2   b 4   c 1",
        "labels per row   none 1   1 2   2 1   3 1",
    ]


def test_eval_rows_of_one_set_are_said(tmp_path):
    table_of(tmp_path, [["a", "b"], ["b"]], "train.jsonl")
    table_of(tmp_path, [["a", "b"], ["b", "a"]], "validation.jsonl")
    plan = make_plan(load_recipe(recipe_path("demo"), {"task": "text", "data": str(tmp_path)}))
    assert remarks(plan)[-1] == "validation: all of 2 rows are labelled a and b; its scores say little"


def test_label_that_no_eval_row_has_is_said(tmp_path):
    table_of(tmp_path, [["a", "b"], ["b"], ["c"]], "train.jsonl")
    table_of(tmp_path, [["b"], []], "validation.jsonl")
    plan = make_plan(load_recipe(recipe_path("demo"), {"task": "text", "data": str(tmp_path)}))
    assert remarks(plan)[-1] == "validation: no row is labelled a, c: its threshold stays 0.5"


def test_chosen_thresholds_are_shown(capsys):
    describe_chosen({"label_thresholds": {"a": 0.5, "b": 0.23230399}})
    assert capsys.readouterr().err.split() == ["thresholds", "a", "0.5", "b", "0.232"]
    describe_chosen({"no_answer_threshold": 1.0})
    assert capsys.readouterr().err == ""


def test_table_of_parquet_lists_is_read(tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [{"text": "a b", "label": ["x", "y"]}, {"text": "c d", "label": []}, {"text": "e f", "label": ["y"]}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "train.parquet")
    table = load_table(TEXT, TEXT.train, str(tmp_path))
    task = own_task(OwnConfig(), table)
    assert check_rows(table, task).labels.tolist() == [[1, 1], [0, 0], [0, 1]]
