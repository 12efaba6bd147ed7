"""An alias is pinned to one commit of its repository and, where they are known, to the digests of its files.

So `deberta-v3-base` means the same bytes everywhere and for good, whatever its owner or somebody else pushes later.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from debft.config import yaml12
from debft.errors import InputError
from debft.models.weights import weight_files
from debft.runs.storage import disk_errors

SMALL = 32 * 2**20  # bytes of a file that is compared whenever a model is looked up; weights when they are downloaded or read


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A pin says which files an alias stands for.

    commit: of its repository on the hub; None where it is not known here.
    files: the sha256 of the files that are known, by their names.
    """

    commit: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)


@cache
def pins() -> dict[str, Pin]:
    """Return the pin of each alias."""
    return {name: Pin(**content) for name, content in yaml12.load(Path(__file__).with_name("pins.yaml")).items()}


def check_pinned(name: str, directory: Path, *, largest: int | None = SMALL) -> None:
    """Raise InputError where a file of an alias is another one than the pinned one.

    largest: bytes of the files that are read; None: of any size
    """
    for file, expected in pins().get(name, Pin()).files.items():
        path = directory / file
        if path.is_file() and (largest is None or path.stat().st_size <= largest) and (got := sha256_of(path)) != expected:
            raise InputError(
                f"{path}: expected the file that {name} is pinned to, sha256 {expected[:12]}..., got {got[:12]}...; remove it to "
                "download it again, or give another one as --model DIR"
            )


def weight_digests(directory: Path) -> dict[str, str]:
    """Return the sha256 of each file of weights by its name, which takes a second for each gigabyte."""
    return {path.name: sha256_of(path) for path in weight_files(directory)}


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, which is read once as long as it stays as it is."""
    with disk_errors(path, "read"):
        state = path.stat()
        return _sha256(path.resolve(), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=64)
def _sha256(path: Path, changed: int, size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
