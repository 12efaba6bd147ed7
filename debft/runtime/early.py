"""A signal while Python still imports a command ends it at once, with one line. This module imports what costs no time."""

import os
import signal
from typing import NoReturn

from debft.runtime.launch.group import is_main_process


def signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a command. They are looked up late: not every system that is refused has them.

    Slurm sends SIGUSR1 or SIGUSR2, as its user asks, some time before a job's time is over; without a handler they kill.
    """
    return (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def take_signals() -> None:
    """Let each of them end this process at once. One that is ignored stays ignored, as SIGHUP is under nohup."""
    for number in signals():
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, leave)


def leave(number: int, frame: object) -> NoReturn:
    """End this process with exit code 128 + the signal. One of several processes of a run says so."""
    if is_main_process():
        os.write(2, f"interrupted by {signal.Signals(number).name}; nothing was changed\n".encode())
    os._exit(128 + number)
