"""Lines for people: broken between words on a terminal, errors and warnings marked, colours only where they are wanted."""

import os
import subprocess
import sys

import pytest
import terminal
from terminal import console_on

from debft import console


def test_line_breaks_between_words_and_never_within_a_path_on_a_terminal(monkeypatch):
    out = console_on(monkeypatch, terminal.Screen(), width=80)
    path = "/home/someone/" + "long/" * 20 + "run"
    console.say(f"the run of a long name lies in {path} and it has what it takes to be used")
    console.say_field("run", "words that take more than the width of the terminal, which is eighty columns, " + path)
    lines = terminal.plain(out.getvalue())
    assert path in lines and " " * console.WIDTH_OF_LABEL + path in lines
    assert all(len(line) <= 80 or path in line for line in lines)


def test_error_is_marked_and_red_on_a_terminal_and_begins_with_its_place_elsewhere(monkeypatch):
    out = console_on(monkeypatch, terminal.Screen(), force_terminal=True, color_system="standard", width=80)
    console.say_problem("rows.tsv:2: expected a label")
    assert out.getvalue() == "\x1b[1;31merror:\x1b[0m rows.tsv:2: expected a label\n"
    out = console_on(monkeypatch)
    console.say_problem("rows.tsv:2: expected a label")
    assert out.getvalue() == "rows.tsv:2: expected a label\n"


@pytest.mark.parametrize("width", ["²", "9" * 5000, "abc"])
def test_width_that_no_terminal_has_counts_as_none(width):
    code = "from debft.console import console; print(console.width)"
    said = subprocess.run([sys.executable, "-c", code], env=os.environ | {"COLUMNS": width}, capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("80\n", "")


def test_no_color_has_no_colours_on_a_terminal():
    code = "from debft.console import say; say('warning: a word')"
    assert "\x1b[33m" in terminal.seen([sys.executable, "-c", code])
    assert terminal.seen([sys.executable, "-c", code], NO_COLOR="1") == "warning: a word\n"
