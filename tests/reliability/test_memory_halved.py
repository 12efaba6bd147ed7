"""A few cases of the part memory_halved."""

import pytest
from memory_halved import PART


@pytest.mark.sweep
@pytest.mark.parametrize("case", PART.few_cases(), ids=lambda case: case.name)
def test_run_without_the_memory_ends_as_one_that_has_it(case, tmp_path):
    (directory := tmp_path / "case").mkdir()
    case.run(directory)
