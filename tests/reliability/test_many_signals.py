"""A few of the signals that a run is sent, each at another point; `make test-reliability` sends them all."""

import many_signals
import pytest

EVERY = len(list(many_signals.cases())) // many_signals.PART.few
FEW = list(many_signals.cases())[::EVERY][: many_signals.PART.few]


@pytest.mark.sweep
@pytest.mark.parametrize("case", FEW[::2], ids=lambda case: case.name)
def test_signal_leaves_a_checkpoint_and_ends_the_run(case, tmp_path, monkeypatch):
    monkeypatch.setattr(many_signals, "SECONDS_TO_LEAVE", 600.0)  # a busy machine is slow
    case.run(tmp_path)
