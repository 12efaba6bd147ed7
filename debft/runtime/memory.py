"""The memory that this process has used, and how the libraries say that there is no more."""

import platform


def peak_memory_bytes() -> int:
    """Return the largest number of bytes that were in use at once: of the GPU where one was used, else of this process."""
    import torch

    if allocated := torch.cuda.max_memory_allocated():  # 0 where a GPU is there and the CPU was asked for
        return int(allocated)
    import resource

    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of Python or torch says that there is not enough memory, of a GPU or of this machine.

    Source of the sentence: torch 2.13 c10/core/impl/alloc_cpu.cpp.
    """
    import torch

    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator: can't allocate memory" in str(error)
