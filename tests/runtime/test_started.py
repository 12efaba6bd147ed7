"""A started process: what it is given, what it is sent, that it is shown life and paused with its parent, and what its stacks say."""

import os
import re
import signal
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest

from debft.runtime.launch import started
from debft.runtime.launch.group import PARENT
from debft.runtime.launch.lifeline import ASK_FOR_STACKS, LIFELINE, STACKS, Place
from debft.runtime.launch.started import Started, parent_of, write_stacks

SECONDS = 240  # until a thread counts as hanging, on a slow and busy machine
COMMAND = ["debft", "mnli"]


class Popen:
    """Stands in for a process. `heeds`: what it does when it is sent a signal"""

    def __init__(self, command, **given):
        self.command, self.given, self.pid = command, given, 5_000_000  # above every pid of a machine
        self.code, self.sent, self.heeds = None, [], lambda number: None

    def poll(self):
        return self.code

    def send_signal(self, number):
        self.sent.append(number)
        self.heeds(number)


@pytest.fixture
def begin(monkeypatch):
    monkeypatch.setattr(started, "subprocess", SimpleNamespace(Popen=Popen, DEVNULL=subprocess.DEVNULL))
    return lambda seconds=7.5, name="process 1", **streams: Started(COMMAND, {"RANK": "1"}, name, seconds, **streams)


def test_process_runs_the_command_in_a_session_of_its_own_with_its_end_of_the_lifeline(begin):
    child = begin(stderr=3)
    file = child.line.file
    given = dict(child.process.given)
    assert child.process.command == COMMAND
    assert given.pop("env") == {**os.environ, "RANK": "1", PARENT: str(os.getpid()), LIFELINE: f"{file}:7.5"}
    assert given == {"stdin": subprocess.DEVNULL, "start_new_session": True, "pass_fds": (file,), "stderr": 3}


def test_process_that_may_be_silent_gets_no_lifeline_of_another_one(begin, monkeypatch):
    monkeypatch.setenv(LIFELINE, "5:300.0")
    child = begin(seconds=None)
    assert LIFELINE not in child.process.given["env"]
    assert not child.is_silent()


def test_process_is_shown_life_before_it_starts(begin):
    """Else it would give its parent the time to start."""
    child = begin()
    assert (child.line.get(Place.PARENT), child.line.own, child.line.other) == (1, Place.PARENT, Place.CHILD)
    assert (child.line.pid, child.line.seconds) == (child.process.pid, 7.5)


def test_file_is_closed_with_the_process(begin):
    child = begin()
    file = child.line.file
    os.fstat(file)
    del child
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


def test_process_that_runs_is_silent_where_its_lifeline_is(begin):
    child = begin()
    child.line.is_silent = lambda: True
    assert child.is_silent()
    child.process.code = 0
    assert (child.code, child.is_silent()) == (0, False)


def test_what_the_process_tells_is_read(begin):
    child = begin()
    assert (child.told(), child.misses_parent()) == (0, False)
    child.line.put(Place.TOLD, signal.SIGUSR1)
    child.line.put(Place.MISSED, 1)
    assert (child.told(), child.misses_parent()) == (signal.SIGUSR1, True)


def test_process_that_is_to_leave_is_woken_for_it(begin):
    child = begin()
    child.end()
    assert child.process.sent == [signal.SIGTERM, signal.SIGCONT]


@pytest.mark.parametrize(("stopped", "why"), [(False, ""), (True, "; it is stopped, as by SIGSTOP")])
def test_silence_is_told_with_its_length_and_its_cause(begin, monkeypatch, stopped, why):
    child = begin()
    monkeypatch.setattr(started, "is_stopped", lambda pid: stopped and pid == child.process.pid)
    assert child.silence() == f"no sign of life for 0 seconds{why}"
    child.line.seconds_silent = 300.4
    assert child.silence() == f"no sign of life for 300 seconds{why}"


def test_children_are_shown_life_as_long_as_the_block_lasts(begin):
    """Also one that is started within it."""
    children = []
    threads = threading.active_count()
    with parent_of(children):
        assert threading.enumerate()[-1].daemon  # it keeps nothing from ending
        children.append(begin(seconds=0.05))
        deadline = time.monotonic() + SECONDS
        while children[0].line.get(Place.PARENT) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert children[0].line.get(Place.PARENT) >= 3
    assert threading.active_count() == threads


def test_life_is_shown_as_often_as_the_most_impatient_child_needs_it(begin, monkeypatch):
    waited = []

    class Event(threading.Event):
        def wait(self, seconds):
            waited.append(seconds)
            return super().wait(0.001)

    parts = {name: getattr(threading, name) for name in ("Thread", "current_thread", "main_thread")}
    monkeypatch.setattr(started, "threading", SimpleNamespace(Event=Event, **parts))
    for seconds, expected in (((), 1.0), ((2.0, 1.0), 0.2)):
        waited.clear()
        with parent_of([begin(seconds=one) for one in seconds]):
            while not waited:
                time.sleep(0.001)
        assert set(waited) == {expected}


@pytest.fixture
def terminal_stop(monkeypatch):
    """The signals that this process has sent itself, which stop nobody; SIGTSTP is as a shell leaves it."""
    raised = []
    monkeypatch.setattr(started.signal, "raise_signal", lambda number: raised.append((number, signal.getsignal(number))))
    before = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
    yield raised
    signal.signal(signal.SIGTSTP, before)


def test_children_are_paused_before_this_process_and_go_on_with_it(begin, terminal_stop):
    child = begin()
    with parent_of([child]):
        for _ in range(2):  # a second Ctrl-Z does the same
            child.process.sent.clear()
            terminal_stop.clear()
            child.process.heeds = lambda number: terminal_stop.append(number)
            signal.getsignal(signal.SIGTSTP)(signal.SIGTSTP, None)
            assert child.process.sent == [signal.SIGSTOP, signal.SIGCONT]
            assert terminal_stop == [signal.SIGSTOP, (signal.SIGTSTP, signal.SIG_DFL), signal.SIGCONT]
    assert signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL


def test_pause_of_a_program_that_calls_stays_its_own(begin, terminal_stop):
    own = lambda *_: None  # noqa: E731
    signal.signal(signal.SIGTSTP, own)
    with parent_of([begin()]):
        assert signal.getsignal(signal.SIGTSTP) is own
    assert signal.getsignal(signal.SIGTSTP) is own


def test_pause_is_left_alone_outside_of_the_main_thread(terminal_stop):
    """Python takes signals in its main thread alone."""
    seen = []

    def block():
        with parent_of([]):
            seen.append(signal.getsignal(signal.SIGTSTP))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join(SECONDS)
    assert seen == [signal.SIG_DFL]


def beating(child):
    child.line.put(Place.CHILD, 1)
    return child


def writes(child, text):
    """The process answers the question with these stacks, behind what is there already."""

    def answer(number):
        if number == ASK_FOR_STACKS:
            os.pwrite(child.line.file, text.encode(), os.fstat(child.line.file).st_size)

    child.process.heeds = answer
    return child


@pytest.fixture
def no_waiting(monkeypatch):
    """A clock that goes on by what is slept. Returns each such time."""
    slept = []
    clock = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(started, "time", clock)
    return slept


def test_stacks_are_those_of_this_process_and_of_each_child(begin, tmp_path, no_waiting):
    children = [writes(beating(begin(name=f"process {rank}")), f"Current thread of {rank}\n") for rank in range(2)]
    done = threading.Event()

    def wait_elsewhere():
        done.wait(SECONDS)

    thread = threading.Thread(target=wait_elsewhere)
    thread.start()
    write_stacks(children, tmp_path / "a" / "new" / "stacks.txt")
    done.set()
    thread.join()
    own, *others = (tmp_path / "a" / "new" / "stacks.txt").read_text(encoding="utf-8").split("\n--- ")
    assert re.match(rf"--- the process that started them, {os.getpid()}\n(Current t|T)hread 0x", own)
    assert "in write_stacks" in own and "in wait_elsewhere" in own
    pid = children[0].process.pid
    assert others == [f"process {rank}, {pid}, running\nCurrent thread of {rank}\n\n" for rank in range(2)]
    assert [child.process.sent for child in children] == [[ASK_FOR_STACKS, signal.SIGCONT]] * 2
    assert no_waiting == [started.SECONDS_FOR_THE_REST]  # no other, since each had answered


def test_child_that_has_ended_or_not_begun_is_not_asked_for_its_stacks(begin, tmp_path, no_waiting):
    """The question would kill one that has not yet begun to listen."""
    ended, starting = beating(begin(name="process 0")), begin(name="process 1")
    os.pwrite(ended.line.file, b"Current thread, earlier\n", STACKS)  # they are no longer true
    ended.process.code = 3
    write_stacks([ended, starting], tmp_path / "stacks.txt")
    assert (ended.process.sent, starting.process.sent) == ([], [])
    text = (tmp_path / "stacks.txt").read_text(encoding="utf-8")
    pid = ended.process.pid
    assert text.endswith(
        f"--- process 0, {pid}, ended with 3\nIt wrote no stacks.\n\n--- process 1, {pid}, running\nIt wrote no stacks.\n"
    )


def test_state_of_a_stopped_child_is_that_before_it_was_woken(begin, tmp_path, monkeypatch, no_waiting):
    child = writes(beating(begin()), "Current thread\n")
    monkeypatch.setattr(started, "is_stopped", lambda pid: not child.process.sent and pid == child.process.pid)
    write_stacks([child], tmp_path / "stacks.txt")
    assert f"--- process 1, {child.process.pid}, stopped\nCurrent thread\n" in (tmp_path / "stacks.txt").read_text()


def test_child_that_does_not_answer_is_waited_for_three_seconds(begin, tmp_path, no_waiting):
    """Earlier stacks of its own are no answer."""
    child = beating(begin())
    os.pwrite(child.line.file, b"Current thread, earlier\n", STACKS)
    write_stacks([child], tmp_path / "stacks.txt")
    assert sum(no_waiting) == pytest.approx(started.SECONDS_TO_WRITE_STACKS + started.SECONDS_FOR_THE_REST, abs=0.03)  # a look


def test_child_that_ends_over_the_question_is_waited_for_no_more(begin, tmp_path, no_waiting):
    child = beating(begin())
    child.process.heeds = lambda number: setattr(child.process, "code", -number)
    write_stacks([child], tmp_path / "stacks.txt")
    assert no_waiting == [started.SECONDS_FOR_THE_REST]


def test_bytes_of_a_stack_that_are_no_text_are_shown_all_the_same(begin, tmp_path, no_waiting):
    child = beating(begin())
    os.pwrite(child.line.file, b"Current thread \xff\n", STACKS)
    write_stacks([child], tmp_path / "stacks.txt")
    assert "Current thread \ufffd\n" in (tmp_path / "stacks.txt").read_text(encoding="utf-8")
