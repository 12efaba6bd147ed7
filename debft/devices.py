"""The hardware: accelerator, precision, size of a micro-batch."""

import os
from typing import TYPE_CHECKING

from debft.errors import InputError
from debft.recipe import RuntimeConfig

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

# Padded tokens of one forward pass: large enough to fill the machine, small enough for its memory.
TOKENS_ON_CPU, TOKENS_ON_GPU = 2048, 16384


def build_accelerator(runtime: RuntimeConfig) -> "tuple[Accelerator, str]":
    """(accelerator, precision in use). Raises InputError where the hardware lacks what was asked for."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    _quiet_libraries()
    precision = check_precision(runtime.precision)
    AcceleratorState._reset_state()  # it would keep the precision of an earlier run in this Python process
    accelerator = Accelerator(mixed_precision="no" if precision == "fp32" else precision)
    asked = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != asked:
        raise InputError(
            f"--num-processes: expected {asked} processes to find each other, got {accelerator.num_processes}; "
            "on a CPU set ACCELERATE_USE_CPU=true, or let debft start them"
        )
    return accelerator, precision


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

    on_gpu = torch.cuda.is_available()
    bf16_gpu = on_gpu and torch.cuda.get_device_capability() >= (8, 0)
    if asked == "auto":
        return "bf16" if bf16_gpu else "fp32"
    if asked == "fp16" and not on_gpu:
        raise InputError("--precision fp16: expected a CUDA GPU (fp16 needs its loss scaling), found none; use bf16 or fp32")
    if asked == "bf16" and on_gpu and not bf16_gpu:
        raise InputError("--precision bf16: expected a GPU of compute capability 8.0 or newer; use fp16 or fp32")
    return asked


def micro_batch_tokens(runtime: RuntimeConfig, device: "torch.device") -> int:
    return runtime.micro_batch_tokens or (TOKENS_ON_CPU if device.type == "cpu" else TOKENS_ON_GPU)
