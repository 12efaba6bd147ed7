"""A few inputs of each kind of the full run."""

import fuzzed_bytes
import fuzzing
import pytest
from in_process import in_child


@pytest.mark.parametrize("kind", ["commands", "recipes", "data", "models", "runs"])
@pytest.mark.sweep
def test_commands_keep_their_contract_whatever_they_are_given(kind, tmp_path):
    in_child(fuzzing.try_kind, kind, 0, tmp_path, 3)


@pytest.mark.parametrize("name", fuzzed_bytes.READERS)
def test_reader_of_bytes_takes_what_is_right_and_refuses_the_rest_in_a_line(name, tmp_path):
    content = fuzzed_bytes.READERS[name][2]
    for one in (content, b"", content[:-1], b"\xff" + content, content.replace(b"a", b"\0")):
        fuzzed_bytes.read_bytes(name, one, tmp_path)
