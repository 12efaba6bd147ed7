"""This module is `debft reproduce TABLE --status`: what each run is doing, here or as a job of Slurm, without starting anything."""

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from debft.console import say
from debft.output.layout import print_table
from debft.output.plain import plain_table
from debft.reproduce.jobs import command_of
from debft.reproduce.notes import Note, read_note
from debft.reproduce.plan import TablePlan
from debft.reproduce.planned_run import PlannedRun
from debft.reproduce.process import last_line, last_step
from debft.reproduce.slurm.submissions import Submission, jobs_of, submissions
from debft.runtime.launch.slurm import NoAnswerError, QueuedJob, queued_jobs
from debft.runtime.signals import INTERRUPTED

Word = Literal["complete", "running", "queued", "failed", "interrupted", "not run", "damaged"]


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run state says what a run is doing."""

    id: str
    """The run."""
    status: Word
    """Where it stands."""
    step: int
    """The optimizer step that it has logged last."""
    steps: int
    """Its optimizer steps in all."""
    job: str | None
    """The job of Slurm, where it has one."""
    host: str | None
    """The machine that it runs on, where one does."""
    code: int | None
    """The exit code of one that failed or was interrupted."""
    detail: str | None
    """Why it waits, or the last line of one that failed."""
    log: str
    """The file with what it wrote."""
    command: str
    """The command that makes the run."""


def status(table_plan: TablePlan, logs: Path) -> dict[str, Any]:
    """Show what each run of the table is doing. Return the same for scripts."""
    known = submissions(logs)
    jobs = _jobs(known)
    states = [_state(run, logs, known, jobs) for run in table_plan.runs]
    table = plain_table("run", "status", "step", "job", "", left=("run", "status", "job", ""), wrapped=("run", ""))
    for state in states:
        where = " on ".join(part for part in (state.job, state.host) if part)
        code = f"exit code {state.code}: " if state.status == "failed" and state.code else ""
        detail = code + (state.detail or "") + (f"   log {state.log}" if state.status in ("failed", "interrupted") else "")
        table.add_row(state.id, state.status, f"{state.step:,}/{state.steps:,}", where, detail)
    print_table(table)
    counts = Counter(state.status for state in states)
    say(f"{table_plan.table.name}: " + ", ".join(f"{count} {word}" for word, count in counts.items()))
    return {"table": table_plan.table.name, "counts": dict(counts), "runs": [asdict(state) for state in states]}


def _jobs(known: list[Submission]) -> Mapping[str, QueuedJob] | None:
    """Return the job of each run that Slurm knows; None where it was asked in vain."""
    if not known:
        return {}
    if shutil.which("squeue") is None:
        say("warning: no squeue in PATH: what is said of jobs of Slurm is what they have said last")
        return None
    try:
        return jobs_of(known, queued_jobs())
    except NoAnswerError as error:
        say(f"warning: Slurm does not answer: {error}; what is said of its jobs is what they have said last")
        return None


def _state(run: PlannedRun, logs: Path, known: list[Submission], jobs: Mapping[str, QueuedJob] | None) -> RunState:
    command, job = command_of(run, logs), (jobs or {}).get(run.id)
    note = read_note(command.note)
    submitted = next((one for one in reversed(known) if run.id in one.runs), None)
    if note and submitted and note.name != submitted.name and note.job is not None:
        note = None  # of the job before
    word, detail = _word(run, note, job, submitted, asked=jobs is not None)
    if word in ("failed", "interrupted") and not detail and command.log.is_file():
        detail = last_line(command.log)
    there = word in ("running", "queued")
    return RunState(
        id=run.id,
        status=word,
        step=last_step(run.directory),
        steps=run.total_steps,
        job=job.id if job and there else note.job if note else None,
        host=(job.host if job else note.host if note else None) or None if word == "running" else None,
        code=note.code if note and note.code and word in ("failed", "interrupted") else None,
        detail=detail,
        log=str(command.log),
        command=run.command,
    )


def _word(
    run: PlannedRun, note: Note | None, job: QueuedJob | None, submitted: Submission | None, *, asked: bool
) -> tuple[Word, str | None]:
    """Return where a run stands, and why. asked: whether Slurm has said which jobs there are"""
    if damage := run.damage():
        return "damaged", damage
    if run.result():
        return "complete", None
    if job and not job.ended:
        return ("queued", job.reason) if job.state == "PENDING" else ("running", None)
    if note and note.code is not None:
        return ("interrupted" if note.code in INTERRUPTED else "failed"), note.error
    if note and note.job is None and note.runs():
        return "running", None
    if note and note.job is not None and not asked:
        return "running", f"as job {note.job} has said last"
    if submitted and (note is None or note.job is not None):
        return _word_of_ended(job, submitted, asked=asked)
    return ("interrupted" if note or last_step(run.directory) else "not run"), None


def _word_of_ended(job: QueuedJob | None, submitted: Submission, *, asked: bool) -> tuple[Word, str | None]:
    """Return the same of a run whose job has not said what became of it."""
    if not asked:
        return "queued", f"job {submitted.job or submitted.name}, as far as is known"
    if job is None:
        return "failed", f"job {submitted.job or submitted.name} is no longer known to Slurm, and left no result"
    return ("interrupted" if job.state in ("CANCELLED", "PREEMPTED") else "failed"), f"job {job.id} ended as {job.state}"
