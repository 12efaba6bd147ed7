"""A step that would only destroy the weights ends the run before it touches them."""

import math

import numpy as np
import torch
from accelerate import Accelerator

from debft.errors import NotFiniteError
from debft.scoring.heads import LogitsNotFiniteError
from debft.training.figures import FiguresOnDevice

SMALLEST_LOSS_SCALE = 2.0**-14  # fp16: where the scaler halves further, the gradient itself is not finite


class StepNotFiniteError(NotFiniteError):
    """The loss or the gradient of a step is not finite. The weights are those before it, unless they themselves are not finite.

    step: its number, from 1.
    what, value: which figure it was, and what it was; None for what has no value of its own.
    sequences: the places of its sequences in the training split; none where the weights are not finite behind it.
    """

    def __init__(self, step: int, what: str, value: float | None, sequences: np.ndarray) -> None:
        self.step, self.what, self.value, self.sequences = step, what, value, sequences
        super().__init__(f"step {step}: expected a finite {what}{'' if value is None else f', got {value}'}")


class EvaluationNotFiniteError(NotFiniteError):
    """The logits of rows are not finite in an evaluation, though the weights are: there is nothing to score.

    step: the number of the last step, from 1; split: the name of the split; ids: of these rows
    """

    def __init__(self, step: int, split: str, error: LogitsNotFiniteError) -> None:
        self.step, self.split, self.ids = step, split, error.ids
        super().__init__(f"the evaluation after step {step:,}: {split}: {error.problems[0]}")


class Guard:
    """A guard keeps on the device whether any step so far was not finite, so that no later one touches the weights either."""

    def __init__(self) -> None:
        self.found: torch.Tensor | None = None

    def after(self, figures: FiguresOnDevice) -> torch.Tensor:
        """Return 1.0 where this step or one before it was not finite, else 0.0: a float32 scalar on the device."""
        found = figures.not_finite()
        self.found = found if self.found is None else torch.maximum(self.found, found)
        return self.found


def check_finite(accelerator: Accelerator, step: int, loss_sum: float, grad_norm: float, sequences: np.ndarray) -> None:
    """Raise StepNotFiniteError where the loss of a step (from 0) of these sequences or its gradient is not finite.

    A gradient that overflows in fp16 is no error: the scaler makes the loss smaller, and the step is tried again.
    """
    scaler = accelerator.scaler
    overflow_is_normal = scaler is not None and scaler.get_scale() > SMALLEST_LOSS_SCALE
    if math.isfinite(loss_sum) and (math.isfinite(grad_norm) or overflow_is_normal):
        return
    which, value = ("loss", loss_sum) if not math.isfinite(loss_sum) else ("gradient norm", grad_norm)
    raise StepNotFiniteError(step + 1, which, value, sequences)
