"""Processes that were started on several machines, or by a launcher, meet before they compute: none is missing or comes twice.

They meet in the store of torch.distributed, which process 0 or torchrun holds. Each writes there that it is there and how many it
expects; process 0 waits for all of them, and tells all how that ended.
"""

import os
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from debft.errors import DebftError, InputError, MachineError, first_line, shown
from debft.runtime.launch.group import PARENT, group_size, is_main_process, rank, speaks_for_machine
from debft.runtime.launch.lifeline import SECONDS_TO_START
from debft.runtime.progress import activity
from debft.runtime.variables import LAUNCH, whole_number

if TYPE_CHECKING:
    from torch.distributed import Store

SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_HEAR = 2.0  # process 0 stays so long after it told of a failure: with it ends the store
SECONDS_FOR_MAIN = 10.0  # the others wait so much longer than process 0, which knows who is missing
EXPECTED, WRONG, MET = "expected", "wrong", "met"
_meetings: list[float] = []  # an entry for each that this process has begun: a program may train several times
_held: list["Store"] = []  # until this process ends: another one may be in the next meeting already
SAME_COMMANDS = "start all machines with the same options, but --machine-rank"


def started_by_one() -> bool:
    """Return whether one debft process has started all of the group: it sees itself who is there, and who lives."""
    return PARENT in os.environ and os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]


def meet(hang_seconds: float | None) -> "Store":
    """Wait until all processes of the group are there, and return the store that they have in common.

    hang_seconds: how long to wait, where that is more than SECONDS_TO_START
    Raises MachineError where one does not come, InputError where they do not belong together.
    """
    seconds = max(SECONDS_TO_START, hang_seconds or 0.0)
    where, show = place(), speaks_for_machine()
    _meetings.append(seconds)
    what = f"waiting at {where} for {group_size()} processes, at most {seconds:.0f} seconds"
    try:
        with activity(what, show=show):
            store = open_store(seconds, serves=is_main_process() and not _agent_serves())
            _held.append(store)
            return _meet(store, seconds)
    except DebftError as error:
        if not show:
            error.problems = ()
        raise


def place() -> str:
    """Return address and port of the store."""
    address = os.environ.get("MASTER_ADDR")
    if address is None or not address.isprintable():  # as bytes that are no text are not
        got = "none" if address is None else shown(address)
        raise InputError(f"MASTER_ADDR: expected the address of process 0 beside RANK and WORLD_SIZE, got {got}; {LAUNCH}")
    return f"{address}:{whole_number('MASTER_PORT', '29500', least=1, most=2**16 - 1)}"


def open_store(seconds: float, serves: bool) -> "Store":
    """Return a connection of its own to the store. serves: whether this process holds it.

    Raises MachineError where nobody answers within so many seconds, InputError where the port is taken.
    """
    from torch.distributed import DistError, PrefixStore, TCPStore

    address, _, port = place().rpartition(":")
    try:
        store = TCPStore(address, int(port), None, serves, timedelta(seconds=seconds), wait_for_workers=False, multi_tenant=serves)
    except DistError as error:
        if serves:
            raise InputError(f"{place()}: cannot be listened at ({first_line(error)}); choose another port") from None
        raise MachineError(
            f"{place()}: process 0 did not answer for {seconds:.0f} seconds; see that its machine is started, and reached from here"
        ) from None
    return PrefixStore(f"debft/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}/{len(_meetings)}", store)


def _agent_serves() -> bool:
    """Return whether torchrun itself holds the store. Source: torch.distributed.rendezvous, torch 2.13."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _meet(store: "Store", seconds: float) -> "Store":
    """Say that this process is there, and wait until process 0 says that all are."""
    from torch.distributed import DistError

    number, size = rank(), group_size()
    try:
        store.set(f"beat/{number}", "0")
        if store.add(f"came/{number}", 1) > 1:
            store.set(WRONG, f"process {number} has come twice; {SAME_COMMANDS}")
        expected = store.compare_set(EXPECTED, "", str(size)).decode()
        if expected != str(size):
            store.set(WRONG, f"process {number}: expected {expected} processes as another one does, got {size}; {SAME_COMMANDS}")
        _wait_for_all(store, size, seconds) if number == 0 else _wait_for_main(store, seconds)
    except DistError as error:
        raise MachineError(f"{place()}: process 0 is gone before all processes were there ({first_line(error)})") from None
    return store


def _wait_for_all(store: "Store", size: int, seconds: float) -> None:
    deadline, missing = time.monotonic() + seconds, list(range(size))
    while missing and not store.check([WRONG]):
        missing = [rank for rank in missing if not store.check([f"came/{rank}"])]
        if missing and time.monotonic() > deadline:
            who = ", ".join(map(str, missing[:8])) + (f" and {len(missing) - 8} more" if missing[8:] else "")
            problem = f"{len(missing)} of {size} processes did not come within {seconds:.0f} seconds: {who}"
            store.set("missing", f"{place()}: {problem}; {SAME_COMMANDS}")
            store.set(MET, "missing")
            time.sleep(SECONDS_TO_HEAR)
            raise MachineError(store.get("missing").decode())
        time.sleep(SECONDS_BETWEEN_LOOKS if missing else 0)
    if store.check([WRONG]):
        store.set(MET, WRONG)
        time.sleep(SECONDS_TO_HEAR)
        raise InputError(store.get(WRONG).decode())
    store.set(MET, "all")


def _wait_for_main(store: "Store", seconds: float) -> None:
    deadline = time.monotonic() + seconds + SECONDS_FOR_MAIN
    while not store.check([MET]):
        if time.monotonic() > deadline:
            raise MachineError(f"{place()}: process 0 did not say within {seconds:.0f} seconds that all are there")
        time.sleep(SECONDS_BETWEEN_LOOKS)
    how = store.get(MET).decode()
    if how == WRONG:
        raise InputError(store.get(WRONG).decode())
    if how == "missing":
        raise MachineError(store.get("missing").decode())
