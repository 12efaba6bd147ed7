"""Tables that fit: words wrap, numbers never, at any width that the words allow."""

import pytest
from rich.text import Text

from debft.output import layout
from debft.output.plain import plain_table

ROWS = [
    ["model of a long name", "one score", "another score", "a third score"],
    ["deberta v3 xsmall with SiFT", "88.1/88.3", "84.8/82.0", "91.01"],
    ["deberta v3 base", "90.6/90.7", "", "12,345,678"],
]


@pytest.mark.parametrize("width", range(16, 90))
def test_no_line_is_wider_and_no_number_is_broken(width):
    blocks = layout.fitted(ROWS, width, turn=False)
    lines = [str(line) for block in blocks for line in block]
    assert all(len(line) <= max(width, 21) for line in lines)  # names of 7 letters, a gap of 2, numbers of up to 10
    words = " ".join(lines).split()
    assert all(number in words for row in ROWS[1:] for number in row[1:] if number)


def test_table_that_fits_only_turned_is_turned():
    wide = [["name", *(f"column{i}" for i in range(9))], ["row", *(str(i) for i in range(9))]]
    (block,) = layout.fitted(wide, 20)
    assert [str(line).split() for line in block[:2]] == [["name", "row"], ["column0", "0"]]


def test_rows_that_are_empty_in_a_block_are_left_out_there():
    first, *others = layout.fitted(ROWS, 22, turn=False)
    assert any("base" in str(line) for line in first) and not any("base" in str(line) for line in others[0])


def test_numbers_are_aligned_right_and_styles_stay():
    table = plain_table("name", "n", left=("name",))
    table.add_row("a", Text("1", style="red"))
    table.add_row("b", "100")
    rows = [[column.header for column in table.columns], *zip(*(column.cells for column in table.columns), strict=True)]
    ((_, first, second),) = layout.fitted(rows, 80, right={1})
    assert (str(first), str(second)) == ("a       1", "b     100")
    assert any(str(span.style) == "red" for span in first.spans)
