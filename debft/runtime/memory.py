"""The memory of this process and of its device, and how the libraries say that there is no more."""

import gc
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from debft.errors import MachineError, first_line

if TYPE_CHECKING:
    import torch

# How torch says in a RuntimeError of no kind of its own that there is no memory. Source: torch 2.13 c10/core/impl/alloc_cpu.cpp
# (the second sentence is that of Windows and Android), and what cudaMalloc and cublasCreate give outside of torch's allocator.
NO_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


@contextmanager
def circles_kept() -> Iterator[None]:
    """Keep Python from looking for circles of objects to free, again and again, while only objects are made that stay.

    Rows and the modules of torch are millions of them: to look through them takes a fifth of the time that it takes to make them.
    They are left out of every later search too, until `gc.unfreeze()`.
    """
    looked = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if looked:
            gc.freeze()
            gc.enable()


def to_device(tensor: "torch.Tensor", device: "torch.device") -> "torch.Tensor":
    """Return the tensor on `device`. The way to a GPU is through pinned memory: the host does not wait for it."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def peak_memory_bytes() -> int:
    """Return the largest number of bytes that were in use at once: of the GPU where one was used, else of this process."""
    import torch

    if allocated := torch.cuda.max_memory_allocated():  # 0 where a GPU is there and the CPU was asked for
        return int(allocated)
    import resource

    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def available_memory_bytes(root: Path = Path("/")) -> int | None:
    """Return how much memory of this machine a process may take without others having to give way; None where that is not known.

    Linux tells it, and how much of its limit each control group leaves that the process is in, as in a container or a job of Slurm.
    Pages that only keep a file, which the system lets go of first, count as free. Source: proc(5), and cgroup-v2.rst of Linux.
    root: of the file system, for tests
    """
    found = []
    with suppress(OSError, ValueError, KeyError):
        found.append(1024 * _numbers(root / "proc/meminfo")["MemAvailable:"])
    with suppress(OSError, ValueError):
        name = next((line[3:] for line in (root / "proc/self/cgroup").read_text().splitlines() if line.startswith("0::")), "/")
        top = root / "sys/fs/cgroup"
        group = top / name.lstrip("/")
        for folder in (group, *group.parents)[: len(group.parts) - len(top.parts) + 1]:
            with suppress(OSError, ValueError, KeyError):  # the topmost group has no limit, and one of no number is "max"
                limit, used = (int((folder / f"memory.{of}").read_text()) for of in ("max", "current"))
                found.append(max(0, limit - used + _numbers(folder / "memory.stat")["inactive_file"]))
    return min(found, default=None)


def _numbers(path: Path) -> dict[str, int]:
    """Return the second word of each line, a number, by the first one."""
    return {words[0]: int(words[1]) for line in path.read_text().splitlines() if len(words := line.split()) > 1}


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of Python or torch says that there is not enough memory, of a GPU or of this machine."""
    torch = sys.modules.get("torch")  # where it is not imported, the error is none of its own
    kinds = (MemoryError,) if torch is None else (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or any(text in str(error) for text in NO_MEMORY)


@contextmanager
def too_little_memory() -> Iterator[None]:
    """Raise MachineError, with a line, where the memory is not enough within the block, and nothing smaller is tried there."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        line = f"the memory is not enough: {first_line(error)}; use a machine with more, or give fewer rows or a smaller model"
        raise MachineError(line) from error


def give_back_memory() -> None:
    """Return to the GPU what torch keeps of it for later, so that other sizes fit where a forward pass did not."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
