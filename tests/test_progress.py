"""Progress: a bar on a terminal, a plain line every ten seconds elsewhere."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from debft import console as progress


@pytest.fixture
def clock(monkeypatch):
    """The time is what the test says."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def console(monkeypatch, **options) -> io.StringIO:
    out = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=out, highlight=False, **options))
    return out


def test_meter_prints_a_plain_line_every_ten_seconds_where_there_is_no_terminal(clock, monkeypatch):
    out = console(monkeypatch)
    with progress.meter("train", 100, "steps", done=50) as meter:
        for _ in range(25):
            clock.seconds += 1
            meter.advance(1, "loss 0.1")
    assert out.getvalue().splitlines() == ["train 60/100 steps  loss 0.1  ETA 0:40", "train 70/100 steps  loss 0.1  ETA 0:30"]


def test_meter_draws_a_bar_and_no_line_on_a_terminal(clock, monkeypatch):
    out = console(monkeypatch, force_terminal=True)
    with progress.meter("train", 100, "steps") as meter:
        clock.seconds += 60
        meter.advance(1, "loss 0.1")
        assert meter.bar is not None
    assert "ETA" not in out.getvalue()


def test_meter_that_is_not_shown_counts_without_a_word(clock, monkeypatch):
    out = console(monkeypatch)
    with progress.meter("train", 100, "steps", show=False) as meter:
        clock.seconds += 60
        meter.advance(3)
    assert (meter.done, out.getvalue()) == (3, "")
