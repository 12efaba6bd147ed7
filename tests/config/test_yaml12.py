"""Scalars as people mean them; PyYAML's own reading is the trap."""

import errno
from pathlib import Path

import pytest
import yaml

from debft.config import yaml12
from debft.errors import InputError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-5", 2e-5),
        ("2.0e-5", 2e-5),
        ("1E6", 1e6),
        ("-3", -3),
        (".5", 0.5),
        ("3.", 3.0),
        ("0", 0),
        ("true", True),
        ("null", None),
        ("~", None),
    ],
)
def test_scalar_is_the_number_it_looks_like(text, value):
    found = yaml12.parse(text, "x")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["on", "yes", "010", "0x10", "1_000", "2026-01-01", "12:30:45", "e5", "."])
def test_word_stays_a_word(text):
    assert yaml12.parse(text, "x") == text


def test_pyyaml_itself_would_spring_the_trap():
    assert yaml.safe_load("2e-5") == "2e-5"
    assert yaml.safe_load("010") == 8
    assert yaml.safe_load("on") is True


def test_key_that_occurs_twice_is_an_error_with_its_line(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("task: mnli\nmodel: a\ntask: cola\n")
    with pytest.raises(InputError, match=r"r\.yaml:3: not valid YAML: the key 'task' occurs twice"):
        yaml12.load(path)


def test_python_tags_are_refused(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("task: !!python/object/apply:os.system [id]\n")
    with pytest.raises(InputError, match="not valid YAML"):
        yaml12.load(path)


def test_bytes_that_are_not_utf8_are_an_error(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_bytes(b"task: \xff\n")
    with pytest.raises(InputError, match="expected UTF-8 text, got byte 0xff"):
        yaml12.load(path)


def test_disk_that_fails_is_no_fault_of_the_file(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        yaml12.load(tmp_path / "recipe.yaml")
