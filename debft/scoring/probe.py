"""A model is tried on a few tokens before anything is trained or scored, to see whether it computes and takes texts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from debft.console import say
from debft.errors import InputError, first_line
from debft.models.encoders import FAMILIES
from debft.models.files import ModelFiles
from debft.models.json_files import read_config, refusal_explained
from debft.runtime.launch.group import is_main_process
from debft.scoring.heads import model_inputs
from debft.tasks import QuestionAnswering, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

WORDS = "a the in of to"
FEW = 4  # tokens that show whether a model computes
LONGEST = 512  # tokens that are tried at most: more take long on a CPU
# By how much padding may move logits, relative to the largest: float32 at another length differs by 1e-6, a text whose padding is
# read as text by 1.
TOLERANCE = 1e-3


def check_takes_texts(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", files: ModelFiles, task: Task, max_seq_length: int
) -> None:
    """Try a few tokens, and for other types than the tested ones of FAMILIES a longest text, and a short one beside a longer one.

    Raises InputError where transformers' model cannot take them, or reads the padding as text; a line says so where padding moves
    its logits for another reason. The model, which is on the CPU, stays as it was, and no random numbers are used up.
    """
    training = model.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            model.eval()
            if read_config(files.path)["model_type"] in FAMILIES:
                _check_computes(model, files, task, min(max_seq_length, FEW))
                return
            max_seq_length = min(max_seq_length, LONGEST)
            _logits(model, tokenizer, files, task, [f"{WORDS} " * max_seq_length], max_seq_length)
            short, _ = _logits(model, tokenizer, files, task, [WORDS[0], f"{WORDS} {WORDS}"], max_seq_length)
            (alone,) = _logits(model, tokenizer, files, task, [WORDS[0]], max_seq_length)
    finally:
        model.train(training)
    largest = max(1.0, float(alone.abs().max()))
    if (moved := float((short - alone).abs().max()) / largest) > TOLERANCE:
        _padding_matters(model, tokenizer, files, moved)


def _check_computes(model: "PreTrainedModel", files: ModelFiles, task: Task, length: int) -> None:
    """Raise InputError for values of config.json of which transformers builds a model of FAMILIES that fails when it is used."""
    ids = torch.zeros(1, length, dtype=torch.long)
    types = torch.zeros_like(ids)
    types[:, FEW // 2 :] = len(task.text_keys) - 1
    takes_types = FAMILIES[model.config.model_type].takes_types
    with _first_layer_alone(model), refusal_explained(files.path, "transformers' model of it fails when it is used"):
        model(input_ids=ids, attention_mask=torch.ones_like(ids), **({"token_type_ids": types} if takes_types else {}))


@contextmanager
def _first_layer_alone(model: "PreTrainedModel") -> Iterator[None]:
    """Leave out the other layers within the block: they are as the first, and all of a large model take seconds on a CPU."""
    from transformers.modeling_layers import GradientCheckpointingLayer as Layer

    stacks = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, torch.nn.ModuleList) and all(isinstance(layer, Layer) for layer in child)
    ]
    try:
        for parent, name, layers in stacks:
            setattr(parent, name, layers[:1])
        yield
    finally:
        for parent, name, layers in stacks:
            setattr(parent, name, layers)


def _padding_matters(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", files: ModelFiles, moved: float) -> None:
    """Raise InputError where model and tokenizer name different padding; else say that padding moves the logits, by `moved`."""
    expected, got = tokenizer.pad_token_id, getattr(model.config, "pad_token_id", None)
    if expected != got:
        raise InputError(
            f"{files.path / 'config.json'}: pad_token_id: expected {expected}, the tokenizer's {tokenizer.pad_token}, got {got}: "
            "the model would read padding as text"
        )
    if is_main_process():
        say(f"{type(model).__name__}: padding moves its logits by {moved:.1%}: scores depend on which texts share a batch")


def _logits(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", files: ModelFiles, task: Task, texts: list[str], length: int
) -> list[torch.Tensor]:
    """Return the logits of each text (as a pair with itself, where the task has two) without those of padding.

    Raises InputError where the model does not take the tokens; what is wrong on the way to it and behind it is a bug of ours.
    """
    pair = [texts] if len(task.text_keys) == 2 else []
    batch = tokenizer(texts, *pair, padding=True, truncation=True, max_length=length, return_tensors="pt")
    inputs = model_inputs(batch)
    try:
        output = model(**inputs)
        if not isinstance(task, QuestionAnswering):
            return list(output.logits.float())
        return [row[kept.bool()].float() for row, kept in zip(output.start_logits, batch["attention_mask"], strict=True)]
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError, AssertionError) as error:
        raise InputError(
            f"--model {files.path}: transformers' {type(model).__name__} does not take texts of this tokenizer: {first_line(error)}"
        ) from None
