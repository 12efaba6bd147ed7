"""A few inputs of each kind of the full run."""

import fuzzing
import pytest
from in_process import in_child


@pytest.mark.parametrize("kind", ["commands", "recipes", "data", "models", "runs"])
@pytest.mark.sweep
def test_commands_keep_their_contract_whatever_they_are_given(kind, tmp_path):
    in_child(fuzzing.try_kind, kind, 0, tmp_path, 3)
