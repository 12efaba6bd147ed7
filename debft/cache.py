"""Where debft keeps what it can make again, and how it writes files that are whole or absent."""

import os
import tempfile
from pathlib import Path

from debft.errors import InputError


def cache_directory() -> Path:
    """`$DEBFT_CACHE`, or `debft` in the user's cache directory."""
    chosen = os.environ.get("DEBFT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    directory = Path(chosen or os.path.join(base, "debft"))
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory}: the cache cannot be made: {error.strerror}; set DEBFT_CACHE to a directory") from None
    return directory


def write_atomically(path: Path, content: bytes) -> None:
    """All of `content` under `path`, or what was there before, also when the process dies in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
