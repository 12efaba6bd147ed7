"""This module runs several runs at a time, each as a process of its own, over the devices, with one progress display."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from debft.console import say
from debft.errors import InputError, MachineError
from debft.output.text import counted
from debft.reproduce.notes import Failure
from debft.reproduce.planned_run import PlannedRun
from debft.reproduce.process import RunCommand, RunProcess, last_step
from debft.runs.files import STACKS
from debft.runs.storage import disk_errors, make_directory
from debft.runtime.devices import devices_here, warn_of_unused_gpus
from debft.runtime.launch.local import FEW
from debft.runtime.launch.started import Started, parent_of, write_stacks
from debft.runtime.progress import Meter, meter
from debft.runtime.signals import INTERRUPTED, StopRequest, stop_requested

SECONDS_BETWEEN_LOOKS = 0.25
JOBS_EACH = 4  # runs for each core or GPU, at most: each is a process that takes memory
NO_RESULT = 1  # the exit code of a run whose process ended with 0 and left none: a bug


@dataclass(frozen=True, kw_only=True)
class Executor:
    """An executor runs or resumes runs, here (`local`) or on a cluster, and returns when each has ended or a signal ends it all."""

    at_a_time: int
    """The number of runs that go on at the same time, as far as that is known."""
    run_all: Callable[[Sequence[PlannedRun]], tuple[dict[str, Failure], int]]
    """Returns (failures by run id, the signal that ended it early or 0)."""


def local(jobs: int, logs: Path) -> Executor:
    """Return the executor of this machine, which runs `jobs` at a time."""
    return Executor(at_a_time=jobs, run_all=lambda runs: run_all(runs, jobs, devices_here(), logs))


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job is a run in its process."""

    run: PlannedRun
    """The run."""
    slot: int
    """Its place among those that run at the same time, from 0; it decides the device."""
    child: RunProcess
    """The run as a process."""

    @property
    def process(self) -> Started:
        """The process itself."""
        return self.child.process

    def step(self) -> int:
        """Return the optimizer step that it has logged last."""
        return self.child.step()

    def tell(self, number: int) -> None:
        """Send it a signal; it saves a checkpoint and leaves."""
        self.child.tell(number)


class Pool:
    """A pool runs several runs at a time, each in a process of its own, which goes on where a checkpoint of the run stands.

    jobs: runs at a time
    devices: values of CUDA_VISIBLE_DEVICES, used in turn; () where there is no GPU, and the cores are then shared out
    logs: the directory of what the processes write to stderr
    """

    def __init__(self, jobs: int, devices: Sequence[str], logs: Path) -> None:
        self.jobs, self.devices, self.logs = jobs, devices, logs
        self.running: list[Job] = []
        self.processes: list[Started] = []  # of those
        self._free = list(range(jobs))
        self._passed_on = False  # whether the running ones were told to stop
        self.missed = False  # whether one of them has had no sign of life from this process for too long
        with disk_errors(logs):
            make_directory(logs)

    def has_room(self) -> bool:
        """Whether another run can start."""
        return bool(self._free)

    def start(self, run: PlannedRun) -> None:
        """Start or resume a run."""
        self.running.append(_start(run, self._free.pop(0), self.jobs, self.devices, self.logs))
        self.processes.append(self.running[-1].process)

    def ended(self) -> list[tuple[PlannedRun, Failure | None]]:
        """Return the runs that have ended since the last call, each with what went wrong, None where its result is there."""
        for job in self.running:
            job.child.look()
        done = [job for job in self.running if job.process.code is not None]
        for job in done:
            self.running.remove(job)
            self.processes.remove(job.process)
            self._free.append(job.slot)
        return [(job.run, _finish(job)) for job in done]

    def pass_on(self, stop: StopRequest) -> None:
        """Pass a signal that arrived here on to each running process, once; it saves a checkpoint and leaves.

        Where this process was stopped so long that one of them missed it, all of them leave, and `raise_if_missed` says so.
        """
        if not self.missed and any(process.misses_parent() for process in self.processes):
            self.missed = True
            write_stacks(self.processes, self.logs / STACKS)
            stop.number = stop.number or signal.SIGTERM
        if not stop or self._passed_on:
            return
        self._passed_on = True
        say(f"{signal.Signals(stop.number).name}: each running one saves its state and leaves; the same command goes on from there")
        for job in self.running:
            job.tell(stop.number)

    def kill(self) -> None:
        """End all processes at once, without a checkpoint."""
        for job in self.running:
            job.process.send(signal.SIGKILL)

    def raise_if_missed(self) -> None:
        """Raise MachineError where the runs were ended because this process had been stopped."""
        if self.missed:
            raise MachineError(
                f"process {os.getpid()} was stopped, as by SIGSTOP, and its runs had no sign of life from it; "
                f"the stacks of all are in {self.logs / STACKS}; each run has saved its state, and the same command goes on"
            )


def run_in_order(runs: Sequence[PlannedRun], executor: Executor) -> tuple[dict[str, Failure], int]:
    """Do what the executor does, but first with the runs that start from none, then with those that start from these.

    One that starts from a run without a result is not run, fails with the exit code of that one, or with 2, and is named.
    """
    failures: dict[str, Failure] = {}
    waiting = list(runs)
    while now := ready(waiting):
        waiting = [run for run in waiting if run not in now]
        new_failures, signal_number = executor.run_all(now)
        failures |= new_failures
        if signal_number:
            return failures, signal_number
    for run, first in [(run, run.starts_from.id) for run in waiting if run.starts_from is not None]:
        failures[run.id] = Failure(
            code=failures[first].code if first in failures else 2, error=f"not run: it starts from {first}, which has no result"
        )
        say(f"{run.id}: {failures[run.id].error}")
    return failures, 0


def signal_that_ended(number: int, runs: Sequence[PlannedRun]) -> int:
    """Return the number of a signal that left some of the runs undone, 0 where it came while the last one became complete."""
    return number if any(run.is_missing() for run in runs) else 0


def ready(runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Return the runs that can start: they start from no other one, or that one is complete."""
    return [run for run in runs if run.starts_from is None or _is_complete(run.starts_from)]


def _is_complete(run: PlannedRun) -> bool:
    return run.damage() is None and run.result() is not None


def run_all(
    runs: Sequence[PlannedRun], jobs: int, devices: Sequence[str], logs: Path, *, what: str = "reproduce"
) -> tuple[dict[str, Failure], int]:
    """Run or resume each of `runs`, `jobs` at a time. Return (failures by run id, the signal that ended it early or 0).

    devices: as in `Pool`; what: the word before the progress
    A failing run does not stop the others. On SIGHUP, SIGINT or SIGTERM each running one saves a checkpoint first. The
    checkpoints of a run that is done are removed: nothing resumes from them, and those of a whole table would fill a disk.
    """
    failures: dict[str, Failure] = {}
    waiting = list(runs)
    pool = Pool(jobs, devices, logs)
    steps = {run.id: last_step(run.directory) for run in runs}
    total = sum(run.total_steps for run in runs)
    warn_of_unused_gpus()
    with (
        stop_requested(show=False, at_once=pool.kill) as stop,
        parent_of(pool.processes),
        meter(what, total, "steps", done=sum(steps.values())) as progress,
    ):
        while pool.running or (waiting and not stop):
            while waiting and pool.has_room() and not stop:
                pool.start(waiting.pop(0))
            pool.pass_on(stop)
            for run, failure in pool.ended():
                failures |= {run.id: failure} if failure else {}
                say_ended(run, failure, f"{len(runs) - len(waiting) - len(pool.running)}/{len(runs)}", logs)
            for job in pool.running:
                _count(job, steps, progress)
            time.sleep(SECONDS_BETWEEN_LOOKS)
    pool.raise_if_missed()
    return failures, stop.number


def _start(run: PlannedRun, slot: int, jobs: int, devices: Sequence[str], logs: Path) -> Job:
    variables = {"CUDA_VISIBLE_DEVICES": devices[slot % len(devices)]} if devices else {}
    if not devices:
        variables["OMP_NUM_THREADS"] = str(threads_of_a_job(jobs))
    return Job(run=run, slot=slot, child=RunProcess(command_of(run, logs), variables))


def command_of(run: PlannedRun, logs: Path) -> RunCommand:
    """Return what has to be known of a run to start it. logs: the directory of what is kept beside it"""
    seconds = run.recipe.runtime.hang_seconds
    return RunCommand(id=run.id, arguments=run.arguments, directory=run.directory, hang_seconds=seconds, logs=logs)


def _finish(job: Job) -> Failure | None:
    """Return why a run has no result, whatever its process ended with."""
    failure = job.child.failure()
    if failure is None and (wrong := without_result(job.run)):
        failure = Failure(code=NO_RESULT, error=wrong)
    job.child.write_end(failure)
    return failure


def say_ended(run: PlannedRun, failure: Failure | None, count: str, logs: Path) -> None:
    """Say that a run is done or has failed; one that was interrupted has said so itself."""
    if failure is None:
        say(f"{count}  {run.id}  done")
    elif failure.code not in INTERRUPTED:
        say(f"{count}  {run.id}  failed with exit code {failure.code}: {failure.error}   log {command_of(run, logs).log}")


def without_result(run: PlannedRun) -> str | None:
    """Return why a run whose process ended well cannot be counted; None where its result is there and is its own."""
    try:
        return None if run.result() else f"its process ended with exit code 0, but left no result.json in {run.directory}"
    except InputError as error:
        return error.problems[0]


def _count(job: Job, steps: dict[str, int], progress: Meter) -> None:
    now = job.step()
    progress.advance(max(0, now - steps[job.run.id]), f"{job.run.id} at step {now:,} of {job.run.total_steps:,}")
    steps[job.run.id] = max(now, steps[job.run.id])


def jobs_at_a_time(asked: int | None, data: str | None) -> int:
    """Return how many runs go on at the same time. Raises InputError for more than a machine like this one can be meant to do.

    Unasked it is one per GPU, else one; one per core for the tiny models of the demo, which gain nothing from a second thread.
    """
    cores, gpus = os.cpu_count() or 1, len(devices_here())
    most = JOBS_EACH * max(cores, gpus, FEW)
    if asked is not None and asked > most:
        here = counted(max(cores, gpus), "GPU" if gpus > cores else "core")
        raise InputError(f"--jobs: expected at most {most} on this machine of {here}, got {asked}; give fewer")
    return asked or gpus or (cores if data == "demo" else 1)


def threads_of_a_job(jobs: int) -> int:
    """Return the cores that each of `jobs` gets on a CPU."""
    return max(1, (os.cpu_count() or 1) // jobs)
