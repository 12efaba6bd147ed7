"""What a task gives, in words."""

from dataclasses import replace

import pytest

from debft.tasks import TASKS


@pytest.mark.parametrize(
    ("value_range", "words"), [((0.0, 5.0), "a score from 0 to 5"), ((float("-inf"), float("inf")), "a score")], ids=["stsb", "own"]
)
def test_score_of_a_task_is_named_with_its_range_where_it_has_one(value_range, words):
    assert replace(TASKS["stsb"], value_range=value_range).gives == words
