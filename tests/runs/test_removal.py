"""A run that gives way is whole in its place, or aside, or gone, whenever the process dies."""

import pytest

from debft.runs.directory import RunDirectory
from debft.runs.files import FILES
from debft.runs.holding import hold
from debft.runs.removal import bring_back, remove_run, remove_set_aside, set_aside

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


@pytest.mark.parametrize("calls", range(24))
def test_process_that_dies_leaves_whole_directories_and_its_successor_clears_up(run, monkeypatch, calls):
    """It dies behind any number of renames and syncs."""
    before, left = content_of(run), [calls]
    for name in ("rename", "fsync"):
        monkeypatch.setattr(f"os.{name}", dying(getattr(__import__("os"), name), left))
    try:
        remove_run(run)
        died = False
    except Killed:
        died = True
    monkeypatch.undo()
    after = content_of(run)
    checkpoints = {name: text for name, text in before.items() if name.startswith("checkpoints/")}
    found = {name: text for name, text in after.items() if name.startswith("checkpoints/")}
    assert found in (checkpoints, {}), "half of the checkpoints"
    assert died or "recipe.yaml" not in after
    assert "result.json" not in after or set(before) <= set(after), "a result without what it speaks of"
    with hold(RunDirectory(run)):
        assert not [path for path in run.iterdir() if path.name.startswith(".") and path.name != ".lock"]


def dying(call, left):
    def or_die(*arguments, **others):
        if not left[0]:
            raise Killed
        left[0] -= 1
        return call(*arguments, **others)

    return or_die
