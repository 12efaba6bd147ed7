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


@pytest.mark.parametrize(("content", "line"), [("a: &a {b: *a}", 1), ("a: 1\nb: &b\n  - [1, *b]", 3)])
def test_alias_that_stands_for_what_it_lies_in_is_refused_with_its_line(tmp_path, content, line):
    path = tmp_path / "a.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=f"a.yaml:{line}: not valid YAML: the alias '.[ab]' stands for itself"):
        yaml12.load(path)


def test_alias_of_what_is_whole_is_taken():
    assert yaml12.parse("a: &a {b: 1}\nc: *a", "text") == {"a": {"b": 1}, "c": {"b": 1}}


def test_device_that_never_ends_is_refused():
    with pytest.raises(InputError, match="/dev/zero: expected at most 10,000,000 bytes, got more"):
        yaml12.load(Path("/dev/zero"))


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

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        yaml12.load(tmp_path / "recipe.yaml")
