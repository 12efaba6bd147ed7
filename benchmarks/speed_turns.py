"""Contenders take turns: each lives in a process of its own, does the steps of an order, says what they took, and waits.

So they are measured beside each other, A B C A B C, on the same machine in the same minutes, and none pays for another's start.
"""

import multiprocessing
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# The process that the others are forked from has imported these, which takes seconds.
PRELOADED = ("speed_contenders", "debft.cli.main", "debft.training.train", "debft.training.opening", "debft.training.finish")


class ContenderFailed(Exception):
    """A contender has ended before its time."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """steps: how many are measured; lead: steps before them that are not; dropout: whether dropout is on (transformers alone)."""

    steps: int
    lead: int = 0
    dropout: bool = True


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What the measured steps of an order took.

    seconds: wall-clock time of all of them
    examples, tokens: sequences, and their tokens without padding
    positions: tokens with padding that went through the model, None where they cannot be counted
    optimizer_seconds: of `seconds` in the optimizer's step(), without clipping and zeroing; None where nothing was seen of it
    peak_bytes: on a GPU what torch has allocated at most so far, else the resident memory of the whole process
    flops: floating-point operations, of the products alone
    """

    seconds: float
    examples: int = 0
    tokens: float = 0
    positions: int | None = None
    optimizer_seconds: float | None = None
    peak_bytes: int = 0
    flops: float = 0.0


class Turns:
    """The side of the contender. It calls `begin` once before its first step, and `step` after each."""

    def __init__(self, connection: Connection) -> None:
        import torch

        self._connection, self._cuda = connection, torch.cuda.is_available()
        self._optimizer = OptimizerClock(self._cuda)
        self.on_order: Callable[[Order], None] = lambda order: None
        self._order, self._done = Order(steps=0), 0

    def begin(self) -> None:
        """Say that everything is built, and wait for the first order."""
        self._connection.send("ready")
        self._wait()

    def step(
        self,
        *,
        examples: int = 0,
        tokens: float = 0,
        positions: int | None = None,
        flops: float = 0.0,
        seconds: float | None = None,
        extra: float = 0.0,
    ) -> None:
        """Count a step; after the last one of the order tell what they took and wait for the next order.

        seconds: of this step, where not all the time since the last one belongs to it
        extra: seconds of what the step left out
        """
        self._done += 1
        if self._done <= self._order.lead:
            if self._done == self._order.lead:
                self._start()
            return
        sums = self._sums
        given = None if seconds is None else (sums.seconds or 0.0) + seconds
        self._sums = Turn(
            seconds=given if given is not None else sums.seconds + extra,
            examples=sums.examples + examples,
            tokens=sums.tokens + tokens,
            positions=(sums.positions or 0) + positions if positions else sums.positions,
            flops=sums.flops + flops,
        )
        if self._done == self._order.lead + self._order.steps:
            self._synchronize()
            turn = replace(self._sums, peak_bytes=peak_bytes(self._cuda))
            if seconds is None:
                wall = time.perf_counter() - self._started
                turn = replace(turn, seconds=turn.seconds + wall, optimizer_seconds=self._optimizer.take())
            self._connection.send(turn)
            self._wait()

    def now(self) -> float:
        """Return the time in seconds, once the GPU has done what it was told to."""
        self._synchronize()
        return time.perf_counter()

    def _wait(self) -> None:
        try:
            self._order = self._connection.recv()
        except (EOFError, OSError):  # the other side has all it wanted
            os._exit(0)
        self.on_order(self._order)
        self._done = 0
        if not self._order.lead:
            self._start()

    def _start(self) -> None:
        self._sums = Turn(seconds=0.0)
        self._synchronize()
        self._optimizer.take()
        self._started = self.now()

    def _synchronize(self) -> None:
        import torch

        if self._cuda:
            torch.cuda.synchronize()


class OptimizerClock:
    """Sums the time inside of the step() of whatever optimizer is used, by hooks that torch calls around it."""

    def __init__(self, cuda: bool) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

        self._cuda, self._depth, self._spans = cuda, 0, []
        hooks = (register_optimizer_step_pre_hook(self._before), register_optimizer_step_post_hook(self._after))
        self.stop = lambda: [hook.remove() for hook in hooks]

    def take(self) -> float | None:
        """Return the seconds since the last call, None where no optimizer has stepped. The GPU must be synchronized."""
        spans, self._spans = self._spans, []
        if not spans:
            return None
        return sum(start.elapsed_time(end) / 1000 if self._cuda else end - start for start, end in spans)

    def _before(self, *_: Any) -> None:
        self._depth += 1
        if self._depth == 1:  # a step() that calls that of its parent class is one step
            self._begun = self._mark()

    def _after(self, *_: Any) -> None:
        self._depth -= 1
        if not self._depth and self._begun is not None:
            self._spans.append((self._begun, self._mark()))

    def _mark(self) -> Any:
        import torch

        if not self._cuda:
            return time.perf_counter()
        if torch.cuda.is_current_stream_capturing():  # a replayed graph calls no hook: nothing is seen of the optimizer
            return None
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


def peak_bytes(cuda: bool) -> int:
    import torch

    if cuda:
        return torch.cuda.max_memory_allocated()
    # Not getrusage: its maximum begins with what the parent process held.
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


class Child:
    """The side of `speed.py`: a contender in its process. `job` is a speed_rows.Job."""

    def __init__(self, job: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        self.name, self._log = job.contender.name, job.log
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_contend, args=(theirs, job), daemon=True)
        self._process.start()
        theirs.close()

    def ready(self) -> None:
        """Wait until it could begin."""
        self._receive()

    def turn(self, order: Order) -> Turn:
        self.begin(order)
        return self.end()

    def begin(self, order: Order) -> None:
        """Send an order, whose turn `end` waits for."""
        try:
            self._connection.send(order)
        except OSError:
            self._receive()  # it has ended, and says why

    def end(self) -> Turn:
        return self._receive()

    def attention(self) -> str | None:
        """Return what debft said that its attention is computed by, None for the others."""
        said = re.search(r"   attention (\w+)", self._log.read_text(encoding="utf-8", errors="replace"))
        return said and said[1]

    def close(self) -> None:
        self._connection.close()
        self._process.join(5)
        self._process.kill()
        self._process.join()

    def _receive(self) -> Any:
        try:
            return self._connection.recv()
        except (EOFError, OSError):
            self._process.join(5)
            lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if self._log.is_file() else []
            raise ContenderFailed(f"{self.name}: {lines[-1] if lines else 'it said nothing'}; see {self._log}") from None


def _contend(connection: Connection, job: Any) -> None:
    """Be the contender: what is printed goes into its log."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("ab") as log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        setattr(sys, name, open(number, "w", encoding="utf-8", buffering=1, closefd=False))  # noqa: SIM115
    assert threading.current_thread() is threading.main_thread()
    import speed_contenders

    speed_contenders.contend(Turns(connection), job)
