"""A few of the thousand stops of `make test-reliability PART=resume`."""

import pytest
from resume import PART


@pytest.mark.sweep
@pytest.mark.parametrize("case", PART.few_cases()[::2], ids=lambda case: case.name)
def test_run_stopped_after_any_step_is_resumed_to_the_bits_of_one_without_a_stop(tmp_path, case):
    directory = tmp_path / "case"
    directory.mkdir()
    case.run(directory)
