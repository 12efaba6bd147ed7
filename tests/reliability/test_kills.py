"""Fifty kills, and a few of the thousand of `make test-reliability PART=kills`, which has several processes and the clock as well."""

import cpu_kills
import in_process
import pytest
from kills import PART

KILLS = {"labels": 14, "scores": 12, "spans": 12, "languages": 12}  # about 13 seconds of a core for each kind


@pytest.mark.parametrize("of", KILLS)
def test_run_killed_at_any_moment_is_resumed_to_the_same_bits(tmp_path, monkeypatch, of):
    monkeypatch.setattr(in_process, "SECONDS", 3600)  # a busy machine is slow
    said = in_process.in_child(cpu_kills.killed, tmp_path, of, KILLS[of])
    assert int(said.partition(" ")[0]) >= KILLS[of] // 2, said


@pytest.mark.sweep
@pytest.mark.parametrize("case", PART.few_cases()[::2], ids=lambda case: case.name)
def test_killed_run_is_resumed_to_the_bits_of_one_that_nobody_killed(tmp_path, case):
    directory = tmp_path / "case"
    directory.mkdir()
    case.run(directory)
