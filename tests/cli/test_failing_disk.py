"""A disk that fails is no fault of what the user gave, wherever a command first comes to it; any other refusal is."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from debft.cli.foreign.command import import_command
from debft.config import yaml12
from debft.errors import InputError
from debft.library.keywords import told_by_keywords
from debft.output.tables.runs import find_runs
from debft.runs.cache import cache_directory
from debft.runs.directory import RunDirectory
from debft.runs.storage import DiskError
from debft.training.place import check_writable


def refuse_with(patch, owner, name, number):
    def refuse(*_args, **_kwargs):
        raise OSError(number, os.strerror(number), "/a/place")

    patch.setattr(owner, name, refuse)


PLACES = [
    pytest.param(Path, "mkdir", lambda place: cache_directory(), id="cache"),
    pytest.param(Path, "open", lambda place: yaml12.load(place / "recipe.yaml"), id="recipe"),
    pytest.param(Path, "read_text", lambda place: import_command([str(place / "recipe.yaml")]), id="command"),
    pytest.param(RunDirectory, "result", lambda place: find_runs([str(place)]), id="runs"),
    pytest.param(tempfile, "TemporaryFile", check_writable, id="output"),
]


@pytest.mark.parametrize(("owner", "name", "come_to"), PLACES)
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EINTR, errno.EDQUOT, errno.ESTALE], ids=errno.errorcode.get)
def test_disk_that_fails_is_no_fault_of_the_path(tmp_path, monkeypatch, owner, name, come_to, number):
    (tmp_path / "recipe.yaml").write_text("task: mnli\n")
    with monkeypatch.context() as patch, pytest.raises(DiskError, match=os.strerror(number)), told_by_keywords():
        refuse_with(patch, owner, name, number)
        come_to(tmp_path)


@pytest.mark.parametrize(("owner", "name", "come_to"), PLACES)
@pytest.mark.parametrize("number", [errno.EROFS, errno.ENXIO, errno.ENOTDIR], ids=errno.errorcode.get)
def test_path_that_is_refused_is_the_users(tmp_path, monkeypatch, owner, name, come_to, number):
    (tmp_path / "recipe.yaml").write_text("task: mnli\n")
    with monkeypatch.context() as patch, pytest.raises(InputError, match=f"(?i){os.strerror(number)}"), told_by_keywords():
        refuse_with(patch, owner, name, number)
        come_to(tmp_path)
