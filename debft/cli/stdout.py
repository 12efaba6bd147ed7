"""Results on stdout: JSON, and lines that a reader may stop reading."""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from debft.console import put
from debft.errors import MachineError


def print_json(content: dict[str, Any]) -> None:
    """Print `content` as one JSON object."""
    put(json.dumps(content, indent=2, ensure_ascii=False))


@contextmanager
def until_closed() -> Iterator[None]:
    """Print within the block until the reader has enough, as `| head` does. Raises MachineError as `flush_stdout` does."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        _give_up(error)


def flush_stdout() -> None:
    """Hand on what was printed. Raises MachineError where the disk that it goes to takes no more; a reader may have enough."""
    if sys.stdout is None:  # it was closed before the command began
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_up(error)


def _give_up(error: OSError) -> None:
    """Print no more. Raises MachineError unless that is what the reader wants."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries once more when it ends, and shows how
    if not isinstance(error, BrokenPipeError):
        raise MachineError(f"stdout: cannot be written: {error.strerror}; make room, then ask again") from None


def write_any_text() -> None:
    """Make every text printable, whatever code page the system has.

    Results that go to a file or another program are UTF-8. A terminal gets \\u escapes for what it cannot show.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            for_program = stream is sys.stdout and not stream.isatty()
            stream.reconfigure(encoding="utf-8" if for_program else None, errors="backslashreplace")
