"""The tables against the cards' own text, cell by cell."""

from pathlib import Path

import pytest

from debft import yaml12
from debft.published import DIRECTORY, published_scores
from debft.tasks import LANGUAGES, TASKS

CARDS = Path(__file__).parent / "cards"


def test_table_has_every_cell_of_the_card_verbatim():
    lines = [line for line in (CARDS / "deberta-v3.md").read_text().splitlines() if line.startswith("|")]
    card = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line][1:]
    table = yaml12.load(DIRECTORY / "deberta-v3.yaml")
    ours = [[str(row[key]) for key in ("row", "vocabulary_k", "backbone_params_m", "squad2", "mnli")] for row in table["rows"]]
    assert ours == card


def test_xnli_table_has_every_cell_of_the_card_verbatim():
    lines = [line for line in (CARDS / "mdeberta-v3.md").read_text().splitlines() if line.startswith("|")]
    header, *card = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]
    table = yaml12.load(DIRECTORY / "mdeberta-v3.yaml")
    assert [[str(row[key]) for key in ("row", *header[1:])] for row in table["rows"]] == card
    assert list(table["columns"]) == header[1:] == ["avg", *LANGUAGES]


@pytest.mark.parametrize("model", ["mdeberta-v3-base", "xlm-roberta-base"])
def test_xnli_average_is_the_mean_of_its_columns_as_rounded_on_the_card(model):
    average, *languages = published_scores(model, "xnli")
    assert [cell.score for cell in languages] == [f"test.{language}/accuracy" for language in LANGUAGES]
    assert abs(sum(cell.value for cell in languages) / 15 - average.value) <= 0.05


def test_spread_of_a_cell_is_read_beside_its_value():
    average = published_scores("mdeberta-v3-base", "xnli")[0]
    assert (average.value, average.spread, average.cell) == (79.8, 0.2, "79.8+/-0.2")


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


@pytest.mark.parametrize(
    ("task", "value"),
    [("sst2", 96.9), ("qnli", 96.0), ("cola", 75.3), ("rte", 92.7), ("mrpc", 92.2), ("qqp", 93.0), ("stsb", 93.0)],
)
def test_glue_cells_are_scores_of_their_task(task, value):
    (cell,) = published_scores("deberta-v3-large", task)
    assert cell.value == value
    assert cell.score in TASKS[task].score_names()
