"""`debft tables`: the published tables in every format, with our runs beside them, and no run dropped without a word."""

import errno
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import run
from json_schemas import wrong
from sealing import seal_result

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.schema import schema
from debft.errors import InputError
from debft.output.tables.document import tables_document
from debft.output.tables.records import RunBesideNoCell, TablesDocument
from debft.output.tables.render import FORMATS, ONLY_IN_JSON, readable
from debft.published import load as published
from debft.published.load import load_published, table_names
from debft.runs.result import RowsOfRun, RunResult, Timing
from debft.runs.seal import sealed

MNLI = {"validation_matched/accuracy": 88.2, "validation_mismatched/accuracy": 88.3}
STEP = {"step": 1, "loss": 0.25, "grad_norm": 1.5, "learning_rate": 0.0005, "num_tokens": 1}


TIMING = Timing(train_seconds=1.0, eval_seconds=1.0, examples_per_second=1.0, tokens_per_second=1.0)


def write_run(path, recipe="mnli/deberta-v3-small", scores=MNLI, not_compared=None, source="hub", fingerprints=None, **overrides):
    """A finished run of a packaged recipe, of one step."""
    resolved = load_recipe(recipe_path(recipe), overrides)
    result = RunResult(
        task=resolved.task,
        model=resolved.model,
        status="complete",
        scores=scores,
        published=[],
        not_compared=not_compared,
        num_examples={},
        num_train_examples=1,
        num_tokens=1,
        steps=1,
        timing=TIMING,
        peak_memory_bytes=1,
        data=RowsOfRun(source=source, fingerprints=fingerprints or {}),
        recipe=asdict(resolved),
        environment={},
    )
    path.mkdir(parents=True)
    (path / "recipe.yaml").write_text("")
    (path / "result.json").write_text(result.to_json())
    (path / "steps.jsonl").write_text(json.dumps(STEP) + "\n")
    return str(path)


def row_of(document, table, row):
    (shown,) = [one for one in document.tables if one.name == table]
    return next(one for one in shown.rows if one.row == row)


def beside(document, row="DeBERTa-v3-small", key="mnli", table="deberta-v3"):
    return row_of(document, table, row).ours.get(key, [])


def footnote(document, entry):
    return [note.text for note in document.footnotes if note.number in entry.notes]


def shown(document, form, capsys):
    FORMATS[form](document)
    return capsys.readouterr().out


class Texts(HTMLParser):
    """The text of every table cell, and the tags seen."""

    def __init__(self):
        super().__init__()
        self.tags, self.cells, self.inside = [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def test_json_alone_on_stdout_has_every_cell_verbatim():
    done = run("tables", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    rows = {(table["name"], row["row"]): row["cells"] for table in document["tables"] for row in table["rows"]}
    assert rows["deberta-v3", "DeBERTa-v3-small"]["squad2"] == "82.8/80.4"
    names = [table["name"] for table in document["tables"]]
    assert sorted(names) == table_names() and names.index("deberta-v3") < names.index("deberta-paper")
    for name in table_names():
        for row in load_published(name).rows:
            cells = {key: scores[0].cell for key, scores in row.cells.items()} | {
                key: str(value) for key, value in row.printed.items() if key in load_published(name).printed
            }
            assert rows[name, row.name] == cells
    assert done.stdout == run("tables", "--format", "json").stdout


KEYS = {
    "document": "tables footnotes other_runs damaged",
    "table": "name title kind heading source repeats confidence data notes columns rows",
    "printed column": "key header task split notes",
    "scored column": "key header task scores split margin notes",
    "row": "row model sift notes cells cell_notes seeds recipes ours",
    "ours": "text scores runs seeds compared dialect reason notes",
    "footnote": "number text",
    "other run": "run reason",
}


def test_json_keeps_its_keys_and_their_order(tmp_path, capsys):
    """Scripts read them."""
    write_run(tmp_path / "one")
    write_run(tmp_path / "demo", "demo", source="demo", task="mnli", not_compared="demo data")
    document = json.loads(shown(tables_document(["deberta-v3"], [str(tmp_path)]), "json", capsys))
    (table,), note, other = document["tables"], document["footnotes"][0], document["other_runs"][0]
    row = next(row for row in table["rows"] if row["ours"])
    parts = [document, table, table["columns"][0], table["columns"][-1], row, row["ours"]["mnli"][0], note, other]
    assert dict(zip(KEYS, map(" ".join, parts), strict=True)) == KEYS


def test_json_fits_the_committed_schema(tmp_path, capsys):
    """`python docs/schemas.py` writes it."""
    committed = json.loads((Path(__file__).parents[2] / "docs" / "tables.schema.json").read_text(encoding="utf-8"))
    assert committed == schema(TablesDocument, closed=False)
    write_run(tmp_path / "one")
    write_run(tmp_path / "demo", "demo", source="demo", task="mnli", not_compared="demo data")
    assert wrong(json.loads(shown(tables_document([], [str(tmp_path)]), "json", capsys)), committed) == []


@pytest.mark.parametrize("form", ["terminal", "markdown", "html"])
@pytest.mark.parametrize("columns", ["40", "100", "500"])
def test_every_cell_is_shown_uncut_at_any_width(form, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    document = tables_document([], [])
    out = shown(document, form, capsys)
    words = re.split(r"[\s|<>]|\[\^", out)
    for table in readable(document).tables:
        for row in table.rows:
            assert all(cell in words for cell in row.cells.values() if cell), row.row


def test_narrow_terminal_gets_a_line_per_column(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out = shown(tables_document(["mdeberta-v3"], []), "terminal", capsys)
    assert re.search(r"^sw +66\.5 +73\.9 *$", out, re.MULTILINE)
    assert max(map(len, out.splitlines())) <= 60


def test_narrowed_to_the_tables_named():
    done = run("tables", "--table", "glue", "--table", "deberta-v3-base", "--json")
    assert [table["name"] for table in json.loads(done.stdout)["tables"]] == ["glue", "deberta-v3-base"]


@pytest.mark.parametrize("form", list(FORMATS))
def test_notes_are_numbered_footnotes_in_every_format(form, capsys):
    document = tables_document(["deberta-v3"], [])
    out = shown(document, form, capsys)
    (number,) = row_of(document, "deberta-v3", "ELECTRA-base").cell_notes["mnli"]
    assert next(note.text for note in document.footnotes if note.number == number).startswith("printed with a trailing")
    expected = {
        "terminal": [f"88.8/ [{number}]", f"[{number}] printed with a trailing slash"],
        "markdown": [f"88.8/[^{number}]", f"[^{number}]: printed with a trailing slash"],
        "html": [f'88.8/<sup><a href="#note-{number}">', f'<li id="note-{number}">printed with a trailing slash'],
        "json": ['"mnli": "88.8/"', f'"number": {number}'],
    }
    assert all(words in out for words in expected[form])


def test_markdown_rows_have_as_many_cells_as_the_header(capsys, tmp_path):
    write_run(tmp_path / "a|b", not_compared="a | b")
    out = shown(tables_document(["deberta-v3"], [str(tmp_path)]), "markdown", capsys)
    lines = [line for line in out.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "a\\|b: a \\| b" in out


def test_one_run_stands_beside_its_cell(tmp_path):
    document = tables_document([], [write_run(tmp_path / "one")])
    (entry,) = beside(document)
    assert (entry.text, entry.compared, entry.seeds, entry.notes) == ("ours 88.2/88.3 (1 run)", True, [42], [])
    assert [other.text for other in beside(document, table="deberta-paper")] == ["ours 88.2/88.3 (1 run)"]
    assert (beside(document, key="squad2"), beside(document, "DeBERTa-v3-base"), document.other_runs) == ([], [], [])


def test_several_runs_of_a_cell_are_a_mean_and_their_number(tmp_path):
    for seed, matched in ((1, 88.0), (2, 88.2), (3, 88.7)):
        write_run(tmp_path / f"seed-{seed}", scores=MNLI | {"validation_matched/accuracy": matched}, **{"train.seed": seed})
    (entry,) = beside(tables_document([], [str(tmp_path)]))
    assert entry.text == "ours 88.3/88.3 (mean of 3 runs)"
    assert entry.scores["validation_matched/accuracy"] == pytest.approx(88.3)
    assert sorted(entry.seeds) == [1, 2, 3]


def test_run_named_twice_counts_once(tmp_path):
    path = write_run(tmp_path / "runs" / "one")
    (entry,) = beside(tables_document([], [path, str(tmp_path / "runs"), f"{path}/../one"]))
    assert entry.text == "ours 88.2/88.3 (1 run)"


def test_run_that_may_not_be_compared_is_labelled_and_not_mixed_in(tmp_path):
    write_run(tmp_path / "good")
    reason = "not the published recipe: train.learning_rate differs"
    bad = write_run(tmp_path / "bad", scores=dict.fromkeys(MNLI, 50.0), not_compared=reason, **{"train.learning_rate": 1.0})
    document = tables_document([], [str(tmp_path)])
    good, other = beside(document)
    assert (good.text, good.compared) == ("ours 88.2/88.3 (1 run)", True)
    assert (other.text, other.compared) == ("ours 50.0/50.0 (1 run) not compared", False)
    assert footnote(document, other) == [f"{bad}: {reason}"]


def test_run_in_the_other_dialect_is_labelled_and_not_mixed_in(tmp_path):
    write_run(tmp_path / "repo", "mnli/deberta-v3-small-repo", dict.fromkeys(MNLI, 80.0))
    write_run(tmp_path / "zcard")
    document = tables_document([], [str(tmp_path)])
    card, repo = beside(document)
    assert (card.text, repo.text) == ("ours 88.2/88.3 (1 run)", "ours 80.0/80.0 (1 run) (dialect repo)")
    assert footnote(document, repo) == ["run in the dialect repo; the cell's own recipe, mnli/deberta-v3-small, is card"]


def test_sift_run_stands_in_the_row_with_sift(tmp_path):
    document = tables_document([], [write_run(tmp_path / "sift", "mnli/deberta-v3-small-sift")])
    assert beside(document) == []
    assert [entry.text for entry in beside(document, "DeBERTa-v3-small+SiFT")] == ["ours 88.2/88.3 (1 run)"]


def test_languages_of_a_run_stand_in_their_columns_and_an_average_of_some_in_none(tmp_path):
    scores = {"test.fr/accuracy": 82.0, "test.avg/accuracy": 82.0}
    path = write_run(tmp_path / "fr", "xnli/mdeberta-v3-base", scores, **{"languages.eval_languages": "fr"})
    ours = row_of(tables_document([], [path]), "mdeberta-v3", "mDeBERTa-base").ours
    assert {key: [entry.text for entry in entries] for key, entries in ours.items()} == {"fr": ["ours 82.0 (1 run)"]}


def test_score_that_a_run_lacks_is_a_dash(tmp_path):
    (entry,) = beside(tables_document([], [write_run(tmp_path / "m", scores={"validation_matched/accuracy": 88.2})]))
    assert entry.text == "ours 88.2/- (1 run)"


def test_demo_run_is_never_beside_a_published_number_and_is_named(tmp_path):
    reason = "demo data is never compared with a published number"
    path = write_run(tmp_path / "demo", source="demo", not_compared=reason, data="demo")
    document = tables_document([], [path])
    assert beside(document) == []
    assert document.other_runs == [RunBesideNoCell(run=path, reason=reason)]


def test_every_run_beside_no_cell_is_named_with_the_reason(tmp_path, capsys):
    path = write_run(tmp_path / "good")
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "recipe.yaml").write_text("")
    document = tables_document(["glue"], [str(tmp_path)])
    expected = {
        path: "no cell of deberta-v3-small on mnli in the tables shown",
        str(tmp_path / "half"): "not finished: it has no result.json",
    }
    assert {other.run: other.reason for other in document.other_runs} == expected
    for form in FORMATS:
        out = " ".join(shown(document, form, capsys).replace("\\", "").split())
        assert all(" ".join(reason.split()[:4]) in out for reason in expected.values())


def test_html_is_one_escaped_page_for_a_phone_without_anything_fetched(tmp_path, capsys):
    write_run(tmp_path / "<script>alert(1)</script>" / "x", not_compared="<b>no</b>")
    out = shown(tables_document([], [str(tmp_path)]), "html", capsys)
    page = Texts()
    page.feed(out)
    assert "<script" not in out and "<b>" not in out and "&lt;script&gt;" in out
    assert not [attrs for _, attrs in page.tags if {"src", "onclick"} & set(attrs)]
    assert all(attrs["href"].startswith("#note-") for tag, attrs in page.tags if tag == "a")
    assert "link" not in [tag for tag, _ in page.tags] and "@import" not in out and "url(" not in out
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert any(cell.strip().startswith("88.3/87.7") and "ours 88.2/88.3 (1 run) not compared" in cell for cell in page.cells)


@pytest.mark.parametrize("form", ["terminal", "json"])
def test_reader_that_has_enough_ends_the_command_quietly(form):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "debft", "tables", "--format", form]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


MEASURED = """
name: mine
title: Frozen numbers
kind: measured
source: debft
data: demo
columns:
  mnli: {header: MNLI, scores: [validation_matched/accuracy, validation_mismatched/accuracy, train/loss, train/learning_rate]}
rows:
  - row: tiny
    model: demo
    mnli: [{mean: 95.9, sd: 0.3, n: 10}, {mean: 95.1, sd: 0.2, n: 10}, {mean: 0.2845, sd: 0.04, n: 10}, {mean: 0.0005, sd: 0, n: 10}]
"""
ON_OWN_ROWS = """
name: mine
title: Frozen numbers
kind: measured
source: debft
fingerprints: {rte: {train: aaaa, validation: bbbb}}
columns:
  rte: {header: RTE, scores: [validation/accuracy]}
  cola: {header: CoLA, scores: [validation/matthews_correlation]}
rows:
  - {row: MiniLM, model: all-minilm-l6-v2, rte: [{mean: 48.98, sd: 2.05, n: 3}], cola: [{mean: 8.5, sd: 1.59, n: 3}]}
"""


def write_table(tmp_path, monkeypatch, content):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "mine.yaml").write_text(content)
    monkeypatch.setattr(published, "DIRECTORY", tmp_path / "tables")
    return tmp_path


@pytest.fixture
def measured(tmp_path, monkeypatch):
    return write_table(tmp_path, monkeypatch, MEASURED)


@pytest.fixture
def on_own_rows(tmp_path, monkeypatch):
    return write_table(tmp_path, monkeypatch, ON_OWN_ROWS)


@pytest.mark.parametrize("form", list(FORMATS))
def test_measured_table_is_never_called_published(measured, form, capsys):
    out = shown(tables_document([], []), form, capsys)
    assert "frozen, measured by debft" in out and "95.9+/-0.3/95.1+/-0.2" in out
    assert "published" not in out


@pytest.mark.parametrize("form", ["terminal", "markdown", "html"])
def test_measured_cell_shows_its_scores_in_percent_and_footnotes_name_them(measured, form, capsys):
    for seed, score in ((1, 94.0), (2, 96.0)):
        scores = dict.fromkeys(MNLI, score)
        write_run(measured / "runs" / str(seed), "demo", scores, source="demo", task="mnli", **{"train.seed": seed})
    out = shown(tables_document([], [str(measured / "runs")]), form, capsys)
    assert "ours 95.0+/-1.4/95.0+/-1.4 (mean of 2 runs)" in out
    assert "0.2845" not in out and "0.0005" not in out
    words = " ".join(out.replace("\\", "").split())
    assert all(words.count(note) == 1 for note in (ONLY_IN_JSON, "validation_matched/accuracy, validation_mismatched/accuracy"))


def test_json_keeps_every_number_of_a_measured_cell_and_of_ours(measured, capsys):
    path = write_run(measured / "runs" / "one", "demo", source="demo", task="mnli")
    document = json.loads(shown(tables_document([], [path]), "json", capsys))
    (row,) = document["tables"][0]["rows"]
    assert row["cells"] == {"mnli": "95.9+/-0.3/95.1+/-0.2/0.2845+/-0.04/0.0005+/-0"}
    (entry,) = row["ours"]["mnli"]
    assert entry["scores"] == MNLI | {"train/loss": 0.25, "train/learning_rate": 0.0005}


def test_demo_run_stands_beside_the_frozen_cell_where_only_the_seed_differs(measured):
    refused = "demo data is never compared with a published number"
    for name, change in (("same", {"train.seed": 7}), ("changed", {"train.learning_rate": 0.1})):
        write_run(measured / "runs" / name, "demo", not_compared=refused, source="demo", task="mnli", **change)
    document = tables_document([], [str(measured / "runs")])
    same, changed = beside(document, "tiny", table="mine")
    assert (same.runs, same.compared) == ([str(measured / "runs" / "same")], True)
    assert (changed.compared, changed.reason) == (False, "not the frozen recipe: train.learning_rate differs")
    assert document.other_runs == []


def test_run_on_any_data_but_demo_stands_beside_a_measured_cell_without_data(on_own_rows):
    for source in ("directory", "hub", "demo"):
        scores = {"validation/matthews_correlation": 9.0}
        write_run(on_own_rows / "runs" / source, "cola/all-minilm-l6-v2", scores, "no published number", source)
    document = tables_document([], [str(on_own_rows / "runs")])
    (entry,) = beside(document, "MiniLM", "cola", "mine")
    assert (entry.text, entry.compared) == ("ours 9.0+/-0.0 (mean of 2 runs)", True)
    assert [other.run for other in document.other_runs] == [str(on_own_rows / "runs" / "demo")]


@pytest.mark.parametrize(
    ("validation", "changes", "reason"),
    [
        ("bbbb", {}, None),
        ("cccc", {}, "not on the frozen rows: validation"),
        (
            "cccc",
            {"train.learning_rate": 0.1},
            "not the frozen recipe: train.learning_rate differs; not on the frozen rows: validation",
        ),
    ],
    ids=["same", "rows", "recipe and rows"],
)
def test_run_on_other_rows_than_the_frozen_ones_is_not_compared(on_own_rows, validation, changes, reason):
    rows = {"train": "aaaa", "validation": validation}
    path = write_run(
        on_own_rows / "run", "rte/all-minilm-l6-v2", {"validation/accuracy": 49.0}, source="directory", fingerprints=rows, **changes
    )
    (entry,) = beside(tables_document([], [path]), "MiniLM", "rte", "mine")
    assert (entry.compared, entry.reason) == (reason is None, reason)


BAD = {
    "unknown table": (["--table", "deberta"], "--table deberta: no such table; did you mean 'deberta-v3'?"),
    "table without a name": (["--table", ""], "--table: expected a name or path, got ''"),
    "table as a run": (["glue"], "which is not there; --table glue shows that table"),
    "unknown format": (["--format", "xml"], "--format xml: expected terminal, markdown, html, json"),
    "two formats": (["--json", "--format", "html"], "--format html: --json is given as well; give one of them"),
    "no run": (["nowhere"], "nowhere: expected a run directory or one that holds runs, which is not there"),
    "empty directory": (["empty"], "empty: expected a run directory or one that holds runs, found no result.json in it"),
    "not a result": (["broken"], "result.json: expected the result of a complete run, got something else"),
    "other JSON": (["list"], "result.json: expected the result of a complete run, got something else"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, name):
    for place, content in (("broken", '{"task": "mnli", "sc'), ("list", "[1]")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "result.json").write_text(content)
    (tmp_path / "empty").mkdir()
    arguments, message = BAD[name]
    done = run("tables", *(tmp_path / a if a and (tmp_path / a).exists() else a for a in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1 and message in done.stderr


@pytest.mark.parametrize(
    "change",
    [
        {"scores": None},
        {"scores": {"a": "b"}},
        {"scores": {"a": None}},
        {"data": "hub"},
        {"recipe": {}},
        {"model": ["x"]},
        {"recipe": {"train": {"seed": "x"}}},
        {"not_compared": 3},
    ],
    ids=str,
)
def test_result_with_a_wrong_part_is_refused_in_one_line(tmp_path, change):
    path = write_run(tmp_path / "one")
    content = json.loads((tmp_path / "one" / "result.json").read_text()) | change
    (tmp_path / "one" / "result.json").write_text(json.dumps(sealed(content)))
    with pytest.raises(InputError, match=r"^.*result\.json: .*expected .*, got .*$"):
        tables_document([], [path])


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_run_does_not_keep_the_others_from_being_shown(tmp_path, form):
    """They are all there on stdout, the damaged one with what is wrong; the command ends as for any input that is wrong."""
    write_run(tmp_path / "good")
    write_run(tmp_path / "bad")
    (tmp_path / "bad" / "result.json").write_text("{")
    done = run("tables", tmp_path, "--table", "deberta-v3", "--format", form)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"{tmp_path / 'bad' / 'result.json'}: expected")
    document = tables_document(["deberta-v3"], [str(tmp_path)])
    assert len(beside(document)) == 1 and document.other_runs[0].run == str(tmp_path / "bad")
    assert "88.2" in done.stdout and "expected the result of" in " ".join(done.stdout.split())


def test_score_edited_by_hand_is_damage(tmp_path):
    path = write_run(tmp_path / "one")
    assert len(beside(tables_document([], [path]))) == 1
    text = (tmp_path / "one" / "result.json").read_text()
    (tmp_path / "one" / "result.json").write_text(text.replace("88.2", "98.2"))
    with pytest.raises(InputError, match=r"result\.json: expected the result of a complete run, got .*expected content of sha256"):
        tables_document([], [path])


def test_run_whose_model_was_cut_is_damaged(tmp_path):
    """Somebody may have kept the results alone, so that no model/ at all is fine."""
    path = write_run(tmp_path / "one")
    seal_result(tmp_path / "one", model_files={"model.safetensors": {"bytes": 9, "sha256": "0"}})
    assert len(beside(tables_document([], [path]))) == 1
    (tmp_path / "one" / "model").mkdir()
    with pytest.raises(InputError, match=r"model\.safetensors: expected what the run wrote, 9 bytes, got 0"):
        tables_document([], [path])


def test_run_that_may_not_be_read_is_refused_in_one_line(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    path = write_run(tmp_path / "one")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError, match=r"^[^:]*result\.json: cannot be read: Permission denied; make it a file"):
        tables_document([], [path])


def test_broken_log_of_the_steps_is_named_and_not_the_result(tmp_path):
    path = write_run(tmp_path / "one")
    (tmp_path / "one" / "steps.jsonl").write_text('{"step": 1, "lo\n')
    with pytest.raises(InputError, match=r"^[^:]*steps\.jsonl:1: (?!.*result\.json)"):
        tables_document([], [path])
