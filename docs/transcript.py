"""Draws the picture in the README from a real run on a terminal: `python docs/transcript.py` in the checkout."""

import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = ["mnli", "--data", "demo", "--recipe", "mnli/quick", "--output", "runs/demo"]
WIDTH, HEIGHT = 100, 60
SHOWN = 0.7  # of the steps, when the bar is drawn into the picture


def main() -> None:
    """Run the command in an empty directory and write `demo.svg` beside this file."""
    with tempfile.TemporaryDirectory() as empty:
        lines, bar = last_screen(written([sys.executable, "-m", "debft", *COMMAND], Path(empty)))
    begun = next(at for at, line in enumerate(lines) if "training from step" in line)
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text(f"$ debft {' '.join(COMMAND)}", style="bold"))
    for line in [*lines[: begun + 1], bar, *lines[begun + 1 :]]:
        console.print(Text.from_ansi(line), soft_wrap=True)
    console.save_svg(str(Path(__file__).with_name("demo.svg")), title="debft")


def written(command: list[str], directory: Path) -> str:
    """Return everything that a command writes to its terminal."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(command, cwd=directory, env=environment, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    content = b""
    try:
        while part := os.read(master, 65536):
            content += part
    except OSError:  # Linux says so where the last writer is gone
        pass
    if code := process.wait():
        sys.exit(f"the command ended with exit code {code}:\n{content.decode()}")
    return content.decode().replace("\r\n", "\n")


def last_screen(text: str) -> tuple[list[str], str]:
    """Return the lines as they stand at the end, colours included, and the bar of the training as it was on the way."""
    lines, bar = [""], ""
    for part in re.split(r"(\n|\r|\x1b\[\d*[AK]|\x1b\[\?25[hl])", text):
        if part == "\n":
            lines.append("")
        elif part.endswith("A"):
            lines.pop()
        elif part == "\r" or part.endswith("K"):
            lines[-1] = ""
        elif not part.startswith("\x1b[?"):
            lines[-1] += part
            if steps := re.search(r"train .*?([\d,]+)/([\d,]+)", re.sub(r"\x1b\[[\d;]*m", "", part)):
                done, total = (int(number.replace(",", "")) for number in steps.groups())
                bar = part if done <= SHOWN * total else bar
    return [line for line in lines if line], bar


if __name__ == "__main__":
    main()
