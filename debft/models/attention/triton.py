"""On an NVIDIA GPU the Triton kernels of disentangled-flash compute attention, forward and backward, over sequences end to end.

Of that package only the attention is used, not its replacement of transformers' encoder, which draws its dropout from torch's
global generator and counts padding. The kernels draw the dropout of probability (query i, key j) of the sequence in slot s and
head h from Philox, with the key `seed + s * heads + h` and the counter `i * 65536 + j`. A sequence whose slot is its place in
the optimizer step, among empty slots of sequences that other micro-batches or processes hold, so has the same dropout however
the step is cut.

Source: disentangled-flash 1.1.1 (Apache-2.0), training/_kernels.py `training_attention_packed`, kernel.py `_dropout_keep`.

Legend: B sequences, T their tokens, N heads, D size of a head, U rows of the table of relative positions that are in use.
"""

import importlib.util
import os
import shutil
import sysconfig
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from debft.errors import InputError

if TYPE_CHECKING:
    from disentangled_flash.position import SharedPositionIndexPlan

PACKAGE = "disentangled-flash"
LEAST, BELOW = (1, 1, 1), (1, 2)  # the function that takes a seed lies in a module that the package calls private
HEAD_SIZES = (32, 64, 128)  # Source: disentangled-flash 1.1.1, training_attention_packed
CAPABILITY = (8, 0)  # the oldest GPU that Triton supports. Source: README of triton 3.6, "Compatibility"
MOST_PROGRAMS = 65535  # of the second dimension of a CUDA grid: one for each sequence and head
FULL_GPU = 1024  # sequences x heads, of the package's classes that which leaves no part of a GPU idle
MOST_SCORES = 2**31  # the kernels find the scores of a head by a 32-bit product: heads * tokens * rows of the table

# What differs from eager attention, and what the kernels cost, by name: `debft doctor` prints it.
FAULTS = {
    "dropout": "drawn by Philox inside the kernels: the same rate and the same masks at any micro-batch, but other draws than the "
    "torch backend's, so that two runs that differ in the backend alone differ like two seeds",
    "memory": "grows with tokens x distances: the scores of positions are stored, at most 512 of them a token and head for buckets "
    "of 256",
    "speed": "dropout costs one call of Philox for each probability, and below 64 tokens launching takes longer than computing; "
    "launch settings were measured by its authors on an H200 with torch 2.14 and Triton 3.8 alone, elsewhere a rule chooses them",
    "size": "a micro-batch holds fewer than 2^31 scores of positions and at most 65,535 sequences x heads, else an error says so",
}


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Sequences that lie end to end on a GPU.

    boundaries: the place of the first token of every slot and the end of the last one, int32; an empty slot has no tokens.
    longest: tokens of the longest sequence.
    slots: their number, the empty ones included.
    """

    boundaries: torch.Tensor
    longest: int
    slots: int


def stream_of(lengths_B: np.ndarray, places_B: np.ndarray | None, device: torch.device) -> Stream:
    """Return the stream of sequences that lie in the order of their places in the optimizer step.

    places_B: rising; None where there is no dropout or only one micro-batch. The seed counts from the first one.
    """
    ends_B = np.cumsum(lengths_B)
    slots_B = np.arange(len(lengths_B)) if places_B is None else np.asarray(places_B) - places_B[0]
    if (np.diff(slots_B) <= 0).any():
        raise ValueError("expected sequences in the order of their places")
    tokens = np.zeros(slots_B[-1] + 2, dtype=np.int32)
    tokens[slots_B + 1] = ends_B
    boundaries = torch.from_numpy(np.maximum.accumulate(tokens)).to(device, non_blocking=True)
    return Stream(boundaries=boundaries, longest=int(np.max(lengths_B)), slots=len(tokens) - 1)


@cache
def position_plan(longest: int, span: int, buckets: int, max_positions: int, device: torch.device) -> "SharedPositionIndexPlan":
    """Return which rows of the table of relative positions sequences of up to `longest` tokens use, and the row of each distance.

    span: half of the rows of the table.
    buckets: distances beyond half of them share rows logarithmically, 0 or less where each distance has its own.
    max_positions: the distance that the last bucket begins with.
    """
    from disentangled_flash.position import SharedPositionPlanCache

    plans = SharedPositionPlanCache(
        position_buckets=buckets, max_relative_positions=max_positions, position_embedding_size=span, uses_position_bias=True
    )
    return plans.compact(longest, device)


def attention(
    qkv_T3H: torch.Tensor,
    c2p_key_NUD: torch.Tensor | None,
    p2c_query_NUD: torch.Tensor | None,
    plan: "SharedPositionIndexPlan",
    stream: Stream,
    *,
    num_heads: int,
    scale: float,
    rate: float = 0.0,
    seed: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the context (T, N D).

    qkv_T3H: queries, keys and values of every token, side by side.
    c2p_key_NUD, p2c_query_NUD: the projected rows `plan.active_slots`, None where the model has no such scores.
    scale: of every score.
    rate: of dropout of the probabilities.
    seed: of this layer and pass for the sequence in the first slot, (1,) int64 on the device.

    Raises InputError where the micro-batch is too large for the kernels' 32-bit addresses.
    """
    from disentangled_flash.position import pad_position_table
    from disentangled_flash.training._kernels import training_attention_packed

    tokens = qkv_T3H.shape[0]
    query, key, value = qkv_T3H.view(tokens, 3, num_heads, -1).permute(1, 2, 0, 3).unbind()
    tables = [pad_position_table(c2p_key_NUD), pad_position_table(p2c_query_NUD)]
    rows = max((table.shape[1] for table in tables if table is not None), default=0)
    _check_size(stream, num_heads, tokens, rows)
    return training_attention_packed(
        query,
        key,
        value,
        *tables,
        plan.delta_to_local,
        stream.boundaries,
        max_seqlen=stream.longest,
        score_scale=scale,
        strict_fp32=True,
        dropout_p=rate,
        dropout_seed=seed,
        gradient_band=plan.gradient_band,
        **_launch_settings(query, stream, tables, rate > 0.0),
    )


def _check_size(stream: Stream, num_heads: int, tokens: int, rows: int) -> None:
    """Raise InputError where the kernels would count beyond what their numbers hold."""
    scores, programs = num_heads * tokens * rows, stream.slots * num_heads
    if scores >= MOST_SCORES or programs > MOST_PROGRAMS:
        what = f"{scores:,} scores of positions" if scores >= MOST_SCORES else f"{programs:,} sequences x heads"
        limit = f"fewer than {MOST_SCORES:,}" if scores >= MOST_SCORES else f"at most {MOST_PROGRAMS:,}"
        raise InputError(
            f"attention triton: expected {limit} in a micro-batch, got {what}; "
            f"lower runtime.micro_batch_tokens, here {tokens:,} tokens, or use --attention torch"
        )


def _launch_settings(query_NTD: torch.Tensor, stream: Stream, tables: list[torch.Tensor | None], dropout: bool) -> dict[str, Any]:
    """Return the block sizes of the three kernels: measured by the package's authors for this GPU, else by the package's rule.

    They follow from the longest sequence and the model alone. Kernels that are timed against each other at run time would round
    differently in each run, and one choice for each number of sequences would compile the kernels again and again.
    """
    from disentangled_flash.tuning import KernelConfig, length_family, resolve_launch_config

    head_size = query_NTD.shape[-1]
    has_c2p, has_p2c = (table is not None for table in tables)
    rows = max((table.shape[1] for table in tables if table is not None), default=0)
    dtype = str(query_NTD.dtype).removeprefix("torch.")
    settings = {}
    for name, phase in (("forward", "training_forward"), ("dq", "backward_dq"), ("dkv", "backward_dkv")):
        workload = (length_family(stream.longest), head_size, FULL_GPU, rows, dtype, has_c2p, has_p2c)
        workload = (*workload, "strict", "packed", False, phase, dropout)
        chosen = resolve_launch_config(_profiles(), "auto", query_NTD.device.index or 0, workload, None)
        settings[f"{name}_config"] = KernelConfig(*chosen)
    return settings


@cache
def _profiles() -> int:
    """Return the number under which the package keeps its own measured settings, without those of the user's home."""
    from disentangled_flash.tuning import KernelTuningOptions, ProfileRegistry, register_profile_registry

    return register_profile_registry(ProfileRegistry.from_options(KernelTuningOptions(use_user_profiles=False)))


def unavailable_reason(config: Any, device: torch.device) -> str | None:
    """Return why this backend cannot compute the attention of a model on a device, and what to do; None where it can.

    config: transformers' configuration of the model, None where only the machine is asked about.
    """
    if config is not None and (size := _head_size(config)) not in HEAD_SIZES:
        return f"its kernels take heads of {', '.join(map(str, HEAD_SIZES))}, this model has heads of {size}"
    if device.type != "cuda":
        return f"it needs an NVIDIA GPU, the device is {device.type}"
    return _gpu_lacks(device) or _packages_lack() or _compiler_lacks()


def _head_size(config: Any) -> int:
    size = getattr(config, "attention_head_size", None)
    return size or config.hidden_size // config.num_attention_heads


def _gpu_lacks(device: torch.device) -> str | None:
    if torch.version.cuda is None:
        return "it needs an NVIDIA GPU, this torch is built for another kind"
    found = torch.cuda.get_device_capability(device)
    if found < CAPABILITY:
        return f"it needs a GPU of compute capability {CAPABILITY[0]}.{CAPABILITY[1]} or newer, this one has {found[0]}.{found[1]}"
    return None


def _packages_lack() -> str | None:
    try:
        installed = version(PACKAGE)
    except PackageNotFoundError:
        return f"the package {PACKAGE} is not installed: pip install 'debft[gpu]'"
    numbers = tuple(int("".join(filter(str.isdigit, part)) or 0) for part in installed.split(".")[:3])
    if not LEAST <= numbers < BELOW:
        return f"it needs {PACKAGE} >= 1.1.1, < 1.2, found {installed}: pip install 'debft[gpu]'"
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed, which torch for CUDA brings along: pip install triton"
    return None


def _compiler_lacks() -> str | None:
    """Return what Triton lacks to build the launcher of a kernel. Source: triton 3.6, runtime/build.py `_build`."""
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton needs a C compiler, gcc or clang, and finds none: install one or set CC"
    headers = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not headers.is_file():
        return f"Triton needs Python's headers and finds no {headers}: install them, such as python3-dev"
    return None
