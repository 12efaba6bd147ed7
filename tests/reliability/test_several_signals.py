"""A few of the signals to commands that make several runs; `make test-reliability PART=signals-of-several` sends them all."""

import pytest
import several_signals


@pytest.mark.sweep
@pytest.mark.parametrize("case", several_signals.PART.few_cases(), ids=lambda case: case.name)
def test_runs_of_several_leave_their_checkpoints_and_go_on(case, tmp_path, monkeypatch):
    monkeypatch.setattr(several_signals, "SECONDS_TO_LEAVE", 600.0)  # a busy machine is slow
    directory = tmp_path / "case"
    directory.mkdir()
    case.run(directory)
