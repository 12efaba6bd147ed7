"""Several processes on this machine: the same command once per device, joined by torch.distributed.

Each child's exit code is passed on as it is; when one fails, the others are ended.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

from debft.console import say
from debft.errors import InputError, MachineError
from debft.runtime.devices import visible_gpus, warn_of_unused_gpus
from debft.runtime.signals import INTERRUPTED, PARENT, SIGNALS, StopRequest, stop_requested

SECONDS_TO_END = 30.0
DEBFT = (sys.executable, "-m", "debft")


def is_main_process() -> bool:
    return not in_a_group() or os.environ.get("RANK") == "0"


def in_a_group() -> bool:
    """Whether this process was started as one of several, by us or by torchrun or accelerate."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_parent(num_processes: int | None) -> bool:
    """Whether this command is to start others: more than one is wanted and nobody (torchrun, accelerate) has yet."""
    return not in_a_group() and count(num_processes) > 1


def count(num_processes: int | None) -> int:
    """As asked for, else one per GPU, else 1."""
    return num_processes if num_processes is not None else max(1, visible_gpus())


def start_processes(number: int) -> int:
    """Run this command `number` times and return the first exit code that is not 0, or 0."""
    gpus = visible_gpus()
    if gpus and number > gpus:
        raise InputError(f"--num-processes: expected at most one per GPU, {gpus}, got {number}")
    common = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number),
        PARENT: str(os.getpid()),
    }
    if not gpus:
        warn_of_unused_gpus()
        # Without it accelerate makes worlds of size 1 that train side by side; one thread pool per process is too many.
        common["ACCELERATE_USE_CPU"] = "true"
        common.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // number)))
    command = [*DEBFT, *sys.argv[1:]]
    children: list[subprocess.Popen] = []
    with stop_requested(show=False, at_once=lambda: [child.kill() for child in children]) as stop:
        for rank in range(number):
            environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            # A session of its own, so that the terminal reaches the parent alone.
            child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
            children.append(child)
        return _wait(children, stop)


def follow_parent() -> None:
    """In a child: when the parent dies, kill -9 included, end as on SIGTERM, with a checkpoint."""
    parent = os.environ.get(PARENT)
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _wait(children: Sequence[subprocess.Popen], stop: StopRequest) -> int:
    """Pass a signal on once, end the others where one fails. The exit code for all."""
    first, deadline, passed_on = 0, float("inf"), False
    while None in [child.poll() for child in children]:  # each one is asked: any() would stop at the first that runs
        if stop and not passed_on:
            passed_on = True
            for child in children:
                child.send_signal(stop.number)
        if not first and (first := first_failure(children)):
            _say_lost(children)
            deadline = time.monotonic() + SECONDS_TO_END
            if first not in INTERRUPTED:  # those leave together, after the checkpoint
                for child in children:
                    child.terminate()
        if time.monotonic() > deadline:
            for child in children:
                child.kill()
        time.sleep(0.05)
    if children[0].returncode in [-number for number in SIGNALS]:  # before it could say so
        say("interrupted; no training step was lost")
    if not first and (first := first_failure(children)):
        _say_lost(children)
    return first


def first_failure(children: Sequence[subprocess.Popen]) -> int:
    """The exit code of the first of the ended ones that failed, 0 without one. That another was lost is no cause but an effect."""
    codes = [child.returncode for child in children if child.returncode]
    codes = [code if code > 0 else 128 - code if -code in SIGNALS else MachineError.exit_code for code in codes]
    return min(codes, key=lambda code: code == MachineError.exit_code, default=0)


def _say_lost(children: Sequence[subprocess.Popen]) -> None:
    """A line for each that a signal ended which nobody sends to stop a run; it could not say so itself."""
    for rank, child in enumerate(children):
        if (code := child.returncode or 0) < 0 and -code not in SIGNALS:
            name = signal.Signals(-code).name + (", as the system does where memory runs out" if code == -signal.SIGKILL else "")
            say(f"process {rank}: ended by {name}; the last checkpoint stays")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
