"""This module says what a head does, whatever its kind, and holds what the kinds share.

Legend: B sequences in a batch, L its padded length, C outputs of the model.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from debft.data.encoding import EncodedSplit
from debft.data.examples import Examples
from debft.data.packing import Batch
from debft.errors import NotFiniteError
from debft.runtime.memory import to_device
from debft.scoring.collecting import Collector
from debft.scoring.metrics import by_name

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
PACKED_INPUTS = ("input_ids", "lengths", "token_type_ids", "seeds", "static")
MOST_NAMED = 3  # rows in one line
DIGITS = 10  # decimals of a score in percent: 30.35, not 30.349999999999998


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """A split was scored and predicted, with this outcome.

    scores: percent, by metric
    rows: the predictions, one row per example
    files: JSON content that lies beside the rows, by file name
    settings: what was chosen on this split and belongs to the model, as thresholds do
    loss: mean of the loss over the rows, without weights; None where the head computes none of what it has collected
    """

    scores: dict[str, float]
    rows: list[dict[str, Any]]
    files: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    loss: float | None = None


class LogitsNotFiniteError(NotFiniteError):
    """A model gives rows logits that are NaN or infinite, or too large to be added up: there is nothing to score or to predict.

    Its weights are finite, so that their products are too large for the precision, or other numbers on the way.
    """

    def __init__(self, ids: Sequence[Any], num_rows: int) -> None:
        """ids: of the rows, not empty; num_rows: how many there are in all"""
        self.ids = [str(one) for one in ids]
        named = ", ".join(map(repr, ids[:MOST_NAMED])) + (", ..." if len(ids) > MOST_NAMED else "")
        super().__init__(f"{len(ids):,} of {num_rows:,} rows ({named}): expected finite logits, got NaN or infinity")


class Head(Protocol):
    """A head turns the outputs of a model into a loss, into logits per sequence, and these into scores and predictions."""

    def prepare(self, split: EncodedSplit) -> EncodedSplit:
        """Return the split with its labels in the order of the model's outputs."""

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Return the logits of a batch, float32 (float64 of a model in float64)."""

    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the loss summed, not averaged, over the sequences of the batch, so that micro-batches add up."""

    def divergence(self, target: torch.Tensor, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return how far the predictions of `outputs` are from those of `target`, summed over the sequences; SiFT adds it."""

    def collector(self, split: EncodedSplit, *, left: bool, executor: Executor | None) -> Collector:
        """Return what keeps of the outputs of the split what `assess` and `predict` take.

        left: the padding is in front; executor: where it works while the model computes, None to work at once
        """

    def with_chosen(self, settings: Mapping[str, Any]) -> "Head":
        """Return the head with what an assessment chose, or what a model's config.json has of that. `settings`: as it has them"""

    def assess(self, outcome: Any, split: EncodedSplit, examples: Examples) -> Assessment:
        """Score and predict labelled examples. Raises LogitsNotFiniteError for NaN and infinity, whose argmax means nothing.

        outcome: what the collector has of the whole split
        """

    def predict(self, outcome: Any, examples: Examples) -> list[dict[str, Any]]:
        """Return the predictions of unlabelled examples, one row each. Raises LogitsNotFiniteError as `assess`."""


def plain_loss(head: Head) -> Callable[[torch.nn.Module, Batch], tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """Return the loss of the task alone, as `optimizer_steps` takes it."""
    return lambda model, batch: (head.loss(head.outputs(model, batch), batch), {})


def model_inputs(batch: Batch) -> Batch:
    """Return what the model reads of a batch."""
    return {name: batch[name] for name in (PACKED_INPUTS if "lengths" in batch else INPUTS) if name in batch}


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """Widen half precision; float64 stays."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def beside(outputs: torch.Tensor, numbers: Sequence[Any] | None) -> torch.Tensor | None:
    """Return numbers as a tensor with the kind and on the device of `outputs`; None for None."""
    return None if numbers is None else to_device(torch.tensor(numbers, dtype=outputs.dtype), outputs.device)


def sequence_logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Return the (B, C) logits of a model that has C outputs for a whole sequence."""
    return at_least_float32(model(**model_inputs(batch)).logits)


def summed(
    loss: Callable[..., torch.Tensor], outputs: torch.Tensor, target: torch.Tensor, batch: Batch, **options: torch.Tensor | None
) -> torch.Tensor:
    """Return a loss of torch summed over the sequences, each times its weight where the batch has weights."""
    if "weights" not in batch:
        return loss(outputs, target, reduction="sum", **options)
    loss_B = loss(outputs, target, reduction="none", **options).reshape(len(outputs), -1).sum(dim=1)
    return loss_B @ batch["weights"].to(loss_B.dtype)


def check_finite(logits_NC: np.ndarray, ids: Sequence[Any]) -> None:
    """Raise LogitsNotFiniteError unless all logits are finite. ids: of the N rows"""
    if not np.isfinite(logits_NC).all():
        bad_N = ~np.isfinite(logits_NC).reshape(len(ids), -1).all(axis=1)
        raise LogitsNotFiniteError([ids[row] for row in np.flatnonzero(bad_N).tolist()], len(ids))


def scores_in_percent(names: tuple[str, ...], predictions_N: np.ndarray, references_N: np.ndarray) -> dict[str, float]:
    """Compute the metrics `names`, rounded to what a float64 mean of fractions holds."""
    return {name: round(100.0 * by_name.compute(name, predictions_N, references_N), DIGITS) for name in names}
