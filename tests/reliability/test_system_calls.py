"""The calls of a process are seen whichever library makes them, and one that is refused does not happen."""

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from system_calls import watched, why_not

from debft.errors import DebftError
from debft.runs.storage import whole_directory, write_atomically


@pytest.fixture(autouse=True)
def needs_notifications():
    if why := why_not():
        pytest.skip(why)


def calls_of(action, tmp_path, refuse=lambda call: 0):
    seen = []
    code = watched(action, lambda call: seen.append(call) or refuse(call), tmp_path / "said")
    here = f"{tmp_path}/"
    return code, [str(call).replace(here, "") for call in seen if call.path.startswith(here)]


def test_calls_of_a_write_are_seen_in_their_order(tmp_path):
    code, calls = calls_of(lambda: write_atomically(tmp_path / "x", b"1") or 0, tmp_path)
    kinds = [call.split()[0] for call in calls]
    assert (code, kinds) == (0, ["open", "write", "fsync", "rename"])
    assert "rename x" in calls and (tmp_path / "x").read_bytes() == b"1"


def test_write_of_safetensors_is_refused_as_well_and_nothing_stays(tmp_path):
    def save():
        try:
            with whole_directory(tmp_path / "model") as folder:
                save_file({"a": np.zeros(10)}, folder / "x")
        except DebftError as error:
            print(error)
            return error.exit_code
        return 0

    code, calls = calls_of(save, tmp_path, lambda call: errno.ENOSPC if "partial/" in call.path and call.kind == "write" else 0)
    assert code == 5 and "cannot be written: No space left on device" in (tmp_path / "said").read_text()
    assert any(call.startswith("write .model") for call in calls) and [path.name for path in tmp_path.iterdir()] == ["said"]


def test_calls_of_a_thread_that_begins_later_are_seen_and_refused_as_well(tmp_path):
    def write_by_a_thread():
        refused = []

        def write():
            try:
                write_atomically(tmp_path / "x", b"1")
            except DebftError as error:
                refused.append(error)

        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        return refused[0].exit_code

    code, calls = calls_of(write_by_a_thread, tmp_path, lambda call: errno.EIO if call.kind == "fsync" else 0)
    assert code == 5 and [call.split()[0] for call in calls][:3] == ["open", "write", "fsync"]
    assert not (tmp_path / "x").exists()


def test_paths_are_absolute_whatever_they_are_relative_to(tmp_path):
    def make():
        os.chdir(tmp_path)
        Path("a").mkdir()
        handle = os.open("a", os.O_RDONLY)
        os.mkdir("b", dir_fd=handle)
        Path("a").rename("c")
        return 0

    code, calls = calls_of(make, tmp_path)
    assert (code, calls) == (0, ["mkdir a", "open a", "mkdir a/b", "rename c"])


def test_error_of_the_watched_process_is_its_exit_code(tmp_path):
    assert calls_of(lambda: 1 // 0, tmp_path)[0] == 1
    assert "ZeroDivisionError" in (tmp_path / "said").read_text()
