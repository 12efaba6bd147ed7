"""The memory that this process has used."""

import platform


def peak_memory_bytes() -> int:
    """Return the largest number of bytes that were in use at once: of the GPU where one was used, else of this process."""
    import torch

    if allocated := torch.cuda.max_memory_allocated():  # 0 where a GPU is there and the CPU was asked for
        return int(allocated)
    import resource

    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
