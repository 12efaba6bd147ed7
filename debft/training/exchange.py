"""The gradients of several processes are summed once each has its own.

They are exchanged behind the backward pass and not within it, as DistributedDataParallel does: a process whose memory was not
enough for its part can then do that part again while the others wait, and no second copy of all gradients lies in the memory.
"""

from collections.abc import Iterator

import torch

NUMBERS_AT_ONCE = 2**23  # gradients in one message, 32 MiB: large enough for the wire, small beside the model


def sum_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Give every process the sum of the gradients of all. One that is absent counts as zeros, and stays absent."""
    for part in _parts([p for group in optimizer.param_groups for p in group["params"]]):
        own = [p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in part]  # none: no loss reads it, or no memory
        numbers = torch.cat(own)
        torch.distributed.all_reduce(numbers)
        for parameter, summed in zip(part, numbers.split([len(one) for one in own]), strict=True):
            if parameter.grad is not None:
                parameter.grad.copy_(summed.view_as(parameter))


def _parts(parameters: list[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    """Yield the parameters in parts of about NUMBERS_AT_ONCE numbers, the same in every process."""
    part: list[torch.nn.Parameter] = []
    for parameter in parameters:
        if part and sum(p.numel() for p in part) + parameter.numel() > NUMBERS_AT_ONCE:
            yield part
            part = []
        part.append(parameter)
    if part:
        yield part
