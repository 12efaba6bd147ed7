"""What is too large for the memory lies in files without a name in the cache directory, which are gone with the process."""

import shutil
import tempfile
from functools import cache
from typing import BinaryIO

from debft.console import byte_size, say
from debft.errors import MachineError
from debft.runs.cache import cache_directory
from debft.runs.storage import DiskError, disk_errors
from debft.runtime.launch.group import is_main_process

SPARE = 2**28  # bytes that are left free on the disk


def nameless_file(what: str) -> BinaryIO | None:
    """Open a file that no name leads to; None where the cache directory cannot be written, after a line that says so.

    what: what stays in memory then, for the line
    """
    folder = cache_directory()
    try:
        with disk_errors(folder):
            return tempfile.TemporaryFile(dir=folder)
    except DiskError as error:
        _say_in_memory(what, error.refusal)
        return None


@cache
def _say_in_memory(what: str, refusal: str) -> None:
    """Say it once per process: several arrays are the encoded texts."""
    if is_main_process():
        say(f"{what}: {refusal}; kept in memory, however large (DEBFT_CACHE names a directory that can be written)")


def check_room(what: str, needed: int) -> None:
    """Raise MachineError where the disk of the cache has no room for so many bytes. what: what takes them, for the error line"""
    folder = cache_directory()
    with disk_errors(folder, "read"):
        usage = shutil.disk_usage(folder)
    if usage.total and usage.free < needed + SPARE:
        raise MachineError(
            f"{what}: expected {byte_size(needed + SPARE)} of free disk for what is not kept in memory, got "
            f"{byte_size(usage.free)} in {folder}; make room, or set DEBFT_CACHE to a directory on another disk"
        )
