"""This module waits for runs that are jobs of Slurm: for their files, and for what Slurm says of those that leave none."""

import re
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from debft.console import say
from debft.errors import MachineError
from debft.output.text import counted
from debft.reproduce.jobs import NO_RESULT, Executor, command_of, say_ended, without_result
from debft.reproduce.notes import Failure, Note, read_note
from debft.reproduce.planned_run import PlannedRun
from debft.reproduce.process import last_line, last_step
from debft.reproduce.slurm.options import SlurmOptions
from debft.reproduce.slurm.submissions import folder_of, jobs_of, numbers, submissions, submit
from debft.runs.directory import RunDirectory
from debft.runtime.launch.slurm import NoAnswerError, QueuedJob, queued_jobs
from debft.runtime.progress import Meter, meter
from debft.runtime.signals import INTERRUPTED, stop_requested

SECONDS_BETWEEN_LOOKS = 0.5  # at files
LEAST_BETWEEN_QUESTIONS, MOST_BETWEEN_QUESTIONS = 2.0, 15.0  # seconds, to Slurm; the longer all takes, the fewer
SECONDS_TO_APPEAR = 30.0  # until what a job has written is seen here: a network's file system may show it late
SECONDS_TO_BEGIN = 90.0  # from the start of a job until its note is seen here
SECONDS_WITHOUT_ANSWER = 600.0  # of Slurm, after which nobody waits any longer
STOPPED = 128 + signal.SIGTERM  # the exit code of a run whose job was cancelled
# Why a job waits that does not begin by itself. Source: squeue(1), JOB REASON CODES, of Slurm 22.05.
STUCK = re.compile("[Hh]eld|NeverSatisfied|BadConstraints|Invalid|NotAllowed|Partition(Config|Down|Inactive|NodeLimit|TimeLimit)")


def on_slurm(options: SlurmOptions, logs: Path, runs: int) -> Executor:
    """Return the executor that runs each run as a task of an array, and waits for all. runs: how many there may be"""
    return Executor(
        at_a_time=min(options.max_concurrent or runs, max(runs, 1)), run_all=lambda those: run_all(those, options, logs)
    )


def run_all(runs: Sequence[PlannedRun], options: SlurmOptions, logs: Path) -> tuple[dict[str, Failure], int]:
    """Submit what is not submitted yet and wait for all. Return (failures by run id, the signal that ended the waiting or 0).

    A signal ends the waiting alone; the jobs go on, and the next call finds them.
    """
    submit(runs, options, logs)
    watch, failures = Watch(runs, logs), dict[str, Failure]()
    steps = {run.id: last_step(run.directory) for run in runs}
    total = sum(run.total_steps for run in runs)
    with stop_requested(show=False) as stop, meter("slurm", total, "steps", done=sum(steps.values())) as progress:
        while watch.waiting and not stop:
            watch.ask()
            for run, failure in list(watch.ended()):
                failures |= {run.id: failure} if failure else {}
                say_ended(run, failure, f"{len(runs) - len(watch.waiting)}/{len(runs)}", logs)
                if failure and failure.code in INTERRUPTED:
                    say(f"{run.id}  {failure.error}")
            _count(runs, steps, progress, watch.note())
            time.sleep(SECONDS_BETWEEN_LOOKS)
    if stop:
        jobs = [job for run in watch.waiting if (job := watch.jobs.get(run.id)) and not job.ended]
        say(
            f"{signal.Signals(stop.number).name}: nobody waits any longer, the jobs of {counted(len(watch.waiting), 'run')} go on: "
            f"{numbers(jobs)}; the same command waits for them again, with --status it shows them, scancel ends one"
        )
    return failures, stop.number


def _count(runs: Sequence[PlannedRun], steps: dict[str, int], progress: Meter, note: str) -> None:
    now = {run.id: last_step(run.directory) for run in runs}
    progress.advance(sum(max(0, now[run] - steps[run]) for run in now), note)
    steps.update({run: max(now[run], steps[run]) for run in now})


class Watch:
    """A watch knows which runs are waited for, and what Slurm said of their jobs last.

    runs: those that were submitted; logs: the directory of their logs and notes
    """

    def __init__(self, runs: Sequence[PlannedRun], logs: Path) -> None:
        self.waiting, self.logs = list(runs), logs
        self.jobs: dict[str, QueuedJob] = {}  # by run
        self._known = submissions(logs)
        self._names = {run: one.name for one in self._known for run in one.runs}
        self._begun = time.monotonic()
        self._asked = float("-inf")
        self._answered = time.monotonic()
        self._silent = False  # whether it was said that Slurm does not answer
        self._since: dict[tuple[str, str], float] = {}  # when something was first seen of a run
        self._warned: set[str] = set()

    def ask(self) -> None:
        """Ask Slurm, unless that was just done. Raises MachineError where it has not answered for too long."""
        now = time.monotonic()
        pause = min(max((now - self._begun) / 10, LEAST_BETWEEN_QUESTIONS), MOST_BETWEEN_QUESTIONS)
        if now - self._asked < pause:
            return
        self._asked = now
        try:
            self.jobs = jobs_of(self._known, queued_jobs())
            self._answered, self._silent = time.monotonic(), False
        except NoAnswerError as error:
            if now - self._answered > SECONDS_WITHOUT_ANSWER:
                raise MachineError(
                    f"Slurm: expected an answer within {SECONDS_WITHOUT_ANSWER:.0f} seconds, got '{error}'; jobs that run go on, "
                    "the same command waits for them again"
                ) from None
            if not self._silent:
                self._silent = True
                say(f"warning: Slurm does not answer: {error}; it is asked again")
        self._warn()

    def ended(self) -> Iterator[tuple[PlannedRun, Failure | None]]:
        """Give each run that has ended since the last call, with what went wrong, None where its result is there."""
        for run in list(self.waiting):
            job, note = self.jobs.get(run.id), self._note_of(run)
            if note and note.code == 0 and (RunDirectory(run.directory).path / "result.json").is_file():
                wrong = without_result(run)
                yield self._leave(run, Failure(code=NO_RESULT, error=wrong) if wrong else None)
            elif (job and not job.ended) or self._silent or self._asked < self._begun:
                self._since.pop((run.id, "ended"), None)
            elif note and note.failure:
                yield self._leave(run, note.failure)
            elif self._for_seconds(run, "ended") > SECONDS_TO_APPEAR:
                yield self._leave(run, self._failure(run, job, note) if without_result(run) else None)

    def note(self) -> str:
        """Return how many jobs run and wait, and why they wait, for the progress."""
        jobs = [self.jobs[run.id] for run in self.waiting if run.id in self.jobs]
        queued = [job for job in jobs if job.state == "PENDING"]
        reasons = ", ".join(sorted({job.reason for job in queued} - {"None"}))
        running = sum(job.state == "RUNNING" for job in jobs)
        return f"{running} running, {len(queued)} queued" + (f" ({reasons})" if reasons else "")

    def _leave(self, run: PlannedRun, failure: Failure | None) -> tuple[PlannedRun, Failure | None]:
        self.waiting.remove(run)
        return run, failure

    def _note_of(self, run: PlannedRun) -> Note | None:
        """Return the note of the run, None where the job that was submitted last has written none yet."""
        note = read_note(command_of(run, self.logs).note)
        return note if note and note.name == self._names.get(run.id) else None

    def _for_seconds(self, run: PlannedRun, what: str) -> float:
        """Return for how many seconds something has been seen of a run."""
        return time.monotonic() - self._since.setdefault((run.id, what), time.monotonic())

    def _failure(self, run: PlannedRun, job: QueuedJob | None, note: Note | None) -> Failure:
        """Return why a run has no result whose job has ended and has not said so itself."""
        number = job.id if job else (note.job if note and note.job else "that was submitted")
        how = f"job {number} " + (f"ended as {job.state}" if job else "is no longer known to Slurm")
        if job and job.state in ("CANCELLED", "PREEMPTED"):
            return Failure(code=STOPPED, error=f"{how}; the same command submits it again")
        if note:
            return Failure(code=MachineError.exit_code, error=f"{how}; its last line: {last_line(command_of(run, self.logs).log)}")
        own_logs = sorted(folder_of(self.logs).glob(f"{number}_*log.err"))
        said = f"; it wrote: {last_line(own_logs[-1])}" if own_logs else "; have the machines of the cluster this directory?"
        return Failure(code=MachineError.exit_code, error=f"{how}, and has started nothing that is seen in {self.logs}{said}")

    def _warn(self) -> None:
        """Say once what nobody should wait for: a job that Slurm holds, or one whose files do not come here."""
        for run in self.waiting:
            job = self.jobs.get(run.id)
            if job and job.state == "PENDING" and STUCK.search(job.reason):
                self._warn_once(f"job {job.id} does not begin by itself: {job.reason}; see scontrol show job {job.id}")
            if job and job.state == "RUNNING" and not self._note_of(run) and self._for_seconds(run, job.host) > SECONDS_TO_BEGIN:
                self._warn_once(f"nothing of job {job.id} is seen in {self.logs}; does {job.host}, where it runs, share it?")

    def _warn_once(self, line: str) -> None:
        if line not in self._warned:
            self._warned.add(line)
            say(f"warning: {line}")
