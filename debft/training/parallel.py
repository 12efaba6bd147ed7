"""What several processes of one run agree on, so that none goes on alone: errors, facts, and what process 0 read.

Process 0 alone reads and writes the run directory; the others are sent what it found. So the machines need no shared disk, and
where they have one nothing can differ. With one process every function here is plain.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from debft.errors import DebftError, InputError, MachineError
from debft.runtime.launch.group import in_a_group, is_main_process

if TYPE_CHECKING:
    import torch

Built = TypeVar("Built")


def together(build: Callable[[], Built]) -> Built:
    """`build()`, unless it raises a DebftError in any process: then the first one's error is raised in all of them."""
    if not in_a_group():
        return build()
    from debft.runtime.accelerator import join_processes

    built, own = None, None
    try:
        built = build()
    except DebftError as error:
        own = error
    join_processes()
    failed = [(rank, error) for rank, error in enumerate(_of_all(own)) if error is not None]
    if not failed:
        return built
    rank, error = failed[0]
    if not is_main_process():  # one process says it
        error.problems = ()
    elif rank:
        error.problems = tuple(f"process {rank}: {problem}" for problem in error.problems)
    raise error


def same_in_all(facts: Callable[[], dict[str, str]]) -> None:
    """Raises InputError, in every process, where a fact is not what process 0 has. Each is short: it is shown."""
    if not in_a_group():
        return
    first, *others = _of_all(facts())
    problems = [
        f"process {rank}: expected the {name} of process 0, {first[name]}, got {found.get(name)}; "
        "start every process from the same files, packages and options"
        for rank, found in enumerate(others, start=1)
        for name in first
        if found.get(name) != first[name]
    ]
    if problems:
        raise InputError(*(problems if is_main_process() else ()))


def of_first(value: Built) -> Built:
    """The value that process 0 has."""
    return _of_all(value if is_main_process() else None)[0] if in_a_group() else value


def tensors_of_first(tensors: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """The tensors that process 0 has, in the memory of each process's CPU; the others give {}."""
    if not in_a_group():
        return tensors
    import torch
    from accelerate.state import PartialState

    device, received = PartialState().device, {}
    for name, (shape, kind) in of_first({name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}).items():
        tensor = tensors[name].to(device) if is_main_process() else torch.empty(shape, dtype=kind, device=device)
        torch.distributed.broadcast(tensor.contiguous(), 0)
        received[name] = tensor.cpu()
    return received


@contextmanager
def losing_a_process_is_said(what_stays: str) -> Iterator[None]:
    """Raises MachineError where torch finds that another process is gone or does not answer."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        lost = ("Connection closed", "Connection reset", "Broken pipe", "Timed out", "timed out", "NCCL", "gloo", "Gloo")
        if not in_a_group() or not any(word in text for word in lost):
            raise
        reason = re.sub(r"^\[[^\]]*\] ", "", text.splitlines()[0])  # without the place in gloo's source
        raise MachineError(f"another process of the run was lost ({reason}); {what_stays}") from None


def _of_all(value: Any) -> list[Any]:
    import torch
    from accelerate.state import PartialState

    found: list[Any] = [None] * PartialState().num_processes
    torch.distributed.all_gather_object(found, value)
    return found
