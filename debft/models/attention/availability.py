"""What the kernels of `--attention triton` need, and what there is to know about them.

Source: disentangled-flash 1.1.1 (Apache-2.0) and triton 3.6, whose code says what it refuses.
"""

import importlib.util
import os
import shutil
import sysconfig
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGE = "disentangled-flash"
LEAST, BELOW = (1, 1, 1), (1, 2)  # the function that takes a seed lies in a module that the package calls private
HEAD_SIZES = (32, 64, 128)  # Source: disentangled-flash 1.1.1, training_attention_packed
CAPABILITY = (8, 0)  # the oldest GPU that Triton supports. Source: README of triton, "Compatibility"

# What differs from the other backends and what the kernels cost, by name: `debft doctor` prints it.
FAULTS = {
    "dropout": "of attention comes from Philox inside the kernels: the same rate, but other draws than those of torch, so that two "
    "runs that differ in the backend alone differ as two seeds do; each probability costs one call of Philox",
    "memory": "holds the scores of every token against every distance in use, for each head",
    "size": "takes fewer than 2^31 such scores and at most 65,535 sequences x heads in a micro-batch, and refuses more",
    "launch": "takes block sizes that were measured on an H200 with torch 2.14 and Triton 3.8, and a rule of thumb elsewhere",
    "start": "compiles its kernels when they are first used, for each class of lengths, and keeps them in Triton's cache",
}


def unavailable_reason(config: Mapping[str, Any] | None, device_type: str) -> str | None:
    """Return why the kernels cannot compute a model's attention on such a device, and what to do; None where they can.

    config: the content of the model's config.json; None asks of any model
    """
    if config is not None and (size := _head_size(config)) not in HEAD_SIZES:
        return f"its kernels take heads of {', '.join(map(str, HEAD_SIZES))}, this model has heads of {size}"
    if device_type != "cuda":
        return f"it needs an NVIDIA GPU, the device is {device_type}"
    return _gpu_lacks() or _packages_lack() or _compiler_lacks()


def _head_size(config: Mapping[str, Any]) -> int:
    return config.get("attention_head_size") or config["hidden_size"] // config["num_attention_heads"]


def _gpu_lacks() -> str | None:
    import torch

    if torch.version.cuda is None:
        return "it needs an NVIDIA GPU, this torch is built for another kind"
    found = torch.cuda.get_device_capability()
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
