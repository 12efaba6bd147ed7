"""In half precision the linear layers compute with copies of their weights, which are rounded once for each optimizer step.

Autocast would round every weight anew in each forward pass: in each micro-batch, and three times in a step with SiFT. The copies
stay in the same memory, where a CUDA graph finds them, and are written all at once. Each forward pass has stand-ins for them, whose
gradients go to the weights as they do through autocast: in half precision within the pass, widened where they join those of
other passes. So losses and gradients are autocast's to the last bit. Files, optimizer and evaluations see the weights alone.

Legend: H hidden size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn.functional import linear
from transformers import PreTrainedModel
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention

HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
STACKED = "stacked"  # what an attention has during a pass: the stand-ins of its queries', keys' and values' weights and biases

Weights = tuple[torch.nn.Parameter, ...]


class _StandIn(torch.autograd.Function):
    """It has the numbers of a copy, and hands its gradient on to the weights that the copy was made of, one below the other."""

    @staticmethod
    def forward(ctx: Any, copy: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        ctx.rows, ctx.dtype = [len(weight) for weight in weights], weights[0].dtype
        return copy.detach()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, *gradient.to(ctx.dtype).split(ctx.rows)


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A copy has the numbers of one weight, or of several, one below the other, rounded."""

    rounded: torch.Tensor
    weights: Weights


class WeightCopies:
    """The copies of a model's weights in half precision, which its forward passes take within `in_use`.

    model: on its device, in float32; its forward runs under autocast.
    precision: `bf16` or `fp16`, to which autocast rounds.
    """

    def __init__(self, model: PreTrainedModel, precision: str) -> None:
        self.layers: list[Any] = [module for module in model.modules() if type(module) is torch.nn.Linear]
        self.attentions: list[Any] = [module for module in model.modules() if isinstance(module, DisentangledSelfAttention)]
        self.copies = _copies(self.layers, self.attentions, HALF[precision])
        self._in_use = False
        model.register_forward_pre_hook(self._put)
        model.register_forward_hook(self._take_away, always_call=True)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the forward passes within the block compute with copies of the weights as they are now."""
        single = [copy for copy in self.copies if len(copy.weights) == 1]  # what is stacked is made of these
        with torch.no_grad():
            torch._foreach_copy_([copy.rounded for copy in single], [copy.weights[0] for copy in single])
        self._in_use = True
        try:
            yield
        finally:
            self._in_use = False

    def _put(self, model: torch.nn.Module, inputs: Any) -> None:
        """Let each linear layer compute with stand-ins. What a module has itself comes before what its class has."""
        if not self._in_use:
            return
        made = {copy.weights: _StandIn.apply(copy.rounded, *copy.weights) for copy in self.copies}
        for layer in self.layers:
            bias = None if layer.bias is None else made[layer.bias,]
            vars(layer)["forward"] = partial(linear, weight=made[layer.weight,], bias=bias)
        for attention in self.attentions:
            vars(attention)[STACKED] = {name: made[_to_stack(attention, name)] for name in ("weight", "bias")}

    def _take_away(self, model: torch.nn.Module, inputs: Any, outputs: Any) -> None:
        for layer in self.layers:
            vars(layer).pop("forward", None)
        for attention in self.attentions:
            vars(attention).pop(STACKED, None)


def stacked(attention: torch.nn.Module, name: str) -> torch.Tensor:
    """Return the weight (3H, H) or bias (3H,) of queries, keys and values, one below the other. name: `weight` or `bias`"""
    copies = vars(attention).get(STACKED)
    return torch.cat(_to_stack(attention, name)) if copies is None else copies[name]


def _to_stack(attention: Any, name: str) -> Weights:
    return tuple(getattr(part, name) for part in (attention.query_proj, attention.key_proj, attention.value_proj))


def _copies(layers: list[Any], attentions: list[Any], dtype: torch.dtype) -> list[Copy]:
    """Return a copy of each weight and bias, and of those that are stacked, which share their memory."""
    stacks: list[Copy] = []
    parts: dict[torch.nn.Parameter, torch.Tensor] = {}
    for weights in (_to_stack(attention, name) for attention in attentions for name in ("weight", "bias")):
        rounded = torch.cat([weight.detach().to(dtype) for weight in weights])
        stacks.append(Copy(rounded=rounded, weights=weights))
        parts |= dict(zip(weights, rounded.split([len(weight) for weight in weights]), strict=True))
    for weight in (weight for layer in layers for weight in layer.parameters() if weight not in parts):
        parts[weight] = weight.detach().to(dtype)
    # A backward pass comes to what was made last first, and so adds the gradients of the two in the order that autocast has.
    return [*stacks, *(Copy(rounded=rounded, weights=(weight,)) for weight, rounded in parts.items())]
