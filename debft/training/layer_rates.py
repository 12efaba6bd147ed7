"""A run may train each layer of a model with a learning rate of its own: the nearer to the input, the lower.

Source: google-research/electra model/optimization.py, _get_layer_lrs, at commit ac8d487. With n layers the embeddings have depth 0,
layer k (from 0) has depth k + 1 and what the task adds has depth n + 2; the rate is that of the recipe times
decay^(n + 2 - depth). So the top layer is two factors below the head: no weight has the depth n + 1.
"""

import re
from typing import TYPE_CHECKING

from debft.errors import InputError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")
ADDED = re.compile(r"(?:^|\.)pooler\.")  # the pooling of the first token, which ELECTRA makes a part of what the task adds


def rate_factors(model: "PreTrainedModel", decay: float) -> dict[str, float]:
    """Return the factor of the learning rate of each weight, by its name.

    What all layers share, such as DeBERTa's embeddings of relative positions, has the factor of the embeddings. Raises InputError
    for a model without numbered layers, unless the decay is 1.
    """
    depth = depths(model)
    top = max(depth.values())  # the depth of the head
    if decay != 1.0 and not top:
        kind = model.config.model_type
        raise InputError(f"train.layerwise_lr_decay: expected a model with numbered layers, {kind} has none; leave it out")
    return {name: decay ** (top - depth[name]) for name in depth}


def depths(model: "torch.nn.Module") -> dict[str, int]:
    """Return the depth of each weight, by its name; 0 of all where the model has no numbered layers."""
    names = [name for name, _ in model.named_parameters()]
    inside = f"{getattr(model, 'base_model_prefix', '')}."
    layer_of = {name: int(match[1]) for name in names if name.startswith(inside) and (match := LAYER.search(name))}
    top = max(layer_of.values()) + 3 if layer_of else 0
    return {
        name: layer_of[name] + 1 if name in layer_of else 0 if name.startswith(inside) and not ADDED.search(name) else top
        for name in names
    }
