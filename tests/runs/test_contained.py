"""Nothing that a run says or holds leads out of its directory."""

import pytest

from debft.errors import InputError
from debft.runs.directory import RunDirectory
from debft.runs.holding import hold
from debft.runs.lock import locked


@pytest.mark.parametrize("name", ["checkpoints", "predictions", "model", "steps.jsonl", "result.json"])
def test_part_of_a_run_that_leads_out_of_it_is_refused(tmp_path, name):
    there = tmp_path / "outside"
    there.mkdir()
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    (run.path / name).symlink_to(there)
    with pytest.raises(InputError, match=rf"{name}: expected a part of the run, got a link to .*outside"), hold(run):
        pass
    assert list(there.iterdir()) == []


def test_run_behind_a_link_is_a_run(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "own").mkdir()
    (tmp_path / "disk" / "model").symlink_to(tmp_path / "disk" / "own")
    with hold(RunDirectory(tmp_path / "run")):
        pass


def test_lock_writes_into_no_file_of_somebody_else(tmp_path):
    (tmp_path / "theirs").write_text("kept")
    (tmp_path / ".lock").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / ".lock"):
        pass
    assert (tmp_path / "theirs").read_text() == "kept"
