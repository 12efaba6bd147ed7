"""A file that takes seconds to read shows how far it is."""

from contextlib import AbstractContextManager

from debft.runtime.launch.group import is_main_process
from debft.runtime.progress import Meter, meter

BLOCK = 50_000  # lines between two calls of the meter; a shorter file is read before a bar could be seen


def reading(num_lines: int) -> AbstractContextManager[Meter]:
    """Give the meter of a file of so many lines."""
    return meter("read", num_lines, "lines", show=num_lines > BLOCK and is_main_process())
