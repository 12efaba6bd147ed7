"""Processes that no common parent watches show each other through their store that they live.

A thread of each counts up there and reads the counts of the others; another one, which never waits for the network, judges how
long they stand still. One that is killed, stopped or cut off ends the others, wherever they wait; torch alone waits half an hour.
Time in which this process was stopped itself does not count, and a slow step is no silence.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from debft.console import say
from debft.errors import MachineError
from debft.runtime.launch.group import PARENT, group_size, local_rank, local_size, rank
from debft.runtime.launch.lifeline import SECONDS_TO_START
from debft.runtime.launch.meeting import open_store, place

if TYPE_CHECKING:
    from torch.distributed import Store

SHORTEST, LONGEST = 0.1, 5.0  # seconds between two beats
STORE = -1  # stands for the store among the numbers of the processes: it lives as long as it answers
_ending: list[bool] = []  # not empty once this process is ended, because another one is silent


def is_ending() -> bool:
    """Return whether this process is about to end and has said why: what fails in it meanwhile need not be said."""
    return bool(_ending)


class Signs:
    """For how long the store and other processes have shown no sign of life, by the clock of this one.

    others: the numbers of these processes; seconds: how long they may be silent
    """

    def __init__(self, others: list[int], seconds: float) -> None:
        self.others, self.seconds = others, seconds
        self._silent = dict.fromkeys([STORE, *others], 0.0)
        self._beats: dict[int, bytes] = {}
        self._looked = time.monotonic()

    def seen(self, rank: int, beat: bytes) -> None:
        """Note what stands in the store for a process: another beat than before is a sign of life."""
        if self._beats.get(rank) != beat:
            self._beats[rank] = beat
            self._silent[rank] = 0.0

    def silent(self) -> dict[int, float]:
        """Return who is silent for too long, with the seconds. It is called again and again."""
        now = time.monotonic()
        passed = min(now - self._looked, self.seconds / 4)  # a longer time: this process has been stopped itself
        self._looked = now
        for other in self._silent:
            self._silent[other] += passed
        return {other: silent for other, silent in self._silent.items() if silent > self.seconds}


@contextmanager
def in_touch(store: "Store", hang_seconds: float | None, what_stays: Callable[[], str]) -> Iterator[None]:
    """Within the block this process beats, and ends with exit code 5 where another one does not for so many seconds.

    store: one that all have met in
    hang_seconds: None: nothing is watched
    what_stays: says what was saved, and how to go on from there
    """
    if hang_seconds is None:
        yield
        return
    number, first = rank(), rank() - local_rank()
    # Those of this machine are watched by the debft process that has started them.
    near = range(first, first + local_size()) if PARENT in os.environ else ()
    signs = Signs([other for other in range(group_size()) if other != number and other not in near], hang_seconds)
    between = min(max(hang_seconds / 20, SHORTEST), LONGEST)
    done = threading.Event()
    own = open_store(max(hang_seconds, SECONDS_TO_START), serves=False)  # torch may wait in the other one for minutes
    threads = [
        threading.Thread(target=_exchange, args=(own, number, signs, between, done), daemon=True),
        threading.Thread(target=_judge, args=(signs, first, between, done, what_stays), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        threads[1].join()  # the first one may wait for a store that is gone


def _exchange(store: "Store", rank: int, signs: Signs, between: float, done: threading.Event) -> None:
    """Beat, and read the beats of the others."""
    beat, keys = 0, [f"beat/{other}" for other in signs.others]
    with suppress(RuntimeError):  # the store is gone: that is silence
        while not done.wait(between if beat else 0):
            beat += 1
            store.set(f"beat/{rank}", str(beat))
            for other, value in zip(signs.others, store.multi_get(keys) if keys else [], strict=True):
                signs.seen(other, value)
            signs.seen(STORE, str(beat).encode())


def _judge(signs: Signs, first: int, between: float, done: threading.Event, what_stays: Callable[[], str]) -> None:
    """End this process where another one is silent. The first one of a machine that is not says why."""
    while not done.wait(between):
        if silent := signs.silent():
            _ending.append(True)
            if _speaks(silent, first):
                say(f"{_who(silent)}; {what_stays()}")
            time.sleep(2 * between)  # the others notice it as well, before the end of this process breaks what they wait for
            os._exit(MachineError.exit_code)


def _speaks(silent: dict[int, float], first: int) -> bool:
    """Return whether this process is the one of its machine that says who is silent. first: the number of the machine's first"""
    number = rank()
    if STORE in silent:  # of no other process is anything known; process 0 may be the one that is stopped
        return number in (first, max(first, 1))
    return all(other in silent for other in range(first, number))


def _who(silent: dict[int, float]) -> str:
    """Say who is silent."""
    seconds = f"{max(silent.values()):.0f} seconds"
    if STORE in silent:
        return f"{place()}: process 0 has not answered for {seconds}: it is stopped, or the network is cut"
    return f"{', '.join(f'process {rank}' for rank in silent)}: no sign of life for {seconds}, by way of {place()}"
