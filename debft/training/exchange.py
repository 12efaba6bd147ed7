"""The gradients of several processes are summed, once for each step, and travel while the rest of the backward pass computes.

They travel in buckets, each as soon as its gradients are final. Unlike in DistributedDataParallel a process whose memory is not
enough for its part can then do that part again while the others wait: what it has sent stays sent. A gradient moves into its
bucket and stays there, so that no second copy of all gradients lies in the memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from debft.models.shards import is_sharded
from debft.training.layer_rates import depths

NUMBERS_AT_ONCE = 2**21  # gradients in one bucket, 8 MiB: large enough for the wire, small beside what is sent behind the pass
ALIGNED = 16  # numbers between which a gradient begins in its bucket, so that a GPU's kernels can read several at once


@dataclass(frozen=True, kw_only=True)
class _Travelling:
    """A bucket that was sent.

    summed: the place in it of each parameter's gradient, in the form of the parameter.
    work: what torch gives to wait for its arrival.
    """

    summed: list[torch.Tensor]
    work: Any


class Exchange:
    """The exchange gives every process the sum of the gradients of all.

    It does nothing with one process, nor with a sharded model, whose passes themselves sum them.

    model: its trained parameters are divided into buckets, the same in every process and in every step. Those whose gradients are
        computed first come first.
    """

    def __init__(self, model: torch.nn.Module, num_processes: int) -> None:
        self.buckets = list(_buckets(_in_backward_order(model))) if num_processes > 1 and not is_sharded(model) else []
        self.travelling: list[_Travelling] = []

    @contextmanager
    def sending(self, *, final: bool) -> Iterator[None]:
        """Send each bucket once its gradients are there, and the buckets before it are sent.

        final: the backward pass within the block is the last of the step; in any other nothing is sent
        """
        missing = [len(bucket) for bucket in self.buckets]

        def is_there(place: int, parameter: torch.Tensor) -> None:
            missing[place] -= 1
            while len(self.travelling) < len(self.buckets) and not missing[len(self.travelling)]:
                self._send()

        handles = [
            parameter.register_post_accumulate_grad_hook(partial(is_there, place))
            for place, bucket in enumerate(self.buckets if final else [])
            for parameter in bucket
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def finish(self) -> None:
        """Send what is left, and wait for all. A gradient that is absent counts as zeros, and stays absent.

        Where a process did its part again, a bucket has the gradients of the try in which it was sent, which were all there.
        """
        while len(self.travelling) < len(self.buckets):
            self._send()
        for bucket, sent in zip(self.buckets, self.travelling, strict=True):
            sent.work.wait()
            _put(bucket, sent.summed)
        self.travelling = []

    def _send(self) -> None:
        """Move the gradients of the next bucket into one tensor, and send it."""
        bucket = self.buckets[len(self.travelling)]
        begins = [0]
        for parameter in bucket:
            begins.append(begins[-1] + -(-parameter.numel() // ALIGNED) * ALIGNED)
        numbers = bucket[0].new_zeros(begins.pop(), requires_grad=False)
        places = [numbers[begin : begin + p.numel()].view_as(p) for begin, p in zip(begins, bucket, strict=True)]
        for parameter, place in zip(bucket, places, strict=True):
            if parameter.grad is not None:  # else no loss reads it, or there was no memory
                place.copy_(parameter.grad)
        _put(bucket, places)
        self.travelling.append(_Travelling(summed=places, work=torch.distributed.all_reduce(numbers, async_op=True)))


def _put(bucket: list[torch.nn.Parameter], gradients: list[torch.Tensor]) -> None:
    """Let the parameters that have a gradient have these."""
    for parameter, gradient in zip(bucket, gradients, strict=True):
        if parameter.grad is not None:
            parameter.grad = gradient


def _in_backward_order(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the trained parameters about as a backward pass comes to them: what all layers share is ready at its end."""
    depth = depths(model)
    named = reversed([(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad])
    return [parameter for _, parameter in sorted(named, key=lambda one: -depth[one[0]])]


def _buckets(parameters: list[torch.nn.Parameter]) -> Iterator[list[torch.nn.Parameter]]:
    """Yield the parameters in buckets of about NUMBERS_AT_ONCE numbers."""
    bucket: list[torch.nn.Parameter] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in bucket) + parameter.numel() > NUMBERS_AT_ONCE:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket
