"""The hardware: GPUs, accelerator, precision, size of a micro-batch. What is there is asked of torch, and only here."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from debft.console import say
from debft.errors import InputError
from debft.runtime.variables import OFF, check_variables

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

# Padded tokens of one forward pass: large enough to fill the machine, small enough for its memory.
TOKENS_ON_CPU, TOKENS_ON_GPU = 2048, 16384
# Through one of these every GPU that torch.cuda knows is reached on Linux: NVIDIA's driver, WSL, Jetson, ROCm.
DEVICES = Path("/dev")
GPU_FILES = ("nvidia*", "dxg", "nvhost*", "nvmap", "kfd")
# The two settings with which cuBLAS gives the same bits every time; it reads the variable once, when it starts.
# Source: NVIDIA's documentation of cuBLAS, section "Results reproducibility"; torch accepts no other.
CUBLAS_VARIABLE, CUBLAS_SETTINGS = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")
TIME_TO_ANSWER = timedelta(minutes=30)  # process 0 may write a large model while the others wait


def cpu_is_asked_for() -> bool:
    """By accelerate's variable for it, which debft sets for several processes without GPUs."""
    return os.environ.get("ACCELERATE_USE_CPU", "").strip().lower() not in OFF


def visible_gpus() -> int:
    """The GPUs that torch can use, 0 where ACCELERATE_USE_CPU forbids them.

    Importing torch takes a second: it is spared where no file of a device exists, which no GPU works without.
    """
    if cpu_is_asked_for():
        return 0
    if "torch" not in sys.modules and sys.platform == "linux" and not any(any(DEVICES.glob(name)) for name in GPU_FILES):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def unused_gpus() -> str | None:
    """Why the machine's NVIDIA devices are left alone, None where they are used, hidden on purpose or absent."""
    files = sorted(str(path) for path in DEVICES.glob("nvidia[0-9]*"))
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1", "none", "NoDevFiles")
    if not files or hidden or cpu_is_asked_for() or visible_gpus():
        return None
    import torch

    build = "is built for the CPU alone" if torch.version.cuda is None else "finds no driver or no permission for it"
    return f"{', '.join(files)} is there, but torch {torch.__version__} {build}; everything runs on the CPU, many times slower"


def warn_of_unused_gpus() -> None:
    """One line before anything trains or predicts on the CPU of a machine that has a GPU."""
    if why := unused_gpus():
        say(f"warning: {why}")


def join_processes() -> None:
    """Meet the other processes of the run; from here on they can exchange things."""
    from accelerate.state import PartialState

    check_variables(None, visible_gpus())
    PartialState(cpu=cpu_is_asked_for(), timeout=TIME_TO_ANSWER)
    asked, met = int(os.environ.get("WORLD_SIZE", "1")), PartialState().num_processes
    if met != asked:
        raise InputError(
            f"--num-processes: expected {asked} processes to find each other, got {met}; "
            "on a CPU set ACCELERATE_USE_CPU=true, or let debft start them"
        )


def build_accelerator(asked: str) -> "tuple[Accelerator, str]":
    """(accelerator, precision in use); `asked` is `auto` or a precision.

    Raises InputError where the hardware or a launcher's variable forbids what was asked for.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import GradientAccumulationPlugin

    _quiet_libraries()
    join_processes()
    precision = check_precision(asked)
    check_variables(precision, visible_gpus())
    if os.environ.get("RANK", "0") == "0":
        warn_of_unused_gpus()
    AcceleratorState._reset_state()  # it would keep the precision of an earlier run in this Python process
    torch.set_float32_matmul_precision("highest")  # TORCH_ALLOW_TF32_CUBLAS_OVERRIDE, which some images set, would lower it
    mixed = "no" if precision == "fp32" else precision
    accelerator = Accelerator(mixed_precision=mixed, gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1))
    _check_accelerator(accelerator, mixed)
    return accelerator, precision


@contextmanager
def deterministic_kernels(wanted: bool) -> Iterator[None]:
    """Within the block torch computes with kernels that give the same bits every time, where that is wanted.

    Afterwards torch is set as before; the variable of cuBLAS stays, since cuBLAS has read it by then. Raises InputError where
    the variable says something else, where cuBLAS may have started without it, and where a kernel has no such form.
    """
    if not wanted:
        yield
        return
    import torch

    _prepare_cublas()
    before, only_warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        kernel = re.match(r"(\S+) does not have a deterministic implementation", str(error))
        if kernel is None:
            raise
        raise InputError(
            f"runtime.deterministic: expected a model whose kernels all have a deterministic form here, got {kernel[1]}, "
            "which has none; train without it"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)


def _prepare_cublas() -> None:
    """Set the variable of cuBLAS, unless the user has. Raises InputError where that would have no effect, or another one."""
    import torch

    expected = " or ".join(CUBLAS_SETTINGS)
    given = os.environ.get(CUBLAS_VARIABLE)
    if given is None and torch.cuda.is_initialized() and torch.cuda.memory_stats().get("allocation.all.allocated"):
        raise InputError(
            f"runtime.deterministic: expected {CUBLAS_VARIABLE} to be {expected} before this process uses the GPU, got it unset; "
            "set it before the program starts"
        )
    if given is not None and given not in CUBLAS_SETTINGS:
        raise InputError(f"{CUBLAS_VARIABLE}: expected {expected} for runtime.deterministic, got {given}; unset it")
    os.environ[CUBLAS_VARIABLE] = given or CUBLAS_SETTINGS[0]


def _check_accelerator(accelerator: "Accelerator", mixed: str) -> None:
    """Raises InputError where accelerate was told something by the environment that `check_variables` does not know."""
    kind = accelerator.distributed_type.value
    found = [
        ("processes", "plain ones", "plain ones" if kind in ("NO", "MULTI_CPU", "MULTI_GPU") else kind),
        ("gradient accumulation", 1, accelerator.gradient_accumulation_steps),
        ("mixed precision", mixed, accelerator.mixed_precision),
        ("compilation", "no", accelerator.state.dynamo_plugin.backend.value.lower()),
    ]
    for what, expected, got in found:
        if got != expected:
            raise InputError(f"accelerate: expected {what} {expected}, got {got}; unset its variables")


def _quiet_libraries() -> None:
    """Bars and advice of the libraries, between ours; their errors stay."""
    import datasets
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()


def check_precision(asked: str) -> str:
    """The precision that `asked` means here. Raises InputError where the hardware lacks it."""
    import torch

    on_gpu = visible_gpus() > 0
    bf16_gpu = on_gpu and torch.cuda.get_device_capability() >= (8, 0)
    if asked == "auto":
        return "bf16" if bf16_gpu else "fp32"
    if asked == "fp16" and not on_gpu:
        raise InputError("--precision fp16: expected a CUDA GPU (fp16 needs its loss scaling), found none; use bf16 or fp32")
    if asked == "bf16" and on_gpu and not bf16_gpu:
        raise InputError("--precision bf16: expected a GPU of compute capability 8.0 or newer; use fp16 or fp32")
    return asked


def micro_batch_tokens(asked: int | None, device: "torch.device") -> int:
    """Padded tokens of one forward pass: as asked for, else as many as suit the device."""
    return asked or (TOKENS_ON_CPU if device.type == "cpu" else TOKENS_ON_GPU)


def device_name(device: "torch.device") -> str:
    """`cpu`, or `cuda` with the name of the card."""
    return f"{device.type} ({gpu})" if (gpu := gpu_name(device)) else device.type


def gpu_name(device: "torch.device") -> str | None:
    """The name of the card, such as NVIDIA H100 80GB HBM3, None for the CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else None
