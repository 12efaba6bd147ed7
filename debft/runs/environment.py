"""The environment of a run: what it depends on beside its recipe and rows, which is code, versions and hardware."""

import hashlib
import os
import platform
import shlex
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from debft import __version__
from debft.errors import without_secrets

PACKAGES = ("torch", "transformers", "datasets", "evaluate", "accelerate", "tokenizers")
# The installed packages whose versions can move a number of a run.
MOVING = ("torch", "transformers", "accelerate", "tokenizers", "sentencepiece", "numpy", "scipy")
# The rooms and files that only ask for runs, show or judge them; everything else of the package takes part in making them.
SHOWING = ("cli", "reproduce", "output", "published", "console.py", "__main__.py")


@cache
def code_digest() -> str:
    """Return 16 hex digits that stand for the source files that take part in a run: they differ where the code does."""
    root, digest = Path(__file__).parent.parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if inside.parts[0] not in SHOWING:
            digest.update(f"{inside.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@cache
def moving_versions() -> dict[str, str]:
    """Return the versions of the installed packages that can move a number of a run, by name."""
    return {name: version(name) for name in MOVING}


def command_line() -> str | None:
    """Return the command as it was typed, without secrets; None where Python code other than the command line asked.

    A byte that is no UTF-8 stands as `\\udcff`: a file of the run holds it.
    """
    started = Path(sys.argv[0])
    by_command = started.stem == "debft" or started.parts[-2:] == ("debft", "__main__.py")
    typed = shlex.join(["debft", *sys.argv[1:]]).encode("utf-8", "backslashreplace").decode()
    return without_secrets(typed) if by_command else None


def environment(device: str, gpu: str | None, precision: str, num_processes: int, model_revision: str | None) -> dict[str, Any]:
    """Return code, versions and hardware by name; no paths, names or variables of the user's.

    gpu: the name of the card; None on the CPU, where `cuda`, the version that torch was built for, is None as well.
    """
    import torch

    return {
        "debft": __version__,
        "code": code_digest(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        **moving_versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device,
        "gpu": gpu,
        "cuda": torch.version.cuda if gpu else None,
        "precision": precision,
        "cpu_cores": os.cpu_count(),
        "num_processes": num_processes,
        "model_revision": model_revision,
    }
