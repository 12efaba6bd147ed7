"""The figures of a step travel from the device to the host, which reads them when they are there and waits for no other reason.

Legend: W processes, S what each tells of a step: its sums, and behind them its signal and to how many tokens it was cut.
"""

import math
from dataclasses import dataclass

import torch
from accelerate import Accelerator


class Transfer:
    """Float32 numbers are on their way to the host; `read` waits until they have arrived.

    On a GPU they go to pinned memory, behind what has been enqueued so far, and the host goes on meanwhile.
    """

    def __init__(self, values: torch.Tensor) -> None:
        self.arrived = None
        self.values = values
        if values.device.type == "cuda":
            self.values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self.values.copy_(values, non_blocking=True)
            self.arrived = torch.cuda.Event()
            self.arrived.record(torch.cuda.current_stream(values.device))

    def read(self) -> torch.Tensor:
        """Return the numbers in the memory of the host."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.values


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of a step, over all processes, as the host reads them.

    sums: `loss` and what else the loss logs, each summed over the sequences of all processes.
    grad_norm: norm of the gradient before clipping.
    signal: the largest number of a signal that told a process to stop; 0: none was told.
    tokens: the smallest number of tokens to which a process had to cut its micro-batches in this step, infinite where none had to;
        0: for one of them the memory was not enough for a sequence alone.
    """

    sums: dict[str, float]
    grad_norm: float
    signal: int
    tokens: float

    def are_finite(self) -> bool:
        """Return whether loss and gradient are."""
        return math.isfinite(self.sums["loss"]) and math.isfinite(self.grad_norm)


@dataclass(frozen=True, kw_only=True)
class FiguresOnDevice:
    """The same figures on the device, and on their way to the host.

    names: those of the sums, `loss` first.
    told_WS: what each process told, its sums, its signal and its tokens.
    grad_norm: norm of the gradient before clipping, a float32 scalar.
    transfer: all of it as the host will get it.
    """

    names: tuple[str, ...]
    told_WS: torch.Tensor
    grad_norm: torch.Tensor
    transfer: Transfer

    def not_finite(self) -> torch.Tensor:
        """Return 1.0 where loss or gradient are not finite, else 0.0: a float32 scalar on the device."""
        return 1.0 - torch.isfinite(self.told_WS[:, 0].sum() + self.grad_norm).float()

    def read(self) -> Figures:
        """Return the figures, for which the host waits."""
        told, grad_norm = self.transfer.read().split([self.told_WS.numel(), 1])
        told_WS = told.view(self.told_WS.shape)
        sums = dict(zip(self.names, told_WS[:, :-2].sum(0).tolist(), strict=True))
        signal, tokens = int(told_WS[:, -2].max()), float(told_WS[:, -1].min())
        return Figures(sums=sums, grad_norm=float(grad_norm), signal=signal, tokens=tokens)


def gathered(
    accelerator: Accelerator, sums: dict[str, torch.Tensor], grad_norm: torch.Tensor, signal: int, tokens: float = math.inf
) -> FiguresOnDevice:
    """Send sums, `loss` first, signal and tokens of every process to all: the one message of a step beside its gradients."""
    own_S = torch.stack([value.float() for value in sums.values()])
    own_S = torch.cat([own_S, own_S.new_full((1,), signal), own_S.new_full((1,), tokens)])
    told_WS = accelerator.gather(own_S).view(accelerator.num_processes, -1)
    grad_norm = grad_norm.float()
    transfer = Transfer(torch.cat([told_WS.flatten(), grad_norm.view(1)]))
    return FiguresOnDevice(names=tuple(sums), told_WS=told_WS, grad_norm=grad_norm, transfer=transfer)
