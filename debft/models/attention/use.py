"""The door to the attention: a model is set to the way through it that a backend takes.

`eager` is transformers' own forward over padded batches, the oracle of all others. Every other backend takes packed batches through
forward.py, and differs in what computes the attention itself.
"""

from collections.abc import Callable
from functools import partial

from transformers import DebertaV2ForQuestionAnswering, DebertaV2ForSequenceClassification, PreTrainedModel
from transformers.utils import ModelOutput

from debft.models.attention.forward import Backend, answer, classify
from debft.models.attention.scores import disentangled_attention
from debft.models.attention.triton import kernel_attention

_FORWARDS: dict[type[PreTrainedModel], Callable[..., ModelOutput]] = {
    DebertaV2ForSequenceClassification: classify,
    DebertaV2ForQuestionAnswering: answer,
}
_BACKENDS = {"torch": Backend(attend=disentangled_attention), "triton": Backend(attend=kernel_attention, drops_in_kernel=True)}


def use_attention(model: PreTrainedModel, backend: str) -> None:
    """Set the model's forward to that of `backend`, as `attention_for` returns it. Its weights and saved files stay as they are."""
    vars(model).pop("forward", None)
    if is_packed(backend):
        model.forward = partial(_FORWARDS[type(model)], model, _BACKENDS[backend])


def is_packed(backend: str) -> bool:
    """Return whether models with this backend take packed batches."""
    return backend != "eager"
