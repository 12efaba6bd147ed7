"""Processes of a launcher meet, or say who is missing; from then on one that is stopped, killed or cut off ends the others."""

import os
import re
import signal
import socket
import time

import pytest
from processes import SECONDS, Command

from debft.runtime.launch.group import PARENT

HANG = 100.0
MEET = """
import sys, time
from debft.errors import DebftError
from debft.runtime.launch import heartbeat, meeting
meeting.SECONDS_TO_START = float(sys.argv[1])
try:
    for _ in range(int(sys.argv[3])):
        with heartbeat.in_touch(meeting.meet(None), 2.0, lambda: "it stays"):
            print("met", flush=True)
            time.sleep(float(sys.argv[2]))
except DebftError as error:
    print(*error.problems, sep="\\n")
    sys.exit(error.exit_code)
"""


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", PARENT):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def start():
    """Start the process of a rank, on a machine of its own, where it waits for the others and then for its end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])

    def start(rank, size=2, patience=SECONDS, stays=SECONDS, times=1):
        of_group = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        return Command(patience, stays, times, code=MEET, **of_group)

    return start


def met(*processes):
    deadline = time.monotonic() + SECONDS
    while not all("met" in process.texts()[0] for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all("met" in process.texts()[0] for process in processes), [process.texts() for process in processes]


SILENT, GONE = "process 1: no sign of life for 2 seconds", "process 0 has not answered for 2 seconds"


@pytest.mark.parametrize(
    ("number", "lost", "line"),
    [
        (signal.SIGSTOP, 1, SILENT),
        pytest.param(signal.SIGKILL, 1, SILENT, marks=pytest.mark.sweep),
        pytest.param(signal.SIGSTOP, 0, GONE, marks=pytest.mark.sweep),
        pytest.param(signal.SIGKILL, 0, GONE, marks=pytest.mark.sweep),
    ],
)
def test_process_that_is_stopped_or_killed_ends_the_other(start, lost, line, number):
    """With exit code 5 and one line, although it would have waited for minutes."""
    processes = [start(0), start(1)]
    met(*processes)
    os.kill(processes[lost].pid, number)
    _, err = processes[1 - lost].communicate()
    assert processes[1 - lost].returncode == 5, err
    assert line in err.splitlines()[-1] and err.strip().endswith("it stays")


@pytest.mark.sweep
def test_processes_that_leave_one_after_the_other_are_not_missed(start):
    """Nor do they come twice where a program of Python trains twice."""
    processes = [start(0, stays=1.0, times=2), start(1, stays=0.5, times=2)]
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said


def test_process_that_does_not_come_is_named_after_the_time(start):
    process = start(0, size=3, patience=1.0)
    out, _ = process.communicate()
    assert process.returncode == 5
    assert "2 of 3 processes did not come within 1 seconds: 1, 2; start all machines with the same options" in out


@pytest.mark.sweep
def test_process_0_that_is_not_there_is_named_with_its_place(start):
    process = start(1, patience=1.0)
    out, _ = process.communicate()
    assert process.returncode == 5
    assert "127.0.0.1:" in out and "process 0 did not answer for 1 seconds" in out


@pytest.mark.sweep
def test_processes_that_expect_other_numbers_are_refused(start):
    """Both of them, whichever was there first."""
    processes = [start(0), start(1, size=3)]
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [2, 2], said
    assert all(re.search("expected [23] processes as another one does, got [23]; start all", out) for out, _ in said), said


@pytest.mark.sweep
def test_second_process_0_finds_the_port_taken(start):
    """The one that came later, which on a busy machine may be the one that was started first."""
    processes = [start(0), start(0)]
    deadline = time.monotonic() + SECONDS
    while all(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
    late = next(process for process in processes if process.poll() is not None)
    assert late.returncode == 2, late.texts()
    assert "cannot be listened at" in late.texts()[0]


@pytest.mark.sweep
def test_second_process_of_a_number_is_refused(start):
    processes = [start(0, size=3), start(1, size=3), start(1, size=3)]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [2, 2, 2], said
    assert all("process 1 has come twice" in text for text in said)
