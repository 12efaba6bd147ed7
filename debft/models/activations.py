"""The activations of a model's layers may be computed anew for the backward pass instead of kept: less memory, more time.

Dropout draws the same masks again, so that the gradients are those of a model that keeps everything, up to rounding.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from debft.errors import InputError

Computed = TypeVar("Computed")
# The form of torch.utils.checkpoint that torch recommends: gradients to other tensors than the weights go through it as well.
REENTRANT = False


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Ask a model to keep the inputs of its layers alone while it trains. Raises InputError where transformers cannot."""
    if not model.supports_gradient_checkpointing:
        raise InputError(
            "runtime.checkpoint_activations: expected a model whose layers can be computed anew, "
            f"transformers' {model.config.model_type} is none; leave it out"
        )
    # Older versions of transformers have the second name alone, of which newer ones warn.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": REENTRANT})


def checkpoints_activations(model: PreTrainedModel) -> bool:
    """Return whether the model was asked to; it walks over all modules."""
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


def computed_anew(layer: Callable[..., Computed], *inputs: Any) -> Computed:
    """Return `layer(*inputs)`, of which the inputs alone are kept for the backward pass."""
    return checkpoint(layer, *inputs, use_reentrant=REENTRANT)
