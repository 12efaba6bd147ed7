"""Kernels that give the same bits every time, for a run that asks for them."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from debft.errors import InputError

# The two settings with which cuBLAS gives the same bits every time; it reads the variable once, when it starts.
# Source: NVIDIA's documentation of cuBLAS, section "Results reproducibility"; torch accepts no other.
CUBLAS_VARIABLE, CUBLAS_SETTINGS = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")


@contextmanager
def deterministic_kernels(wanted: bool) -> Iterator[None]:
    """Within the block torch computes with kernels that give the same bits every time, where that is wanted.

    Afterwards torch is set as before; the variable of cuBLAS stays, since cuBLAS has read it by then. Raises InputError where
    the variable says something else, where cuBLAS may have started without it, and where a kernel has no such form.
    """
    if not wanted:
        yield
        return
    import torch

    _prepare_cublas()
    before, only_warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as error:
        kernel = re.match(r"(\S+) does not have a deterministic implementation", str(error))
        if kernel is None:
            raise
        raise InputError(
            f"runtime.deterministic: expected a model whose kernels all have a deterministic form here, got {kernel[1]}, "
            "which has none; train without it"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before, warn_only=only_warned)


def _prepare_cublas() -> None:
    """Set the variable of cuBLAS, unless the user has set it. Raises InputError where that has no effect, or another one."""
    import torch

    expected = " or ".join(CUBLAS_SETTINGS)
    given = os.environ.get(CUBLAS_VARIABLE)
    if given is None and torch.cuda.is_initialized() and torch.cuda.memory_stats().get("allocation.all.allocated"):
        raise InputError(
            f"runtime.deterministic: expected {CUBLAS_VARIABLE} to be {expected} before this process uses the GPU, got it unset; "
            "set it before the program starts"
        )
    if given is not None and given not in CUBLAS_SETTINGS:
        raise InputError(f"{CUBLAS_VARIABLE}: expected {expected} for runtime.deterministic, got {given}; unset it")
    os.environ[CUBLAS_VARIABLE] = given or CUBLAS_SETTINGS[0]
