"""A few of the calls that `calls.py` lets fail, one after another; `make test-reliability` takes them all."""

import disk_run
import pytest
from calls import PART, Full, mount


@pytest.fixture(scope="module")
def cases():
    if why := disk_run.why_not():
        pytest.skip(why)
    return {case.name: case for case in PART.cases()}


@pytest.mark.sweep
@pytest.mark.parametrize(
    "name",
    [
        "EIO open 12",  # the model's configuration
        "ENOSPC write 33 on",
        "EIO fsync 30",
        "ENOSPC rename 15",
        "EIO unlink 1",
        "EINTR mkdir 6",
    ],
)
def test_refused_call_loses_nothing(cases, name, tmp_path):
    assert cases[name].run(tmp_path)


@pytest.mark.sweep
def test_kind_of_call_is_refused_until_the_run_makes_no_more_of_it(cases, tmp_path):
    """The last case of each kind is one behind its last call."""
    last = [name for name in cases if name.startswith("EIO rename ") and not name.endswith("on")][-1]
    assert "no such call" in cases[last].run(tmp_path)


@pytest.mark.sweep
def test_small_disk_that_fills_up_loses_nothing(cases, tmp_path):
    said = cases["tmpfs full 121"].run(tmp_path)
    if said.startswith("not done"):
        pytest.skip(said)
    assert "exit code 5" in said


def test_full_disk_has_not_one_byte_left(tmp_path):
    if why := mount(tmp_path):
        pytest.skip(why)
    try:
        from system_calls import Call

        Full(1, tmp_path / "ballast")(Call(kind="write", path=str(tmp_path / "x")))
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "x").write_bytes(b"1")
    finally:
        import subprocess

        subprocess.run(["umount", str(tmp_path)], check=True)
