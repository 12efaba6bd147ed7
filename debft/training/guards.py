"""A step that would only destroy the weights ends the run before it touches them."""

import math

import torch
from accelerate import Accelerator

from debft.errors import NotFiniteError
from debft.training.figures import FiguresOnDevice

SMALLEST_LOSS_SCALE = 2.0**-14  # fp16: where the scaler halves further, the gradient itself is not finite


class Guard:
    """A guard keeps on the device whether any step so far was not finite, so that no later one touches the weights either."""

    def __init__(self) -> None:
        self.found: torch.Tensor | None = None

    def after(self, figures: FiguresOnDevice) -> torch.Tensor:
        """Return 1.0 where this step or one before it was not finite, else 0.0: a float32 scalar on the device."""
        found = figures.not_finite()
        self.found = found if self.found is None else torch.maximum(self.found, found)
        return self.found


def check_finite(accelerator: Accelerator, step: int, loss_sum: float, grad_norm: float) -> None:
    """Raise NotFiniteError where the loss of a step (from 0) or its gradient is not finite.

    A gradient that overflows in fp16 is no error: the scaler makes the loss smaller, and the step is tried again.
    """
    scaler = accelerator.scaler
    overflow_is_normal = scaler is not None and scaler.get_scale() > SMALLEST_LOSS_SCALE
    if math.isfinite(loss_sum) and (math.isfinite(grad_norm) or overflow_is_normal):
        return
    which, value = ("loss", loss_sum) if not math.isfinite(loss_sum) else ("gradient norm", grad_norm)
    raise NotFiniteError(
        f"step {step + 1}: expected a finite {which}, got {value}; lower --learning-rate, or use --precision fp32 or bf16"
    )
