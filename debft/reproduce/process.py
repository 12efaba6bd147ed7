"""This module starts one run as a process, here or in a job of Slurm, follows it, and says what it ended with."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from debft.errors import MachineError
from debft.reproduce.notes import Failure, Note, write_note
from debft.runs.directory import RunDirectory
from debft.runs.logs import logged_step
from debft.runs.storage import disk_errors, make_directory
from debft.runtime.launch.local import SECONDS_TO_END
from debft.runtime.launch.started import Started, write_stacks

DEBFT = (sys.executable, "-m", "debft")


@dataclass(frozen=True, kw_only=True)
class RunCommand:
    """A run command is all that has to be known of a run to start it."""

    id: str
    """Its id, `<task>-<recipe>/seed-<seed>-<key>-<made>`."""
    arguments: tuple[str, ...]
    """What follows `debft` on its command line, without `--resume`."""
    directory: Path
    """Where it lies."""
    hang_seconds: float | None
    """How long its process may show no sign of life; None: as long as it likes."""
    logs: Path
    """The directory of what is kept beside it."""

    @property
    def log(self) -> Path:
        """The file that takes what its processes write to stderr."""
        return self.logs / f"{self.id.replace('/', '-')}.log"

    @property
    def note(self) -> Path:
        """The file of its note."""
        return self.log.with_suffix(".json")


class RunProcess:
    """A run process is a run that goes on where its newest checkpoint stands.

    variables: those that its environment has beside those of this process; processes: into how many it divides itself
    note: says which job starts it, where one does
    """

    def __init__(self, command: RunCommand, variables: Mapping[str, str], *, processes: int = 1, note: Note | None = None) -> None:
        self.command, self.note = command, note or Note()
        self.hung = ""  # what is wrong with a process that shows no sign of life
        self._deadline = float("inf")  # when one that was told to end is killed, in seconds of the monotonic clock
        with disk_errors(command.log):
            make_directory(command.logs)
            self._log = command.log.open("a", encoding="utf-8")
        words = [*DEBFT, *command.arguments, "--resume", "--num-processes", str(processes)]
        streams = {"stdout": subprocess.DEVNULL, "stderr": self._log}
        self.process = Started(words, variables, command.id, command.hang_seconds, **streams)
        write_note(command.note, self.note)

    def step(self) -> int:
        """Return the optimizer step that it has logged last."""
        return last_step(self.command.directory)

    def tell(self, number: int) -> None:
        """Send it a signal; it saves a checkpoint and leaves."""
        self.process.send(number)

    def look(self) -> None:
        """End a process that shows no sign of life, with its stacks in the run directory."""
        if not self.hung and self.process.is_silent():
            stacks = RunDirectory(self.command.directory).stacks
            self.hung = f"{self.process.silence()}; its stacks are in {stacks}"
            self._deadline = time.monotonic() + SECONDS_TO_END
            write_stacks([self.process], stacks)
            self.process.end()
        if time.monotonic() > self._deadline:
            self.process.send(signal.SIGKILL)

    def failure(self) -> Failure | None:
        """Return why a process that has ended did not end well, None where it did."""
        self._log.close()
        code, error = self.process.code or 0, last_line(self.command.log)
        if self.hung:
            return Failure(code=MachineError.exit_code, error=self.hung)
        if code < 0:  # as a shell has it: a process that a signal ended, by kill -9 or for its memory
            return Failure(code=128 - code, error=f"ended by {signal.Signals(-code).name}; its last line: {error}")
        return Failure(code=code, error=error) if code else None

    def write_end(self, failure: Failure | None) -> None:
        """Write down what it ended with. The checkpoints of one that is done are removed: nothing resumes from them."""
        ended = replace(self.note, code=failure.code if failure else 0, error=failure.error if failure else None)
        write_note(self.command.note, ended)
        if failure is None:
            shutil.rmtree(RunDirectory(self.command.directory).checkpoints, ignore_errors=True)


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "no output"
    return next((line for line in reversed(text.splitlines()) if line.strip()), "no output")


def last_step(directory: Path) -> int:
    """Return the optimizer step in the last whole line of steps.jsonl, 0 before the first."""
    path = RunDirectory(directory).path / "steps.jsonl"
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 2000))
            lines = file.read().split(b"\n")[:-1]
    except OSError:
        return 0
    return (logged_step(lines[-1]) or 0) if lines else 0
