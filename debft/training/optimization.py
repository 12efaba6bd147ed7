"""The optimizer is AdamW, in both published forms."""

import math

import torch

from debft.config.recipe import TrainConfig
from debft.training.schedule import learning_rate

NO_DECAY = ("bias", "LayerNorm.weight", "layer_norm.weight")


class AdamWithoutBiasCorrection(torch.optim.AdamW):
    """Adam as the DeBERTa repository runs it: p -= lr * (m / (sqrt(v) + eps) + weight_decay * p).

    Source: microsoft/DeBERTa DeBERTa/optims/xadam.py, adamw. The kernel stays torch's: its division by 1 - beta^t is
    undone through lr, eps and weight decay of the step, an identity up to rounding.
    """

    @torch.no_grad()
    def step(self, closure=None):
        plain = [(group["lr"], group["eps"], group["weight_decay"]) for group in self.param_groups]
        for group, (lr, eps, weight_decay) in zip(self.param_groups, plain, strict=True):
            state = next((self.state[p] for p in group["params"] if self.state.get(p)), None)
            t = float(state["step"]) + 1 if state else 1.0
            beta1, beta2 = group["betas"]
            root = math.sqrt(1 - beta2**t)
            scale = (1 - beta1**t) / root
            group["lr"], group["eps"], group["weight_decay"] = lr * scale, eps / root, weight_decay / scale
        try:
            return super().step(closure)
        finally:
            for group, (lr, eps, weight_decay) in zip(self.param_groups, plain, strict=True):
                group["lr"], group["eps"], group["weight_decay"] = lr, eps, weight_decay


def build_optimizer(model: torch.nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Build AdamW with two groups: weights that decay, and biases and LayerNorm weights, which do not."""
    decay, no_decay = [], []
    for name, parameter in model.named_parameters():
        (no_decay if any(part in name for part in NO_DECAY) else decay).append(parameter)
    groups = [{"params": decay, "weight_decay": config.weight_decay}, {"params": no_decay, "weight_decay": 0.0}]
    kind = torch.optim.AdamW if config.bias_correction else AdamWithoutBiasCorrection
    betas = (config.adam_beta1, config.adam_beta2)
    return kind(groups, lr=config.learning_rate, betas=betas, eps=config.adam_epsilon, fused=True)


def decay_factor(config: TrainConfig, total_steps: int, first: int, last: int) -> float:
    """Return the factor, in float64, by which the decay of steps `first` (from 0) to `last` shrinks a weight without gradient."""
    return math.prod(1.0 - learning_rate(step, config, total_steps) * config.weight_decay for step in range(first, last))
