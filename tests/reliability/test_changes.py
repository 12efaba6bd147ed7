"""A few of the changes of `make test-reliability PART=changes`."""

import pytest
from changes import PART


@pytest.mark.sweep
@pytest.mark.parametrize("case", PART.few_cases(), ids=lambda case: case.name)
def test_run_goes_on_with_another_precision_or_number_of_processes(tmp_path, case):
    directory = tmp_path / "case"
    directory.mkdir()
    case.run(directory)
