"""A file that takes seconds to read shows how far it is."""

from contextlib import AbstractContextManager

from debft.runtime.launch.group import is_main_process
from debft.runtime.progress import Meter, meter

BLOCK = 2**13  # rows that become parts of columns at a time
LARGE = 2**22  # bytes; a shorter file is read before a bar could be seen


def reading(size: int) -> AbstractContextManager[Meter]:
    """Give the meter of a file of so many bytes, which counts characters."""
    return meter("read", size, "characters", show=size > LARGE and is_main_process())
