"""What is printed can be printed: any text, wherever it goes, whatever code page the system has for it."""

import io
import sys
from pathlib import Path

import pytest

from debft.cli.main import main

ANSWER = "нет 我 😀 é"


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


@pytest.fixture
def printed(monkeypatch):
    """Bytes that `debft check FILE` writes about a file with the name ANSWER, to a stdout of this kind and encoding."""

    def run(kind, encoding, tmp_path):
        path = tmp_path / f"{ANSWER}.yaml"
        path.write_text("model: deberta-v3-small\ntask: mnli\n")
        stream = kind(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "argv", ["debft", "check", str(path)])
        with pytest.raises(SystemExit) as end:
            main()
        stream.flush()
        assert end.value.code == 0
        return stream.buffer.getvalue()

    return run


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii", "cp932"])
def test_text_for_a_file_or_a_pipe_is_utf_8(printed, encoding, tmp_path):
    assert ANSWER.encode() in printed(io.TextIOWrapper, encoding, tmp_path)


def test_text_for_a_terminal_keeps_its_encoding_and_shows_what_it_lacks_as_escapes(printed, tmp_path):
    said = printed(Terminal, "cp1252", tmp_path)
    assert rb"\u043d\u0435\u0442 \u6211 \U0001f600 " + "é".encode("cp1252") in said


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which takes nothing")
@pytest.mark.parametrize("argument", ["--version", "recipes"])
def test_disk_that_takes_no_results_ends_the_command_in_one_line(monkeypatch, capsys, argument):
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", full)
        patch.setattr(sys, "argv", ["debft", argument])
        with pytest.raises(SystemExit) as end:
            main()
    assert end.value.code == 5
    assert capsys.readouterr().err == "stdout: cannot be written: No space left on device; make room, then ask again\n"


def test_command_without_a_stdout_ends_as_it_would_with_one(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "argv", ["debft", "--version"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
