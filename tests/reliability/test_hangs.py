"""A few of the processes that are stopped, killed, slow or paused; `make test-reliability` does it at every point of a run."""

import hangs
import pytest

FEW = [
    case
    for case in hangs.cases()
    if case.name
    in (
        "stop rank 1 at step:3",
        "stop parent at evaluation:1",
        "kill rank 0 at step:3",
        "slow hold two at saving:1",
        "stop a run of two at step:1",
        "pause two at step:1",
    )
]


@pytest.mark.sweep
@pytest.mark.parametrize("case", FEW, ids=lambda case: case.name)
def test_process_that_hangs_is_noticed_and_a_slow_one_is_not(case, tmp_path, monkeypatch):
    monkeypatch.setattr(hangs, "SECONDS_TO_END", 600.0)  # a busy machine is slow
    case.run(tmp_path)
