"""Files are digested while they are written."""

import hashlib
import os

import pytest
import safetensors.torch
import torch

from debft.runs.digested import NAMES, first_bytes, write_digested, write_tensors


def of_every_kind():
    """A tensor of each dtype, none at all, a scalar, one that is not contiguous, and names that JSON has to write with care."""
    torch.manual_seed(0)
    tensors = {f"of {dtype}": (torch.randn(3, 5) * 9).to(dtype) for dtype in NAMES}
    more = {'a "quoted" name': torch.randn(2), "größe": torch.randn(()), "none": torch.empty(0, 4), "turned": torch.randn(4, 3).t()}
    return tensors | more


def test_tensors_are_written_byte_by_byte_as_safetensors_writes_them(tmp_path):
    tensors = of_every_kind()
    digest = write_tensors(tmp_path / "file", tensors)
    written = (tmp_path / "file").read_bytes()
    assert written == safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
    assert digest == hashlib.sha256(written).hexdigest()


def test_numbers_that_need_a_gradient_are_written(tmp_path):
    weight = torch.nn.Parameter(torch.arange(3.0))
    write_tensors(tmp_path / "file", {"weight": weight})
    assert torch.equal(safetensors.torch.load_file(tmp_path / "file")["weight"], weight.detach())


@pytest.mark.parametrize("size", [0, 1, 3, 2**20 + 7])
def test_first_bytes_are_those_and_no_more(size, tmp_path):
    content = os.urandom(2**20 + 20)
    (tmp_path / "log").write_bytes(content)
    assert write_digested(tmp_path / "copy", first_bytes(tmp_path / "log", size)) == hashlib.sha256(content[:size]).hexdigest()
    assert (tmp_path / "copy").read_bytes() == content[:size]


def test_first_bytes_of_a_shorter_file_are_all_of_it(tmp_path):
    (tmp_path / "log").write_bytes(b"line\n")
    assert b"".join(first_bytes(tmp_path / "log", 100)) == b"line\n"


def test_file_that_is_there_is_not_written_over(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_digested(tmp_path / "file", [b"new"])


def test_mode_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_tensors(tmp_path / "file", {"a": torch.zeros(1)})
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640
