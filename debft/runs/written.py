"""The files that a run wrote are known by size and digest, so that a file which was changed or lost since is told from them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from debft.errors import InputError
from debft.runs.reading import sha256_of


@dataclass(frozen=True, kw_only=True)
class WrittenFile:
    """A file is known by its size and its digest."""

    bytes: int
    """Size in bytes."""
    sha256: str
    """Digest of the content, 64 hex digits."""


def written(path: Path) -> WrittenFile:
    """Return size and digest of a file."""
    return WrittenFile(bytes=path.stat().st_size, sha256=sha256_of(path))


def files_of(folder: Path) -> dict[str, WrittenFile]:
    """Return size and digest of every file below `folder`, by its path there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): written(path) for path in paths}


def check_sizes(run: Path, files: Mapping[str, WrittenFile], model_files: Mapping[str, WrittenFile]) -> None:
    """Raise InputError where a file of a complete run has another size than the run wrote.

    run: the directory of the run; `files` are by their path there, `model_files` by their path in its model/
    This is cheap; who reads a file compares its digest. A file that is gone, and a model/ that is gone whole, are no damage:
    somebody may have kept the results alone.
    """
    for name, file in files.items():
        path = run / name
        if path.is_file() and path.stat().st_size != file.bytes:
            raise _changed(run, path, f"{file.bytes:,} bytes", f"{path.stat().st_size:,}")
    for name, file in model_files.items() if (run / "model").is_dir() else ():
        path = run / "model" / name
        size = path.stat().st_size if path.is_file() else 0
        if size != file.bytes:
            raise _changed(run, path, f"{file.bytes:,} bytes", f"{size:,}")


def check_content(run: Path, name: str, content: bytes, file: WrittenFile) -> None:
    """Raise InputError where `content`, of the file `name` of a complete run, is not what the run wrote."""
    _check_digest(run, run / name, hashlib.sha256(content).hexdigest(), file)


def check_model_files(run: Path, model_files: Mapping[str, WrittenFile]) -> None:
    """Raise InputError where a file of model/ is not what the run wrote. All are read, which takes seconds for gigabytes."""
    for name, file in model_files.items():
        path = run / "model" / name
        _check_digest(run, path, sha256_of(path), file)


def _check_digest(run: Path, path: Path, digest: str, file: WrittenFile) -> None:
    if digest != file.sha256:
        raise _changed(run, path, f"sha256 {file.sha256[:12]}...", f"{digest[:12]}...")


def _changed(run: Path, path: Path, expected: str, got: str) -> InputError:
    advice = f"bring the file back, or remove {run} to run it again"
    return InputError(f"{path}: expected what the run wrote, {expected}, got {got}; {advice}")
