"""The optimizer is AdamW, in both published forms."""

import math
from typing import TYPE_CHECKING, Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch.nn.utils import get_total_norm

from debft.config.recipe import TrainConfig
from debft.models.shards import is_part, norm_over_parts, own_part
from debft.training.layer_rates import rate_factors
from debft.training.schedule import learning_rate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CLIP_EPSILON = 1e-6  # added to the norm before clipping. Source: torch.nn.utils.clip_grads_with_norm_
FACTOR = "rate_factor"  # the key of a group of weights under which the factor of its learning rate is
NO_DECAY = ("bias", "LayerNorm.weight", "layer_norm.weight")


class AdamWithoutBiasCorrection(torch.optim.AdamW):
    """Adam as the DeBERTa repository runs it: p -= lr * (m / (sqrt(v) + eps) + weight_decay * p).

    Source: microsoft/DeBERTa DeBERTa/optims/xadam.py, adamw. The kernel stays torch's: its division by 1 - beta^t is
    undone through lr, eps and weight decay of the step, an identity up to rounding.

    updates: how many updates were made so far; None: it is read from the state, for which the host waits.
    """

    updates: int | None = None

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # as torch has it
        plain = [(group["lr"], group["eps"], group["weight_decay"]) for group in self.param_groups]
        for group, (lr, eps, weight_decay) in zip(self.param_groups, plain, strict=True):
            t = 1.0 + (self._counted(group) if self.updates is None else self.updates)
            beta1, beta2 = group["betas"]
            root = math.sqrt(1 - beta2**t)
            scale = (1 - beta1**t) / root
            group["lr"], group["eps"], group["weight_decay"] = lr * scale, eps / root, weight_decay / scale
        try:
            return super().step(closure)
        finally:
            for group, (lr, eps, weight_decay) in zip(self.param_groups, plain, strict=True):
                group["lr"], group["eps"], group["weight_decay"] = lr, eps, weight_decay

    def _counted(self, group: dict[str, Any]) -> float:
        """Return the updates that the state of a parameter has counted."""
        state = next((self.state[p] for p in group["params"] if self.state.get(p)), None)
        return float(state["step"]) if state else 0.0


def build_optimizer(model: "PreTrainedModel", config: TrainConfig) -> torch.optim.AdamW:
    """Build AdamW with two groups for each learning rate: weights that decay, and biases and LayerNorm weights, which do not."""
    factors = rate_factors(model, config.layerwise_lr_decay) if config.layerwise_lr_decay != 1.0 else {}
    parts: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
    for factor in dict.fromkeys([*factors.values()] or [1.0]):
        parts |= {(factor, True): [], (factor, False): []}
    for name, parameter in model.named_parameters():
        decays = not any(part in name for part in NO_DECAY)
        parts[factors.get(name, 1.0), decays].append(parameter)
    groups = [
        {"params": parameters, "weight_decay": config.weight_decay if decays else 0.0, FACTOR: factor}
        for (factor, decays), parameters in parts.items()
    ]
    kind = torch.optim.AdamW if config.bias_correction else AdamWithoutBiasCorrection
    betas = (config.adam_beta1, config.adam_beta2)
    return kind(groups, lr=config.learning_rate, betas=betas, eps=config.adam_epsilon, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give each group the rate of a step, times the factor of its layer."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(FACTOR, 1.0)


def decay_factor(config: TrainConfig, total_steps: int, first: int, last: int, *, factor: float = 1.0) -> float:
    """Return the factor, in float64, by which the decay of steps `first` (from 0) to `last` shrinks a weight without gradient.

    factor: that of the weight's own learning rate
    """
    decay = factor * config.weight_decay
    return math.prod(1.0 - learning_rate(step, config, total_steps) * decay for step in range(first, last))


def plain_optimizer(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return the optimizer without accelerate's wrapper."""
    return optimizer.optimizer if isinstance(optimizer, AcceleratedOptimizer) else optimizer


def gradient_norm(optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """Return the norm over all gradients, with the parts of them in other processes, a scalar on their device."""
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    norm = get_total_norm([own_part(gradient) for gradient in gradients])
    return norm_over_parts(norm) if any(is_part(gradient) for gradient in gradients) else norm


def guarded_update(optimizer: torch.optim.Optimizer, grad_norm: torch.Tensor, max_norm: float, not_finite: torch.Tensor) -> None:
    """Update the weights with the gradient clipped to `max_norm`, or leave them where `not_finite` is 1. The host does not wait.

    The fused kernel itself divides the gradients by `grad_scale`, and does nothing where `found_inf` is 1: torch has both for
    loss scaling. So clipping takes no pass over the gradients. Its factor is that of torch.nn.utils.clip_grads_with_norm_.

    grad_norm, not_finite: float32 scalars on the device of the gradients
    """
    for_kernel = {"grad_scale": ((grad_norm + CLIP_EPSILON) / max_norm).clamp(min=1.0), "found_inf": not_finite}
    for name, value in for_kernel.items():
        setattr(optimizer, name, value)
    try:
        optimizer.step()
    finally:
        for name in for_kernel:
            delattr(optimizer, name)
