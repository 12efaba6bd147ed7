"""The hardware of this machine: its GPUs, the precision they can compute in, the size of a micro-batch.

This is the one place that looks for GPUs: at their device files, which costs nothing, and then by asking torch.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from debft.console import say
from debft.errors import InputError, one_of, shown
from debft.runtime.variables import OFF

if TYPE_CHECKING:
    import torch

# Padded tokens of one forward pass: large enough to fill the machine, small enough for its memory.
TOKENS_ON_CPU, TOKENS_ON_GPU = 2048, 16384
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
DEVICES = Path("/dev")
# Through one of these every GPU that torch.cuda knows is reached on Linux: NVIDIA's driver, WSL, Jetson, ROCm.
GPU_FILES = ("nvidia*", "dxg", "nvhost*", "nvmap", "kfd")
CARD_FILES = ("nvidia[0-9]*",)  # one per NVIDIA card
HIDDEN = ("", "-1", "none", "NoDevFiles")  # the values of CUDA_VISIBLE_DEVICES that hide every GPU


def cpu_is_asked_for() -> bool:
    """Whether accelerate's variable asks for the CPU; debft sets it for several processes without GPUs."""
    return os.environ.get("ACCELERATE_USE_CPU", "").strip().lower() not in OFF


def visible_gpus() -> int:
    """Return the number of GPUs that torch can use, 0 where ACCELERATE_USE_CPU forbids them.

    Importing torch takes a second. It is spared where no device file exists, without which no GPU works.
    """
    if cpu_is_asked_for():
        return 0
    if "torch" not in sys.modules and sys.platform == "linux" and not _device_files(GPU_FILES):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def device_type() -> str:
    """Return the type of the device that a run takes here, `cuda` or `cpu`."""
    return "cuda" if visible_gpus() else "cpu"


def devices_here() -> list[str]:
    """Return one entry of CUDA_VISIBLE_DEVICES for each GPU that torch can use, [] where there is none."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    usable = visible_gpus()
    return chosen.split(",")[:usable] if chosen else [str(number) for number in range(usable)]


def unused_gpus() -> str | None:
    """Return why torch leaves the NVIDIA cards of this machine alone; None where they are used, hidden on purpose or absent."""
    cards = _device_files(CARD_FILES)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in HIDDEN
    if not cards or hidden or cpu_is_asked_for() or visible_gpus():
        return None
    import torch

    build = "is built for the CPU alone" if torch.version.cuda is None else "finds no driver or no permission for it"
    return f"{', '.join(cards)} is there, but torch {torch.__version__} {build}; everything runs on the CPU, many times slower"


def warn_of_unused_gpus() -> None:
    """Print one line before anything trains or predicts on the CPU of a machine that has a GPU."""
    if why := unused_gpus():
        say(f"warning: {why}")


def check_precision(asked: str) -> str:
    """Return the precision that `asked`, which may be `auto`, means here.

    Raises InputError where it is none, or the hardware lacks it.
    """
    import torch

    if asked not in PRECISIONS:
        raise InputError(f"--precision: expected one of {one_of(PRECISIONS)}, got {shown(asked)}")

    on_gpu = visible_gpus() > 0
    bf16_gpu = on_gpu and torch.cuda.get_device_capability() >= (8, 0)
    if asked == "auto":
        return "bf16" if bf16_gpu else "fp32"
    if asked == "fp16" and not on_gpu:
        raise InputError("--precision fp16: expected a CUDA GPU (fp16 needs its loss scaling), found none; use bf16 or fp32")
    if asked == "bf16" and on_gpu and not bf16_gpu:
        raise InputError("--precision bf16: expected a GPU of compute capability 8.0 or newer; use fp16 or fp32")
    return asked


def device_name(device: "torch.device") -> str:
    """Return `cpu`, or `cuda` with the name of the card."""
    return f"{device.type} ({gpu})" if (gpu := gpu_name(device)) else device.type


def gpu_name(device: "torch.device") -> str | None:
    """Return the name of the card, such as NVIDIA H100 80GB HBM3, None for the CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else None


def micro_batch_tokens(asked: int | None, device: "torch.device") -> int:
    """Return the padded tokens of one forward pass: as many as were asked for, else as many as suit the device."""
    return asked or (TOKENS_ON_CPU if device.type == "cpu" else TOKENS_ON_GPU)


def _device_files(patterns: tuple[str, ...]) -> list[str]:
    """Return the paths of the device files that match one of the patterns."""
    return sorted(str(path) for pattern in patterns for path in DEVICES.glob(pattern))
