"""What the power can leave of a run is made by rules of its own, which are held here; a few of the disks are resumed."""

import disk_run
import pytest
from power import PART, Disk


@pytest.fixture(scope="module")
def cases():
    if why := disk_run.why_not():
        pytest.skip(why)
    return list(PART.cases())


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(0, PART.few, 2))
def test_power_cut_loses_nothing(cases, part, tmp_path):
    cases[(2 * part + 1) * len(cases) // (2 * PART.few)].run(tmp_path)


@pytest.mark.sweep
def test_run_is_on_the_disk_when_it_is_done(cases, tmp_path):
    assert "already complete" in cases[-1].run(tmp_path)


def test_what_was_there_before_is_on_the_disk(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").write_bytes(b"1")
    disk = Disk(root=tmp_path)
    for path in (there := disk.look()):
        disk.sync(path, there)
    assert disk.image(there, named=False) == {"run": None, "run/x": b"1"}


def write_and_rename(disk, sync):
    """The way of a file to its name: written aside, synced, renamed, the directory synced; `sync` stops it after so many of these."""
    (disk.root / "aside").write_bytes(b"content")
    there = disk.look()
    if sync:
        disk.sync("aside", there)
    (disk.root / "aside").rename(disk.root / "final")
    there = disk.look()
    if sync > 1:
        disk.sync("", there)
    return there


@pytest.mark.parametrize(
    ("sync", "synced", "named"),
    [(0, {}, {"final": b""}), (1, {}, {"final": b"content"}), (2, {"final": b"content"}, {"final": b"content"})],
)
def test_disk_keeps_what_was_synced_and_names_that_may_be_there_sooner(tmp_path, sync, synced, named):
    disk = Disk(root=tmp_path)
    disk.look()
    there = write_and_rename(disk, sync)
    assert disk.image(there, named=False) == synced
    assert disk.image(there, named=True) == named


def test_removed_file_is_there_until_its_directory_is_synced(tmp_path):
    disk = Disk(root=tmp_path)
    disk.look()
    write_and_rename(disk, 2)
    (tmp_path / "final").unlink()
    assert disk.image(disk.look(), named=False) == {"final": b"content"}
    (tmp_path / "other").write_bytes(b"gets the number of the removed one")
    there = disk.look()
    assert disk.image(there, named=False) == {"final": b"content"}
    disk.sync("", there)
    assert disk.image(there, named=False) == {"other": b""}
