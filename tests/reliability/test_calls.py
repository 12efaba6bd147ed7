"""A few of the calls that `calls.py` lets fail, one after another; `make test-reliability` takes them all."""

import re
import subprocess

import disk_run
import pytest
from calls import PART, Full, check, mount
from system_calls import Call


@pytest.fixture(scope="module")
def cases():
    if why := disk_run.why_not():
        pytest.skip(why)
    return {case.name: case for case in PART.cases()}


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("error", "kind", "about", "lasting", "outcome"),
    [
        ("EIO", "open", r"demo/config\.json$", False, "config.json: cannot be read: Input/output error; trying once more"),
        ("EIO", "open", r"demo/config\.json$", True, "exit code 5 after step 0"),
        ("ENOSPC", "write", r"step-000007.*partial", True, "exit code 5 after step [78]"),  # the next step begins meanwhile
        ("EIO", "fsync", r"step-000014.*partial", False, "step 14 has no checkpoint, the newest is step-000007; training goes on"),
        ("ENOSPC", "rename", r"checkpoints/step-000020$", False, "the last step has no checkpoint; going on to the evaluation"),
        ("EIO", "unlink", r"old\.partial", False, "no matter"),
        ("EIO", "unlink", r"old\.partial", True, "checkpoints: cannot be written: Input/output error"),
        ("ENOSPC", "mkdir", r"cache$", False, "exit code 5 after step 0"),
        ("EINTR", "mkdir", r"\.model\..*partial", False, "exit code 5 after step 20"),
    ],
)
def test_refused_call_loses_nothing(cases, tmp_path, error, kind, about, lasting, outcome):
    _, calls = disk_run.warm().ask(disk_run.uninterrupted)
    of_kind = [str(call) for call in calls if call.kind == kind]
    number = next(number for number, call in enumerate(of_kind, start=1) if re.search(about, call))
    assert re.search(outcome, disk_run.warm().ask(check, tmp_path, kind, number, error, lasting))


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
        Full(1, tmp_path / "ballast")(Call(kind="write", path=str(tmp_path / "x")))
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "x").write_bytes(b"1")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
