"""On an NVIDIA GPU the Triton kernels of disentangled-flash compute attention, forward and backward, over sequences end to end.

Of that package only the attention is used, not its replacement of transformers' encoder, which draws its dropout from torch's
global generator. The kernels draw the dropout of the probability of query i and key j, in head h of the sequence in slot s, from
Philox with the key `seed + s * heads + h` and the counter `i * 65536 + j`. A sequence whose slot is its place in the optimizer
step, among empty slots of sequences that other micro-batches or processes hold, so has the same dropout however the step is cut.

Source: disentangled-flash 1.1.1 (Apache-2.0), training/_kernels.py `training_attention_packed`, kernel.py `_dropout_keep`.

Legend: T tokens, N heads, D size of a head, H = N D, U rows of the table of relative positions in use, L the longest sequence.
"""

from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch

from debft.errors import InputError
from debft.models.attention.distances import Distances
from debft.models.attention.layout import Layout
from debft.models.attention.masks import KernelDropout

if TYPE_CHECKING:
    from disentangled_flash.position import GradientBand

FULL_GPU = 1024  # sequences x heads, of the package's classes that which leaves no part of a GPU idle
MOST_PROGRAMS = 65535  # of the second dimension of a CUDA grid: one for each slot and head
MOST_SCORES = 2**31  # the kernels find the scores of a head by a 32-bit product: heads * tokens * rows of the table


def kernel_attention(
    qkv_T3H: torch.Tensor,
    keys_UH: torch.Tensor | None,
    queries_UH: torch.Tensor | None,
    used: Distances | None,
    layout: Layout,
    dropout: KernelDropout | None,
    num_heads: int,
    scale: float,
) -> torch.Tensor:
    """Return the context (T, H) of one layer.

    qkv_T3H: queries, keys and values of every token, side by side
    keys_UH: projected relative positions as keys, the rows `used.rows_U`; None where there are none
    queries_UH: projected relative positions as queries; None where there are none
    dropout: of the probabilities
    scale: of every score

    Raises InputError where the micro-batch is too large for the kernels' 32-bit numbers.
    """
    from disentangled_flash.training._kernels import training_attention_packed

    tokens = qkv_T3H.shape[0]
    query, key, value = qkv_T3H.view(tokens, 3, num_heads, -1).permute(1, 2, 0, 3).unbind()
    tables = [_table(rows_UH, num_heads) for rows_UH in (keys_UH, queries_UH)]
    rows = max((table.shape[1] for table in tables if table is not None), default=0)
    _check_size(layout, num_heads, tokens, rows)
    rows_of_distances, band = _positions(used) if used else _no_positions(layout.longest, query.device)
    return training_attention_packed(
        query,
        key,
        value,
        *tables,
        rows_of_distances,
        layout.boundaries,
        max_seqlen=layout.longest,
        score_scale=scale,
        strict_fp32=True,
        dropout_p=dropout.rate if dropout else 0.0,
        dropout_seed=dropout.seed if dropout else None,
        gradient_band=band,
        **_launch_settings(query, layout.longest, tables, dropout is not None),
    )


def _table(rows_UH: torch.Tensor | None, num_heads: int) -> torch.Tensor | None:
    """Return projected positions as the kernels take them, (N, U, D) with rows of zeros up to a multiple of 8."""
    from disentangled_flash.position import pad_position_table

    return None if rows_UH is None else pad_position_table(rows_UH.unflatten(-1, (num_heads, -1)).transpose(0, 1))


_POSITIONS: "WeakKeyDictionary[Distances, tuple[torch.Tensor, GradientBand]]" = WeakKeyDictionary()


@torch.inference_mode(False)  # as in distances.py
def _positions(used: Distances) -> "tuple[torch.Tensor, GradientBand]":
    """Return (the row of each distance from 1 - L to L - 1, int32; what keeps the backward pass from adding by atomics).

    They live as long as `used` does, which a CUDA graph that reads them holds.
    """
    from disentangled_flash.position import gradient_band

    if used not in _POSITIONS:
        rows_R = used.p2c_R.to(torch.int32)  # those of `c2p_R` in the other order
        _POSITIONS[used] = rows_R, gradient_band(rows_R.cpu(), rows_R.device)
    return _POSITIONS[used]


@cache
@torch.inference_mode(False)  # as in distances.py
def _no_positions(longest: int, device: torch.device) -> tuple[torch.Tensor, None]:
    return torch.zeros(2 * longest - 1, dtype=torch.int32, device=device), None


def _check_size(layout: Layout, num_heads: int, tokens: int, rows: int) -> None:
    """Raise InputError where the kernels would count beyond what their numbers hold."""
    scores, programs = num_heads * tokens * rows, int(layout.slots[-1] + 1) * num_heads
    if scores >= MOST_SCORES or programs > MOST_PROGRAMS:
        what = f"{scores:,} scores of positions" if scores >= MOST_SCORES else f"{programs:,} sequences x heads"
        limit = f"fewer than {MOST_SCORES:,}" if scores >= MOST_SCORES else f"at most {MOST_PROGRAMS:,}"
        raise InputError(
            f"--attention triton: expected {limit} in a micro-batch, got {what}; "
            f"lower runtime.micro_batch_tokens, here {tokens:,} tokens, or use --attention torch"
        )


def _launch_settings(query_NTD: torch.Tensor, longest: int, tables: list[torch.Tensor | None], dropout: bool) -> dict[str, Any]:
    """Return the block sizes of the three kernels: measured by the package's authors for this GPU, else by the package's rule.

    They follow from the longest sequence and the model alone. Kernels that are timed against each other at run time would round
    differently in each run, and one choice for each number of sequences would compile the kernels again and again.
    """
    from disentangled_flash.tuning import KernelConfig, length_family, resolve_launch_config

    has_c2p, has_p2c = (table is not None for table in tables)
    rows = max((table.shape[1] for table in tables if table is not None), default=0)
    dtype = str(query_NTD.dtype).removeprefix("torch.")
    settings = {}
    for name, phase in (("forward", "training_forward"), ("dq", "backward_dq"), ("dkv", "backward_dkv")):
        model = (length_family(longest), query_NTD.shape[-1], FULL_GPU, rows, dtype, has_c2p, has_p2c)
        workload = (*model, "strict", "packed", False, phase, dropout)
        chosen = resolve_launch_config(_profiles(), "auto", query_NTD.device.index or 0, workload, None)
        settings[f"{name}_config"] = KernelConfig(*chosen)
    return settings


@cache
def _profiles() -> int:
    """Return the number under which the package keeps its own measured settings, without those of the user's home."""
    from disentangled_flash.tuning import KernelTuningOptions, ProfileRegistry, register_profile_registry

    return register_profile_registry(ProfileRegistry.from_options(KernelTuningOptions(use_user_profiles=False)))
