"""Tiny DeBERTa models of every kind, batches of sequences for them, and the oracle: transformers' eager code in float64.

Legend: B sequences, T their tokens end to end, L the longest, C labels.
"""

from contextlib import nullcontext
from dataclasses import dataclass
from math import sqrt

import torch
from transformers import DebertaV2Config, DebertaV2ForQuestionAnswering, DebertaV2ForSequenceClassification

VOCABULARY = 37
BASE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "layer_norm_eps": 1e-7,
    "max_position_embeddings": 512,
    "type_vocab_size": 0,
    "relative_attention": True,
    "max_relative_positions": -1,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "pad_token_id": 0,
    "pooler_dropout": 0.0,
    "pooler_hidden_act": "gelu",
    "num_labels": 3,
}
# The published DeBERTa-v3 is BASE; the others change one thing, or are another published model in small.
KINDS = {
    "v3": {},
    "few buckets": {"position_buckets": 8, "max_relative_positions": 40},
    "an odd number of buckets": {"position_buckets": 7},
    "no buckets": {"position_buckets": -1},
    "no buckets, short span": {"position_buckets": -1, "max_relative_positions": 24},
    "own projections of positions": {"share_att_key": False},
    "own projections, no buckets": {"share_att_key": False, "position_buckets": -1},
    "c2p alone": {"pos_att_type": ["c2p"]},
    "p2c alone": {"pos_att_type": ["p2c"]},
    "c2p alone, own projections": {"pos_att_type": ["c2p"], "share_att_key": False},
    "p2c alone, own projections": {"pos_att_type": ["p2c"], "share_att_key": False},
    "no relative attention": {"relative_attention": False, "pos_att_type": [], "position_biased_input": True},
    "a head of 128": {"hidden_size": 128, "num_attention_heads": 1},
    "heads of 64": {"hidden_size": 128},
    "heads of 8": {"hidden_size": 40, "num_attention_heads": 5, "intermediate_size": 33},
    "a head of 32": {"hidden_size": 32, "num_attention_heads": 1},
    "raw relative embeddings": {"norm_rel_ebd": "none"},
    "absolute positions too": {"position_biased_input": True},
    "token types": {"type_vocab_size": 2},
    "narrow embeddings": {"embedding_size": 24},
    "narrow embeddings, positions and types": {"embedding_size": 24, "position_biased_input": True, "type_vocab_size": 2},
    "convolution": {"conv_kernel_size": 3, "conv_act": "gelu"},
    "grouped convolution": {"conv_kernel_size": 3, "conv_act": "tanh", "conv_groups": 2},
    "one layer": {"num_hidden_layers": 1},
    "three layers": {"num_hidden_layers": 3},
    "odd sizes": {"hidden_size": 30, "num_attention_heads": 3, "intermediate_size": 17, "num_labels": 2},
}
# Fewer rows of the table of relative positions, for tests that take no time; distances beyond 16 share rows.
QUICK = {"max_position_embeddings": 96, "position_buckets": 32}
MODELS = {"classes": DebertaV2ForSequenceClassification, "spans": DebertaV2ForQuestionAnswering}


def build(head: str, seed: int = 0, **changes) -> torch.nn.Module:
    """A model in eval mode, float32, whose weights are large enough for every part to matter, biases and norms included."""
    labels = {"num_labels": 2} if head == "spans" else {}  # a start and an end
    config = DebertaV2Config(**BASE | changes | labels, attn_implementation="eager")
    model = MODELS[head](config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                scale = 0.5 if "embeddings" in name else 1.5 / sqrt(parameter[0].numel())
                parameter.copy_(noise * scale)
            else:
                parameter.copy_(noise * 0.2 + (1.0 if name.endswith("LayerNorm.weight") else 0.0))
    return model


def batch_of(*lengths: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """A packed batch of random tokens without labels."""
    generator = torch.Generator().manual_seed(seed)
    tokens = sum(lengths)
    return {
        "input_ids": torch.randint(1, VOCABULARY, (tokens,), generator=generator),
        "token_type_ids": torch.randint(0, 2, (tokens,), generator=generator),
        "lengths": torch.tensor(lengths),
    }


def is_real(lengths: torch.Tensor) -> torch.Tensor:
    """(B, L), where a token stands."""
    return torch.arange(int(lengths.max())) < lengths[:, None]


def padded(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same batch as transformers takes it."""
    mask = is_real(batch["lengths"])
    tensors = {"attention_mask": mask.long()}
    for name in ("input_ids", "token_type_ids"):
        tensors[name] = torch.zeros(mask.shape, dtype=torch.long).masked_scatter(mask, batch[name])
    return tensors


def run(model: torch.nn.Module, batch: dict[str, torch.Tensor], **more):
    """The outputs of a model for a batch on its device, the lengths as they are in a packed batch of debft."""
    tensors = {name: tensor.to(model.device) for name, tensor in batch.items() if name != "lengths"}
    lengths = {"lengths": batch["lengths"].numpy()} if "lengths" in batch else {}
    return model(**tensors, **lengths, **more)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """outputs: of the real tokens alone, where they are per token.

    gradients: of a fixed random combination of the outputs, by the name of the parameter, and of what the embeddings give under
    "embeddings", (T, H).
    """

    outputs: dict[str, torch.Tensor]
    gradients: dict[str, torch.Tensor]

    def tensors(self) -> dict[str, torch.Tensor]:
        return self.outputs | self.gradients


def measure(model: torch.nn.Module, batch: dict[str, torch.Tensor], is_packed: bool, precision: str = "fp32") -> Measured:
    """Run a packed batch forward and backward, through a model that takes it as it is or through transformers' own code."""
    model.zero_grad(set_to_none=True)
    real, seen = is_real(batch["lengths"]).to(model.device), []
    handle = model.deberta.embeddings.LayerNorm.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.autocast(model.device.type, torch.bfloat16) if precision == "bf16" else nullcontext():
        results = run(model, batch if is_packed else padded(batch))
    handle.remove()
    names = [name for name in ("logits", "start_logits", "end_logits") if name in results]
    outputs = {name: results[name] if name == "logits" else results[name][real] for name in names}
    (embeddings,) = seen
    embeddings.retain_grad()
    generator = torch.Generator().manual_seed(1)
    total = 0.0
    for output in outputs.values():
        weights = torch.randn(output.shape, generator=generator, dtype=torch.float64)
        total = total + (output * weights.to(output)).sum()
    total.backward()
    of_tokens = embeddings.grad if embeddings.grad.dim() == 2 else embeddings.grad[real]
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return Measured(
        outputs={name: output.detach() for name, output in outputs.items()},
        gradients={name: value for name, value in gradients.items() if value is not None} | {"embeddings": of_tokens},
    )


def oracle(head: str, batch: dict[str, torch.Tensor], **changes) -> Measured:
    """What transformers' eager code gives in float64."""
    return measure(build(head, **changes).double(), batch, is_packed=False)


def errors(measured: Measured, truth: Measured) -> dict[str, float]:
    """The distance of every tensor to the truth."""
    return {name: distance(tensor, truth.tensors()[name]) for name, tensor in measured.tensors().items()}


def distance(tensor: torch.Tensor, truth: torch.Tensor) -> float:
    return float((tensor.detach().cpu().double() - truth).norm())


def size(truth: Measured) -> float:
    """The length of all gradients together."""
    return sqrt(sum(float(gradient.norm()) ** 2 for gradient in truth.gradients.values()))
