"""The tables against the cards' own text, cell by cell, and the recipes that reproduce the cells."""

from pathlib import Path

import pytest

from debft.config.packaged import recipe_names, recipe_path
from debft.config.reading import load_recipe
from debft.errors import InputError
from debft.published import load as published
from debft.published.load import load_published, printed_decimals, prints_number, published_scores, recipe_of_cell, table_names
from debft.tasks import LANGUAGES, TASKS

CARDS = Path(__file__).parent / "cards"
TABLES = {name: load_published(name) for name in table_names()}
CELLS = [
    pytest.param(table, row, column, id=f"{table.name}/{row.name}/{column.key}")
    for table in TABLES.values()
    if table.kind == "published"
    for row in table.rows
    for column in table.columns
    if column.key in row.cells
]


def card_tables(name: str) -> list[list[list[str]]]:
    """The tables of tests/cards/NAME.md: header and rows of cells each."""
    tables = []
    for block in (CARDS / f"{name}.md").read_text().split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|") and "---" not in line]
        if lines:
            tables.append([[cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")] for line in lines])
    return tables


def printed(table, row_name: str, keys: list[str]) -> list[str]:
    """The row as our table prints it; "" where it has no such cell."""
    row = next(row for row in table.rows if row.name == row_name)
    return [row.cells[key][0].cell if key in row.cells else str(row.printed.get(key, "")) for key in keys]


def test_table_has_every_cell_of_the_card_verbatim():
    (((_, *_), *card),) = card_tables("deberta-v3")
    keys = ["vocabulary_k", "backbone_params_m", "squad2", "mnli"]
    assert [[row.name, *printed(TABLES["deberta-v3"], row.name, keys)] for row in TABLES["deberta-v3"].rows] == card


def test_headers_are_those_of_the_card():
    ((header, *_),) = card_tables("deberta-v3")
    table = TABLES["deberta-v3"]
    assert ["Model", *table.printed.values(), *(column.header for column in table.columns)] == header


def test_xnli_table_has_every_cell_of_the_card_verbatim():
    ((header, *card),) = card_tables("mdeberta-v3")
    table = TABLES["mdeberta-v3"]
    assert [[row.name, *printed(table, row.name, header[1:])] for row in table.rows] == card
    assert [column.key for column in table.columns] == header[1:] == ["avg", *LANGUAGES]


def test_glue_table_has_every_cell_of_the_repository_verbatim():
    large, sift = card_tables("deberta-repository")
    keys = ["sst2", "qnli", "cola", "rte", "mrpc", "qqp", "stsb"]
    assert printed(TABLES["glue"], "DeBERTa-v3-large", ["mnli", *keys]) == ["", *large[1][1:]]
    assert printed(TABLES["glue"], "DeBERTa-v2-xxlarge+SiFT", ["mnli", *keys]) == sift[1][1:]


@pytest.mark.parametrize(("name", "keys"), [("deberta-paper", ["squad2", "mnli"]), ("deberta-v3-base", ["mnli"])])
def test_small_table_has_every_cell_of_its_source_verbatim(name, keys):
    ((_, *source),) = card_tables(name)
    assert [[row.name, *printed(TABLES[name], row.name, keys)] for row in TABLES[name].rows] == source


@pytest.mark.parametrize("model", ["mdeberta-v3-base", "xlm-roberta-base"])
def test_xnli_average_is_the_mean_of_its_columns_as_rounded_on_the_card(model):
    average, *languages = published_scores(model, "xnli")
    assert [cell.score for cell in languages] == [f"test.{language}/accuracy" for language in LANGUAGES]
    assert abs(sum(cell.value for cell in languages) / 15 - average.value) <= 0.05


def test_spread_of_a_cell_is_read_beside_its_value():
    average = published_scores("mdeberta-v3-base", "xnli")[0]
    assert (average.value, average.spread, average.cell) == (79.8, 0.2, "79.8+/-0.2")


def test_decimals_are_those_that_the_cell_prints_for_each_of_its_numbers():
    assert [printed_decimals("91.5/89", value) for value in (91.5, 89.0)] == [1, 0]
    assert [printed_decimals("79.8+/-0.25", 79.8), printed_decimals("80.0", 80.0), printed_decimals("0.000486", 0.000486)] == [
        1,
        1,
        6,
    ]


def test_scores_of_a_row_are_the_parts_of_its_cell():
    matched, mismatched = published_scores("deberta-v3-xsmall", "mnli")
    assert (matched.score, matched.value) == ("validation_matched/accuracy", 88.1)
    assert (mismatched.score, mismatched.value) == ("validation_mismatched/accuracy", 88.3)
    assert matched.cell == "88.1/88.3"


def test_sift_row_is_another_row():
    assert published_scores("deberta-v3-xsmall", "mnli", sift=True)[0].value == 88.4


@pytest.mark.parametrize("model", ["roberta-base", "electra-base"])
def test_cell_without_a_mismatched_score_has_no_value(model):
    assert published_scores(model, "mnli")[1].value is None


def test_unknown_model_has_no_published_scores():
    assert published_scores("my-model", "mnli") == ()


def test_each_score_of_a_model_and_task_is_published_once():
    rows = {(row.model, column.task, row.sift) for table in TABLES.values() for row in table.rows for column in table.columns}
    for model, task, sift in rows:
        names = [score.score for score in published_scores(model, task, sift)]
        assert len(names) == len(set(names)), (model, task, sift)


@pytest.mark.parametrize(
    ("task", "values"),
    [
        ("sst2", [96.9]),
        ("qnli", [96.0]),
        ("cola", [75.3]),
        ("rte", [92.7]),
        ("mrpc", [92.2, None]),
        ("qqp", [93.0, None]),
        ("stsb", [93.0, None]),
    ],
)
def test_glue_cells_are_scores_of_their_task(task, values):
    assert [score.value for score in published_scores("deberta-v3-large", task)] == values


@pytest.mark.parametrize(("table", "row", "column"), CELLS)
def test_scores_of_a_cell_are_scores_of_its_task(table, row, column):
    assert set(column.scores) <= {*TASKS[column.task].score_names(), *(f"test.{name}/accuracy" for name in ("avg", *LANGUAGES))}
    assert column.split is not None


# What REFERENCE asks to be said, and beside which cell.
FLAGS = [
    ("deberta-v3", "DeBERTa-v3-small+SiFT", "backbone_params_m", "42.9"),
    ("deberta-v3", "DeBERTa-v3-small", "squad2", "82.9/80.4"),
    ("deberta-v3", "DeBERTa-v3-small", "mnli", "88.2/87.9"),
    ("deberta-v3", "DeBERTa-v3-small", "mnli", "issue 72"),
    ("mdeberta-v3", "XLM-R-base", "fr", "test set"),
    ("deberta-v3", "DeBERTa-v3-small", "squad2", "below xsmall"),
    ("deberta-v3", "ELECTRA-base", "mnli", "trailing slash"),
    ("deberta-v3", "ELECTRA-base", "squad2", "no F1"),
    ("mdeberta-v3", "mDeBERTa-base", "avg", "batch size"),
    ("deberta-v3", "DeBERTa-v3-xsmall", "squad2", "no recipe for SQuAD 2.0"),
]


@pytest.mark.parametrize(("table", "row", "key", "words"), FLAGS)
def test_inconsistency_is_flagged_beside_its_cell(table, row, key, words):
    printed = next(r for r in TABLES[table].rows if r.name == row)
    assert words in (printed.cells[key][0].note if key in printed.cells else printed.notes[key])


def test_note_about_one_cell_is_not_said_beside_another():
    matched = published_scores("deberta-v3-small", "mnli")[0]
    assert "SQuAD" not in matched.note and "82.9" not in matched.note
    assert published_scores("deberta-v3-xsmall", "mnli")[0].note is None


def test_xnli_columns_name_the_split_that_is_compared():
    assert {column.split for column in TABLES["mdeberta-v3"].columns} == {"test; the card says dev"}


@pytest.mark.parametrize(("table", "row", "column"), CELLS)
def test_every_printed_number_has_one_default_recipe_that_names_it(table, row, column):
    name = recipe_of_cell(table, row, column)
    if not prints_number(row.cells[column.key]):
        assert name is None
        return
    assert name is not None
    recipe = load_recipe(recipe_path(name))
    assert recipe.reproduces == f"{table.repeats or table.name}/{row.name}/{column.task}"
    assert (recipe.model, recipe.task, bool(recipe.sift.weight)) == (row.model, column.task, row.sift)
    assert recipe.source


def test_recipe_that_names_a_cell_is_its_default_or_that_in_the_other_dialect():
    defaults = {recipe_of_cell(table, row, column) for table in TABLES.values() for row in table.rows for column in table.columns}
    for name in recipe_names():
        recipe = load_recipe(recipe_path(name))
        if recipe.reproduces:
            assert name.removesuffix("-repo") in defaults, name


def test_unknown_table_suggests_the_nearest():
    with pytest.raises(InputError, match="table deberta-v4: no such table; did you mean 'deberta-v3'"):
        load_published("deberta-v4")


MEASURED = """
name: mine
title: Frozen numbers
kind: measured
source: debft 0.1
confidence: 0.95
data: demo
columns:
  mnli: {header: MNLI, scores: [validation_matched/accuracy, validation_mismatched/accuracy]}
rows:
  - {row: tiny, model: deberta-v3-small, recipe: demo, mnli: [{mean: 95.9, sd: 0.3, n: 10}, {mean: 95.1, sd: 0.2, n: 10}]}
"""


@pytest.fixture
def measured(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "DIRECTORY", tmp_path)
    (tmp_path / "mine.yaml").write_text(MEASURED)
    return load_published("mine")


def test_measured_cell_has_mean_standard_deviation_and_number_of_runs(measured):
    (row,) = measured.rows
    matched, mismatched = row.cells["mnli"]
    assert (matched.value, matched.sd, matched.seeds, mismatched.value) == (95.9, 0.3, 10, 95.1)
    assert matched.cell == "95.9+/-0.3/95.1+/-0.2"
    assert (measured.kind, measured.confidence, measured.data, row.printed) == ("measured", 0.95, "demo", {"recipe": "demo"})


def test_measured_number_is_never_a_published_one(measured):
    assert published_scores("deberta-v3-small", "mnli") == ()


def test_repeated_cell_is_published_once_and_known_with_its_seeds():
    assert [score.table for score in published_scores("electra-base", "squad2")] == ["deberta-v3", "deberta-v3"]
    electra = TABLES["deberta-paper"].rows[0].cells["squad2"][0]
    assert (electra.value, electra.seeds) == (83.3, 5)


PUBLISHED = """
name: mine
title: Numbers of others
source: a paper
MARGIN
columns:
  mnli: {header: MNLI, scores: [validation_matched/accuracy, validation_mismatched/accuracy]}
  rte: {header: RTE, margin: 1.5, scores: [validation/accuracy]}
rows:
  - {row: tiny, model: deberta-v3-small, mnli: 88.3/87.7, rte: 70.0}
"""


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("n: 10", "n: 1", "n: expected 2 seeds or more, got 1"),
        ("sd: 0.3", "sd: .nan", "sd: expected a finite number, got .nan"),
        ("sd: 0.3", "sd: -1.0", "sd: expected a finite number, got -1.0"),
        ("mean: 95.9", "mean: .inf", "mean: expected a finite number"),
        (", n: 10", "", "n: expected 2 seeds or more, got None"),
    ],
)
def test_frozen_number_that_nothing_could_be_judged_by_is_refused(tmp_path, measured, old, new, problem):
    (tmp_path / "mine.yaml").write_text(MEASURED.replace(old, new, 1))
    with pytest.raises(InputError, match=f"table mine: tiny: validation_matched/accuracy: {problem}"):
        load_published("mine")


@pytest.mark.parametrize(
    ("margin", "problem"),
    [
        ("margin: 0.5", "margin_source: expected where the margins come from"),
        ("margin_source: s", "margin of mnli: expected points"),
        ("margin: 0\nmargin_source: s", "margin of mnli: expected points above 0, got 0"),
        ("margin: .nan\nmargin_source: s", "margin of mnli: expected points above 0, got .nan"),
    ],
)
def test_published_table_without_a_margin_or_its_source_is_refused(tmp_path, measured, margin, problem):
    (tmp_path / "mine.yaml").write_text(PUBLISHED.replace("MARGIN", margin))
    with pytest.raises(InputError, match=f"table mine: {problem}"):
        load_published("mine")


def test_margin_of_a_column_goes_before_that_of_the_table(tmp_path, measured):
    (tmp_path / "mine.yaml").write_text(PUBLISHED.replace("MARGIN", "margin: 0.5\nmargin_source: s"))
    (row,) = load_published("mine").rows
    assert [score.margin for scores in row.cells.values() for score in scores] == [0.5, 0.5, 1.5]


def test_margins_are_half_a_point_and_a_point_for_one_language():
    for table in TABLES.values():
        for column in table.columns:
            language = column.task == "xnli" and column.key != "avg"
            assert column.margin == (None if table.kind == "measured" else 1.0 if language else 0.5), (table.name, column.key)
