"""This module submits runs to Slurm and keeps a record of it, by which a later command finds the jobs again.

A submission is written down before sbatch is asked, under a name that no other one has: a command that is killed in between leaves
no job that nobody knows.
"""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from os import environ
from pathlib import Path
from secrets import token_hex

from debft.console import say
from debft.errors import InputError
from debft.output.text import counted
from debft.reproduce.jobs import command_of
from debft.reproduce.planned_run import PlannedRun
from debft.reproduce.slurm.options import VARIABLES, SlurmOptions
from debft.reproduce.slurm.task import RunTask
from debft.runs.json_records import read_as
from debft.runs.lock import locked
from debft.runs.reading import read_file
from debft.runs.storage import make_directory, write_atomically
from debft.runtime.launch.slurm import NoAnswerError, QueuedJob, queued_jobs

RECORD = "submissions.json"
KEPT = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")  # of a job that submits others: how Slurm is reached


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A submission is one call of sbatch: an array with a task for each run."""

    name: str
    """The name of the job, which no other submission has."""
    runs: tuple[str, ...]
    """The ids of the runs, in the order of the array."""
    job: str | None = None
    """The number of the job; None where the command was killed before it knew."""
    submitted: str = field(default_factory=_now)
    """When, as ISO 8601 has it, in UTC."""


def folder_of(logs: Path) -> Path:
    """Return the directory of the record and of what submitit writes."""
    return logs / "slurm"


def submissions(logs: Path) -> list[Submission]:
    """Return what was submitted so far, the oldest first. Raises InputError where the record is damaged."""
    path = folder_of(logs) / RECORD
    if not path.is_file():
        return []
    try:
        content = json.loads(read_file(path))
        return read_as(content["submissions"], list[Submission], "submissions")
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InputError(f"{path}: expected the jobs that were submitted, got something else; cancel them and remove it") from None


def jobs_of(known: Sequence[Submission], queue: Sequence[QueuedJob]) -> dict[str, QueuedJob]:
    """Return the job of each run that Slurm still knows; of several the one that goes on, else the one that was submitted last."""
    jobs: dict[str, QueuedJob] = {}
    by_name = {one.name: one for one in known}
    for job in sorted(queue, key=lambda job: list(by_name).index(job.name) if job.name in by_name else -1):
        submission = by_name.get(job.name)
        if submission is None or job.index >= len(submission.runs):
            continue
        run = submission.runs[job.index]
        if not job.ended or run not in jobs or jobs[run].ended:
            jobs[run] = job
    return jobs


def submit(runs: Sequence[PlannedRun], options: SlurmOptions, logs: Path) -> None:
    """Submit each run that no job waits for or does already, and say which jobs there are.

    Raises InputError where Slurm does not answer or refuses.
    """
    folder = folder_of(logs)
    make_directory(folder)
    if "%" in str(folder.absolute()):
        raise InputError(f"--output {logs.parent}: expected a path without %, which Slurm replaces; choose another")
    with locked(folder / ".lock", wait=True):
        known = submissions(logs)
        try:
            jobs = jobs_of(known, queued_jobs())
        except NoAnswerError as error:
            raise InputError(f"squeue: expected the jobs that are there, got '{error}'; ask again once Slurm works") from None
        there = [jobs[run.id] for run in runs if run.id in jobs and not jobs[run.id].ended]
        left = [run for run in runs if run.id not in jobs or jobs[run.id].ended]
        if there:
            say(f"{counted(len(there), 'run')} submitted before: {numbers(there)}")
        if left:
            _submit(left, options, logs, known)


def refuse_beside_jobs(logs: Path) -> None:
    """Raise InputError where a job has runs of this directory to do, which this machine would do as well."""
    known = submissions(logs)
    if not known or shutil.which("squeue") is None:
        return
    try:
        live = [job for job in jobs_of(known, queued_jobs()).values() if not job.ended]
    except NoAnswerError as error:
        say(f"warning: Slurm does not answer: {error}; whether jobs work on these runs as well is not known")
        return
    if live:
        raise InputError(
            f"--executor local: expected no jobs of Slurm for these runs, got {numbers(live)}; wait with --executor slurm, "
            "or end them with scancel"
        )


def numbers(jobs: Sequence[QueuedJob]) -> str:
    """Return the numbers of jobs, each array once, as `job 12, 15`."""
    return f"job {', '.join(dict.fromkeys(job.id.partition('_')[0] for job in jobs))}"


def _submit(runs: Sequence[PlannedRun], options: SlurmOptions, logs: Path, known: Sequence[Submission]) -> None:
    table = re.sub(r"[^\w.-]", "-", logs.absolute().parent.name)
    submission = Submission(name=f"debft-{table}-{token_hex(4)}", runs=tuple(run.id for run in runs))
    _write(logs, [*known, submission])
    tasks = [RunTask(command=command_of(run, logs), name=submission.name, processes=options.gpus_per_task or 1) for run in runs]
    try:
        number = _sbatch(tasks, options, folder_of(logs), submission.name)
    except InputError:
        _write(logs, known)
        raise
    _write(logs, [*known, replace(submission, job=number)])
    if options.gpus_per_task is None and not any(name in environ for name in VARIABLES["gpus_per_task"]):
        say("no --gpus-per-task was given: a run gets what the partition gives unasked, often no GPU")
    say(f"{counted(len(runs), 'run')} submitted: job {number}   logs {logs}   ends with: scancel {number}")


def _sbatch(tasks: Sequence[RunTask], options: SlurmOptions, folder: Path, name: str) -> str:
    """Submit the tasks as one array and return its number."""
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = SlurmExecutor(folder=folder)
    executor.update_parameters(**options.parameters(name, len(tasks)))
    try:
        with _outside_of_a_job():
            jobs = executor.submit_array(list(tasks))
    except (FailedJobError, FailedSubmissionError) as error:
        said = "; ".join(line.removeprefix("sbatch: error: ") for line in str(error).splitlines() if line.strip())
        raise InputError(f"sbatch: expected the job to be accepted, got '{said}'; change the options of the job") from None
    return str(jobs[0].job_id).partition("_")[0]


@contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """Submit as from a login machine, also within a job: what that job has would be taken for the new one."""
    of_job = {name: value for name, value in environ.items() if name.startswith(("SLURM_", "SRUN_")) and name not in KEPT}
    for name in of_job:
        del environ[name]
    try:
        yield
    finally:
        environ.update(of_job)


def _write(logs: Path, known: Sequence[Submission]) -> None:
    content: Mapping[str, object] = {"format_version": 1, "submissions": [asdict(one) for one in known]}
    write_atomically(folder_of(logs) / RECORD, (json.dumps(content, indent=1) + "\n").encode())
