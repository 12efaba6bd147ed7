"""This module keeps a note of each run's last start beside its log, by which `--status` tells what runs and what failed."""

import json
import os
import socket
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from debft.errors import has_half_surrogate
from debft.runs.json_records import read_as
from debft.runs.storage import write_atomically


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failure says why a run has no result."""

    code: int
    """The exit code of its process."""
    error: str
    """The last line that it wrote."""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class Note:
    """A note says what started a run last, and what it ended with."""

    pid: int = field(default_factory=os.getpid)
    """The process that started it."""
    host: str = field(default_factory=socket.gethostname)
    """The machine that it was started on."""
    job: str | None = None
    """The job of Slurm, `12_3`; None where it was started without one."""
    name: str | None = None
    """The name of that job, which no other submission has."""
    started: str = field(default_factory=_now)
    """When it was started, as ISO 8601 has it, in UTC."""
    code: int | None = None
    """The exit code of its process; None as long as it runs, and of a job that Slurm takes up again."""
    error: str | None = None
    """Why it has no result; None where it ended well."""

    @property
    def failure(self) -> Failure | None:
        """Return why the run has no result, None where it runs or ended well."""
        return Failure(code=self.code, error=self.error or "no output") if self.code else None

    def runs(self) -> bool:
        """Return whether the process that started the run may still be there: one of another machine is not looked at."""
        if self.code is not None:
            return False
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):  # no system has a process of such a number
            return False
        except PermissionError:
            pass
        return True


def write_note(path: Path, note: Note) -> None:
    """Write the note of a run."""
    write_atomically(path, (json.dumps(asdict(note)) + "\n").encode())


def read_note(path: Path) -> Note | None:
    """Return the note of a run, None where there is none that can be read: it only tells, and decides nothing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        note: Note = read_as(content, Note, "")
        whole = {"pid", "host"} <= content.keys() and note.pid > 0 and not has_half_surrogate(str(note.error))
        return note if whole else None
    except (OSError, ValueError, RecursionError):
        return None
