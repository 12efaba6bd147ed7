"""This module runs several runs at a time, each as a process of its own, over the devices, with one progress display."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from debft.console import Meter, meter, say
from debft.errors import InputError
from debft.published.load import Table
from debft.reproduce.planned_run import PlannedRun
from debft.runs.directory import RunDirectory
from debft.runtime.devices import devices_here, warn_of_unused_gpus
from debft.runtime.launch.group import PARENT
from debft.runtime.signals import INTERRUPTED, StopRequest, stop_requested

SECONDS_BETWEEN_LOOKS = 0.25
NO_RESULT = 1  # the exit code of a run whose process ended with 0 and left none: a bug
DEBFT = (sys.executable, "-m", "debft")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failure says why a run has no result."""

    code: int
    """The exit code of its process."""
    error: str
    """The last line that it wrote."""


@dataclass
class _Job:
    """A job is a run in its process."""

    run: PlannedRun
    """The run."""
    slot: int
    """Its place among those that run at the same time, from 0; it decides the device."""
    process: subprocess.Popen
    """The process."""
    log: IO[str]
    """The file that takes what the process writes to stderr."""

    def step(self) -> int:
        return last_step(self.run.directory)


def run_in_order(runs: Sequence[PlannedRun], jobs: int, devices: Sequence[str], logs: Path) -> tuple[dict[str, Failure], int]:
    """Do what `run_all` does, but first with the runs that start from none, then with those that start from these.

    One that starts from a run without a result is not run, fails with the exit code of that one, or with 2, and is named.
    """
    failures, waiting = {}, list(runs)
    while ready := [run for run in waiting if run.starts_from is None or _is_complete(run.starts_from)]:
        waiting = [run for run in waiting if run not in ready]
        new_failures, signal_number = run_all(ready, jobs, devices, logs)
        failures |= new_failures
        if signal_number:
            return failures, signal_number
    for run in waiting:
        first = run.starts_from.id
        failures[run.id] = Failure(
            code=failures[first].code if first in failures else 2, error=f"not run: it starts from {first}, which has no result"
        )
        say(f"{run.id}: {failures[run.id].error}")
    return failures, 0


def _is_complete(run: PlannedRun) -> bool:
    return run.damage() is None and run.result() is not None


def run_all(runs: Sequence[PlannedRun], jobs: int, devices: Sequence[str], logs: Path) -> tuple[dict[str, Failure], int]:
    """Run or resume each of `runs`, `jobs` at a time. Return (failures by run id, the signal that ended it early or 0).

    devices: values of CUDA_VISIBLE_DEVICES, used in turn; () where there is no GPU, and the cores are then shared out
    A failing run does not stop the others. On SIGHUP, SIGINT or SIGTERM each running one saves a checkpoint first. The
    checkpoints of a run that is done are removed: nothing resumes from them, and those of a whole table would fill a disk.
    """
    waiting, running, failures = list(runs), [], {}
    free = list(range(jobs))
    steps = {run.id: last_step(run.directory) for run in runs}
    logs.mkdir(parents=True, exist_ok=True)
    total = sum(run.total_steps for run in runs)
    warn_of_unused_gpus()

    def end_all() -> None:
        for job in running:
            job.process.kill()

    with (
        stop_requested(show=False, at_once=end_all) as stop,
        meter("reproduce", total, "steps", done=sum(steps.values())) as progress,
    ):
        while running or (waiting and not stop):
            while waiting and free and not stop:
                running.append(_start(waiting.pop(0), free.pop(0), jobs, devices, logs))
            _pass_on(stop, running)
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                free.append(job.slot)
                _finish(job, failures, len(runs) - len(waiting) - len(running), len(runs))
            for job in running:
                _count(job, steps, progress)
            time.sleep(SECONDS_BETWEEN_LOOKS)
    return failures, stop.number


def _start(run: PlannedRun, slot: int, jobs: int, devices: Sequence[str], logs: Path) -> _Job:
    log = (logs / f"{run.id.replace('/', '-')}.log").open("a", encoding="utf-8")
    environment = {**os.environ, PARENT: str(os.getpid())}
    if devices:
        environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
    else:
        environment["OMP_NUM_THREADS"] = str(threads_of_a_job(jobs))
    process = subprocess.Popen(
        [*DEBFT, *run.arguments, "--resume", "--num-processes", "1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
        env=environment,
        start_new_session=True,
    )
    return _Job(run=run, slot=slot, process=process, log=log)


def _pass_on(stop: StopRequest, running: Sequence[_Job]) -> None:
    """Pass a signal that arrived here on to each running process, once; it saves a checkpoint and leaves."""
    if not stop or getattr(stop, "passed_on", False):
        return
    stop.passed_on = True
    say(f"{signal.Signals(stop.number).name}: each running one saves its state and leaves; the same command goes on from there")
    for job in running:
        job.process.send_signal(stop.number)


def _finish(job: _Job, failures: dict[str, Failure], done: int, total: int) -> None:
    """Note why a run has no result, whatever its process ended with, and remove the checkpoints of one that has."""
    job.log.close()
    code = job.process.returncode
    ended = code if code >= 0 else 128 - code  # as a shell has it: a process that a signal ended, by kill -9 or for its memory
    lines = [line for line in Path(job.log.name).read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    error = lines[-1] if lines else "no output"
    if code < 0:
        error = f"ended by {signal.Signals(-code).name}; its last line: {error}"
    elif code == 0:
        if not (wrong := _without_result(job.run)):
            shutil.rmtree(RunDirectory(job.run.directory).checkpoints, ignore_errors=True)
            say(f"{done}/{total}  {job.run.id}  done")
            return
        ended, error = NO_RESULT, wrong
    failures[job.run.id] = Failure(code=ended, error=error)
    if ended not in INTERRUPTED:
        say(f"{done}/{total}  {job.run.id}  failed with exit code {ended}: {error}   log {job.log.name}")


def _without_result(run: PlannedRun) -> str | None:
    """Return why a run whose process ended well cannot be counted; None where its result is there and is its own."""
    try:
        return None if run.result() else f"its process ended with exit code 0, but left no result.json in {run.directory}"
    except InputError as error:
        return error.problems[0]


def _count(job: _Job, steps: dict[str, int], progress: Meter) -> None:
    now = job.step()
    progress.advance(max(0, now - steps[job.run.id]), f"{job.run.id} at step {now:,} of {job.run.total_steps:,}")
    steps[job.run.id] = max(now, steps[job.run.id])


def last_step(directory: Path) -> int:
    """Return the optimizer step in the last whole line of steps.jsonl, 0 before the first."""
    path = RunDirectory(directory).path / "steps.jsonl"
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 2000))
            lines = file.read().split(b"\n")[:-1]
        return int(json.loads(lines[-1])["step"]) if lines else 0
    except (OSError, ValueError, KeyError):
        return 0


def default_jobs(table: Table) -> int:
    """Return one job per GPU, else one; one per core for the tiny models of the demo, which gain nothing from a second thread."""
    return len(devices_here()) or (os.cpu_count() or 1 if table.data == "demo" else 1)


def threads_of_a_job(jobs: int) -> int:
    """Return the cores that each of `jobs` gets on a CPU."""
    return max(1, (os.cpu_count() or 1) // jobs)
