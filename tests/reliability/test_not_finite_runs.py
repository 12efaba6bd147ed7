"""A few cases of the part not_finite."""

import pytest
from not_finite import PART


@pytest.mark.sweep
@pytest.mark.parametrize("case", PART.few_cases(), ids=lambda case: case.name)
def test_run_that_meets_numbers_that_are_not_finite_stops_and_goes_on(case, tmp_path):
    (directory := tmp_path / "case").mkdir()
    case.run(directory)
