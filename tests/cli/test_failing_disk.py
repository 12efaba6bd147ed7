"""A disk that fails is no fault of what the user gave, wherever a command first comes to it; any other refusal is."""

import errno
import os
import tempfile
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from transformers import AutoTokenizer

from debft.cli.foreign.command import import_command
from debft.config import yaml12
from debft.data.sources.files import read_table
from debft.errors import InputError
from debft.library.keywords import told_by_keywords
from debft.models import weights
from debft.models.tokens.foreign import tokenizer_of_transformers
from debft.models.weights import stored_tensors
from debft.output.tables.runs import find_runs
from debft.runs.cache import cache_directory
from debft.runs.directory import RunDirectory
from debft.runs.storage import DiskError
from debft.training.place import check_writable


def refuse_with(patch, owner, name, number):
    def refuse(*_args, **_kwargs):
        raise OSError(number, os.strerror(number), "/a/place")

    patch.setattr(owner, name, refuse)


@pytest.fixture
def place(tmp_path):
    for name in ("recipe.yaml", "rows.parquet", "model.safetensors", "pytorch_model.bin", "vocab.txt"):
        (tmp_path / name).write_text("task: mnli\n")
    return tmp_path


CHOSEN = [
    pytest.param(Path, "mkdir", lambda place: cache_directory(), id="cache"),
    pytest.param(Path, "open", lambda place: yaml12.load(place / "recipe.yaml"), id="recipe"),
    pytest.param(Path, "read_text", lambda place: import_command([str(place / "recipe.yaml")]), id="command"),
    pytest.param(RunDirectory, "result", lambda place: find_runs([str(place)]), id="runs"),
    pytest.param(tempfile, "TemporaryFile", check_writable, id="output"),
]
READ = [
    pytest.param(pyarrow.parquet, "ParquetFile", lambda place: read_table(place / "rows.parquet"), id="parquet"),
    pytest.param(weights, "safe_open", lambda place: stored_tensors(place / "model.safetensors"), id="safetensors"),
    pytest.param(torch, "load", lambda place: stored_tensors(place / "pytorch_model.bin"), id="weights"),
    pytest.param(
        AutoTokenizer, "from_pretrained", lambda place: tokenizer_of_transformers(place / "vocab.txt", "x"), id="tokenizer"
    ),
]


@pytest.mark.parametrize(("owner", "name", "come_to"), [*CHOSEN, *READ])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EINTR, errno.EDQUOT, errno.ESTALE], ids=errno.errorcode.get)
def test_disk_that_fails_is_no_fault_of_the_path(place, monkeypatch, owner, name, come_to, number):
    with monkeypatch.context() as patch, pytest.raises(DiskError, match=os.strerror(number)), told_by_keywords():
        refuse_with(patch, owner, name, number)
        come_to(place)


@pytest.mark.parametrize(("owner", "name", "come_to"), CHOSEN)
@pytest.mark.parametrize("number", [errno.EROFS, errno.ENXIO, errno.ENOTDIR], ids=errno.errorcode.get)
def test_path_that_is_refused_is_the_users(place, monkeypatch, owner, name, come_to, number):
    with monkeypatch.context() as patch, pytest.raises(InputError, match=f"(?i){os.strerror(number)}"), told_by_keywords():
        refuse_with(patch, owner, name, number)
        come_to(place)
