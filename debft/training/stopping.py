"""A run that was told to stop is left by all its processes after the same step, with a checkpoint."""

from typing import NoReturn

import torch

from debft.errors import Interrupted
from debft.runtime.signals import SECONDS_TO_SAVE, StopRequest
from debft.training.checkpoints import save
from debft.training.session import Session, TrainState


def stop_agreed(session: Session, stop: StopRequest) -> bool:
    """Return whether any process was told to stop: then all of them leave after the same step."""
    if session.accelerator.num_processes == 1:
        return bool(stop)
    number = torch.tensor([stop.number], device=session.accelerator.device)
    agreed = int(session.accelerator.gather(number).max())
    if agreed:  # else a signal that arrived during the exchange stays for the next one
        stop.number = agreed
    return agreed != 0


def stop_told(session: Session, stop: StopRequest, signal: int) -> bool:
    """Return whether any process was told to stop, as all of them heard with the figures of a step.

    signal: the number that they heard of, 0 for none
    """
    if session.accelerator.num_processes == 1:
        return bool(stop)
    if signal:
        stop.number = signal
    return signal != 0


def leave(session: Session, state: TrainState, stop: StopRequest, *, saving: bool = True) -> NoReturn:
    """Save a checkpoint, unless the model holds other weights than those of the step, and raise Interrupted."""
    if saving:
        stop.watch.alive(SECONDS_TO_SAVE)
        save(session, state)
    raise Interrupted(
        stop.number,
        f"interrupted after step {state.step:,} of {session.plan.total_steps:,}; "
        f"the same command with --output {session.run.path} --resume goes on",
    )
