"""Progress: a bar on a terminal, a plain line every ten seconds elsewhere."""

import sys
from types import SimpleNamespace

import pytest
import terminal
from terminal import console_on

from debft.console import say
from debft.runtime import progress


@pytest.fixture
def clock(monkeypatch):
    """The time is what the test says."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


def test_meter_prints_a_plain_line_every_ten_seconds_where_there_is_no_terminal(clock, monkeypatch):
    out = console_on(monkeypatch)
    with progress.meter("train", 100, "steps", done=50) as meter:
        for _ in range(25):
            clock.seconds += 1
            meter.advance(1, "loss 0.1")
    assert out.getvalue().splitlines() == ["train 60/100 steps  loss 0.1  ETA 0:40", "train 70/100 steps  loss 0.1  ETA 0:30"]


def test_meter_draws_a_bar_of_useful_width_with_its_time_left_on_a_terminal(clock, monkeypatch):
    out = console_on(monkeypatch, terminal.Screen(), force_terminal=True, width=80)
    with progress.meter("train", 18_408, "steps") as meter:
        clock.seconds += 60
        meter.advance(9_204, "loss 0.312  lr 1.1e-05  9,480 examples/s")
        assert meter.bar is not None
        meter.bar.refresh()
    (drawn, *_) = [line for line in terminal.plain(out.getvalue()) if "9,204/18,408" in line]
    assert drawn.startswith("train ") and "loss 0.312  lr 1.1e-05" in drawn and "ETA " in drawn
    assert len(drawn) <= 80 and drawn.count("━") + drawn.count("╸") + drawn.count("╺") >= 20  # a quarter of the line


def test_meter_draws_a_bar_in_the_cell_of_a_notebook_a_few_times_a_second(clock, monkeypatch):
    console_on(monkeypatch, force_jupyter=True)
    drawn = []
    place = SimpleNamespace(update=lambda content, raw: drawn.append(content["text/plain"]))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=lambda *content, **options: place))
    with progress.meter("train", 100, "steps") as meter:
        for _ in range(100):
            clock.seconds += 0.05
            meter.advance(1, "loss 0.1")
    assert all("loss 0.1 ETA 0:0" in text for text in drawn[1:-1]), drawn[1]
    assert drawn[-2].count("━") >= 20  # what is not done yet has no sign without colours
    assert 20 <= len(drawn) <= 28 and drawn[-1] == ""  # five seconds, and the end


def test_force_color_makes_no_terminal_of_a_pipe(clock, monkeypatch):
    out = console_on(monkeypatch, force_terminal=True)
    with progress.meter("train", 100, "steps") as meter:
        assert meter.bar is None
    say("warning: " + "words " * 40)
    assert out.getvalue() == "\x1b[33mwarning:\x1b[0m " + "words " * 40 + "\n"


def test_activity_is_said_at_once_on_a_terminal_and_leaves_nothing(monkeypatch):
    out = console_on(monkeypatch, terminal.Screen(), force_terminal=True, width=80)
    with progress.activity("loading torch"):
        assert "loading torch" in out.getvalue()
    assert not terminal.plain(out.getvalue())[-1]


def test_activity_gives_way_to_a_meter_within_it(monkeypatch):
    out = console_on(monkeypatch, terminal.Screen(), force_terminal=True, width=80)
    with progress.activity("preparing the run"), progress.meter("tokens", 10, "examples"):
        before = out.getvalue().count("preparing")
        assert len(progress._doing) == 1 and progress._doing[0].spinner is not None
    assert out.getvalue().count("preparing") > before  # it comes back


def test_activity_is_a_plain_line_elsewhere_once_it_lasts(monkeypatch):
    out = console_on(monkeypatch)
    monkeypatch.setattr(progress, "SECONDS_OF_SILENCE", 0.0)
    with progress.activity("loading torch"):
        progress._doing[-1].timer.join()
    monkeypatch.setattr(progress, "SECONDS_OF_SILENCE", 3600.0)
    with progress.activity("reading the rows"):
        pass
    assert out.getvalue() == "loading torch ...\n"


def test_meter_that_is_not_shown_counts_without_a_word(clock, monkeypatch):
    out = console_on(monkeypatch)
    with progress.meter("train", 100, "steps", show=False) as meter:
        clock.seconds += 60
        meter.advance(3)
    assert (meter.done, out.getvalue()) == (3, "")
