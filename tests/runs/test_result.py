"""result.json: every older format is read, a newer one refused by its version, an added field left alone, a damaged one named."""

import json
import math
from pathlib import Path

import pytest
from json_schemas import wrong

from debft.config.reading import from_dict
from debft.config.recipe import Recipe, to_dict
from debft.config.schema import descriptions, schema
from debft.errors import InputError
from debft.runs import result_file
from debft.runs.directory import RunDirectory
from debft.runs.environment import command_line
from debft.runs.result import (
    FORMAT_VERSION,
    MemoryCut,
    PathsOfRun,
    RowsOfRun,
    RowWarning,
    RunResult,
    Timing,
    TrainedRows,
    in_percent,
    possible_range,
    tokens_after,
)
from debft.runs.result_file import UPGRADES, from_json
from debft.runs.seal import sealed
from debft.runs.written import WrittenFile

# As a debft of the first format wrote it: no files of the model, every key of the recipe in `train`, no skipped rows.
OLDEST = """{
  "format_version": 1,
  "task": "xnli",
  "model": "mdeberta-v3-base",
  "status": "complete",
  "scores": {"validation.en/accuracy": 82.5, "validation.fr/accuracy": 77},
  "published": [{"score": "test.en/accuracy", "ours": null, "value": 84.8}],
  "not_compared": null,
  "num_examples": {"validation.en": 2490, "validation.fr": 2490},
  "num_train_examples": 392702,
  "num_tokens": 12345678,
  "steps": 12272,
  "timing": {"train_seconds": 100.5, "eval_seconds": 4, "examples_per_second": 9480.0, "tokens_per_second": 1e5},
  "peak_memory_bytes": 1073741824,
  "data": {"source": "hub", "fingerprints": {"train.en": "1a2b"}},
  "recipe": {
    "task": "xnli", "model": "mdeberta-v3-base", "data": "hub", "dialect": "card",
    "train": {"learning_rate": 2e-05, "max_seq_length": 192, "train_language": "en", "languages": "en,fr", "doc_stride": 64, "seed": 7},
    "sift": {"weight": 0.0}, "runtime": {"precision": "auto"}
  },
  "environment": {"debft": "0.0.1", "device": "cuda:0"}
}"""


def newest(**changes):
    """A result of this version with every field."""
    fields = {
        "task": "mnli",
        "model": "demo",
        "status": "complete",
        "scores": {"validation/accuracy": 50.0},
        "published": [],
        "not_compared": "demo data",
        "num_examples": {"validation": 2},
        "num_train_examples": 3,
        "num_tokens": 4,
        "steps": 5,
        "peak_memory_bytes": 6,
        "recipe": to_dict(Recipe()),
        "intervals": {"validation/accuracy": [40.0, 60.0]},
        "timing": Timing(train_seconds=1.0, eval_seconds=2.0, examples_per_second=3.0, tokens_per_second=4.0),
        "data": RowsOfRun(source="demo", fingerprints={"train": "1a2b"}, skipped_rows={"train": 1}),
        "environment": {"debft": "x"},
        "model_files": {"config.json": WrittenFile(bytes=7, sha256="ab")},
        "paths": PathsOfRun(attention="torch", packed=True, active_vocabulary=TrainedRows(rows=8, of=9)),
    }
    return RunResult(**fields | changes)


def changed(**changes):
    """The text of `newest` with other values, by dotted name; None removes the field."""
    content = json.loads(newest().to_json())
    for dotted, value in changes.items():
        *parents, name = dotted.split("__")
        owner = content
        for parent in parents:
            owner = owner[parent]
        if value is None:
            del owner[name]
        else:
            owner[name] = value
    return json.dumps(sealed(content))


def test_what_is_read_is_what_was_written():
    assert from_json(newest().to_json(), "result.json") == newest()


def test_result_is_laid_out_for_people_and_any_json_reader():
    """Two spaces a level, letters as they are, and no NaN, which is no JSON."""
    lines = newest(model="schön").to_json().splitlines()
    assert lines[:4] == ["{", f'  "format_version": {FORMAT_VERSION},', '  "task": "mnli",', '  "model": "schön",']
    with pytest.raises(ValueError, match="not JSON compliant"):
        newest(scores={"validation/accuracy": math.nan}).to_json()


@pytest.mark.parametrize(
    ("count", "examples", "line"),
    [
        (2, ["a:1", "a:2"], "2 texts are empty: a:1; a:2"),
        (3, ["a:1", "a:2"], "2 texts are empty: a:1; a:2; ..."),
        (0, [], "2 texts are empty"),
    ],
)
def test_warning_is_one_line_that_says_where_there_are_more(count, examples, line):
    warning = RowWarning(kind="empty", split="train", count=count, of=9, what="2 texts are empty", examples=examples)
    assert str(warning) == line


def test_tokens_at_once_are_the_fewest_that_a_cut_of_that_kind_has_left():
    cuts = [
        MemoryCut(during=during, step=1, before=64, after=after)
        for during, after in (("training", 32), ("training", 16), ("evaluation", 8))
    ]
    assert [tokens_after(cuts, "training", asked) for asked in (64, 4)] == [16, 4]
    assert (tokens_after(cuts, "evaluation", 64), tokens_after([], "training", 64)) == (8, 64)


@pytest.mark.parametrize(
    ("score", "lowest", "highest"),
    [
        ("validation/accuracy", 0.0, 100.0),
        ("validation/matthews_correlation", -100.0, 100.0),
        ("validation/a/pearson", -100.0, 100.0),
        ("validation/spearmanr", -100.0, 100.0),
        ("train/loss", 0.0, math.inf),
        ("pearson/f1", 0.0, 100.0),
    ],
)
def test_range_of_a_score_is_that_of_its_metric(score, lowest, highest):
    assert possible_range(score) == (lowest, highest)
    assert in_percent(score) == (highest == 100.0)


def test_result_of_the_oldest_format_is_read_with_every_value():
    read = from_json(OLDEST, "result.json")
    assert (read.format_version, read.model_files, read.data.skipped_rows, read.paths) == (FORMAT_VERSION, None, {}, None)
    assert read.scores == {"validation.en/accuracy": 82.5, "validation.fr/accuracy": 77}
    assert (read.steps, read.timing.eval_seconds, read.data.fingerprints) == (12272, 4, {"train.en": "1a2b"})
    assert read.recipe["train"] == {"learning_rate": 2e-05, "seed": 7}
    recipe = from_dict(read.recipe, "result.json")
    assert (recipe.text.max_seq_length, recipe.questions.doc_stride) == (192, 64)
    assert (recipe.languages.train_language, recipe.languages.eval_languages) == ("en", "en,fr")


def test_every_older_format_has_a_function_that_brings_it_to_the_next_one():
    assert sorted(UPGRADES) == list(range(1, FORMAT_VERSION))


def test_chain_of_upgrades_is_followed_from_the_format_of_the_file(monkeypatch):
    followed = []
    monkeypatch.setattr(
        result_file, "UPGRADES", {n: lambda content, n=n: followed.append(n) or content for n in range(1, FORMAT_VERSION)}
    )
    from_json(changed(format_version=2), "result.json")
    assert followed == list(range(2, FORMAT_VERSION))


def test_newer_format_is_refused_by_its_version_in_one_line():
    """Whatever else is in it: what it means is not known."""
    with pytest.raises(InputError) as raised:
        from_json(json.dumps({"format_version": FORMAT_VERSION + 1, "scores": "otherwise"}), "runs/x/result.json")
    assert raised.value.problems == (
        f"runs/x/result.json: format {FORMAT_VERSION + 1} is newer than this debft reads ({FORMAT_VERSION}); upgrade debft",
    )


def test_added_field_is_no_damage_at_any_level():
    text = changed(added={"x": 1}, timing__added=1, data__added="y")
    assert from_json(text, "result.json") == newest()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scores": None}, "scores: is missing"),
        ({"timing__eval_seconds": None}, "timing.eval_seconds: is missing"),
        ({"scores": [1]}, "scores: expected an object, got [1]"),
        ({"scores__validation/accuracy": "x"}, "scores.validation/accuracy: expected a finite number, got 'x'"),
        ({"scores__validation/accuracy": True}, "scores.validation/accuracy: expected a finite number, got True"),
        ({"steps": 1.5}, "steps: expected a whole number, got 1.5"),
        ({"status": "running"}, "status: expected complete, got 'running'"),
        ({"data__fingerprints__train": 1}, "data.fingerprints.train: expected text, got 1"),
        ({"published": ["x"]}, "published[0]: expected an object, got 'x'"),
        ({"model_files__config.json": {"bytes": 1}}, "model_files.config.json.sha256: is missing"),
        ({"paths__packed": 1}, "paths.packed: expected true or false, got 1"),
        ({"paths__active_vocabulary__rows": "x"}, "paths.active_vocabulary.rows: expected a whole number, got 'x'"),
        ({"scores": {}}, "scores: expected at least one, got none"),
        ({"intervals": {"test/accuracy": []}}, "intervals.test/accuracy: expected [low, high], got []"),
        ({"intervals": {"test/accuracy": [1.0]}}, "intervals.test/accuracy: expected [low, high], got [1.0]"),
        ({"recipe__train": "x"}, "recipe.train: expected an object, got 'x'"),
        ({"format_version": True}, "format_version: expected a whole number of at least 1, got True"),
        ({"format_version": 0}, "format_version: expected a whole number of at least 1, got 0"),
    ],
    ids=str,
)
def test_damage_is_named_by_its_place(changes, reason):
    with pytest.raises(ValueError) as raised:
        from_json(changed(**changes), "result.json")
    assert str(raised.value) == reason


@pytest.mark.parametrize("name", ["../result.json", "/etc/passwd", "a/../../b"])
@pytest.mark.parametrize(("field", "folder"), [("model_files", "model/"), ("run_files", "the run")])
def test_files_are_named_within_the_model_or_the_run(name, field, folder):
    written = {"a/b.json": {"bytes": 1, "sha256": "0" * 64}}
    assert getattr(from_json(changed(**{field: written}), "result.json"), field)["a/b.json"].bytes == 1
    written[name] = written["a/b.json"]
    with pytest.raises(ValueError) as raised:
        from_json(changed(**{field: written}), "result.json")
    assert str(raised.value) == f"{field}: expected names of files in {folder}, got {name!r}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[1]", "expected an object, got [1]"),
        ("null", "expected an object, got None"),
        ("[" * 100_000, "it is nested too deeply"),
        ("[" * 200 + "]" * 200, "it is nested too deeply"),
        ('{"a":' * 200 + "1" + "}" * 200, "it is nested too deeply"),
        ('{"format_version": 4, "x": NaN}', "expected JSON, got NaN"),
        (r'{"\ud800": 1}', "it holds half of a surrogate pair"),
        ("{}", "format_version: expected a whole number of at least 1, got None"),
    ],
    ids=["empty", "cut", "list", "null", "deep", "lists", "objects", "NaN", "half", "other"],
)
def test_text_that_is_no_result_is_damage(text, reason):
    with pytest.raises(ValueError) as raised:
        from_json(text, "result.json")
    assert str(raised.value) == reason


@pytest.mark.parametrize(("number", "shown"), [("1e999", "inf"), ("1" * 400, "1111")])
def test_number_that_is_too_large_is_damage(number, shown):
    with pytest.raises(ValueError, match=f"eval_seconds: expected a finite number, got {shown}"):
        from_json(newest().to_json().replace("2.0", number), "result.json")


def test_half_a_surrogate_pair_and_a_score_without_a_mean_are_damage():
    with pytest.raises(ValueError, match=r"^it holds half of a surrogate pair$"):
        from_json(json.dumps(json.loads(newest().to_json()) | {"more": ["\ud800"]}), "result.json")
    with pytest.raises(ValueError, match=r"^scores\.validation/accuracy: expected a score, got 1e\+308$"):
        from_json(changed(scores={"validation/accuracy": 1e308}), "result.json")


def test_whole_surrogate_pair_is_a_letter_however_it_is_written():
    text = json.dumps(json.loads(newest(not_compared="\U0001f600").to_json()))
    assert r"\ud83d\ude00" in text
    assert from_json(text, "result.json").not_compared == "\U0001f600"


@pytest.mark.parametrize("content", [b"\xff", b"{}", b'{"format_version": 3}'])
def test_damaged_file_is_one_line_with_what_to_do(tmp_path, content):
    (tmp_path / "recipe.yaml").touch()  # a run of debft
    (tmp_path / "result.json").write_bytes(content)
    with pytest.raises(
        InputError, match=r"result\.json: expected the result of a complete run, got something else \(.*; remove"
    ) as raised:
        RunDirectory(tmp_path).result()
    assert len(raised.value.problems) == 1 and "\n" not in str(raised.value)


def test_committed_schema_is_that_of_the_result():
    """`python docs/schemas.py` writes it."""
    committed = Path(__file__).parents[2] / "docs" / "result.schema.json"
    assert json.loads(committed.read_text(encoding="utf-8")) == schema(RunResult, closed=False)


def test_schema_takes_a_result_with_and_without_added_fields():
    rule = schema(RunResult, closed=False)
    assert wrong(json.loads(newest().to_json()), rule) == wrong(json.loads(changed(added=1, timing__added=2)), rule) == []
    assert wrong(json.loads(changed(steps="x", scores=None)), rule) == [".scores", ".steps"]


@pytest.mark.parametrize("kind", [RunResult, Timing, RowsOfRun, WrittenFile, PathsOfRun, TrainedRows])
def test_every_field_has_a_line_about_it(kind):
    assert set(descriptions(kind)) == set(kind.__dataclass_fields__)


@pytest.mark.parametrize(
    ("typed", "command"),
    [
        (["/venv/bin/debft", "text", "--data", "my reviews"], "debft text --data 'my reviews'"),
        (["/src/debft/__main__.py", "mnli"], "debft mnli"),
        (["/venv/bin/debft", "text", "--note", "r\udcff"], r"debft text --note 'r\udcff'"),
        (["/venv/bin/pytest", "-q"], None),
        (["notebook.py"], None),
    ],
)
def test_command_is_recorded_as_it_was_typed(monkeypatch, typed, command):
    monkeypatch.setattr("sys.argv", typed)
    assert command_line() == command


@pytest.mark.parametrize(
    "changes",
    [
        {"scores": {"validation/accuracy": 99.0}},
        {"recipe": {"train": {"seed": 7}}},
        {"command": "debft rte"},
        {"format_version": 3},
        {"sha256": "0" * 64},
        {"sha256": None},
        {"added": 1},
    ],
    ids=str,
)
def test_change_by_hand_is_noticed(changes):
    """Whatever is changed, the digest and what no debft knows included."""
    content = json.loads(newest(run_files={}).to_json())
    with pytest.raises(ValueError, match=r"expected content of sha256 \S+, got \w{12}\.\.\."):
        from_json(json.dumps(content | changes), "result.json")


def test_key_of_the_digest_that_is_damaged_is_noticed():
    """It is the last one; `sha256` is also a key of each file."""
    before, _, after = newest(run_files={}).to_json().rpartition('"sha256"')
    with pytest.raises(ValueError, match="expected content of sha256 none, got "):
        from_json(f'{before}"sha356"{after}', "result.json")


def test_other_layout_of_the_same_content_is_no_damage():
    """As another program writes it anew: other spaces, other order."""
    content = json.loads(newest().to_json())
    assert from_json(json.dumps(dict(reversed(content.items())), indent=None), "result.json") == newest()
