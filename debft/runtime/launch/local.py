"""Start the processes of a run on this machine: the same command once per device, joined by torch.distributed.

The exit code of a process that fails is passed on as it is, and the other processes are ended.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from debft.console import say
from debft.errors import InputError, MachineError
from debft.runtime.devices import visible_gpus, warn_of_unused_gpus
from debft.runtime.launch.lifeline import Place
from debft.runtime.launch.machines import Share
from debft.runtime.launch.started import Started, parent_of, write_stacks
from debft.runtime.signals import INTERRUPTED, SIGNALS, StopRequest, stop_requested

SECONDS_TO_END = 30.0  # a process that was asked to end has this long before it is killed
SECONDS_TO_END_ALONE = 5.0  # the same where another one was lost, without which it can do no step
SECONDS_TO_FOLLOW = 2.0  # a process that failed has told the others why, or they notice: each still prints its own line
SECONDS_BETWEEN_LOOKS = 0.05
FEW = 4  # processes that share any CPU, so that a run of several can be tried everywhere
DEBFT = (sys.executable, "-m", "debft")


@dataclass(frozen=True, kw_only=True)
class RunOfGroup:
    """What the parent of a group has to know of its run."""

    stacks: Path
    """The file that the stacks of all processes are written to where one of them hangs."""
    what_stays: Callable[[], str]
    """Says what was saved, and how to go on from there."""
    hang_seconds: float | None
    """How long a process may show no sign of life; None: as long as it likes."""


def start_processes(share: Share, run: RunOfGroup) -> int:
    """Run this command once for each process of this machine and return the first exit code that is not 0, or 0.

    Raises InputError as `check_number` does.
    """
    check_number(share)
    gpus = visible_gpus()
    variables = _variables_of_group(share, gpus)
    command = [*DEBFT, *sys.argv[1:]]
    children: list[Started] = []

    def kill_all() -> None:
        for child in children:
            child.send(signal.SIGKILL)

    with stop_requested(show=False, at_once=kill_all) as stop, parent_of(children):
        for place, rank in enumerate(share.ranks):
            of_rank = {**variables, "RANK": str(rank), "LOCAL_RANK": str(place)}
            children.append(Started(command, of_rank, f"process {rank}", run.hang_seconds))
        return _wait(children, stop, run)


def check_number(share: Share) -> None:
    """Raise InputError where this machine is to start more processes than it can do something for.

    That is where there are GPUs, but fewer than processes, or none, and many more processes than cores.
    """
    gpus, cores = visible_gpus(), os.cpu_count() or 1
    most, what = (gpus, "GPU") if gpus else (max(cores, FEW), "core")
    if share.here > most:
        limit = f"{most * share.machines} on {share.machines} machines" if share.machines > 1 else f"{most}"
        limit += f" on this machine of {cores}" if most > cores and not gpus else ""
        raise InputError(f"--num-processes: expected at most one per {what}, {limit}, got {share.processes}; start fewer")


def _variables_of_group(share: Share, gpus: int) -> dict[str, str]:
    """Return the environment variables by which the processes find each other and their devices."""
    variables = {
        "MASTER_ADDR": share.address,
        "MASTER_PORT": str(_free_port() if share.port is None else share.port),
        "WORLD_SIZE": str(share.processes),
        "LOCAL_WORLD_SIZE": str(share.here),
    }
    if not gpus:
        warn_of_unused_gpus()
        # Without it accelerate makes worlds of size 1 that train side by side; one thread pool per process is too many.
        variables["ACCELERATE_USE_CPU"] = "true"
        variables["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // share.here)))
    return variables


def _wait(children: Sequence[Started], stop: StopRequest, run: RunOfGroup) -> int:
    """Return the exit code for all of them. A signal is passed on once; where one process fails, the others are ended."""
    code, passed_on = 0, False
    asked = deadline = float("inf")  # when the others are asked to end, and when they are killed
    while None in [child.code for child in children]:  # each one is asked: any() would stop at the first that runs
        stop.number = stop.number or max(child.told() for child in children)
        if not code and (failed := _failure(children, run)):
            code, seconds = failed
            deadline = time.monotonic() + seconds
            if code in INTERRUPTED:  # interrupted processes leave together, after the checkpoint; one before the first step alone
                stop.number = stop.number or code - 128
            else:
                for child in children:
                    child.line.put(Place.SAID, 1)  # the others need not say that one is gone, nor that they were told to end
                asked = time.monotonic() + (SECONDS_TO_FOLLOW if any((child.code or 0) > 0 for child in children) else 0.0)
        if time.monotonic() >= asked:
            asked = float("inf")
            for child in children:
                child.end()
        if stop and not passed_on:
            passed_on = True
            for child in children:
                child.send(stop.number)
        if time.monotonic() > deadline:
            for child in children:
                child.send(signal.SIGKILL)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if code in (0, *INTERRUPTED) and children[0].code in [-number for number in SIGNALS]:  # it could print no line itself
        say("interrupted; no training step was lost")
    return code or (_failure(children, run) or (0, 0.0))[0]


def _failure(children: Sequence[Started], run: RunOfGroup) -> tuple[int, float] | None:
    """Return the exit code of a group of which a process failed or hangs, and the seconds that the others have to end.

    None where all is well. What no process can say itself is said here.
    """
    if code := first_failure([child.code for child in children]):
        return code, SECONDS_TO_END_ALONE if _name_lost(children, run) else SECONDS_TO_END
    missed = [child for child in children if child.code is None and child.misses_parent()]
    silent = [f"{child.name}: {child.silence()}" for child in children if child.is_silent()]
    if missed and not silent:
        silent = [f"the process that started them, {os.getpid()}: no sign of life for {run.hang_seconds:.0f} seconds"]
    if not silent:
        return None
    write_stacks(children, run.stacks)
    say(f"{', '.join(silent)}; all are ended, their stacks are in {run.stacks}; {run.what_stays()}")
    return MachineError.exit_code, SECONDS_TO_END


def first_failure(codes: Sequence[int | None]) -> int:
    """Return the exit code of the first process that failed, 0 where none did.

    A process that ends because it lost another one (code 5) is the effect of a failure: it counts only where no other code is.
    """
    failed = [code for code in codes if code]
    failed = [code if code > 0 else 128 - code if -code in SIGNALS else MachineError.exit_code for code in failed]
    return min(failed, key=lambda code: code == MachineError.exit_code, default=0)


def _name_lost(children: Sequence[Started], run: RunOfGroup) -> bool:
    """Print a line for each process that was killed by a signal which stops no run: it could not print one itself."""
    lost = [(child, -code) for child in children if (code := child.code or 0) < 0 and -code not in SIGNALS]
    for child, number in lost:
        name = signal.Signals(number).name + (", as the system does where memory runs out" if number == signal.SIGKILL else "")
        say(f"{child.name}: ended by {name}; {run.what_stays()}")
    return bool(lost)


def _free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
