"""DeBERTa scores a query against the distance to each key; only the distances that exist in a batch are projected.

Legend: L the longest sequence, R = 2 L - 1 distances between its tokens, U rows of the table that they use.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position


@dataclass(frozen=True, kw_only=True, eq=False)
class Distances:
    """The rows of the table of relative positions for the distances i - j = 1 - L .. L - 1 of query i and key j.

    `distances` makes each once, so that it is its own key in a cache.

    rows_U: the rows in use, in order, int64.
    c2p_R: for each distance, the largest first, the place in `rows_U` of the row that content-to-position scores use, int64.
    p2c_R: for each distance, the smallest first, that of position-to-content scores.
    """

    rows_U: torch.Tensor
    c2p_R: torch.Tensor
    p2c_R: torch.Tensor


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # an evaluation may ask first, and training could not use tensors made in inference mode
def distances(longest: int, span: int, buckets: int, max_positions: int, device: torch.device) -> Distances:
    """Return the rows for sequences of up to `longest` tokens.

    span: half of the rows of the table.
    buckets: distances beyond half of them share rows logarithmically, 0 or less where each distance has its own.
    max_positions: the distance that the last bucket begins with.

    Source: transformers 5.23 modeling_deberta_v2.py, build_relative_position and disentangled_attention_bias.
    """
    distance_R = torch.arange(1 - longest, longest)
    position_R = distance_R
    if buckets > 0 and max_positions > 0:
        position_R = make_log_bucket_position(distance_R, buckets, max_positions).long()
    c2p_R = (position_R.flip(0) + span).clamp(0, 2 * span - 1)
    # Key j looks up the row of minus its own distance to query i, j - i.
    p2c_R = (-position_R.flip(0) + span).clamp(0, 2 * span - 1)
    rows_U, places = torch.cat([c2p_R, p2c_R]).unique(return_inverse=True)
    c2p_R, p2c_R = places.view(2, -1)
    return Distances(rows_U=rows_U.to(device), c2p_R=c2p_R.to(device), p2c_R=p2c_R.to(device))
