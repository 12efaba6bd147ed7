"""A passing error of a disk is tried once more and told from damage."""

import errno
from pathlib import Path

import pytest

from debft.config.recipe import Recipe
from debft.errors import InputError
from debft.runs.directory import RunDirectory
from debft.runs.reading import read_file, read_twice
from debft.runs.storage import DiskError


def refuse(monkeypatch, name, times):
    """The first `times` readings of the file `name` fail as a worn disk or a network does."""
    read, calls = Path.read_bytes, []

    def refused(path):
        if path.name == name:
            calls.append(path)
            if len(calls) <= times:
                raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create(Recipe(task="rte"))
    run.write_split({"path": None, "held_out": None})
    run.logs.append("steps.jsonl", {"step": 1, "loss": 0.5})
    return run


READS = {
    "recipe.yaml": lambda run: run.recipe(),
    "split.json": lambda run: run.split(),
    "steps.jsonl": lambda run: run.logs.rows("steps.jsonl"),
}


@pytest.mark.parametrize("name", READS)
def test_passing_error_of_the_disk_is_said_and_tried_once_more(run, monkeypatch, capsys, name):
    expected = READS[name](run)
    refuse(monkeypatch, name, 1)
    assert READS[name](run) == expected
    said = capsys.readouterr().err.replace("\n", " ")
    assert f"{run.path / name}: cannot be read: Input/output error; trying once more" in said


@pytest.mark.parametrize("name", READS)
def test_lasting_error_of_the_disk_is_no_damage(run, monkeypatch, name):
    refuse(monkeypatch, name, 2)
    with pytest.raises(DiskError, match=rf"{name}: cannot be read: Input/output error"):
        READS[name](run)


def test_file_that_may_not_be_read_is_the_input_of_the_user(run, monkeypatch):
    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(InputError, match=r"recipe\.yaml: cannot be read: Permission denied; make it a file that you may read"):
        run.recipe()


def test_refusal_in_the_words_of_torch_is_tried_once_more(tmp_path, capsys):
    answers = iter([RuntimeError("unable to open file </a> in read-only mode: Input/output error (5)"), "read"])

    def read():
        if isinstance(answer := next(answers), Exception):
            raise answer
        return answer

    assert read_twice(tmp_path, read) == "read"
    assert capsys.readouterr().err == f"{tmp_path}: cannot be read: Input/output error; trying once more\n"


def test_error_of_another_kind_is_not_tried_again(tmp_path):
    with pytest.raises(ZeroDivisionError):
        read_twice(tmp_path, lambda: 1 / 0)


@pytest.mark.parametrize("times", [1, 2])
def test_refusal_that_safetensors_calls_a_missing_file_is_tried_once_more(tmp_path, capsys, times):
    """Its error for whatever keeps it from opening a file is FileNotFoundError, without the system's number."""
    calls = []

    def read():
        calls.append(1)
        if len(calls) <= times:
            raise FileNotFoundError(f"No such file or directory: {tmp_path}/x")
        return "read"

    if times == 1:
        assert read_twice(tmp_path, read) == "read"
    else:
        with pytest.raises(DiskError, match=f"^{tmp_path}: cannot be read: No such file or directory: {tmp_path}/x;"):
            read_twice(tmp_path, read)
    assert f"{tmp_path}: cannot be read: No such file or directory: {tmp_path}/x; trying once more" in capsys.readouterr().err


def test_file_that_is_missing_is_not_tried_again(tmp_path, capsys):
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "x")
    assert capsys.readouterr().err == ""
