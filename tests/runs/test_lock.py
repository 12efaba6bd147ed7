"""Locks: one holder, who is named; the file goes only while the lock is held; a file system without locks is said."""

import errno
import fcntl
import os
import re
import socket

import pytest
from processes import Command

from debft.errors import InputError
from debft.runs import lock
from debft.runs.directory import RunDirectory
from debft.runs.holding import hold
from debft.runs.lock import HeldError, locked

HOLD = """
import sys, time
from pathlib import Path
from debft.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def holder_of(path):
    with pytest.raises(HeldError) as raised, locked(path):
        pass
    return raised.value.by


def started_holder(path):
    process = Command(path, code=HOLD)
    while "held" not in process.texts()[0]:
        assert process.poll() is None, process.texts()
    return process


def test_holder_is_named_by_pid_machine_and_time(tmp_path):
    process = started_holder(tmp_path / ".lock")
    words = rf"pid {process.pid} on {re.escape(socket.gethostname())} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC"
    assert re.fullmatch(words, holder_of(tmp_path / ".lock"))


def test_lock_ends_with_a_killed_holder_and_the_next_one_is_named(tmp_path):
    """The dead one's name is still in the file when the next one takes the lock."""
    process = started_holder(tmp_path / ".lock")
    process.kill()
    process.communicate()
    with locked(tmp_path / ".lock"):
        assert f"pid {os.getpid()} on" in holder_of(tmp_path / ".lock")


def test_name_of_a_killed_holder_is_not_taken_for_that_of_the_next_one(tmp_path, monkeypatch):
    """Who comes before the next holder has signed waits for its name."""
    path, process = tmp_path / ".lock", started_holder(tmp_path / ".lock")
    process.kill()
    process.communicate()
    handle = os.open(path, os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: path.write_text(f"pid {os.getpid()} on here since now\n"))
    assert holder_of(path) == f"pid {os.getpid()} on here since now"
    os.close(handle)


def test_nobody_is_named_in_the_file_after_the_release(tmp_path):
    with locked(tmp_path / ".lock"):
        assert (tmp_path / ".lock").read_text()
    assert (tmp_path / ".lock").read_text() == ""


@pytest.mark.parametrize("begun", [False, True])
def test_lock_file_is_there_at_its_release_or_went_before_it(tmp_path, monkeypatch, begun):
    """Who takes it in between would hold a file that has no name any more, beside the next one who makes it anew."""
    run, release, there = RunDirectory(tmp_path / "run"), lock._release, []
    monkeypatch.setattr(lock, "_release", lambda handle: (there.append((run.path / ".lock").exists()), release(handle)))
    with hold(run):
        if begun:
            (run.path / "recipe.yaml").write_text("")
    assert there[0] == begun == (run.path / ".lock").exists()


def test_process_that_opened_a_file_that_is_removed_then_takes_the_new_one(tmp_path, monkeypatch):
    """Its holder removes the file between the opening and the lock of another process."""
    path, flock = tmp_path / ".lock", lock._flock
    inodes = []

    def removed_before(handle, *rest, **how):
        inodes.append(os.fstat(handle).st_ino)
        if len(inodes) == 1:
            path.unlink()
        flock(handle, *rest, **how)

    monkeypatch.setattr(lock, "_flock", removed_before)
    with locked(path):
        assert len(inodes) == 2
        assert path.stat().st_ino == inodes[1]


def test_lock_ends_though_a_forked_process_still_has_its_file_open(tmp_path):
    with locked(tmp_path / ".lock") as held:
        inherited = os.dup(held.handle)
    with locked(tmp_path / ".lock"):
        pass
    os.close(inherited)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_file_system_without_locks_is_said(tmp_path, monkeypatch, capsys, number):
    def refuse(handle, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold(RunDirectory(tmp_path / "run")):
        (tmp_path / "run" / "recipe.yaml").write_text("")
    said = capsys.readouterr().err.replace("\n", " ")
    assert f"its file system keeps no locks ({os.strerror(number)})" in said
    assert "start no other one that writes there" in said


def test_waiting_process_has_the_lock_after_the_holder(tmp_path):
    process = started_holder(tmp_path / ".lock")
    waiting = Command(tmp_path / ".lock", code=HOLD.replace("(Path(sys.argv[1]))", "(Path(sys.argv[1]), wait=True)"))
    process.kill()
    while "held" not in waiting.texts()[0]:
        assert waiting.poll() is None, waiting.texts()


def test_directory_of_a_run_names_the_holder(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with (
        hold(run),
        pytest.raises(InputError, match=rf"run: another process is training into it \(pid {os.getpid()} on .* UTC\); wait"),
        hold(run),
    ):
        pass
