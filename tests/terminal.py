"""What commands write on a terminal of a given width: a real pseudo-terminal, on which they believe to be seen."""

import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence

from processes import SECONDS
from rich.console import Console

from debft import console
from debft.runtime import progress

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
END = "<<end of a command>>"
# Runs each command in turn, at a width each, and says where it ended.
SEVERAL = f"""
import contextlib, fcntl, json, struct, sys, termios
from debft.cli import main
for columns, arguments in json.loads(sys.argv[1]):
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    sys.argv = ["debft", *arguments]
    with contextlib.suppress(SystemExit):
        main.main()
    sys.stderr.flush(), print({END!r}, flush=True)
"""


class Screen(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


def seen(arguments: Sequence[str], columns: int = 80, **environment: str) -> str:
    """Everything that a program writes to its terminal, escapes included, with `\\n` for the ends of lines."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    variables = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    variables |= {"TERM": "xterm-256color"} | environment
    process = subprocess.Popen(arguments, stdin=slave, stdout=slave, stderr=slave, env=variables, start_new_session=True)
    os.close(slave)
    content = b""
    try:
        while part := os.read(master, 65536):
            content += part
    except OSError:  # Linux says so where the last writer is gone
        pass
    process.wait(timeout=SECONDS)
    os.close(master)
    return content.decode().replace("\r\n", "\n")


def screens(commands: Sequence[tuple[int, Sequence[str]]]) -> list[list[str]]:
    """The lines that each debft command prints on a terminal of its width, without colours; one process runs them all."""
    import json

    text = seen([sys.executable, "-c", SEVERAL, json.dumps([[columns, list(words)] for columns, words in commands])])
    return [plain(part) for part in text.split(END)[:-1]]


def plain(text: str) -> list[str]:
    """The lines as they stand at last: without escapes, and of a line that was written over the last state."""
    return [line.rpartition("\r")[2].rstrip() for line in ESCAPES.sub("", text).strip("\n").split("\n")]


def console_on(monkeypatch, out: io.StringIO | None = None, **options) -> io.StringIO:
    """Let lines and progress go to `out`, a console with these options, and return it."""
    out = out or io.StringIO()
    shown_on = Console(file=out, highlight=False, **options)
    for module in (console, progress):
        monkeypatch.setattr(module, "console", shown_on)
    return out
