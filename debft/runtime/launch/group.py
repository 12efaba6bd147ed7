"""What a process knows of the group it belongs to: several processes that train one run together.

debft, torchrun and accelerate describe the group in environment variables: RANK is the number of this process, WORLD_SIZE how
many there are.
"""

import os
import signal
import threading
import time

from debft.runtime.launch.lifeline import look_at_parent, take_lifeline

PARENT = "DEBFT_PARENT"  # the variable in which a process finds the id of the debft process that started it
SECONDS_BETWEEN_LOOKS = 1.0
STAYS_ELSEWHERE = "the machine of process 0 has what was saved: the same commands with --resume go on"


def in_a_group() -> bool:
    """Whether this process is one of several that debft, torchrun or accelerate has started."""
    return "RANK" in os.environ and group_size() > 1


def is_main_process() -> bool:
    """Whether this process writes the files and the lines of the run: process 0 of a group, or the only process."""
    return not in_a_group() or os.environ["RANK"] == "0"


def speaks_for_machine() -> bool:
    """Whether this process says what all processes of its machine would say: it is the first of them, or the only one."""
    return not in_a_group() or os.environ.get("LOCAL_RANK", "0") == "0"


def group_size() -> int:
    """Return the number of processes of the group, 1 where there is none."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_name() -> str:
    """Return `process 1`, as the lines of one process among several begin."""
    return f"process {os.environ.get('RANK', '0')}"


def started_by_another() -> bool:
    """Whether a launcher, or debft itself, has started this process and passes signals on to it."""
    return PARENT in os.environ or "RANK" in os.environ


def follow_parent() -> None:
    """End as on SIGTERM, with a checkpoint, when the debft process that started this one dies, `kill -9` included.

    As long as it lives this process shows it that it lives as well, and looks whether that one still does.
    """
    parent = os.environ.get(PARENT)
    if parent is None:
        return
    line = take_lifeline(int(parent))

    def watch() -> None:
        while os.getppid() == int(parent):
            if line is not None:
                look_at_parent(line)
            time.sleep(SECONDS_BETWEEN_LOOKS if line is None else line.between_beats())
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
