"""What a process knows of the group it belongs to: several processes that train one run together.

debft, torchrun and accelerate describe the group in environment variables: RANK is the number of this process, WORLD_SIZE how
many there are.
"""

import os
import signal
import threading
import time

from debft.errors import InputError
from debft.runtime.launch.lifeline import look_at_parent, take_lifeline
from debft.runtime.variables import whole_number

PARENT = "DEBFT_PARENT"  # the variable in which a process finds the id of the debft process that started it
SECONDS_BETWEEN_LOOKS = 1.0
STAYS_ELSEWHERE = "the machine of process 0 has what was saved: the same commands with --resume go on"


def in_a_group() -> bool:
    """Whether this process is one of several that debft, torchrun or accelerate has started."""
    return "RANK" in os.environ and group_size() > 1


def is_main_process() -> bool:
    """Whether this process writes the files and the lines of the run: process 0 of a group, or the only process.

    It is asked when an error is printed, which may be about the variables themselves: then each process prints it.
    """
    try:
        return not in_a_group() or rank() == 0
    except InputError:
        return True


def speaks_for_machine() -> bool:
    """Whether this process says what all processes of its machine would say: it is the first of them, or the only one."""
    return not in_a_group() or os.environ.get("LOCAL_RANK", "0") == "0"


def group_size() -> int:
    """Return the number of processes of the group, 1 where there is none."""
    return whole_number("WORLD_SIZE", "1", least=1)


def rank() -> int:
    """Return the number of this process in its group."""
    return whole_number("RANK", least=0, most=group_size() - 1)


def local_rank() -> int:
    """Return the number of this process on its machine, 0 where no launcher says it."""
    return max(0, whole_number("LOCAL_RANK", "0", least=-1))  # -1 is what accelerate takes for none


def local_size() -> int:
    """Return the number of processes of the group on this machine, 1 where no launcher says it."""
    return whole_number("LOCAL_WORLD_SIZE", "1", least=1)


def check_group() -> None:
    """Raise InputError that names a variable of the group which is no number: accelerate reads them as well."""
    group_size()
    local_rank()
    if in_a_group():
        rank()
        local_size()


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
    if PARENT not in os.environ:
        return
    line = take_lifeline(pid := whole_number(PARENT, least=1))

    def watch() -> None:
        while os.getppid() == pid:
            if line is not None:
                look_at_parent(line)
            time.sleep(SECONDS_BETWEEN_LOOKS if line is None else line.between_beats())
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
