"""A few of the thousand kills of `make test-reliability PART=kills`."""

import pytest
from kills import PART


@pytest.mark.sweep
@pytest.mark.parametrize("case", PART.few_cases()[::2], ids=lambda case: case.name)
def test_killed_run_is_resumed_to_the_bits_of_one_that_nobody_killed(tmp_path, case):
    directory = tmp_path / "case"
    directory.mkdir()
    case.run(directory)
