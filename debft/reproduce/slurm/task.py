"""This module is what a job of Slurm does for one run of a table: it starts the run, and has the job begin anew where it must stop.

Slurm sends SIGUSR2 before the time of a job is over, and SIGTERM where the job has to give way to another one or is cancelled. All
processes of the job get either; a run then saves its state and leaves. A job that gives way is taken up again by Slurm itself, one
whose time is over only where it asks for that.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

from debft.console import say
from debft.reproduce.notes import Failure, Note
from debft.reproduce.process import RunCommand, RunProcess, last_step
from debft.runtime.launch.slurm import NoAnswerError, own_job, requeue, state_of
from debft.runtime.launch.started import parent_of
from debft.runtime.signals import INTERRUPTED

SECONDS_BETWEEN_LOOKS = 0.25
TOLD = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
BEFORE_LIMIT = tuple(128 + number for number in (signal.SIGUSR1, signal.SIGUSR2))  # exit codes of a run whose time was over
TOO_SHORT = 2  # the exit code of a run that does no step within the time of its job: the user's input


@dataclass(frozen=True, kw_only=True)
class RunTask:
    """A task is the run that one job does. submitit keeps it, pickled, beside its own logs until the job begins."""

    command: RunCommand
    """The run."""
    name: str
    """The name of the job."""
    processes: int
    """Into how many processes the run divides itself."""

    def __call__(self) -> int:
        """Start or resume the run and follow it to its end; leave with its exit code where that is not 0."""
        job, begun_at = own_job(), last_step(self.command.directory)
        told: list[int] = []
        for number in TOLD:  # in the place of submitit's own, which would not wait for the run
            signal.signal(number, _noting(told))
        run = RunProcess(self.command, _variables(), processes=self.processes, note=Note(job=job, name=self.name))
        passed_on = False
        with parent_of([run.process]):
            while run.process.code is None:
                run.look()
                if told and not passed_on:
                    passed_on = True
                    run.tell(told[0])
                time.sleep(SECONDS_BETWEEN_LOOKS)
        failure = run.failure()
        if failure is None:
            run.write_end(None)
            return 0
        if failure.code in BEFORE_LIMIT and last_step(self.command.directory) <= begun_at:
            failure = Failure(code=TOO_SHORT, error="no step was done within the time of the job; give a longer --time")
        if not (failure.code in INTERRUPTED and _begins_anew(job)):
            run.write_end(failure)
        sys.exit(failure.code)


def _noting(told: list[int]) -> Callable[[int, FrameType | None], None]:
    def note(number: int, _frame: FrameType | None) -> None:
        told.append(number)

    return note


def _variables() -> dict[str, str]:
    """Return the variables of the run: on a CPU as many threads as the job has cores."""
    cores = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE")
    return {"OMP_NUM_THREADS": cores} if cores and not os.environ.get("CUDA_VISIBLE_DEVICES") else {}


def _begins_anew(job: str | None) -> bool:
    """Return whether the job of a run that was interrupted begins anew, and ask for it where Slurm does not do so itself.

    One that was cancelled is over. One that gave way to another is waiting already, and a second request would be an error.
    """
    if job is None:
        return False
    try:
        state = state_of(job)
        if state == "RUNNING":
            requeue(job)
            say(f"job {job}: its time is over or it has to give way; it begins anew and goes on when it is its turn")
        return state in ("RUNNING", "PENDING", "REQUEUED")
    except NoAnswerError as error:
        say(f"job {job}: does not begin anew: {error}; the command that submitted it does so again")
        return False
