"""A few rounds of simultaneous starts; `run.py locks` does all of them."""

import locks
import pytest


@pytest.mark.sweep
@pytest.mark.parametrize("number", range(locks.PART.few))
def test_one_of_many_simultaneous_starts_trains(tmp_path, monkeypatch, number):
    """One new, one to resume; fewer at a time than in the full run."""
    monkeypatch.setattr(locks, "STARTS", 6)
    list(locks.PART.cases())[number].run(tmp_path)
