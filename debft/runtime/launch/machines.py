"""The machines of a run: how many processes each of them starts, which numbers these have, and where all of them meet.

The words are those of accelerate's launcher: `--num-processes` counts the processes of all machines.
"""

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from debft.errors import InputError, first_line
from debft.runtime.devices import visible_gpus
from debft.runtime.launch.group import PARENT

PORT = 29500  # Source: the port of accelerate's launcher and of torchrun where none is given
HERE = "127.0.0.1"
WHERE = "the machine with --machine-rank 0"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked for, by options or by a file of accelerate's; None: nothing was said of it."""

    processes: int | None = None
    machines: int | None = None
    machine: int | None = None
    address: str | None = None
    port: int | None = None

    def typed(self) -> dict[str, int | str]:
        """Return what was asked for beside the number of processes, by its option."""
        named = {
            "--num-machines": self.machines,
            "--machine-rank": self.machine,
            "--main-process-ip": self.address,
            "--main-process-port": self.port,
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Share:
    """The part of a run that this machine takes.

    processes: of all machines together.
    machine: the number of this machine, from 0.
    address: where process 0 is; port: where it listens, None where it may take any free one.
    """

    processes: int
    machines: int = 1
    machine: int = 0
    address: str = HERE
    port: int | None = None

    @property
    def here(self) -> int:
        """Return the number of processes on this machine; all machines have as many."""
        return self.processes // self.machines

    @property
    def ranks(self) -> range:
        """Return the numbers of the processes on this machine."""
        return range(self.machine * self.here, (self.machine + 1) * self.here)


def launcher() -> str | None:
    """Return which launcher has started this process and says who the others are; None where none or debft itself has."""
    if PARENT in os.environ or "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "accelerate launch" if "ACCELERATE_MIXED_PRECISION" in os.environ else "torchrun"
    return "srun" if "SLURM_PROCID" in os.environ else "a launcher"


def share_to_start(asked: Asked) -> Share | None:
    """Return the share of this machine where the command is to start processes, None where it is to train in its own.

    Raises InputError where what was asked for does not go together, or with what a launcher has started.
    """
    if PARENT in os.environ:
        return None
    if by := launcher():
        _check_launched(asked, by)
        return None
    _check_left_alone()
    share = share_of(asked, lambda: max(1, visible_gpus()))
    return share if share.processes > 1 else None


def share_of(asked: Asked, devices: Callable[[], int]) -> Share:
    """Return the share of this machine. One machine takes one process, unless more are asked for.

    By the model of docs/pages/scaling.md one GPU, with CUDA graphs, does a step of a published recipe faster than several without.
    devices: gives the number of processes of each of several machines; as it may have to import torch, all else is checked before
    Raises InputError that names what is missing, or does not go together.
    """
    if (asked.machines or 1) == 1:
        if others := [name for name in asked.typed() if name != "--num-machines"]:
            raise InputError(f"{others[0]}: expected --num-machines of 2 or more beside it; leave it out for one machine")
        return Share(processes=1 if asked.processes is None else asked.processes)
    machines, machine, address = asked.machines or 1, asked.machine, asked.address
    if machine is None or not 0 <= machine < machines:
        got = "none" if machine is None else machine
        raise InputError(f"--machine-rank: expected the number of this machine, 0 to {machines - 1}, got {got}; 0 holds the run")
    if address is None:
        raise InputError(f"--main-process-ip: expected the address of {WHERE}, got none; all machines are given the same")
    if (asked.processes or 0) % machines:
        raise InputError(
            f"--num-processes: expected a multiple of the {machines} machines, got {asked.processes}; it counts those of all"
        )
    port = PORT if asked.port is None else asked.port
    if not 0 < port < 2**16:
        raise InputError(f"--main-process-port: expected 1 to 65535, got {port}")
    _check_address(address, port, serves=machine == 0)
    processes = devices() * machines if asked.processes is None else asked.processes
    return Share(processes=processes, machines=machines, machine=machine, address=address, port=port)


def _check_launched(asked: Asked, by: str) -> None:
    """Raise InputError where a launcher has started another number of processes than was asked for, or says what was typed."""
    size = os.environ["WORLD_SIZE"]
    if others := list(asked.typed()):
        raise InputError(f"{others[0]}: {by} has started this process and says where the others are; leave it out")
    if asked.processes is not None and str(asked.processes) != size:
        raise InputError(
            f"--num-processes: expected {size}, which {by} has started, got {asked.processes}; leave it out or start as many"
        )


def _check_left_alone() -> None:
    """Raise InputError where accelerate launch was told of several processes and has started one, which knows of no other."""
    if "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ and "WORLD_SIZE" not in os.environ:
        raise InputError(
            "accelerate launch: expected several processes, got one that knows of no other, as with its --cpu; start it with "
            "--multi_gpu and ACCELERATE_USE_CPU=true, or let debft start them"
        )


def _check_address(address: str, port: int, serves: bool) -> None:
    """Raise InputError where the address of process 0 is none, or cannot be listened at by the machine that has it."""
    try:
        (family, *_, place), *_ = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a name may be none that the network could have
        why = error.strerror if isinstance(error, OSError) else first_line(error)
        raise InputError(f"--main-process-ip: expected the address of {WHERE}, got {address} ({why})") from None
    if not serves:
        return
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that a run has just left is free
            probe.bind(place)
            probe.listen()
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise InputError(f"--main-process-ip: expected an address of this machine, which is number 0, got {address}") from None
        raise InputError(
            f"--main-process-port: {port} cannot be listened at ({error.strerror}); give all machines another one"
        ) from None
