"""The memory of this process and of its device."""

import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


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
