"""A fine-tuned model with all it takes to use it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from debft.config.recipe import Recipe
from debft.data.encoding import EncodedSplit
from debft.data.load import encode_split
from debft.data.packing import Collator
from debft.data.rows import Examples
from debft.models.build import ModelFiles, check_vocabulary
from debft.scoring.evaluation import predict_logits
from debft.scoring.heads import Head
from debft.tasks import Task

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A fine-tuned model at work: it encodes examples and gives their logits.

    recipe: how it is used; it names neither task nor model
    data: the source a run was trained on, as in a recipe; None for a model that is no run
    micro_batch_tokens: padded tokens that a training batch may have on this device; evaluation takes four times as many
    """

    task: Task
    files: ModelFiles
    data: str | None
    recipe: Recipe
    head: Head
    accelerator: "Accelerator"
    tokenizer: "PreTrainedTokenizerFast"
    model: "PreTrainedModel"
    micro_batch_tokens: int

    def encode(self, examples: Examples, what: str, *, cached: bool) -> EncodedSplit:
        """Return the token ids of the examples. Raises InputError where the model's vocabulary lacks one of them."""
        split = encode_split(self.task, examples, self.tokenizer, self.recipe, what=what, cached=cached, show=cached)
        check_vocabulary(self.files, int(split.ids_T.max()))
        return split

    def logits(self, split: EncodedSplit, what: str) -> list[np.ndarray]:
        """Return the logits of every sequence, in the order of the split."""
        collate = Collator(
            pad_id=self.tokenizer.pad_token_id,
            names=tuple(self.tokenizer.model_input_names),
            device=self.accelerator.device,
            left=self.tokenizer.padding_side == "left",
        )
        return predict_logits(
            self.accelerator,
            self.model,
            self.head,
            split,
            collate=collate,
            micro_batch_tokens=4 * self.micro_batch_tokens,
            what=what,
        )
