"""A model in memory, with what makes its inputs of examples and scores of its outputs: training and use share it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from debft.config.recipe import Recipe
from debft.data.encoding import EncodedSplit
from debft.data.examples import Examples
from debft.data.load import encode_split
from debft.data.packing import Collator
from debft.models.attention.use import is_packed, use_attention
from debft.models.build import build_model
from debft.models.files import ModelFiles
from debft.models.outputs import model_labels
from debft.models.tokens.tokenizer import build_tokenizer, check_vocabulary
from debft.models.tokens.words import reads_word_by_word
from debft.scoring.heads import Head, head_of
from debft.scoring.probe import check_takes_texts
from debft.tasks import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


MANY = 1000  # examples: fewer are encoded sooner than the tokenizer is looked at


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model is loaded with the head of one task.

    files: the files that it was built from.
    task: the task, with the columns and labels of the data.
    head: computes loss, scores and predictions of the model's outputs.
    tokenizer: gives the tokens that the model was trained with.
    model: the plain model, without the wrapper that several processes put around it.
    collate: makes a batch on the model's device of the examples of a split.
    attention: the backend that computes the model's attention, never `auto`.
    """

    files: ModelFiles
    task: Task
    head: Head
    tokenizer: "PreTrainedTokenizerFast"
    model: "PreTrainedModel"
    collate: Collator
    attention: str = "eager"

    @cached_property
    def reads_word_by_word(self) -> bool:
        """Return whether the tokens of a text are those of its words, whatever the text."""
        return reads_word_by_word(self.tokenizer.backend_tokenizer)

    def encode(self, examples: Examples, recipe: Recipe, what: str, *, cached: bool = True, show: bool = True) -> EncodedSplit:
        """Return the examples as token ids. Raises InputError where the model has no embedding for one of them.

        what: the name of the split on the bar; cached: whether the ids are kept on this disk; show: whether a bar is shown
        """
        split = encode_split(
            self.task,
            examples,
            self.tokenizer,
            recipe,
            what=what,
            by_word=lambda: len(examples) >= MANY and self.reads_word_by_word,
            cached=cached,
            show=show,
        )
        check_vocabulary(self.files, split.largest_id())
        return split


def load_model(
    files: ModelFiles,
    task: Task,
    recipe: Recipe,
    device: torch.device,
    *,
    attention: str = "eager",
    chosen: Mapping[str, Any] | None = None,
    new_head: bool = False,
    quiet: bool = True,
) -> LoadedModel:
    """Build tokenizer, head and model; the model is still on the CPU, its batches come on `device`.

    recipe: where lengths, seed, head dropout and `from_scratch` are taken from
    attention: the backend that is to compute the model's attention, as `attention_for` returns it
    chosen: what was chosen on dev data, as the model's config.json has it; None where that is yet to be done
    new_head: whether a head that the files lack is made up, as for training

    Raises InputError where files and task do not go together.
    """
    tokenizer = build_tokenizer(files, task)
    head = head_of(task, recipe.questions, model_labels(files, task))
    head = head if chosen is None else head.with_chosen(chosen)
    model = build_model(
        files,
        task,
        from_scratch=recipe.train.from_scratch,
        head_dropout=recipe.train.head_dropout,
        seed=recipe.train.seed,
        quiet=quiet,
        new_head=new_head,
    )
    check_takes_texts(model, tokenizer, files, task, recipe.text.max_seq_length)
    collate = Collator(
        pad_id=tokenizer.pad_token_id,
        names=tuple(tokenizer.model_input_names),
        device=device,
        left=tokenizer.padding_side == "left",
        packed=is_packed(attention),
    )
    use_attention(model, attention)
    return LoadedModel(files=files, task=task, head=head, tokenizer=tokenizer, model=model, collate=collate, attention=attention)
