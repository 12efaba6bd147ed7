"""The attention of the first DeBERTa computes in half precision as well.

transformers fills masked scores with the lowest number of the queries' dtype. Under autocast the queries are float32, since their
bias is, and the scores are not: no half-precision number is that low, and torch refuses. Here the bias is rounded first, so
that both have one dtype. Source: transformers 5.23 modeling_deberta.py, DisentangledSelfAttention.forward.
"""

from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.models.deberta.modeling_deberta import DisentangledSelfAttention

BIAS = "q_bias"


def fit_for_half_precision(model: PreTrainedModel) -> PreTrainedModel:
    """Let the attentions of a first DeBERTa add a rounded bias to their queries under autocast; other models stay as they are."""
    for module in model.modules():
        if isinstance(module, DisentangledSelfAttention):
            module.register_forward_pre_hook(_round_bias)
            module.register_forward_hook(_forget_rounded, always_call=True)
    return model


def _round_bias(attention: torch.nn.Module, inputs: Any) -> None:
    """Put the rounded bias before the parameter: what a module has itself is found first. Gradients go through to the parameter."""
    bias = attention.get_parameter(BIAS)
    if torch.is_autocast_enabled(bias.device.type):
        vars(attention)[BIAS] = bias.to(torch.get_autocast_dtype(bias.device.type))


def _forget_rounded(attention: torch.nn.Module, inputs: Any, outputs: Any) -> None:
    vars(attention).pop(BIAS, None)
