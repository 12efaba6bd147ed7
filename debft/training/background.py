"""A checkpoint is written by a thread, from a copy in the memory of the host, while the steps go on."""

import threading
from collections.abc import Callable

import torch

from debft.console import say
from debft.errors import NotFiniteError
from debft.runs.storage import DiskError
from debft.runtime.memory import available_memory_bytes, is_out_of_memory

ALIGNED = 64  # bytes at whose multiples a tensor begins in a copy
MOST_OF_MEMORY = 0.5  # of what is available: the steps need the rest

Tensors = dict[str, torch.Tensor]


class Background:
    """At most one piece of work is done by a thread at a time. Whoever began it waits for it before the program ends."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._said = False

    def begin(self, work: Callable[[], None]) -> None:
        """Let a thread do the work, once the one before it is done. Raises the error of that one."""
        self.finish()
        self._thread = threading.Thread(target=self._do, args=(work,), name="checkpoint")
        self._thread.start()

    def _do(self, work: Callable[[], None]) -> None:
        """Be the thread, and keep an error of any kind for the one who waits."""
        try:
            work()
        except BaseException as error:
            self._error = error

    def failed(self) -> bool:
        """Return whether the work has ended with an error, which `finish` raises. It does not wait."""
        return self._error is not None

    def finish(self) -> None:
        """Wait until nothing is being done, and raise the error that it ended with."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Wait as `finish` does. What the work failed of is said in a line: the run ends, or tries again, for another reason."""
        try:
            self.finish()
        except (DiskError, NotFiniteError) as error:
            for line in [error.refusal] if isinstance(error, DiskError) else error.problems:
                say(f"warning: {line}")

    def say_once(self, line: str) -> None:
        """Print a line, the first time that there is one."""
        if not self._said:
            say(line)
        self._said = True


class HostCopy:
    """Tensors are on their way to the memory of the host, as they are behind all that was enqueued so far.

    From a GPU they go to pinned memory, in the same stream as the steps: what is enqueued behind them may change the tensors. torch
    keeps that memory for the next copy, since to pin it takes longer than to fill it.
    """

    def __init__(self, parts: list[Tensors]) -> None:
        gpu = next((tensor.device for part in parts for tensor in part.values() if tensor.device.type == "cuda"), None)
        buffer = torch.empty(bytes_of(parts), dtype=torch.uint8, pin_memory=gpu is not None)
        self._parts: list[Tensors] = []
        begin = 0
        for part in parts:
            copies: Tensors = {}
            for name, tensor in part.items():
                place = buffer[begin : begin + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
                copies[name] = place.copy_(tensor.detach(), non_blocking=gpu is not None)
                begin += _aligned(tensor.nbytes)
            self._parts.append(copies)
        self._arrived: torch.cuda.Event | None = None
        if gpu is not None:
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(gpu))

    def parts(self) -> list[Tensors]:
        """Return the copies, for which any thread may wait."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._parts


def host_copy(parts: list[Tensors], beside: int = 0) -> HostCopy | None:
    """Copy tensors to the memory of the host; None where there is too little of it.

    beside: bytes that the one who uses the copy needs as well
    """
    available = available_memory_bytes()
    if available is not None and bytes_of(parts) + beside > MOST_OF_MEMORY * available:
        return None
    try:
        return HostCopy(parts)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def bytes_of(parts: list[Tensors]) -> int:
    """Return how much memory a copy of tensors takes."""
    return sum(_aligned(tensor.nbytes) for part in parts for tensor in part.values())


def _aligned(size: int) -> int:
    return -(-size // ALIGNED) * ALIGNED
