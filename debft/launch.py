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

from debft.errors import InputError

SECONDS_TO_END = 30.0
PARENT = "DEBFT_PARENT"


def is_main_process() -> bool:
    return not _in_a_group() or os.environ.get("RANK") == "0"


def _in_a_group() -> bool:
    """Whether this process was started as one of several, by us or by torchrun or accelerate."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_parent(num_processes: int | None) -> bool:
    """Whether this command is to start others: more than one is wanted and nobody (torchrun, accelerate) has yet."""
    return not _in_a_group() and count(num_processes) > 1


def count(num_processes: int | None) -> int:
    """As asked for, else one per GPU, else 1. Looks for device files first: importing torch takes a second."""
    if num_processes is not None:
        return num_processes
    if not os.path.exists("/dev/nvidia1"):
        return 1
    import torch

    return max(1, torch.cuda.device_count())


def start_processes(number: int) -> int:
    """Run this command `number` times and return the first exit code that is not 0, or 0."""
    if os.path.exists("/dev/nvidia0"):
        import torch

        if number > torch.cuda.device_count():
            raise InputError(f"--num-processes: expected at most one per GPU, {torch.cuda.device_count()}, got {number}")
    common = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "WORLD_SIZE": str(number),
        "LOCAL_WORLD_SIZE": str(number), PARENT: str(os.getpid()),
    }  # fmt: skip
    if not os.path.exists("/dev/nvidia0"):
        # Without it accelerate makes worlds of size 1 that train side by side; one thread pool per process is too many.
        common["ACCELERATE_USE_CPU"] = "true"
        common.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // number)))
    command = [sys.executable, "-m", "debft", *sys.argv[1:]]
    children = [
        subprocess.Popen(
            command,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        for rank in range(number)
    ]  # fmt: skip
    # The children have a session of their own, so that a signal reaches them once: from here.
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda number, _: [child.send_signal(number) for child in children])
    return _wait(children)


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


def _wait(children: list[subprocess.Popen]) -> int:
    failed = 0
    deadline = float("inf")
    while any(child.poll() is None for child in children):
        codes = [child.returncode for child in children if child.returncode]
        if codes and not failed:
            failed, deadline = codes[0], time.monotonic() + SECONDS_TO_END
            if failed not in (130, 143):  # those leave together, after the checkpoint
                for child in children:
                    child.terminate()
        if time.monotonic() > deadline:
            for child in children:
                child.kill()
        time.sleep(0.05)
    codes = [child.returncode for child in children if child.returncode]
    first = failed or (codes[0] if codes else 0)
    return first if first >= 0 else 128 - first


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
