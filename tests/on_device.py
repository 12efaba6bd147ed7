"""The kernels of disentangled-flash on a GPU, or on the CPU in Triton's interpreter, which executes the same source line by line.

The interpreter is asked for before triton is imported (conftest.py). It needs the packages `triton` and `disentangled-flash`.
"""

import importlib.util
import inspect
import os

import pytest
import torch

from debft.models.attention import backends, triton
from debft.models.attention.availability import unavailable_reason

DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def require(device: str) -> torch.device:
    """Skip with the reason where the device is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip(f"needs a CUDA GPU, torch {torch.__version__} finds none")
    return torch.device(device)


def require_kernels(device: str, monkeypatch) -> torch.device:
    """Return the device, ready for the kernels; skip with the reason where something is missing."""
    found = require(device)
    if device == "cuda":
        if why := unavailable_reason(None, device):
            pytest.skip(f"attention triton: {why}")
        return found
    for package in ("triton", "disentangled_flash"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install triton disentangled-flash")
    if not INTERPRETED:
        pytest.skip("Triton's interpreter is not asked for: TRITON_INTERPRET=1")
    _interpret(monkeypatch)
    return found


def _interpret(monkeypatch) -> None:
    """Let the package's function take tensors of the CPU, every other line of it as it is, and choose blocks for the interpreter."""
    from disentangled_flash.training import _kernels
    from disentangled_flash.tuning import KernelConfig
    from triton.runtime.errors import InterpreterError

    source = inspect.getsource(_kernels.training_attention_packed)
    assert source.count('!= "cuda"') == 1
    names = vars(_kernels).copy()
    exec(source.replace('!= "cuda"', '!= "cpu"'), names)
    monkeypatch.setattr(_kernels, "training_attention_packed", names["training_attention_packed"])
    settings = {f"{name}_config": KernelConfig(32, 32, 4, 1) for name in ("forward", "dq", "dkv")}
    monkeypatch.setattr(triton, "_launch_settings", lambda *_: settings)
    monkeypatch.setattr(backends, "unavailable_reason", lambda *_: None)
    try:
        _kernels.dropout_keep_mask(torch.zeros(1, dtype=torch.int64), stream_start=0, streams=1, length=1, dropout_p=0.5)
    except InterpreterError as error:
        if "0-dimensional" not in str(error):
            raise
        pytest.skip(f"this triton's interpreter is older than this numpy: {error}")
