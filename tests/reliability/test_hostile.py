"""A few attacks of the full run, and the right values of what they try."""

import hostile
import pytest
from in_process import in_child


@pytest.mark.parametrize("name", ["much-header", "code-AutoModel-bert", "outside-files"])
@pytest.mark.sweep
def test_attack_does_nothing(name, tmp_path):
    in_child(hostile.run_case, name, tmp_path)


@pytest.mark.sweep
def test_labels_and_ids_are_shown_and_not_done(tmp_path):
    in_child(hostile.run_case, "shown", tmp_path)


@pytest.mark.sweep
def test_secrets_reach_no_file(tmp_path):
    in_child(hostile.run_case, "secret-variable", tmp_path)
