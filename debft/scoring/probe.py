"""Whether a model of another program can take the texts at all, tried on a few tokens before anything is trained or scored."""

from typing import TYPE_CHECKING

import torch

from debft.console import say
from debft.errors import InputError
from debft.models.build import ModelFiles, read_config
from debft.models.layouts import LAYOUTS
from debft.runtime.launch.group import is_main_process
from debft.scoring.heads import model_inputs
from debft.tasks import QuestionAnswering, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

WORDS = "a the in of to"
LONGEST = 512  # tokens that are tried: more take long on a CPU
TOLERANCE = 1e-3  # of logits, relative to the largest: float32 of another length differs by 1e-6, a text read at its padding by 1


def check_takes_texts(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", files: ModelFiles, task: Task, max_seq_length: int
) -> None:
    """Try a text of the longest length, and a short one beside a longer one; the tested types of LAYOUTS are not tried.

    Raises InputError where transformers' model cannot take them, or reads the padding as text; tells where padding moves its
    logits for another reason. The model stays as it was, and no random numbers are used up.
    """
    if read_config(files.path)["model_type"] in LAYOUTS:
        return
    training = model.training
    try:
        with torch.inference_mode(), torch.random.fork_rng():
            model.eval()
            max_seq_length = min(max_seq_length, LONGEST)
            _logits(model, tokenizer, task, [f"{WORDS} " * max_seq_length], max_seq_length)
            short, _ = _logits(model, tokenizer, task, [WORDS[0], f"{WORDS} {WORDS}"], max_seq_length)
            (alone,) = _logits(model, tokenizer, task, [WORDS[0]], max_seq_length)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError, AssertionError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"--model {files.path}: transformers' {type(model).__name__} does not take texts of this tokenizer: {line}"
        ) from None
    finally:
        model.train(training)
    largest = max(1.0, float(alone.abs().max()))
    if (moved := float((short - alone).abs().max()) / largest) > TOLERANCE:
        _padding_matters(model, tokenizer, files, moved)


def _padding_matters(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", files: ModelFiles, moved: float) -> None:
    ours, theirs = tokenizer.pad_token_id, getattr(model.config, "pad_token_id", None)
    if ours != theirs:
        raise InputError(
            f"{files.path / 'config.json'}: pad_token_id: expected {ours}, the tokenizer's {tokenizer.pad_token}, got {theirs}: "
            "the model would read padding as text"
        )
    if is_main_process():
        say(f"{type(model).__name__}: padding moves its logits by {moved:.1%}: scores depend on which texts share a batch")


def _logits(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerFast", task: Task, texts: list[str], length: int
) -> list[torch.Tensor]:
    """The logits of each text (as a pair with itself, where the task has two), those of padding left out."""
    pair = [texts] if len(task.text_keys) == 2 else []
    batch = tokenizer(texts, *pair, padding=True, truncation=True, max_length=length, return_tensors="pt")
    found = model(**model_inputs(batch))
    if not isinstance(task, QuestionAnswering):
        return list(found.logits.float())
    return [row[kept.bool()].float() for row, kept in zip(found.start_logits, batch["attention_mask"], strict=True)]
