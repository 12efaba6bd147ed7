"""What Slurm's commands say of jobs, and what a job asks of them. Slurm may keep no account of jobs that have ended."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from debft.errors import InputError

COMMANDS = ("sbatch", "srun", "squeue", "scontrol")
SECONDS_TO_ANSWER = 30.0
# A job in one of these states has ended and does not go on. Source: squeue(1), JOB STATE CODES, of Slurm 22.05.
ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
)
# Name of the job, number of the array or of the job, place in the array, state, machine, and why it waits.
FORMAT = "%j|%F|%K|%T|%N|%r"


class NoAnswerError(Exception):
    """A command of Slurm has failed, or has not answered: nothing is known of the jobs then."""


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A queued job is what squeue says of one job, or of one task of an array."""

    id: str
    """Its number, `12`, in an array `12_3`."""
    name: str
    """The name of the job."""
    index: int
    """Its place in the array, 0 where there is none."""
    state: str
    """`PENDING`, `RUNNING` and so on."""
    host: str
    """The machine that it runs on, empty as long as it waits."""
    reason: str
    """Why it waits, `Resources`; `None` where it does not."""

    @property
    def ended(self) -> bool:
        """Whether it has ended, and does not go on."""
        return self.state in ENDED


def check_slurm(option: str) -> None:
    """Raise InputError where there is no Slurm here, or it does not answer. option: what asks for it"""
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        which = ", ".join(missing)
        raise InputError(
            f"{option}: expected a machine that submits to Slurm, found no {which} in PATH; log in to one, or leave it out"
        )
    try:
        queued_jobs()
    except NoAnswerError as error:
        raise InputError(f"{option}: expected an answer of Slurm, got '{error}'; ask again once it works") from None


def queued_jobs() -> list[QueuedJob]:
    """Return the jobs of this user that Slurm knows, also those that ended in the last minutes. Raises NoAnswerError."""
    words = ("squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--format={FORMAT}")
    return read_queue(_answer(words))


def read_queue(text: str) -> list[QueuedJob]:
    """Return the jobs in what squeue has written as FORMAT says."""
    jobs = []
    for line in text.splitlines():
        parts = line.split("|", 5)
        if len(parts) == 6:  # with several clusters it writes their names between
            name, number, index, state, host, reason = (part.strip() for part in parts)
            in_array = index.isdecimal()
            id_ = f"{number}_{index}" if in_array else number
            jobs.append(QueuedJob(id=id_, name=name, index=int(index) if in_array else 0, state=state, host=host, reason=reason))
    return jobs


def own_job() -> str | None:
    """Return the number of the job that this process is part of, `12_3` in an array; None outside of one."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ.get("SLURM_JOB_ID")


def state_of(job: str) -> str:
    """Return the state of a job. Raises NoAnswerError where Slurm does not know it."""
    answer = _answer(("scontrol", "--oneliner", "show", "job", job))
    found = re.search(r"\bJobState=(\w+)", answer)
    if found is None:
        raise NoAnswerError(answer.strip() or f"no state of job {job}")
    return found[1]


def requeue(job: str) -> None:
    """Let a job begin anew when it is its turn again. Raises NoAnswerError where Slurm refuses."""
    _answer(("scontrol", "requeue", job))


def _answer(words: Sequence[str]) -> str:
    """Return what a command of Slurm writes on stdout. It does not see SQUEUE_PARTITION and the like, which would hide jobs."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SQUEUE_")}
    try:
        done = subprocess.run(
            words,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS_TO_ANSWER,
        )
    except subprocess.TimeoutExpired:
        raise NoAnswerError(f"{words[0]}: no answer within {SECONDS_TO_ANSWER:.0f} seconds") from None
    except OSError as error:
        raise NoAnswerError(f"{words[0]}: {error.strerror}") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise NoAnswerError(lines[-1] if lines else f"{words[0]} ended with exit code {done.returncode}")
    return done.stdout
