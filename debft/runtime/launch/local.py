"""Start the processes of a run on this machine: the same command once per device, joined by torch.distributed.

The exit code of a process that fails is passed on as it is, and the other processes are ended.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from debft.console import say
from debft.errors import InputError, MachineError
from debft.runtime.devices import visible_gpus, warn_of_unused_gpus
from debft.runtime.launch.group import PARENT, in_a_group
from debft.runtime.signals import INTERRUPTED, SIGNALS, StopRequest, stop_requested

SECONDS_TO_END = 30.0  # a process that was asked to end has this long before it is killed
SECONDS_BETWEEN_LOOKS = 0.05
DEBFT = (sys.executable, "-m", "debft")


def starts_others(num_processes: int | None) -> bool:
    """Whether this command starts others: a run of several processes is wanted, and no launcher has started them yet."""
    return not in_a_group() and processes_to_start(num_processes) > 1


def processes_to_start(num_processes: int | None) -> int:
    """Return the number that was asked for, else one process per GPU, else 1."""
    return num_processes if num_processes is not None else max(1, visible_gpus())


def start_processes(number: int) -> int:
    """Run this command `number` times and return the first exit code that is not 0, or 0.

    Raises InputError where there are GPUs, but fewer than processes.
    """
    gpus = visible_gpus()
    if gpus and number > gpus:
        raise InputError(f"--num-processes: expected at most one per GPU, {gpus}, got {number}")
    variables = _variables_of_group(number, gpus)
    command = [*DEBFT, *sys.argv[1:]]
    children: list[subprocess.Popen] = []

    def kill_all() -> None:
        for child in children:
            child.kill()

    with stop_requested(show=False, at_once=kill_all) as stop:
        for rank in range(number):
            environment = {**os.environ, **variables, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            # A session of its own, so that the terminal reaches the parent alone.
            child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
            children.append(child)
        return _wait(children, stop)


def _variables_of_group(number: int, gpus: int) -> dict[str, str]:
    """Return the environment variables by which `number` processes find each other and their devices."""
    variables = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
        PARENT: str(os.getpid()),
    }
    if not gpus:
        warn_of_unused_gpus()
        # Without it accelerate makes worlds of size 1 that train side by side; one thread pool per process is too many.
        variables["ACCELERATE_USE_CPU"] = "true"
        variables["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // number)))
    return variables


def _wait(children: Sequence[subprocess.Popen], stop: StopRequest) -> int:
    """Return the exit code for all of them. A signal is passed on once; where one process fails, the others are ended."""
    first, deadline, passed_on = 0, float("inf"), False
    while None in [child.poll() for child in children]:  # each one is asked: any() would stop at the first that runs
        if stop and not passed_on:
            passed_on = True
            for child in children:
                child.send_signal(stop.number)
        if not first and (first := first_failure(children)):
            _name_lost(children)
            deadline = time.monotonic() + SECONDS_TO_END
            if first not in INTERRUPTED:  # interrupted processes leave together, after the checkpoint
                for child in children:
                    child.terminate()
        if time.monotonic() > deadline:
            for child in children:
                child.kill()
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if children[0].returncode in [-number for number in SIGNALS]:  # it ended before it could print a line itself
        say("interrupted; no training step was lost")
    if not first and (first := first_failure(children)):
        _name_lost(children)
    return first


def first_failure(children: Sequence[subprocess.Popen]) -> int:
    """Return the exit code of the first process that failed, 0 where none did.

    A process that ends because it lost another one (code 5) is the effect of a failure: it counts only where no other code is.
    """
    codes = [child.returncode for child in children if child.returncode]
    codes = [code if code > 0 else 128 - code if -code in SIGNALS else MachineError.exit_code for code in codes]
    return min(codes, key=lambda code: code == MachineError.exit_code, default=0)


def _name_lost(children: Sequence[subprocess.Popen]) -> None:
    """Print a line for each process that was killed by a signal which stops no run: it could not print one itself."""
    for rank, child in enumerate(children):
        if (code := child.returncode or 0) < 0 and -code not in SIGNALS:
            name = signal.Signals(-code).name + (", as the system does where memory runs out" if code == -signal.SIGKILL else "")
            say(f"process {rank}: ended by {name}; the last checkpoint stays")


def _free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
