"""Two processes that see of each other that they live: what counts as life, and what does not count as silence."""

import os
import signal
import subprocess
import sys
import time

import pytest

from debft.runtime.launch import lifeline, started
from debft.runtime.launch.lifeline import LIFELINE, SECONDS_TO_START, SECONDS_TO_WAKE, Lifeline, Place, look_at_parent, new_file

SECONDS = 240  # until a process counts as hanging, on a slow and busy machine
HANG = 100.0


@pytest.fixture
def ends(monkeypatch):
    """(the parent's end, the child's) of one file, with a clock and a processor time that the test sets."""
    clock = {"now": 0.0, "processor": 0}
    monkeypatch.setattr(lifeline.time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(lifeline, "seconds_of_processor", lambda pid: clock["processor"])
    file = new_file()
    parent = Lifeline(file, Place.PARENT, Place.CHILD, 1, HANG)
    child = Lifeline(file, Place.CHILD, Place.PARENT, 1, HANG)
    yield parent, child, clock
    os.close(file)


def after(line, clock, seconds, step=10.0):
    """Whether the other end is silent after so many seconds, at all of which this one looks."""
    for _ in range(round(seconds / step)):
        clock["now"] += step
        silent = line.is_silent()
    return silent


def test_silence_counts_from_the_last_beat(ends):
    parent, child, clock = ends
    child.beat()
    assert not after(parent, clock, HANG)
    assert after(parent, clock, 2 * HANG)
    child.beat()
    assert not parent.is_silent()


def test_processor_time_is_life(ends):
    """A library that holds Python's lock keeps the thread from beating."""
    parent, child, clock = ends
    child.beat()
    for _ in range(5):
        clock["processor"] += 1
        assert not after(parent, clock, HANG)


def test_process_that_has_not_begun_to_beat_has_time_to_start(ends):
    parent, _, clock = ends
    assert not after(parent, clock, SECONDS_TO_START)
    assert after(parent, clock, 20.0)


def test_time_in_which_the_one_that_looks_was_stopped_does_not_count(ends):
    """A laptop that sleeps, a group of processes that is paused as a whole."""
    parent, child, clock = ends
    child.beat()
    assert not after(parent, clock, 10.0)
    assert not after(parent, clock, 1000 * HANG, step=1000 * HANG)


def test_nothing_is_silent_without_a_limit(ends):
    parent, child, clock = ends
    parent.seconds = None
    child.beat()
    assert not after(parent, clock, 1000 * HANG)


def test_parent_that_is_silent_is_woken_and_told_then_killed(ends):
    parent, child, clock = ends
    sent = []
    parent.beat()
    for _ in range(int(HANG + SECONDS_TO_WAKE) // 10 + 2):
        clock["now"] += 10.0
        look_at_parent(child, kill=lambda pid, number: sent.append(number))
    assert sent[0] == signal.SIGCONT and sent[-1] == signal.SIGKILL
    assert parent.get(Place.MISSED)


def test_parent_that_lives_is_left_alone(ends):
    parent, child, clock = ends
    for _ in range(100):
        clock["now"] += 10.0
        parent.beat()
        look_at_parent(child, kill=lambda *_: pytest.fail("killed"))
    assert not parent.get(Place.MISSED)


def test_lifeline_of_another_process_is_not_taken(monkeypatch):
    """A variable that is left over, as in a process that a run has started for something else."""
    monkeypatch.setenv(LIFELINE, "5:300.0")
    assert lifeline.take_lifeline(os.getppid() + 1) is None


CHILD = """
import signal, sys, time
from debft.runtime.launch.group import follow_parent
from debft.runtime.launch.lifeline import cause_is_said, tell_parent
follow_parent()
def waiting_for_ever():
    tell_parent(10)
    while not cause_is_said(): time.sleep(0.01)
waiting_for_ever()
"""


@pytest.fixture
def child():
    """A process that waits until its parent has said why the run ends."""
    process = started.Started([sys.executable, "-c", CHILD], {}, "process 0", HANG, stderr=subprocess.PIPE)
    deadline = time.monotonic() + SECONDS
    while not process.told() and time.monotonic() < deadline:
        time.sleep(0.01)
    yield process
    process.send(signal.SIGKILL)
    process.process.communicate()


def test_child_tells_of_its_signal_and_hears_what_was_said(child):
    assert child.told() == signal.SIGUSR1
    child.line.put(Place.SAID, 1)
    assert child.process.wait(timeout=SECONDS) == 0


@pytest.mark.parametrize("stop", [False, True])
def test_stacks_are_written_by_a_process_that_goes_on_with_them(child, stop, tmp_path):
    """One that is stopped is woken for them."""
    if stop:
        child.send(signal.SIGSTOP)
        while not started.is_stopped(child.process.pid):
            time.sleep(0.01)
    path = tmp_path / "runs" / "stacks.txt"
    started.write_stacks([child], path)
    own, of_child = path.read_text().split("--- process 0, ")
    assert "in write_stacks" in own and "in waiting_for_ever" in of_child
    assert of_child.splitlines()[0] == f"{child.process.pid}, {'stopped' if stop else 'running'}"
    assert child.code is None
