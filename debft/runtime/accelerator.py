"""Build the accelerator: accelerate's view of the devices and processes of a run, with nothing left to a launcher's variables."""

import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from debft.errors import InputError
from debft.runtime.devices import check_precision, cpu_is_asked_for, visible_gpus, warn_of_unused_gpus
from debft.runtime.launch.group import check_group, group_size, in_a_group, is_main_process
from debft.runtime.launch.interface import name_interface
from debft.runtime.variables import check_variables

if TYPE_CHECKING:
    from accelerate import Accelerator

# Process 0 may write a large model while the others wait. One that is lost is noticed long before, by its lifeline or heartbeat.
TIME_TO_ANSWER = timedelta(minutes=30)


def join_processes() -> None:
    """Meet the other processes of the run; from here on they can exchange objects and tensors.

    Raises InputError where they do not find each other.
    """
    from accelerate.state import PartialState

    check_variables(None, visible_gpus())
    check_group()
    if in_a_group() and not PartialState._shared_state:
        if not visible_gpus():
            if is_main_process():
                warn_of_unused_gpus()
            os.environ["ACCELERATE_USE_CPU"] = "true"  # without it accelerate makes worlds of size 1 that train side by side
        name_interface()
    PartialState(cpu=cpu_is_asked_for(), timeout=TIME_TO_ANSWER)
    expected, met = group_size(), PartialState().num_processes
    if met != expected:
        raise InputError(f"--num-processes: expected {expected} processes to find each other, got {met}; let debft start them")


def leave_processes() -> None:
    """Leave the other processes of the run, with which nothing is exchanged any more.

    Else the threads of gloo may let go of objects of Python's while Python itself ends, by which a process dies of SIGABRT.
    """
    if in_a_group():
        import torch

        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def build_accelerator(asked: str) -> "tuple[Accelerator, str]":
    """Return (accelerator, precision in use); `asked` is `auto` or a precision.

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
    if is_main_process():
        warn_of_unused_gpus()
    AcceleratorState._reset_state()  # it would keep the precision of an earlier run in this Python process
    torch.set_float32_matmul_precision("highest")  # TORCH_ALLOW_TF32_CUBLAS_OVERRIDE, which some images set, would lower it
    mixed = "no" if precision == "fp32" else precision
    accelerator = Accelerator(mixed_precision=mixed, gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1))
    _check_accelerator(accelerator, mixed)
    return accelerator, precision


def _check_accelerator(accelerator: "Accelerator", mixed: str) -> None:
    """Raise InputError where a variable that `check_variables` does not know has changed how accelerate works."""
    kind = accelerator.distributed_type.value
    settings = [
        ("processes", "plain ones", "plain ones" if kind in ("NO", "MULTI_CPU", "MULTI_GPU") else kind),
        ("gradient accumulation", 1, accelerator.gradient_accumulation_steps),
        ("mixed precision", mixed, accelerator.mixed_precision),
        ("compilation", "no", accelerator.state.dynamo_plugin.backend.value.lower()),
    ]
    for what, expected, got in settings:
        if got != expected:
            raise InputError(f"accelerate: expected {what} {expected}, got {got}; unset its variables")


def _quiet_libraries() -> None:
    """Silence the progress bars and the advice of the libraries, which would stand between our lines; their errors stay."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if datasets := sys.modules.get("datasets"):  # which takes a second to import, and only rows of the hub need
        datasets.disable_progress_bars()
