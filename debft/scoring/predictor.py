"""A predictor is a fine-tuned model with all it takes to use it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from debft.config.recipe import Recipe
from debft.data.encoding import EncodedSplit
from debft.data.examples import Examples
from debft.errors import NotFiniteError
from debft.runs.result import MemoryCut
from debft.scoring.evaluation import predict_splits
from debft.scoring.heads import LogitsNotFiniteError
from debft.scoring.loaded import LoadedModel
from debft.scoring.rows import TrainedOn

if TYPE_CHECKING:
    from accelerate import Accelerator


class Unwanted(Exception):
    """Nobody waits for these predictions any more, so they were given up."""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A predictor encodes examples and runs its model over them.

    recipe: how it is used, which names neither task nor model
    trained_on: what a run says about its rows; None for a model that is no run
    micro_batch_tokens: padded tokens that a training batch may have on this device
    show: whether a bar is shown
    unwanted: asked before each batch whether nobody waits for the predictions any more
    cuts: where the memory was not enough so far
    """

    loaded: LoadedModel
    trained_on: TrainedOn | None
    recipe: Recipe
    accelerator: "Accelerator"
    micro_batch_tokens: int
    show: bool = True
    unwanted: Callable[[], bool] = lambda: False
    cuts: list[MemoryCut] = field(default_factory=list)

    @property
    def precision(self) -> str:
        """Return the precision of the matrix products."""
        mixed = self.accelerator.mixed_precision
        return "fp32" if mixed == "no" else mixed

    def encode(self, examples: Examples, what: str, *, cached: bool) -> EncodedSplit:
        """Return the token ids of the examples. Raises InputError where the model's vocabulary lacks one of them."""
        return self.loaded.encode(examples, self.recipe, what, cached=cached, show=cached)

    def outcomes(self, splits: Mapping[str, EncodedSplit]) -> dict[str, Any]:
        """Run the model over all splits, and return what the head's `assess` and `predict` take of each. May raise Unwanted."""
        return predict_splits(
            self.loaded,
            self.accelerator,
            splits,
            micro_batch_tokens=self.micro_batch_tokens,
            cuts=self.cuts,
            should_stop=self.unwanted,
            leave=self._leave_unwanted,
            show=self.show,
        )

    @contextmanager
    def named(self) -> Iterator[None]:
        """Score or predict within the block. Raises NotFiniteError, with the model's name, where logits are not finite."""
        try:
            yield
        except LogitsNotFiniteError as error:
            advice = f"they are too large for {self.precision}: give --precision fp32 or bf16"
            if self.precision != "fp16":
                advice = "its weights are finite, but too large: train it again with a lower --learning-rate"
            raise NotFiniteError(f"{self.loaded.files.path}: {error.problems[0]}; {advice}") from error

    def _leave_unwanted(self) -> None:
        if self.unwanted():
            raise Unwanted
