"""What the report, the tables and the terminal print alike: numbers, names, footnotes, links."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from debft.console import byte_size
from debft.output.plain import plain_table
from debft.output.terminal import predict_line
from debft.output.text import Footnotes, counted, linked, long_score, rounded_count, score_text, short_score, signed


def test_footnote_has_the_number_of_its_first_mention_and_the_same_text_one_number():
    footnotes = Footnotes()
    assert footnotes.add("a", None, "b") == [1, 2]
    assert footnotes.add("b", "", "c") == [2, 3]
    assert footnotes.texts == ["a", "b", "c"]


def test_footnotes_that_are_there_keep_their_numbers():
    footnotes = Footnotes("a", "b")
    assert footnotes.add("c", "a") == [3, 1]


@pytest.mark.parametrize(
    ("score", "value", "text"),
    [
        ("validation/f1", 84.0, "84.00"),
        ("validation/f1", -3.5, "−3.50"),
        ("train/loss", 0.28448, "0.2845"),
        ("train/num_tokens", 626808.0, "626,808"),
        ("validation/f1", None, "–"),
    ],
)
def test_score_is_printed_in_percent_or_in_its_own_unit(score, value, text):
    assert score_text(score, value) == text


def test_counts_sizes_and_differences_are_printed_with_their_unit():
    assert [counted(1, "run"), counted(2, "run")] == ["1 run", "2 runs"]
    assert [rounded_count(n) for n in (789, 5_600, 3.4e6, 1.2e9)] == ["789", "5.6 k", "3.4 M", "1.2 G"]
    assert [byte_size(n) for n in (9, 345 * 2**20, 1.2 * 2**30)] == ["1 KiB", "345 MiB", "1.2 GiB"]
    assert [signed(0.04), signed(-0.31), signed(-0.001)] == ["+0.04", "−0.31", "0.00"]


def test_short_name_of_a_score_leaves_out_the_usual_split_and_the_long_one_does_not():
    assert [short_score("validation_matched/accuracy"), short_score("test.fr/accuracy")] == ["matched accuracy", "fr accuracy"]
    assert long_score("test.fr/accuracy") == "test fr accuracy"


def test_web_addresses_in_a_text_are_links_without_the_mark_behind_them():
    assert linked("see https://example.org/a.pdf, page 3.") == [
        ("see ", None),
        ("https://example.org/a.pdf", "https://example.org/a.pdf"),
        (", page 3.", None),
    ]


def test_plain_table_aligns_names_left_and_numbers_right_and_takes_brackets_in_a_header_as_they_are():
    table = plain_table("row [b]", "score", left=("row [b]",))
    assert [column.justify for column in table.columns] == ["left", "right"]
    assert str(table.columns[0].header) == "row [b]"


@pytest.mark.parametrize(
    ("value", "like", "text"),
    [
        (0.001411, 0.9915, "0.0014"),
        (136.5, 55620.0, "136"),
        (55620.4, None, "55,620"),
        (0.0725, 1.433, "0.072"),
        (0.0, 0.0005, "0"),
    ],
)
def test_deviation_of_what_training_logged_has_the_decimals_of_its_mean(value, like, text):
    assert score_text("train/loss", value, like=like) == text


@pytest.mark.parametrize(
    ("task", "source", "texts"),
    [
        ("mnli", "hub", "'your premise here' 'your hypothesis here'"),
        ("squad2", "directory", "'your question here' 'your context here'"),
        ("sst2", "hub", "'your text here'"),
        ("sst2", "demo", "'who slept here'"),
    ],
)
def test_line_that_predicts_names_the_texts_that_the_task_takes(task, source, texts):
    result = SimpleNamespace(task=task, data=SimpleNamespace(source=source))
    assert predict_line(result, Path("runs/mine")).endswith(f"predict runs/mine {texts}")
