"""The cache: a directory for what debft can make again."""

import os
from pathlib import Path

from debft.errors import InputError, disk_failed


def cache_directory() -> Path:
    """Make `$DEBFT_CACHE`, or `debft` in the user's cache directory, and return it. Raises InputError where it cannot be made."""
    chosen = os.environ.get("DEBFT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    directory = Path(chosen or os.path.join(base, "debft"))
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if disk_failed(error):
            raise
        raise InputError(f"{directory}: the cache cannot be made: {error.strerror}; set DEBFT_CACHE to a directory") from None
    return directory
