"""The systems that debft runs on, and the line that says so elsewhere. It imports nothing that a system may lack."""

import sys

WINDOWS = ("win32", "cygwin", "msys")


def unsupported() -> str | None:
    """Return the line that refuses this system, or None where debft runs on it.

    Runs rest on signals, on directories that are brought to the disk and on processes that are joined by files. Windows has none of
    these in this form; the Linux inside it has them.
    """
    if sys.platform not in WINDOWS:
        return None
    return f"debft: expected Linux or macOS, got {sys.platform}; on Windows use WSL: `wsl --install`, and debft inside it"
