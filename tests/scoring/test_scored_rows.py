"""A run on one file is scored on the very rows that it held out, from any directory, and on other files as they are."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from conftest import dotted
from sealing import seal_recipe, seal_split
from typer.testing import CliRunner

from debft.cli.main import app
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.errors import InputError
from debft.library.resolving import continued
from debft.runs.directory import RunDirectory
from debft.scoring import inference
from debft.scoring.inputs import read_file, read_stdin
from debft.scoring.loading import load_predictor
from debft.tasks import TEXT
from debft.training.run import finetune


def write_rows(path, count, word="number"):
    rows = [{"text": f"the fox {word} {i}", "label": ("red", "white", "green")[i % 3]} for i in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The directory of a run on `rows.jsonl`, as it was typed there, with what the run returned."""
    root = tmp_path_factory.mktemp("file")
    write_rows(root / "rows.jsonl", 90)
    changes = dotted({"max_steps": 4, "eval_steps": 2, "max_seq_length": 16, "test": 0.2, "train_batch_size": 8})
    recipe = load_recipe(recipe_path("demo"), {"task": "text", "data": "rows.jsonl"} | changes)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        result = finetune(recipe, Path("run"))
    return root, result


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the run whose rows are elsewhere, so that a test may change both."""
    shutil.copytree(trained[0], tmp_path / "copy")
    seal_split(tmp_path / "copy" / "run", path=str(tmp_path / "copy" / "rows.jsonl"))
    return tmp_path / "copy"


def evaluate(run, data=None, limit=None):
    return inference.evaluate(load_predictor(str(run), None, "auto"), data, limit)


def test_run_is_scored_on_the_rows_it_held_out_from_any_directory(trained, tmp_path, monkeypatch):
    root, result = trained
    monkeypatch.chdir(tmp_path)
    scored = evaluate(root / "run")
    assert scored["num_examples"] == result.num_examples == {"validation": 9, "test": 18}
    assert scored["scores"] == pytest.approx(result.scores)
    assert scored["data"] == "rows.jsonl"


def test_run_records_what_it_held_out(trained):
    root, result = trained
    held_out = json.loads((root / "run" / "split.json").read_text())["held_out"]
    assert (result.data.source, result.data.held_out.of, result.data.held_out.shares) == (
        "file",
        90,
        {"validation": 0.1, "test": 0.2},
    )
    for split, ids in held_out["ids"].items():
        lines = (root / "run" / "predictions" / f"{split}.jsonl").read_text().splitlines()
        assert ids == [json.loads(line)["id"] for line in lines]
    assert RunDirectory(root / "run").result() == result


def test_test_split_is_scored_once_at_the_end(trained):
    lines = [json.loads(line) for line in (trained[0] / "run" / "evaluations.jsonl").read_text().splitlines()]
    with_test = [line["step"] for line in lines if any("test/" in name for name in line["scores"])]
    assert len(lines) > 1 and with_test == [4]


def test_paths_of_the_machine_are_in_the_split_alone(trained):
    root, _ = trained
    for file in (root / "run").rglob("*"):
        if file.suffix in (".json", ".yaml", ".jsonl", ".md") and file.name != "split.json":
            assert str(root) not in file.read_text(), file
    assert yaml.safe_load((root / "run" / "recipe.yaml").read_text())["data"] == "rows.jsonl"


def test_file_is_a_split_of_its_own(trained, tmp_path):
    write_rows(tmp_path / "more.v2.jsonl", 12, "slept")
    scored = evaluate(trained[0] / "run", str(tmp_path / "more.v2.jsonl"))
    assert scored["num_examples"] == {"more_v2": 12} and set(scored["scores"]) == {"more_v2/accuracy", "more_v2/macro_f1"}
    assert evaluate(trained[0] / "run", str(tmp_path / "more.v2.jsonl"), limit=5)["num_examples"] == {"more_v2": 5}


def test_file_of_the_run_given_by_another_name_is_the_run_split(trained, monkeypatch):
    monkeypatch.chdir(trained[0] / "run")
    assert evaluate(".", "../rows.jsonl")["num_examples"] == {"validation": 9, "test": 18}


def test_encoding_is_that_of_the_file_that_is_given(trained, tmp_path):
    (tmp_path / "a.csv").write_text("text;label\ndas ist schön;red\n", encoding="cp1252")
    predictor = load_predictor(str(trained[0] / "run"), None, "auto")
    with pytest.raises(InputError, match="which is 'ö' in cp1252"):
        inference.evaluate(predictor, str(tmp_path / "a.csv"))
    assert inference.evaluate(predictor, str(tmp_path / "a.csv"), encoding="cp1252")["num_examples"] == {"a": 1}
    assert len(list(inference.label(predictor, str(tmp_path / "a.csv"), "cp1252"))) == 1


def test_file_that_is_not_utf_8_is_read_as_the_rows_of_the_run_were(copy, capsys):
    (copy / "a.csv").write_text("text;label\ndas ist schön;red\n", encoding="cp1252")
    seal_recipe(copy / "run", " encoding: null", " encoding: cp1252")
    assert evaluate(copy / "run", str(copy / "a.csv"))["num_examples"] == {"a": 1}
    assert len(list(inference.label(load_predictor(str(copy / "run"), None, "auto"), str(copy / "a.csv")))) == 1
    assert CliRunner().invoke(app, ["predict", str(copy / "run"), str(copy / "a.csv"), "--dry-run"]).exit_code == 0
    assert capsys.readouterr().err.count("a.csv: not UTF-8; read as cp1252, as the rows of the run were") >= 2


def test_columns_of_nested_objects_are_read_from_a_file_and_from_stdin(tmp_path, monkeypatch):
    task = replace(TEXT, text_keys=("doc.text",))
    (tmp_path / "a.jsonl").write_text('{"doc": {"text": "a b"}}\n')
    assert read_file(tmp_path / "a.jsonl", task).columns["doc.text"] == ["a b"]
    with (tmp_path / "a.jsonl").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert read_stdin(task).columns["doc.text"] == ["a b"]


def test_model_without_its_run_takes_the_file_whole(trained):
    scored = evaluate(trained[0] / "run" / "model", str(trained[0] / "rows.jsonl"))
    assert scored["num_examples"] == {"rows": 90}


def test_rows_that_are_others_by_now_are_refused(copy):
    write_rows(copy / "rows.jsonl", 93)
    with pytest.raises(InputError, match=r"expected the 90 rows that the run cut into splits, got 93 others"):
        evaluate(copy / "run")


def test_rows_that_are_gone_are_named(copy, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (copy / "rows.jsonl").unlink()
    with pytest.raises(InputError) as error:
        evaluate(copy / "run")
    assert str(error.value) == (
        f"--data rows.jsonl: the rows of the run were in {copy}/rows.jsonl, which is gone; give --data the place where they are"
    )


def test_rows_that_came_along_with_a_run_are_found_where_they_were_typed(copy, monkeypatch, tmp_path):
    """Both were copied to another machine: the recorded path is not there, the typed one is."""
    (copy / "there").mkdir()
    (copy / "rows.jsonl").rename(copy / "there" / "rows.jsonl")
    monkeypatch.chdir(copy / "there")
    assert evaluate("../run")["num_examples"] == {"validation": 9, "test": 18}


def test_run_goes_on_with_its_rows_from_any_directory(trained, copy, monkeypatch, tmp_path):
    (copy / "run" / "result.json").unlink()
    shutil.rmtree(copy / "run" / "model")
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "rows.jsonl", 30)  # others of the same name
    recipe = RunDirectory(copy / "run").recipe()
    result = finetune(recipe, copy / "run", resume=True)
    assert result.data.fingerprints == trained[1].data.fingerprints
    assert result.scores == pytest.approx(trained[1].scores)
    assert result.recipe["data"] == "rows.jsonl"
    with pytest.raises(InputError, match="--resume continues it"):
        finetune(recipe, copy / "run")


def test_rows_of_a_run_that_goes_on_may_be_given_by_another_name(copy, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    keys = {"data": str(copy / "rows.jsonl")}
    assert continued("text", RunDirectory(copy / "run"), keys, sift=None, assignments=()).data == "rows.jsonl"
    write_rows(tmp_path / "other.jsonl", 30)
    with pytest.raises(InputError, match=r"--data: the run in .* has 'rows.jsonl', got 'other.jsonl'"):
        continued("text", RunDirectory(copy / "run"), {"data": "other.jsonl"}, sift=None, assignments=())


OF_NO_RUN = (
    {"path": 5},
    {"path": "a\0b"},
    *({"ids": ids} for ids in (None, {"validation": 5}, {"validation": [1]}, {"test": [[1]]})),
)


@pytest.mark.parametrize("changes", OF_NO_RUN, ids=str)
def test_split_that_cannot_be_read_is_one_line(copy, changes):
    held_out = RunDirectory(copy / "run").split()["held_out"]
    seal_split(copy / "run", **(changes if "path" in changes else {"held_out": held_out | changes}))
    with pytest.raises(InputError, match=r"split\.json: expected the split of the run .*, or give the rows to score by --data$"):
        evaluate(copy / "run")


def test_path_that_no_system_can_have_is_none_of_a_split(copy):
    path = copy / "run" / "split.json"
    path.write_text(json.dumps({"data": "rows.jsonl", "path": "\ud800", "held_out": None}))  # as an older debft, without a seal
    with pytest.raises(InputError, match=r"split\.json: expected the split of the run"):
        RunDirectory(copy / "run").split()


@pytest.mark.parametrize(
    "ids", [{}, {"train": ["0"]}, {"validation": [], "test": ["1"]}, {"validation": ["none"], "test": ["1"]}], ids=str
)
def test_split_of_other_rows_is_one_line(copy, ids):
    seal_split(copy / "run", held_out=RunDirectory(copy / "run").split()["held_out"] | {"ids": ids})
    with pytest.raises(
        InputError, match=r"rows.jsonl: expected rows with the ids of \w+ that split\.json of the run names, got others"
    ):
        evaluate(copy / "run")


def test_run_of_an_older_version_without_a_split_file_is_scored(trained, copy):
    """It had files for its splits."""
    (copy / "run" / "split.json").unlink()
    write_rows(copy / "validation.jsonl", 6)
    assert evaluate(copy / "run", str(copy))["num_examples"] == {"validation": 6}
