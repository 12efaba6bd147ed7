"""Where the user's own rows may be: one file, a directory of splits, a column that names them, a data set of the hub."""

import json

import datasets
import pytest
from conftest import dotted

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import OwnConfig
from debft.data.own_rows import own_rows
from debft.data.sources import hub_own
from debft.data.sources.files import read_table
from debft.data.sources.nested import with_dotted
from debft.data.sources.own_source import eval_tables, kind_of, tables
from debft.errors import InputError
from debft.runtime import hub
from debft.training.plan import make_plan


def recipe_for(data, **changes):
    return load_recipe(recipe_path("demo"), {"task": "text", "data": str(data)} | dotted(changes))


def write_rows(path, count=20, *, label=lambda i: "yn"[i % 2], **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"text": f"{path.stem} number {i}", "label": label(i)} | {name: of(i) for name, of in more.items()} for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sizes(rows):
    return {name: len(examples) for name, examples in rows.examples.items()}


def message_of(data, **changes):
    with pytest.raises(InputError) as error:
        make_plan(recipe_for(data, **changes))
    return str(error.value)


@pytest.mark.parametrize("name", ["validation", "dev", "val", "valid"])
@pytest.mark.parametrize("below", ["", "text"])
def test_validation_file_has_several_names(tmp_path, name, below):
    write_rows(tmp_path / below / "train.jsonl")
    write_rows(tmp_path / below / f"{name}.jsonl", 6)
    rows = own_rows(recipe_for(tmp_path))
    assert sizes(rows) == {"train": 20, "validation": 6}
    assert (rows.held_out, rows.source) == (None, "directory")


def test_directory_with_training_rows_alone_is_split(tmp_path):
    write_rows(tmp_path / "train.jsonl", 40)
    rows = own_rows(recipe_for(tmp_path, test=0.2))
    assert sizes(rows) == {"train": 28, "validation": 4, "test": 8}


def test_labelled_test_file_is_scored_and_chooses_nothing(tmp_path):
    for name, count in (("train", 20), ("dev", 6), ("test", 8)):
        write_rows(tmp_path / f"{name}.jsonl", count)
    plan = make_plan(recipe_for(tmp_path))
    assert [split.name for split in plan.task.evals] == ["validation", "test"]
    assert plan.task.selection == ("validation",)


def test_validation_is_held_out_beside_a_test_file(tmp_path):
    write_rows(tmp_path / "train.jsonl", 40)
    write_rows(tmp_path / "test.jsonl", 8)
    assert sizes(own_rows(recipe_for(tmp_path))) == {"train": 36, "validation": 4, "test": 8}


@pytest.mark.parametrize("label", [lambda i: None, lambda i: "", lambda i: -1])
def test_test_file_without_labels_is_named_and_not_scored(tmp_path, label):
    write_rows(tmp_path / "train.jsonl")
    write_rows(tmp_path / "dev.jsonl", 6)
    write_rows(tmp_path / "test.jsonl", 8, label=label)
    rows = own_rows(recipe_for(tmp_path))
    assert sizes(rows) == {"train": 20, "validation": 6}
    assert rows.examples["train"].notes == (
        f"{tmp_path / 'test.jsonl'}: has no labels, so it is not scored; `debft predict` labels it",
    )


def test_test_file_without_a_label_column_is_not_scored(tmp_path):
    write_rows(tmp_path / "train.jsonl", 40)
    (tmp_path / "test.jsonl").write_text('{"text": "a b"}\n')
    assert sizes(own_rows(recipe_for(tmp_path))) == {"train": 36, "validation": 4}


def test_test_file_with_some_labels_is_an_error_that_names_the_row(tmp_path):
    write_rows(tmp_path / "train.jsonl", 40)
    write_rows(tmp_path / "test.jsonl", 8, label=lambda i: "y" if i else None)
    assert message_of(tmp_path) == f"{tmp_path / 'test.jsonl'}:1: label: expected n, y, got None"


SPLIT_NAMES = {
    "train": "train",
    "Training": "train",
    "dev": "validation",
    " Valid ": "validation",
    "val": "validation",
    "TEST": "test",
}


@pytest.mark.parametrize("column", ["split", "Fold", "partition"])
def test_column_that_names_the_splits_is_found_and_said(tmp_path, column):
    names = ["train"] * 7 + ["dev", "test", "test"]
    file = write_rows(tmp_path / "a.jsonl", 40, **{column: lambda i: names[i % 10]})
    rows = own_rows(recipe_for(file))
    assert sizes(rows) == {"train": 28, "validation": 4, "test": 8}
    assert rows.examples["train"].notes == (f"the column {column} says which split a row is in",)
    assert rows.held_out is None


def test_every_name_of_a_split_in_a_column_is_known(tmp_path):
    names = list(SPLIT_NAMES)
    found = tables(str(write_rows(tmp_path / "a.jsonl", 60, which=lambda i: names[i // 2 % 6])), OwnConfig(split_column="which"))
    assert {split: {SPLIT_NAMES[name] for name in table.columns["which"]} for split, table in found.items()} == {
        split: {split} for split in ("train", "validation", "test")
    }


def test_column_that_leaves_validation_out_has_it_held_out(tmp_path):
    file = write_rows(tmp_path / "a.jsonl", 50, split=lambda i: "test" if i % 5 == 0 else "train")
    assert sizes(own_rows(recipe_for(file))) == {"train": 36, "validation": 4, "test": 10}


def test_column_of_something_else_is_no_split_column(tmp_path):
    file = write_rows(tmp_path / "a.jsonl", 40, fold=lambda i: str(i % 5), split=lambda i: "north" if i % 2 else "train")
    assert sizes(own_rows(recipe_for(file))) == {"train": 36, "validation": 4}


WRONG = {
    "no such column": ({"split_column": "which"}, "--split-column which: FILE has no such column; it has text, label, split"),
    "another value": ({"split_column": "label"}, "FILE: label: expected train, validation or test, got 'y' in line 1"),
    "validation beside validation rows": ({"validation": 0.1}, "--validation 0.1: FILE has the validation rows; leave it out"),
    "folds beside validation rows": (
        {"folds": 3, "fold": 1},
        "--folds 3: cuts the training rows, but FILE is there as well, which nothing would read; add its rows to the training file, "
        "or leave --folds out",
    ),
    "subset of a file": ({"subset": "plain"}, "--subset plain: is for data sets of the hub, --data FILE is none; leave it out"),
    "test beside test rows": ({"test": 0.1}, "--test 0.1: FILE has the test rows; leave it out"),
}


@pytest.mark.parametrize("name", WRONG)
def test_option_that_means_nothing_for_a_file_is_one_line(tmp_path, name):
    changes, message = WRONG[name]
    file = write_rows(tmp_path / "a.jsonl", 40, split=lambda i: ("train", "train", "dev", "test")[i % 4])
    assert message_of(file, **changes).replace(str(file), "FILE") == message


@pytest.mark.parametrize(
    ("option", "changes"),
    [("--split-column x", {"split_column": "x"}), ("--subset x", {"subset": "x"}), ("--encoding cp1252", {"encoding": "cp1252"})],
)
def test_option_that_means_nothing_for_the_demo_is_one_line(option, changes):
    assert message_of("demo", **changes) == f"{option}: is for rows of your own, --data demo has none; leave it out"


def test_demo_rows_can_have_a_test_split():
    assert [split.name for split in own_rows(recipe_for("demo", test=0.1)).task.evals] == ["validation", "test"]


def test_split_column_beside_several_files_is_one_line(tmp_path):
    for name in ("train", "dev"):
        write_rows(tmp_path / f"{name}.jsonl", split=lambda i: "train")
    message = f"is for rows in one file, got {tmp_path}/train.jsonl, {tmp_path}/dev.jsonl; leave it out"
    assert message_of(tmp_path, split_column="split") == f"--split-column split: {message}"


def test_names_and_endings_may_have_capital_letters(tmp_path):
    write_rows(tmp_path / "Train.JSONL", 40)
    write_rows(tmp_path / "TEST.Jsonl", 8)
    assert sizes(own_rows(recipe_for(tmp_path))) == {"train": 36, "validation": 4, "test": 8}
    assert (kind_of("texts.PARQUET/x"), len(own_rows(recipe_for(tmp_path / "Train.JSONL")).examples["train"])) == ("dataset", 36)


def test_files_of_a_directory_that_no_split_is_called_after_are_named(tmp_path):
    for name in ("train", "eval", "extra/rows", "text/more"):
        write_rows(tmp_path / f"{name}.jsonl")
    (tmp_path / "notes.md").write_text("x")
    line = f"{tmp_path}: not read: text/more.jsonl, eval.jsonl; the files of splits are called train, validation and test"
    assert line in own_rows(recipe_for(tmp_path)).examples["train"].notes


@pytest.mark.parametrize("ending", [".csv.gz", ".jsonl.ZIP"])
def test_packed_file_is_to_be_unpacked(tmp_path, ending):
    file = tmp_path / f"rows{ending}"
    file.write_bytes(b"\x1f\x8b")
    assert message_of(file).endswith(f"got '{file.suffix}'; unpack it first")


def test_two_files_of_one_split_are_one_line(tmp_path):
    for name in ("train", "dev", "validation"):
        write_rows(tmp_path / f"{name}.jsonl")
    message = f"expected one file for validation, got {tmp_path}/validation.jsonl and {tmp_path}/dev.jsonl"
    assert message_of(tmp_path) == f"--data {tmp_path}: {message}"


def test_directory_of_one_file_of_another_name_is_told_how_to_give_it(tmp_path):
    write_rows(tmp_path / "reviews.jsonl")
    assert message_of(tmp_path) == (
        f"--data {tmp_path}: expected train.tsv (or .csv, .jsonl, .json, .parquet), found reviews.jsonl; "
        f"for one file give --data {tmp_path}/reviews.jsonl"
    )


@pytest.mark.parametrize("task", ["mnli", "cola"])
def test_file_or_data_set_for_a_benchmark_is_refused(tmp_path, task):
    file = write_rows(tmp_path / "a.jsonl")
    recipe = load_recipe(recipe_path("demo"), {"task": task, "data": str(file)})
    with pytest.raises(InputError, match=r"expected 'hub', 'demo' or a directory, found a file; `debft text` takes one"):
        make_plan(recipe)


def test_nested_objects_have_columns_under_dotted_names(tmp_path):
    rows = [{"doc": {"text": f"a b {i}", "meta": {"tone": "yn"[i % 2]}}, "n": i} for i in range(20)]
    (tmp_path / "a.json").write_text(json.dumps({"data": rows}))
    read = own_rows(recipe_for(tmp_path / "a.json", text_columns="doc.text", label_column="doc.meta.tone"))
    assert read.task.labels == ("n", "y")
    assert read.examples["train"].texts[0] == ("a b 0",)
    assert read.examples["train"].unused == ("n",)


def test_object_that_lacks_a_field_has_none_there(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": {"b": 1}}\n{"a": null}\n{"c": 2}\n')
    assert with_dotted(read_table(tmp_path / "a.jsonl")).columns["a.b"] == [1, None, None]


# data sets of the hub
FEATURES = datasets.Features(
    {
        "text": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["neg", "pos"]),
        "tags": datasets.List(datasets.ClassLabel(names=["a", "b"])),
        "n": datasets.Value("int32"),
    }
)


def rows_of(count, hidden=False):
    return {
        "text": [f"text number {i}" for i in range(count)],
        "label": [-1 if hidden else i % 2 for i in range(count)],
        "tags": [[0, 1] if i % 3 else [1] for i in range(count)],
        "n": list(range(count)),
    }


@pytest.fixture
def clone(tmp_path):
    """A directory laid out as the hub's repository: a card with two configurations, a folder of Parquet files each."""
    counts = {"plain": {"train": 40, "test": 6, "unsupervised": 3}, "whole": {"train": 30, "dev": 5}}
    configs = []
    for config, splits in counts.items():
        (tmp_path / config).mkdir()
        files = []
        for split, count in splits.items():
            rows = datasets.Dataset.from_dict(rows_of(count, split == "unsupervised"), features=FEATURES)
            rows.to_parquet(tmp_path / config / f"{split}-00000-of-00001.parquet")
            files.append(f"  - split: {split}\n    path: {config}/{split}-*\n")
        configs.append(f"- config_name: {config}\n  data_files:\n{''.join(files)}")
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{''.join(configs)}---\n")
    return tmp_path


def test_data_set_has_splits_names_of_classes_and_what_is_held_out(clone):
    rows = own_rows(recipe_for(clone, subset="plain"))
    assert sizes(rows) == {"train": 36, "validation": 4, "test": 6}
    assert (rows.task.labels, rows.task.text_keys, rows.source) == (("neg", "pos"), ("text",), "dataset")
    assert rows.examples["train"].notes == ("splits that are not read: unsupervised",)
    assert sizes(own_rows(recipe_for(clone, subset="whole"))) == {"train": 30, "validation": 5}


def test_lists_of_classes_are_lists_of_names(clone):
    rows = own_rows(recipe_for(clone, subset="whole", label_column="tags"))
    assert rows.task.multilabel and rows.task.labels == ("a", "b")


def test_data_set_of_several_configurations_asks_for_one(clone):
    assert message_of(clone) == f"--data {clone}: expected one of its configurations, none is given; give --subset plain, whole"
    assert message_of(clone, subset="plane") == (
        f"--data {clone}: expected one of its configurations, got plane; give --subset plain, whole"
    )


CARDS = {
    "open list": "[\n",
    "mapping in a line": "a: b: c\n",
    "features of a letter": "dataset_info:\n  features: x\n",
    "name in a list": "configs:\n- config_name: [1]\n",
    "zip": "license: mit\n",
}


@pytest.mark.parametrize("name", CARDS)
def test_data_set_that_cannot_be_loaded_is_one_line(tmp_path, name):
    data = tmp_path / "reviews"
    data.mkdir()
    (data / "README.md").write_text(f"---\n{CARDS[name]}---\n")
    (data / "x.zip" if name == "zip" else data / "data.csv").write_text("PK" if name == "zip" else "text,label\na b,c\nd e,f\n")
    assert message_of(data).startswith(f"--data {data}: cannot be loaded: ")


def test_large_data_set_is_read_by_the_columns_that_are_needed(clone, monkeypatch):
    monkeypatch.setattr(hub_own, "LOOKED_AT", 10)
    found = hub_own.own_tables(str(clone), OwnConfig(subset="plain"))
    assert list(found["train"].columns) == ["text", "label"]
    assert (len(found["train"]), found["train"].columns["label"][:2]) == (40, ["neg", "pos"])


def test_column_that_names_the_split_is_read_of_a_large_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(hub_own, "LOOKED_AT", 10)
    rows = rows_of(40) | {"split": ["dev" if i % 4 == 0 else "train" for i in range(40)]}
    features = datasets.Features({**FEATURES, "split": datasets.Value("string")})
    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert sizes(own_rows(recipe_for(tmp_path))) == {"train": 30, "validation": 10}
    named = own_rows(recipe_for(tmp_path, split_column="split", max_train_samples=5))
    assert sizes(named) == {"train": 5, "validation": 10}


def test_few_rows_of_a_data_set_that_is_not_there_are_streamed(clone, monkeypatch, tmp_path):
    """As from the hub: the directory stands for it, and no more rows are taken than are wanted and held out."""
    load, taken = datasets.load_dataset, []
    take = datasets.IterableDataset.take

    def load_from_clone(dataset, subset, *, streaming):
        assert (dataset, streaming) == ("someone/reviews", True)
        return load(str(clone), subset, streaming=True)

    monkeypatch.setattr(datasets, "load_dataset", load_from_clone)
    monkeypatch.setattr(datasets.IterableDataset, "take", lambda self, n: taken.append(n) or take(self, n))
    monkeypatch.setattr(hub, "reachable", lambda: True)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    rows = own_rows(recipe_for("someone/reviews", subset="plain", max_train_samples=18, max_eval_samples=4))
    assert taken == [20, 4]
    assert sizes(rows) == {"train": 18, "validation": 2, "test": 4}
    assert "streamed the first 20 training rows, without the rest" in rows.examples["train"].notes


def test_data_set_without_a_network_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert message_of("stanfordnlp/imdb") == (
        "--data stanfordnlp/imdb: no such file or directory; as an id of the hub it is not in the cache, and HF_HUB_OFFLINE is set; "
        "give --data a file or a directory, or connect to it"
    )


@pytest.mark.parametrize(
    ("source", "kind"),
    [("a.csv", "file"), ("below", "directory"), ("owner/name", "dataset"), ("owner/name.v2", "dataset"), ("cloned", "dataset")],
)
def test_kinds_of_sources_are_told_apart(tmp_path, monkeypatch, source, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("text,label\n")
    for name in ("below", "cloned"):
        (tmp_path / name).mkdir()
    (tmp_path / "below" / "README.md").write_text("# my data\n")
    (tmp_path / "cloned" / "README.md").write_text("---\nlicense: mit\n---\n")
    assert kind_of(source) == kind


def test_rows_to_score_need_no_training_rows(tmp_path):
    write_rows(tmp_path / "dev.jsonl", 6)
    assert {name: len(table) for name, table in eval_tables(str(tmp_path), OwnConfig()).items()} == {"validation": 6}
    (tmp_path / "dev.jsonl").rename(tmp_path / "train.jsonl")
    with pytest.raises(InputError, match="expected validation or test rows, found train alone; give the file that is scored"):
        eval_tables(str(tmp_path), OwnConfig())
