"""A run that gives way is whole in its place, or aside, or gone, whenever the process dies."""

import errno
import os

import pytest

from debft.runs.directory import RunDirectory
from debft.runs.files import FILES
from debft.runs.holding import hold
from debft.runs.removal import bring_back, remove_run, remove_set_aside, set_aside
from debft.runs.storage import DiskError

IN_DIRECTORIES = ("checkpoints/step-000001/model.safetensors", "checkpoints/step-000001/manifest.json", "model/config.json")


@pytest.fixture
def run(tmp_path):
    """A run with something in each of its places, and a file of somebody else."""
    return made(tmp_path / "run", "old")


def made(run, text):
    names = [name for name in FILES if "." in name] + list(IN_DIRECTORIES)
    for name in (*names, "notes.txt"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(f"{text} {name}")
    return run


def content_of(run):
    return {str(path.relative_to(run)): path.read_text() for path in run.rglob("*") if path.is_file()}


def test_removed_run_is_gone_and_nothing_else(run):
    remove_run(run)
    assert content_of(run) == {"notes.txt": "old notes.txt"}
    assert [path.name for path in run.iterdir()] == ["notes.txt"]


def test_run_that_was_set_aside_is_no_run_until_it_is_brought_back(run):
    before = content_of(run)
    set_aside(run)
    directory = RunDirectory(run)
    assert not directory.exists() and directory.foreign_files() == [run / "notes.txt"]
    made(run, "new")
    (run / "notes.txt").write_text("old notes.txt")
    assert bring_back(run)
    assert content_of(run) == before
    assert not list(run.glob(".*"))


def test_without_a_run_aside_nothing_is_brought_back_or_removed(run):
    before = content_of(run)
    assert not bring_back(run)
    remove_set_aside(run)
    assert content_of(run) == before


class Killed(BaseException):
    pass


def killed_behind(calls, act, run, monkeypatch):
    """Tell whether the process dies behind that many renames and syncs."""
    left = [calls]
    for name in ("rename", "fsync"):
        monkeypatch.setattr(os, name, dying(getattr(os, name), left))
    try:
        act(run)
        return False
    except Killed:
        return True
    finally:
        monkeypatch.undo()


@pytest.mark.parametrize("calls", range(24))
def test_process_that_dies_leaves_whole_directories_and_its_successor_clears_up(run, monkeypatch, calls):
    before = content_of(run)
    died = killed_behind(calls, remove_run, run, monkeypatch)
    after = content_of(run)
    checkpoints = {name: text for name, text in before.items() if name.startswith("checkpoints/")}
    found = {name: text for name, text in after.items() if name.startswith("checkpoints/")}
    assert found in (checkpoints, {}), "half of the checkpoints"
    assert died or "recipe.yaml" not in after
    assert "result.json" not in after or set(before) <= set(after), "a result without what it speaks of"
    with hold(RunDirectory(run)):
        assert not [path for path in run.iterdir() if path.name.startswith(".") and path.name != ".lock"]


def test_process_that_dies_while_it_brings_a_run_back_mixes_no_two_runs(tmp_path, monkeypatch):
    died, calls = True, 0
    while died:
        run = made(tmp_path / f"{calls}", "old")
        old = content_of(run) | {"notes.txt": "new notes.txt"}
        set_aside(run)
        made(run, "new")
        new = {name: text for name, text in content_of(run).items() if not name.startswith(".")}
        died = killed_behind(calls, bring_back, run, monkeypatch)
        with hold(RunDirectory(run)):
            found = {name: text for name, text in content_of(run).items() if name != ".lock"}
        assert found.items() <= old.items() or found.items() <= new.items(), "parts of two runs"
        assert "result.json" not in found or found in (old, new), "a result without what it speaks of"
        calls += 1
    assert found == old and calls > 2 * len(old)


def dying(call, left):
    def or_die(*arguments, **others):
        if not left[0]:
            raise Killed
        left[0] -= 1
        return call(*arguments, **others)

    return or_die


def names_and_syncs(monkeypatch, run):
    """Return a list that grows by the name that each rename gives within the run, and by `sync` where the run's directory is synced."""
    done, rename, fsync = [], os.rename, os.fsync

    def note(handle):
        assert os.path.samestat(os.fstat(handle), run.stat())
        done.append("sync")
        fsync(handle)

    monkeypatch.setattr(os, "rename", lambda a, b: (done.append(os.path.relpath(b, run)), rename(a, b)))
    monkeypatch.setattr(os, "fsync", note)
    return done


def test_result_goes_before_anything_it_speaks_of_and_comes_behind_it_also_where_power_is_cut(run, monkeypatch):
    """Of the renames between two syncs a power cut may keep any."""
    first, *others, last = (name for name in FILES if (run / name).exists())
    done = names_and_syncs(monkeypatch, run)
    set_aside(run)
    aside = [f".set-aside.partial/{name}" for name in (first, *others, last)]
    assert done == [aside[0], "sync", *aside[1:], "sync"]
    done.clear()
    assert bring_back(run)
    assert done == [".brought-back.partial", "sync", "sync", last, *reversed(others), "sync", first, "sync"]


@pytest.mark.parametrize("act", [remove_run, set_aside, bring_back])
def test_disk_that_refuses_is_one_line_with_the_directory(run, monkeypatch, act):
    if act is bring_back:
        set_aside(run)

    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(DiskError) as raised:
        act(run)
    assert raised.value.refusal == f"{run}: cannot be written: Read-only file system"
