"""SiFT, scale-invariant adversarial fine-tuning, normalises the embeddings, perturbs them where it hurts most, and trains the
model to give the same outputs for both.

Source: microsoft/DeBERTa DeBERTa/sift/sift.py and apps/run.py at commit 4d7fe0b; He et al., DeBERTa, arXiv 2006.03654, section 4.
Five faults of that code are left out: regression logits softmaxed over the batch, no form for spans, the choice among several
matching modules, a loss that is chosen but not used in the last term, and a finite check without effect. The first draw
of delta is a function of (seed, step, example) alone, so neither micro-batches nor processes change it.

Legend: B sequences in a batch, L its padded length, H hidden size.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from debft.config.recipe import SiftConfig
from debft.data.packing import Batch
from debft.errors import InputError
from debft.models.attention.layout import Layout
from debft.scoring.heads import Head, at_least_float32

MODULE = "embeddings.LayerNorm"
LAYER_NORM_EPSILON = 1e-7  # of the normalisation without parameters, in front of the model's own
STEP_EPSILON = 1e-6  # real steps are near it: the sum over the batch and the absence of loss scaling are part of the method
FP16_SCALE = 4096.0  # of the inner gradient, divided out again: it would underflow in fp16
LOGS = ("sift_loss", "sift_delta_norm", "sift_skipped")


def perturbed_module(model: torch.nn.Module) -> torch.nn.Module:
    """Return the LayerNorm behind the embeddings. Raises InputError where the model has none, or several."""
    candidates = {name: module for name, module in model.named_modules() if name.endswith(MODULE)}
    if len(candidates) != 1:
        names = ", ".join(candidates) or "none"
        kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
        raise InputError(f"--sift: expected a model with one {MODULE} to perturb, {kind} has {names}; leave --sift out")
    return next(iter(candidates.values()))


@dataclass(frozen=True, kw_only=True)
class SiftLoss:
    """A loss for `optimizer_steps`: the task's loss + weight * SiFT's loss, both summed over the batch.

    head: the head of the task.
    config: weight, step size and size of the noise.
    plain: the model inside the wrapper for several processes.
    half: whether matrix products run in fp16.
    """

    head: Head
    config: SiftConfig
    plain: torch.nn.Module
    half: bool = False

    def __call__(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return (sum of the losses, sums for the log), of three forward passes with dropout masks of their own."""
        with _normalised(self.plain) as embeddings:
            clean = self.head.outputs(model, batch)
            assert embeddings.seen is not None, "the forward pass goes through the hook"
            normal_BLH = embeddings.seen.detach()
            delta_BLH, skipped = self._adversarial(embeddings, normal_BLH, clean.detach(), batch)
            embeddings.replacement = normal_BLH + delta_BLH
            perturbed = self.head.outputs(self.plain, _in_pass(batch, 2))
        # Each branch is drawn towards the other: neither term has a gradient through its target.
        sift = self.head.divergence(clean.detach(), perturbed, batch) + self.head.divergence(perturbed.detach(), clean, batch)
        loss = self.head.loss(clean, batch) + self.config.weight * sift
        norms_B = _norms(delta_BLH, batch)
        return loss, dict(zip(LOGS, (sift.detach(), norms_B.sum(), skipped * len(norms_B)), strict=True))

    def _adversarial(
        self, embeddings: "_Embeddings", normal_BLH: torch.Tensor, target: torch.Tensor, batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (delta after one step of ascent, 1.0 where the step was left out because its gradient was not finite)."""
        config = self.config
        noise_BLH = _first_draws(batch, normal_BLH).to(normal_BLH.dtype) * config.init_std
        delta_BLH = noise_BLH.clamp(-2 * config.init_std, 2 * config.init_std).requires_grad_()
        embeddings.replacement = normal_BLH + delta_BLH
        outputs = self.head.outputs(self.plain, _in_pass(batch, 1))
        scale = FP16_SCALE if self.half else 1.0
        (gradient_BLH,) = torch.autograd.grad(self.head.divergence(target, outputs, batch) * scale, delta_BLH)
        gradient_BLH = gradient_BLH / scale
        finite = gradient_BLH.norm().isfinite()
        ascent_BLH = gradient_BLH / (STEP_EPSILON + gradient_BLH.abs().amax(dim=-1, keepdim=True))
        ascent_BLH = torch.where(finite, ascent_BLH, torch.zeros_like(ascent_BLH))
        return (delta_BLH + config.step_size * ascent_BLH).detach(), 1.0 - finite.float()


@dataclass
class _Embeddings:
    """The hook in front of the LayerNorm notes the embeddings, or replaces them.

    seen: the normalised embeddings of the last forward pass.
    replacement: what the model gets in their place, None for themselves.
    """

    seen: torch.Tensor | None = None
    replacement: torch.Tensor | None = None


@contextmanager
def _normalised(model: torch.nn.Module) -> Iterator[_Embeddings]:
    """Normalise or replace the model's embeddings while the block lasts. Evaluation and saving never see it."""
    embeddings = _Embeddings()

    def before(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        if embeddings.replacement is not None:
            return (embeddings.replacement, *inputs[1:])
        embeddings.seen = torch.nn.functional.layer_norm(at_least_float32(inputs[0]), inputs[0].shape[-1:], eps=LAYER_NORM_EPSILON)
        return (embeddings.seen, *inputs[1:])

    handle = perturbed_module(model).register_forward_pre_hook(before)
    try:
        yield embeddings
    finally:
        handle.remove()


def _in_pass(batch: Batch, number: int) -> Batch:
    """Return the batch for another forward pass of the same step, which draws dropout masks of its own."""
    return batch | {"seeds": replace(batch["seeds"], forward_pass=number)} if "seeds" in batch else batch


def _first_draws(batch: Batch, embeddings: torch.Tensor) -> torch.Tensor:
    """Return the first draw of delta in the form of the embeddings, (B, L, H), or (T, H) where the batch is packed."""
    if "lengths" not in batch:
        return first_draw(batch["noise_seed"], embeddings.shape[1:])
    layout = Layout(lengths_B=batch["lengths"], device=embeddings.device)
    return _draw_at(batch["noise_seed"][layout.sequences], layout.places, embeddings.shape[-1])


def _norms(delta: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return the norm of delta for each sequence without its padding, (B,)."""
    if "lengths" not in batch:
        return (delta * batch["attention_mask"].unsqueeze(-1)).flatten(1).norm(dim=1)
    layout = Layout(lengths_B=batch["lengths"], device=delta.device)
    squares_T = delta.square().sum(-1)
    return squares_T.new_zeros(len(layout.lengths_B)).index_add(0, layout.sequences, squares_T).sqrt()


def first_draw(seeds_B: torch.Tensor, shape_LH: torch.Size) -> torch.Tensor:
    """Return standard normal numbers (B, L, H), float32. Number (l, h) of an example is a function of its seed alone.

    A hash of seed and place gives 64 bits, two halves of them uniform numbers, Box and Muller's transform a normal one.
    Source of the hash: Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014 (SplitMix64).
    """
    length, hidden = shape_LH
    return _draw_at(seeds_B.unsqueeze(1), torch.arange(length, device=seeds_B.device), hidden)


def _draw_at(seeds: torch.Tensor, places: torch.Tensor, hidden: int) -> torch.Tensor:
    """Return the numbers of the tokens at `places` of the examples with these seeds, (..., H)."""
    place = places.unsqueeze(-1) * hidden + torch.arange(hidden, device=seeds.device)
    bits = _split_mix(_split_mix(seeds).unsqueeze(-1) + place * _signed(0x9E3779B97F4A7C15))
    high, low = _shift(bits, 40), bits & 0xFFFFFF  # 24 bits each, as many as float32 holds
    uniform = (high.float() + 1.0) * 2.0**-24  # in (0, 1]: its logarithm is finite
    return torch.sqrt(-2.0 * torch.log(uniform)) * torch.cos(low.float() * (2.0**-24 * 2.0 * math.pi))


def _split_mix(x: torch.Tensor) -> torch.Tensor:
    """Return the hash of each 64-bit number."""
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)


def _shift(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift to the right without the sign, which torch's own shift of int64 keeps."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(number: int) -> int:
    """Return the int64 that has the bits of a uint64."""
    return number - (1 << 64) if number >= 1 << 63 else number
