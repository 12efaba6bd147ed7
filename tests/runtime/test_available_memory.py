"""How much memory a process may still take."""

import sys

import pytest

from debft.runtime.memory import available_memory_bytes


def laid_out(root, group, **limits):
    """A machine with 1,000 KiB available, and a process in `group` with a limit, a use and file pages by control group."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:  1000 kB\nHugePages_Total:  0\n")
    (root / "proc/self/cgroup").write_text(f"1:cpu:/elsewhere\n0::{group}\n")
    for name, (limit, used, files) in limits.items():
        folder = root / "sys/fs/cgroup" / name.replace("_", "/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 1\ninactive_file {files}\n")
    return root


@pytest.mark.parametrize(
    ("group", "limits", "expected"),
    [
        ("/", {}, 1_024_000),
        ("/job/step", {"job_step": ("max", 5, 0), "job": (9_000, 6_000, 500)}, 3_500),
        ("/job/step", {"job_step": (4_000, 1_000, 0), "job": (9_000, 6_000, 0)}, 3_000),
        ("/job/step", {"job_step": (2**40, 0, 0)}, 1_024_000),
        ("/", {"": (700, 900, 0)}, 0),
    ],
    ids=["no group", "limit above", "nearest limit", "limit beyond the machine", "container above its limit"],
)
def test_available_memory_is_what_machine_and_every_group_leave(tmp_path, group, limits, expected):
    assert available_memory_bytes(laid_out(tmp_path, group, **limits)) == expected


def test_available_memory_is_unknown_where_the_system_does_not_tell(tmp_path):
    assert available_memory_bytes(tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells it in /proc")
def test_available_memory_of_this_machine_is_a_number_of_bytes():
    assert 2**20 < available_memory_bytes() < 2**50
