"""Several processes of one run agree here on errors, on facts and on what process 0 has read, so that none goes on alone.

Process 0, the main one, reads and writes the run directory; the others receive what it has read. So the machines need no shared
disk, and where they have one nothing can differ. With one process nothing is exchanged, and torch is not imported: a plan is
shown before it is.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from debft.console import say_field
from debft.errors import DebftError, InputError, MachineError
from debft.runs.storage import failing_disk
from debft.runtime.accelerator import join_processes
from debft.runtime.launch.group import group_size, in_a_group, is_main_process
from debft.runtime.launch.heartbeat import in_touch, is_ending
from debft.runtime.launch.lifeline import cause_is_said
from debft.runtime.launch.machines import launcher
from debft.runtime.launch.meeting import meet, place, started_by_one

if TYPE_CHECKING:
    import torch

Built = TypeVar("Built")
SECONDS_TO_SAY_WHY = 2.0  # for the process that started this one to notice that another one has ended


def raise_together(build: Callable[[], Built]) -> Built:
    """Return `build()`; where it raises a DebftError in any process, raise the error of the lowest rank in all of them.

    A disk that fails is such an error, whatever was read or written.
    """
    if not in_a_group():
        with failing_disk():
            return build()
    built: list[Built] = []
    own_error = None
    try:
        with failing_disk():
            built.append(build())
    except DebftError as error:
        own_error = error
    join_processes()
    failed = [(rank, error) for rank, error in enumerate(_gather_from_all(own_error)) if error is not None]
    if not failed:
        return built[0]
    rank, first = failed[0]
    if not is_main_process():  # one process prints it
        first.problems = ()
    elif rank:
        first.problems = tuple(f"process {rank}: {problem}" for problem in first.problems)
    raise first


def run_on_main(action: Callable[[], Built]) -> Built | None:
    """Return `action()` in process 0 and None in the others; an error that it raises there is raised in all of them."""
    return raise_together(lambda: action() if is_main_process() else None)


def check_same_on_all_ranks(facts: Callable[[], dict[str, str]]) -> None:
    """Raise InputError in every process where a fact differs from that of process 0.

    facts: values by name, which are short, since they are shown
    """
    if not in_a_group():
        return
    of_main, *of_others = _gather_from_all(facts())
    problems = [
        f"process {rank}: expected the {name} of process 0, {of_main[name]}, got {of_rank.get(name)}; "
        "start every process from the same files, packages and options"
        for rank, of_rank in enumerate(of_others, start=1)
        for name in of_main
        if of_rank.get(name) != of_main[name]
    ]
    if problems:
        raise InputError(*(problems if is_main_process() else ()))


def broadcast_from_main(value: Built) -> Built:
    """Return in every process the value that process 0 gives; the others give anything."""
    return _gather_from_all(value if is_main_process() else None)[0] if in_a_group() else value


def broadcast_tensors_from_main(
    tensors: "dict[str, torch.Tensor]", keep: "Callable[[str, torch.Tensor], torch.Tensor] | None" = None
) -> "dict[str, torch.Tensor]":
    """Return in every process the tensors that process 0 gives, in the memory of its CPU; the others give {}.

    keep: gives what is kept of a tensor, from its name and all of it on the device, where one at a time is; None: all
    """
    if not in_a_group():
        return tensors
    import torch
    from accelerate.state import PartialState

    device, received = PartialState().device, {}
    forms = broadcast_from_main({name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()})
    for name, (shape, dtype) in forms.items():
        tensor = tensors[name].to(device) if is_main_process() else torch.empty(shape, dtype=dtype, device=device)
        tensor = tensor.contiguous()
        torch.distributed.broadcast(tensor, 0)
        received[name] = tensor.cpu() if keep is None else keep(name, tensor)
    return received


@contextmanager
def in_contact(hang_seconds: float | None, what_stays: Callable[[], str]) -> Iterator[None]:
    """Meet the other processes of the run; within the block this one ends where another one is lost, or is silent for too long.

    What one debft process has started it watches itself.
    what_stays: says what was saved, and how to go on from there
    """
    if started_by_one():
        with report_lost_rank(what_stays):
            yield
        return
    store = meet(hang_seconds)
    if is_main_process() and (by := launcher()) in ("torchrun", "accelerate launch"):
        machines = os.environ.get("GROUP_WORLD_SIZE", "1")
        say_field("processes", f"{group_size()}, started by {by}, machines {machines}; they meet at {place()}")
    join_processes()
    with in_touch(store, hang_seconds, what_stays), report_lost_rank(what_stays):
        yield


@contextmanager
def report_lost_rank(what_stays: Callable[[], str]) -> Iterator[None]:
    """Raise MachineError in place of torch's error that another process is gone or does not answer.

    The process that started this one may know more of it: where it says why, this one says nothing.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        lost = ("Connection closed", "Connection reset", "Broken pipe", "Timed out", "timed out", "NCCL", "gloo", "Gloo")
        if not in_a_group() or not any(word in text for word in lost):
            raise
        if is_ending() or cause_is_said(within=SECONDS_TO_SAY_WHY):
            raise MachineError from None
        reason = re.sub(r"^\[[^\]]*\] ", "", text.splitlines()[0])  # without the place in gloo's source, and its advice
        reason = reason.partition(". This is typically caused by")[0]
        raise MachineError(f"another process of the run was lost ({reason}); {what_stays()}") from None


def _gather_from_all(value: Any) -> list[Any]:
    """Return the value of every process, by rank."""
    import torch
    from accelerate.state import PartialState

    values: list[Any] = [None] * PartialState().num_processes
    torch.distributed.all_gather_object(values, value)
    return values
