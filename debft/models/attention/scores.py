"""The attention of one layer over a stream of tokens, forward and backward, exact, without padded queries or absent distances.

A query is scored against every distance that exists in its group in one product. Row i of that product holds key j at the
place j - i + L - 1, so that a view with strides (2 L - 2, 1) is the matrix of scores: nothing is gathered.

Legend: T tokens, N heads, D size of a head, H = N D, R distances of the longest sequence; in a group: n sequences of L tokens
(padded), r = 2 L - 1 distances.
"""

from collections.abc import Sequence
from typing import Any

import torch

from debft.models.attention.distances import Distances
from debft.models.attention.layout import Group, Layout


class DisentangledAttention(torch.autograd.Function):
    """Softmax over the sum of content-to-content, content-to-position and position-to-content scores, times the values."""

    @staticmethod
    def forward(
        ctx: Any,
        qkv_T3H: torch.Tensor,
        c2p_key_NRD: torch.Tensor | None,
        p2c_query_NRD: torch.Tensor | None,
        layout: Layout,
        masks: Sequence[torch.Tensor] | None,
        num_heads: int,
        scale: float,
    ) -> torch.Tensor:
        """Return the context, (T, H).

        c2p_key_NRD: projected rows of the distances R' .. -R' (query minus key), None where the model has no such scores
        p2c_query_NRD: projected rows of the distances -R' .. R', None where the model has no such scores
        masks: for each group 0 or 1 / (1 - rate) for each probability, (N, n, L, L); None without dropout
        scale: of every score
        """
        context_TH = qkv_T3H.new_empty(qkv_T3H.shape[0], qkv_T3H.shape[1] // 3)
        mask_of_groups: Sequence[torch.Tensor | None] = masks or [None] * len(layout.groups)
        probabilities = []
        for group, mask in zip(layout.groups, mask_of_groups, strict=True):
            q, k, v = _split(group.padded(qkv_T3H), 3, num_heads)
            probs_NnLL = _probabilities(q.mul_(scale), k, c2p_key_NRD, p2c_query_NRD, group, scale)
            dropped = _dropped(probs_NnLL, mask)
            context = torch.bmm(dropped.flatten(0, 1), v.flatten(0, 1)).view(v.shape)
            group.write(context_TH, context.permute(1, 2, 0, 3))
            probabilities.append(probs_NnLL)
        ctx.save_for_backward(qkv_T3H, c2p_key_NRD, p2c_query_NRD, *probabilities, *mask_of_groups)
        ctx.layout, ctx.num_heads, ctx.scale = layout, num_heads, scale
        return context_TH

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_context_TH: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        qkv_T3H, c2p_key_NRD, p2c_query_NRD, *rest = ctx.saved_tensors
        groups, scale = ctx.layout.groups, ctx.scale
        grad_qkv_T3H = torch.empty_like(qkv_T3H)
        grad_c2p = None if c2p_key_NRD is None else torch.zeros_like(c2p_key_NRD)
        grad_p2c = None if p2c_query_NRD is None else torch.zeros_like(p2c_query_NRD)
        for group, probs_NnLL, mask in zip(groups, rest[: len(groups)], rest[len(groups) :], strict=True):
            q, k, v = _split(group.padded(qkv_T3H), 3, ctx.num_heads)
            (grad_context,) = _split(group.padded(grad_context_TH), 1, ctx.num_heads)
            q.mul_(scale)
            grads = torch.empty_like(torch.stack([q, k, v]))
            flat = grads.flatten(1, 2)
            grad_scores, dropped = _grad_scores(grad_context, v, probs_NnLL, mask)
            torch.bmm(dropped.flatten(0, 1).transpose(1, 2), grad_context.flatten(0, 1), out=flat[2])
            torch.bmm(grad_scores.flatten(0, 1), k.flatten(0, 1), out=flat[0])
            torch.bmm(grad_scores.flatten(0, 1).transpose(1, 2), q.flatten(0, 1), out=flat[1])
            if c2p_key_NRD is not None and grad_c2p is not None:
                _grad_by_distance(grad_scores, q, c2p_key_NRD, grads[0], grad_c2p, group, 1.0)
            if p2c_query_NRD is not None and grad_p2c is not None:
                _grad_by_distance(grad_scores.transpose(2, 3), k, p2c_query_NRD, grads[1], grad_p2c, group, scale)
            grads[0].mul_(scale)
            n, length = grads.shape[2:4]
            group.write(grad_qkv_T3H, grads.permute(2, 3, 0, 1, 4).reshape(n, length, -1))
        return grad_qkv_T3H, grad_c2p, grad_p2c, None, None, None, None


def _split(padded_nLX: torch.Tensor, parts: int, num_heads: int) -> torch.Tensor:
    """Return (parts, N, n, L, D) in its own memory."""
    n, length, width = padded_nLX.shape
    size = width // parts // num_heads
    return padded_nLX.view(n, length, parts, num_heads, size).permute(2, 3, 0, 1, 4).clone(memory_format=torch.contiguous_format)


def _middle(rows_NRD: torch.Tensor, group: Group) -> torch.Tensor:
    """Return the rows of the distances that exist in the group, (N, r, D)."""
    left_out = rows_NRD.shape[1] // 2 - (group.length - 1)
    return rows_NRD[:, left_out : rows_NRD.shape[1] - left_out]


def _band(by_distance_NnLr: torch.Tensor) -> torch.Tensor:
    """Return the view (N, n, L, L) whose element (a, b) is the row a at the distance b - a."""
    heads, n, length, r = by_distance_NnLr.shape
    offset = by_distance_NnLr.storage_offset() + length - 1
    return by_distance_NnLr.as_strided((heads, n, length, length), (n * length * r, length * r, r - 1, 1), offset)


def _by_distance(rows_NnLD: torch.Tensor, positions_NrD: torch.Tensor) -> torch.Tensor:
    """Return the scores of every row against every distance, seen as (N, n, L, L)."""
    heads, n, length, _ = rows_NnLD.shape
    scores = torch.bmm(rows_NnLD.flatten(1, 2), positions_NrD.transpose(1, 2))
    return _band(scores.view(heads, n, length, -1))


def _probabilities(
    q: torch.Tensor,
    k: torch.Tensor,
    c2p_key_NRD: torch.Tensor | None,
    p2c_query_NRD: torch.Tensor | None,
    group: Group,
    scale: float,
) -> torch.Tensor:
    """Return the softmax of the scores, (N, n, L, L); `q` is scaled already."""
    scores = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)).view(*k.shape[:3], k.shape[2])
    if c2p_key_NRD is not None:
        scores += _by_distance(q, _middle(c2p_key_NRD, group))
    if p2c_query_NRD is not None:
        scores += _by_distance(k, _middle(p2c_query_NRD, group) * scale).transpose(2, 3)
    if not group.equal:
        scores.masked_fill_(group.is_padding[None, :, None, :], torch.finfo(scores.dtype).min)
    return torch.softmax(scores, dim=-1, dtype=scores.dtype)  # named: autocast on a GPU would return float32


def _dropped(probs_NnLL: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return probabilities times a mask, in their own dtype: the product is float32's, as bfloat16 has no 1 / 0.9."""
    return probs_NnLL if mask is None else (probs_NnLL * mask).to(probs_NnLL.dtype)


def _grad_scores(
    grad_context: torch.Tensor, v: torch.Tensor, probs_NnLL: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (gradient of the scores, probabilities after dropout)."""
    grad_probs = torch.bmm(grad_context.flatten(0, 1), v.flatten(0, 1).transpose(1, 2)).view(probs_NnLL.shape)
    if mask is not None:
        grad_probs.mul_(mask)
    return torch._softmax_backward_data(grad_probs, probs_NnLL, -1, probs_NnLL.dtype), _dropped(probs_NnLL, mask)


def _grad_by_distance(
    grad_NnLL: torch.Tensor,
    rows_NnLD: torch.Tensor,
    positions_NRD: torch.Tensor,
    grad_rows: torch.Tensor,
    grad_positions: torch.Tensor,
    group: Group,
    scale: float,
) -> None:
    """Add to the gradients what comes through `_by_distance(rows, positions * scale)`."""
    heads, n, length, _ = rows_NnLD.shape
    by_distance = grad_NnLL.new_zeros(heads, n, length, 2 * length - 1)
    _band(by_distance).copy_(grad_NnLL)
    flat = by_distance.flatten(1, 2)
    grad_rows.flatten(1, 2).baddbmm_(flat, _middle(positions_NRD, group), alpha=scale)
    _middle(grad_positions, group).baddbmm_(flat.transpose(1, 2), rows_NnLD.flatten(1, 2), alpha=scale)


def disentangled_attention(
    qkv_T3H: torch.Tensor,
    keys_UH: torch.Tensor | None,
    queries_UH: torch.Tensor | None,
    used: Distances | None,
    layout: Layout,
    masks: Sequence[torch.Tensor] | None,
    num_heads: int,
    scale: float,
) -> torch.Tensor:
    """Return the context (T, H) of one layer.

    keys_UH: projected relative positions as keys, the rows `used.rows_U`; None where there are none
    queries_UH: projected relative positions as queries; None where there are none
    masks: dropout of the probabilities, (N, n, L, L) for each group of the layout; None without dropout
    scale: of every score
    """
    keys_RH = None if keys_UH is None or used is None else keys_UH.index_select(0, used.c2p_R)
    queries_RH = None if queries_UH is None or used is None else queries_UH.index_select(0, used.p2c_R)
    keys, queries = (None if p is None else p.unflatten(-1, (num_heads, -1)).transpose(0, 1) for p in (keys_RH, queries_RH))
    return DisentangledAttention.apply(qkv_T3H, keys, queries, layout, masks, num_heads, scale)
