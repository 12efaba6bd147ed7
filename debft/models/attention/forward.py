"""The forward pass of transformers' DeBERTa-v2 (and v3) over a packed batch: the same mathematics without padding.

The modules and their weights stay transformers'; only the way through them is ours. Where it differs: dropout masks come from
masks.py; the relative positions have one dropout mask for all sequences of a step, of the rows that are used; where a sequence
has one output, the last layer is computed for its [CLS] alone, all that the output depends on.

Source: transformers 5.23 modeling_deberta_v2.py, whose eager attention is the oracle of every test.

Legend: T tokens of the stream, B sequences, H hidden size, N heads, D size of a head, R distances between tokens of the longest
sequence, U rows of the table of relative positions that they use.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import DebertaV2ForQuestionAnswering, DebertaV2ForSequenceClassification, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import QuestionAnsweringModelOutput, SequenceClassifierOutput

from debft.data.packing import NoiseSeeds
from debft.models.activations import computed_anew
from debft.models.attention.distances import Distances, distances
from debft.models.attention.layout import Layout
from debft.models.attention.masks import (
    CONVOLUTION,
    EMBEDDINGS,
    HEAD,
    ClsMasks,
    DeviceMasks,
    ExampleMasks,
    KernelMasks,
    LayerMasks,
    Masks,
    NoMasks,
    cls_masks,
)
from debft.models.attention.static import StaticBatch, StaticMasks
from debft.models.copies import stacked

Module = Any  # a part of transformers' model; torch finds the parts and numbers of a module by name when they are asked for


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A backend computes the softmax over the scores times the values, for every token.

    attend: (qkv (T, 3H), projected positions (U, H) as keys and as queries or None, which distances use them, layout, dropout of
        the probabilities, N, scale) -> (T, H).
    drops_in_kernel: its kernels draw the dropout of the probabilities themselves, from a KernelDropout.
    """

    attend: Callable[..., torch.Tensor]
    drops_in_kernel: bool = False


@dataclass(frozen=True, kw_only=True)
class Positions:
    """The relative positions of one forward pass.

    table: their rows, normalised where the model normalises them.
    used: which of these rows the distances of the batch use.
    """

    table: torch.Tensor
    used: Distances


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What all layers of one forward pass share. positions: None where the model has none."""

    backend: Backend
    layout: Layout
    masks: Masks | StaticMasks
    positions: Positions | None

    @property
    def distances(self) -> Distances | None:
        """Which rows of relative positions the distances of the batch use."""
        return None if self.positions is None else self.positions.used


def classify(
    model: DebertaV2ForSequenceClassification,
    backend: Backend,
    input_ids: torch.Tensor,
    lengths: np.ndarray,
    token_type_ids: torch.Tensor | None = None,
    seeds: NoiseSeeds | None = None,
    static: StaticBatch | None = None,
) -> SequenceClassifierOutput:
    """Return the logits (B, C) of a DebertaV2ForSequenceClassification.

    input_ids, token_type_ids: (T,) int64, the sequences end to end
    lengths: (B,) the tokens of each, int64, a numpy array
    seeds: of the dropout masks while the model trains
    static: what the batch is part of where a CUDA graph is made of the pass: layout and masks are there already
    """
    layout, hidden_TH, shared = _embed(model, backend, input_ids, lengths, token_type_ids, seeds, static)
    *layers, last = model.deberta.encoder.layer
    hidden_TH = _layers(model.deberta.encoder, layers, hidden_TH, shared)
    cls_BH = called(last, _cls_layer, len(layers), hidden_TH, shared) if layers or model.deberta.encoder.conv is None else None
    if cls_BH is None:  # a convolution follows the only layer, so that [CLS] depends on its neighbours' outputs
        cls_BH = _layers(model.deberta.encoder, [last], hidden_TH, shared)[layout.starts]
    pooler, config = model.pooler, model.config
    cls_BH = _dropped(cls_BH, shared.masks.rows(HEAD, cls_BH.shape[1], pooler.dropout.p, per_token=False, draw=0))
    pooled_BH = ACT2FN[config.pooler_hidden_act](pooler.dense(cls_BH))
    pooled_BH = _dropped(pooled_BH, shared.masks.rows(HEAD, pooled_BH.shape[1], model.dropout.p, per_token=False, draw=1))
    logits = model.classifier(pooled_BH)
    return SequenceClassifierOutput(logits=logits if static is None else logits[: static.size.sequences])


def answer(
    model: DebertaV2ForQuestionAnswering,
    backend: Backend,
    input_ids: torch.Tensor,
    lengths: np.ndarray,
    token_type_ids: torch.Tensor | None = None,
    seeds: NoiseSeeds | None = None,
    static: StaticBatch | None = None,
) -> QuestionAnsweringModelOutput:
    """Return start and end logits of a DebertaV2ForQuestionAnswering, (B, longest) each, float32, the lowest number at padding.

    The parameters are those of `classify`.
    """
    layout, hidden_TH, shared = _embed(model, backend, input_ids, lengths, token_type_ids, seeds, static)
    hidden_TH = _layers(model.deberta.encoder, model.deberta.encoder.layer, hidden_TH, shared)
    logits_T2 = model.qa_outputs(hidden_TH)
    logits_T2 = logits_T2 if logits_T2.dtype == torch.float64 else logits_T2.float()
    logits_BL2 = layout.padded(logits_T2, fill=torch.finfo(torch.float32).min)
    start, end = (logits_BL2 if static is None else logits_BL2[: static.size.sequences]).unbind(-1)
    return QuestionAnsweringModelOutput(start_logits=start, end_logits=end)


def _embed(
    model: PreTrainedModel,
    backend: Backend,
    input_ids: torch.Tensor,
    lengths: np.ndarray,
    token_type_ids: torch.Tensor | None,
    seeds: NoiseSeeds | None,
    static: StaticBatch | None,
) -> tuple[Layout, torch.Tensor, Pass]:
    """Return (layout, embeddings (T, H), what the layers share)."""
    base: Module = model.deberta
    modules, encoder = base.embeddings, base.encoder
    layout: Layout
    masks: Masks | StaticMasks
    if static is None:
        places_B = None if seeds is None else seeds.places_B
        layout = Layout(lengths_B=np.asarray(lengths), device=input_ids.device, places_B=places_B)
        masks = _masks(model, backend, layout, seeds)
    else:
        layout, masks = static.layout, static.masks
    hidden = modules.word_embeddings(input_ids)
    if modules.position_biased_input:
        hidden = hidden + modules.position_embeddings(layout.places)
    if modules.token_type_embeddings is not None:
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        hidden = hidden + modules.token_type_embeddings(types)
    if modules.embed_proj is not None:
        hidden = modules.embed_proj(hidden)
    hidden = modules.LayerNorm(hidden)
    hidden = _dropped(hidden, masks.rows(EMBEDDINGS, hidden.shape[-1], modules.dropout.p))
    relative = encoder.get_rel_embedding()
    attention = encoder.layer[0].attention.self
    positions = None
    if relative is not None:
        span, buckets = attention.pos_ebd_size, attention.position_buckets
        used = distances(layout.longest, span, buckets, attention.max_relative_positions, layout.device)
        positions = Positions(table=relative, used=used)
    if static is not None:
        static.distances[:] = [] if positions is None else [positions.used]
    return layout, hidden, Pass(backend=backend, layout=layout, masks=masks, positions=positions)


def _masks(model: PreTrainedModel, backend: Backend, layout: Layout, seeds: NoiseSeeds | None) -> Masks:
    """Return the masks of this pass: none in an evaluation, those of the examples on a CPU, of the step on a GPU."""
    if not model.training:
        return NoMasks()
    base: Module = model.deberta
    dtype = base.embeddings.LayerNorm.weight.dtype
    if backend.drops_in_kernel:
        return KernelMasks(layout=layout, dtype=dtype, seeds=seeds)
    if seeds is None or layout.device.type != "cpu":
        return DeviceMasks(layout=layout, dtype=dtype, seeds=seeds)
    return ExampleMasks(seeds=seeds, layout=layout, dtype=dtype)


def _layers(encoder: Module, layers: Iterable[Module], hidden_TH: torch.Tensor, shared: Pass) -> torch.Tensor:
    """Return the output (T, H) of `layers`, which begin with the first of the encoder, and of the convolution behind it."""
    embedded_TH = hidden_TH
    for number, layer in enumerate(layers):
        anew = layer.gradient_checkpointing and layer.training
        hidden_TH = called(layer, partial(computed_anew, _layer) if anew else _layer, number, hidden_TH, shared)
        if number == 0 and encoder.conv is not None:
            hidden_TH = _convolution(encoder.conv, embedded_TH, hidden_TH, shared)
    return hidden_TH


def called(layer: Module, compute: Callable[..., torch.Tensor], *inputs: Any) -> torch.Tensor:
    """Return `compute(layer, *inputs)`, as a call of the layer where it has hooks: a sharded one's put its weights together."""
    if not layer._forward_pre_hooks:
        return compute(layer, *inputs)
    layer.forward = partial(compute, layer)  # what a module has itself comes before what its class has
    try:
        return torch.nn.Module.__call__(layer, *inputs)
    finally:
        del layer.forward


def _layer(layer: Module, number: int, hidden_TH: torch.Tensor, shared: Pass) -> torch.Tensor:
    """Return the output (T, H) of one layer."""
    attention, width = layer.attention.self, hidden_TH.shape[1]
    masks = shared.masks.layer(number, attention.num_attention_heads, width, _rates(layer))
    qkv_T3H = torch.nn.functional.linear(hidden_TH, stacked(attention, "weight"), stacked(attention, "bias"))
    keys, queries = _project(attention, number, shared)
    numbers = masks.attention, attention.num_attention_heads, 1.0 / score_divisor(attention)
    context_TH = shared.backend.attend(qkv_T3H, keys, queries, shared.distances, shared.layout, *numbers)
    return _behind_attention(layer, context_TH, hidden_TH, masks)


def _cls_layer(layer: Module, number: int, hidden_TH: torch.Tensor, shared: Pass) -> torch.Tensor:
    """Return the output (B, H) of one layer at the first token of each sequence."""
    attention, layout = layer.attention.self, shared.layout
    heads = attention.num_attention_heads
    masks = cls_masks(shared.masks, number, heads, hidden_TH.shape[1], _rates(layer))
    cls_BH = hidden_TH.index_select(0, layout.starts)
    query_BH = attention.query_proj(cls_BH) / score_divisor(attention)
    key_TH, value_TH = attention.key_proj(hidden_TH), attention.value_proj(hidden_TH)
    keys, queries = _project(attention, number, shared)
    # [CLS] stands at 0, so that key j is at the distance -j: j behind the middle in `c2p_R`, j before it in `p2c_R`.
    middle, used = layout.longest - 1, shared.distances
    against_TH = key_TH if keys is None or used is None else key_TH + keys.index_select(0, used.c2p_R[middle + layout.places])
    scores_TH = query_BH.index_select(0, layout.sequences) * against_TH
    if queries is not None and used is not None:
        scores_TH = scores_TH + key_TH * (queries.index_select(0, used.p2c_R[middle - layout.places]) / score_divisor(attention))
    scores_TN = scores_TH.unflatten(-1, (heads, -1)).sum(-1)
    probs_BLN = torch.softmax(layout.padded(scores_TN, fill=torch.finfo(scores_TN.dtype).min), dim=1)
    probs_TN = _dropped(probs_BLN[layout.sequences, layout.places], masks.attention).to(value_TH.dtype)
    weighted_TH = (probs_TN.unsqueeze(-1) * value_TH.unflatten(-1, (heads, -1))).flatten(1)
    context_BH = torch.zeros_like(query_BH).index_add(0, layout.sequences, weighted_TH)
    return _behind_attention(layer, context_BH, cls_BH, masks)


def _behind_attention(layer: Module, context: torch.Tensor, hidden: torch.Tensor, masks: LayerMasks | ClsMasks) -> torch.Tensor:
    """Return the output of a layer whose attention gives `context` for the input `hidden`, (T, H) or (B, H)."""
    first, second = layer.attention.output, layer.output
    attended = first.LayerNorm(_added(hidden, first.dense(context), masks.attention_output))
    return second.LayerNorm(_added(attended, second.dense(layer.intermediate(attended)), masks.output))


def _convolution(conv: Module, embedded_TH: torch.Tensor, hidden_TH: torch.Tensor, shared: Pass) -> torch.Tensor:
    """Return the output (T, H) of the convolution over the embeddings, added to that of the first layer."""
    layout = shared.layout
    out_BLH = conv.conv(layout.padded(embedded_TH).transpose(1, 2)).transpose(1, 2)
    out_TH = out_BLH[layout.sequences, layout.places]
    out_TH = _dropped(out_TH, shared.masks.rows(CONVOLUTION, out_TH.shape[1], conv.dropout.p))
    return conv.LayerNorm(hidden_TH + ACT2FN[conv.conv_act](out_TH))


def _project(attention: Module, number: int, shared: Pass) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return the relative positions in use as keys and as queries, (U, H) each, None where the model has no such scores."""
    if shared.positions is None:
        return None, None
    used, table = shared.positions.used, shared.positions.table
    num_rows, width = table.shape
    mask = shared.masks.positions(number, num_rows, width, attention.pos_dropout.p)
    rows_UH = _dropped(table.index_select(0, used.rows_U), None if mask is None else mask[used.rows_U])
    keys = queries = None
    if "c2p" in attention.pos_att_type:
        keys = (attention.key_proj if attention.share_att_key else attention.pos_key_proj)(rows_UH)
    if "p2c" in attention.pos_att_type:
        queries = (attention.query_proj if attention.share_att_key else attention.pos_query_proj)(rows_UH)
    return keys, queries


def score_divisor(attention: Module) -> float:
    """Return what every score is divided by, sqrt(D * kinds of scores), rounded to float32 as transformers does."""
    kinds = 1 + ("c2p" in attention.pos_att_type) + ("p2c" in attention.pos_att_type)
    return float(np.sqrt(np.float32(attention.attention_head_size * kinds)))


def _rates(layer: Module) -> tuple[float, float, float]:
    """Return the rates of the three dropouts of a layer."""
    return layer.attention.self.dropout.p, layer.attention.output.dropout.p, layer.output.dropout.p


def _dropped(tensor: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the tensor times a mask."""
    return tensor if mask is None else tensor * mask.to(tensor.dtype)


def _added(residual: torch.Tensor, tensor: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the residual plus the tensor times a mask."""
    tensor = tensor.to(residual.dtype)
    return residual + tensor if mask is None else torch.addcmul(residual, tensor, mask)
