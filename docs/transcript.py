"""Draws the picture in the README from a real run: `python docs/transcript.py` in the checkout."""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = ["mnli", "--data", "demo", "--output", "runs/demo"]
WIDTH = 104


def main() -> None:
    """Run the command in an empty directory and write `demo.svg` beside this file."""
    with tempfile.TemporaryDirectory() as empty:
        environment = os.environ | {"COLUMNS": str(WIDTH)}
        done = subprocess.run([sys.executable, "-m", "debft", *COMMAND], cwd=empty, env=environment, capture_output=True, text=True)
    done.check_returncode()
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text(f"$ debft {' '.join(COMMAND)}", style="bold"))
    console.print(Text(done.stderr.rstrip()))
    console.save_svg(str(Path(__file__).with_name("demo.svg")), title="debft")


if __name__ == "__main__":
    main()
