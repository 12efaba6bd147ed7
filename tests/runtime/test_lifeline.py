"""Two processes that see of each other that they live: what counts as life, and what does not count as silence."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from debft.runtime.launch import lifeline, started
from debft.runtime.launch.lifeline import LIFELINE, SECONDS_TO_START, SECONDS_TO_WAKE, Lifeline, Place, look_at_parent, new_file

SECONDS = 240  # until a process counts as hanging, on a slow and busy machine
HANG = 100.0
PID = 5_000_000  # of the other end; above every pid of a machine


@pytest.fixture
def ends(monkeypatch):
    """(the parent's end, the child's) of one file, with a clock and a processor time that the test sets."""
    clock = {"now": 0.0, "processor": 0}
    monkeypatch.setattr(lifeline.time, "monotonic", lambda: clock["now"])
    monkeypatch.setattr(lifeline, "seconds_of_processor", lambda pid: clock["processor"] if pid == PID else None)
    file = new_file()
    parent = Lifeline(file, Place.PARENT, Place.CHILD, PID, HANG)
    child = Lifeline(file, Place.CHILD, Place.PARENT, PID, HANG)
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
    assert parent.seconds_silent == HANG / 4  # it counts as a quarter at most


def test_nothing_is_silent_without_a_limit(ends):
    parent, child, clock = ends
    parent.seconds = math.inf
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


def test_other_end_is_silent_only_once_the_time_has_passed(ends):
    """Not when it is over just now: the limit itself is still in order."""
    parent, child, clock = ends
    child.beat()
    assert not after(parent, clock, HANG + 10.0)  # the first look sees the beat
    assert parent.seconds_silent == HANG
    assert after(parent, clock, 10.0)
    assert parent.seconds_silent == HANG + 10.0


def test_parent_that_does_not_wake_is_killed_ten_seconds_after_it_was_told(ends):
    parent, child, clock = ends
    parent.beat()
    sent = []
    for _ in range(13):
        clock["now"] += 10.0
        look_at_parent(child, kill=lambda *to: sent.append((clock["now"], *to)))
    # From the first look at 10 s on; 110 s is in order yet, at 120 s it is told to go on, and 10 s later killed.
    assert sent == [(120.0, PID, signal.SIGCONT), (130.0, PID, signal.SIGKILL)]
    assert (child.get(Place.MISSED), child.get(Place.CHILD)) == (1, 13)


def test_time_to_start_is_no_shorter_than_the_limit(ends):
    parent, child, _ = ends
    parent.seconds = 2 * SECONDS_TO_START
    assert parent.limit() == 2 * SECONDS_TO_START
    parent.seconds = 7.0
    assert parent.limit() == SECONDS_TO_START
    child.beat()
    assert parent.limit() == 7.0


@pytest.mark.parametrize(("seconds", "between"), [(300.0, 1.0), (2.0, 0.4), (math.inf, 1.0)])
def test_beats_are_a_second_apart_or_five_within_the_limit(ends, seconds, between):
    parent, _, _ = ends
    parent.seconds = seconds
    assert parent.between_beats() == between


def test_numbers_stand_beside_each_other_in_the_file(ends):
    """Each end reads what the other has written, in whatever order."""
    parent, child, _ = ends
    values = {place: 10**12 + place for place in Place}
    for place, value in values.items():
        parent.put(place, value)
    assert {place: child.get(place) for place in Place} == values
    assert os.pread(parent.file, 8, 8) == (10**12 + 1).to_bytes(8, "little")


@pytest.mark.parametrize("in_memory", [True, False])
def test_new_file_has_no_name_and_stacks_begin_behind_the_numbers(monkeypatch, in_memory):
    """Also where a system has no files in memory, as macOS."""
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create")
    file = new_file()
    try:
        assert (os.fstat(file).st_nlink, os.get_inheritable(file)) == (0, False)
        assert (str(Path(f"/proc/self/fd/{file}").readlink()) == "/memfd:debft-lifeline (deleted)") == in_memory
        assert os.pread(file, 100, 0) == bytes(lifeline.STACKS)
        os.write(file, b"stacks \xff")
        assert lifeline.stacks_in(file) == "stacks \ufffd"
    finally:
        os.close(file)


def test_processor_time_and_state_are_those_of_the_system(tmp_path, monkeypatch):
    """Of the line of proc_pid_stat(5): the name may hold what separates its fields, the times are in ticks."""
    asked = []
    monkeypatch.setattr(lifeline, "Path", lambda path: asked.append(path) or tmp_path / "stat")
    (tmp_path / "stat").write_text("17 (a) T (b) S 1 17 17 0 -1 4194560 100 0 0 0 250 31 9 9 20 0 1 0 12345")
    assert (lifeline.seconds_of_processor(17), lifeline.is_stopped(17)) == (281, False)
    assert asked == ["/proc/17/stat"] * 2


@pytest.mark.parametrize(("state", "stopped"), [("T", True), ("t", True), ("R", False), ("Z", False)])
def test_stopped_is_what_the_system_calls_so(tmp_path, monkeypatch, state, stopped):
    """By SIGSTOP, or by a debugger."""
    monkeypatch.setattr(lifeline, "Path", lambda path: tmp_path / "stat")
    (tmp_path / "stat").write_text(f"17 (python) {state} 1 17")
    assert lifeline.is_stopped(17) == stopped


@pytest.mark.parametrize("content", [None, b"17 (\xff) R 1"])
def test_process_that_the_system_does_not_show_has_no_processor_time(tmp_path, monkeypatch, content):
    monkeypatch.setattr(lifeline, "Path", lambda path: tmp_path / "stat")
    if content is not None:
        (tmp_path / "stat").write_bytes(content)
    assert (lifeline.seconds_of_processor(17), lifeline.is_stopped(17)) == (None, False)


@pytest.fixture
def parents_end(monkeypatch):
    """The parent's end of a lifeline that this process may take, and the signals for which stacks are asked."""
    file, asked = new_file(), []
    monkeypatch.setattr(lifeline, "_to_parent", [])
    monkeypatch.setattr(lifeline, "faulthandler", SimpleNamespace(register=lambda *given, **named: asked.append((given, named))))
    monkeypatch.setenv(LIFELINE, f"{file}:7.5")
    yield Lifeline(file, Place.PARENT, Place.CHILD, os.getpid(), HANG), asked
    os.close(file)


def test_lifeline_of_the_parent_is_taken_and_beats_at_once(parents_end):
    parent, asked = parents_end
    line = lifeline.take_lifeline(os.getppid())
    assert (line.file, line.own, line.other, line.pid, line.seconds) == (parent.file, Place.CHILD, Place.PARENT, os.getppid(), 7.5)
    assert parent.get(Place.CHILD) == 1
    assert asked == [((signal.SIGQUIT,), {"file": parent.file, "all_threads": True})]


@pytest.mark.parametrize("given", [None, "5", "5:"])
def test_process_without_a_lifeline_takes_none(monkeypatch, given):
    monkeypatch.delenv(LIFELINE, raising=False)
    if given:
        monkeypatch.setenv(LIFELINE, given)
    assert lifeline.take_lifeline(os.getppid()) is None


def test_parent_is_told_of_a_signal(parents_end):
    parent, _ = parents_end
    lifeline.tell_parent(signal.SIGTERM)  # there is none yet
    assert parent.get(Place.TOLD) == 0
    lifeline.take_lifeline(os.getppid())
    lifeline.tell_parent(signal.SIGUSR2)
    assert parent.get(Place.TOLD) == signal.SIGUSR2


def test_cause_is_said_only_where_a_parent_says_it(parents_end, monkeypatch):
    slept = []
    monkeypatch.setattr(lifeline, "time", SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append))
    parent, _ = parents_end
    assert lifeline.cause_is_said(within=7.0) is False and slept == []  # nobody could say it
    line = lifeline.Lifeline(parent.file, Place.CHILD, Place.PARENT, 1, HANG)
    lifeline._to_parent.append(line)
    assert lifeline.cause_is_said() is False and slept == []
    assert lifeline.cause_is_said(within=0.1) is False and sum(slept) == pytest.approx(0.1, abs=0.021)  # a look
    parent.put(Place.SAID, 1)
    assert lifeline.cause_is_said() is True


def test_cause_that_is_said_a_little_later_is_waited_for(parents_end, monkeypatch):
    parent, _ = parents_end
    lifeline._to_parent.append(lifeline.Lifeline(parent.file, Place.CHILD, Place.PARENT, 1, HANG))
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            parent.put(Place.SAID, 1)

    monkeypatch.setattr(lifeline, "time", SimpleNamespace(monotonic=lambda: sum(slept), sleep=sleep))
    assert lifeline.cause_is_said(within=7.0) is True
    assert len(slept) == 3


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
