"""Checkpoints that are whole or absent: safetensors and JSON under a manifest of sha256, put in place by one rename.

Nothing is pickled. A kill at any moment leaves the previous checkpoint; a damaged file is noticed when it is read.
"""

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from debft.progress import say

MANIFEST = "manifest.json"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was read: `step` done so far, `state` as it was given to `save_checkpoint`."""

    step: int
    weights: dict[str, torch.Tensor]
    moments: dict[str, torch.Tensor]
    state: dict[str, Any]


def save_checkpoint(
    directory: Path, name: str, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer | None, state: dict[str, Any]
) -> Path:
    """`directory/name` with the weights, the optimizer's moments by parameter name, and `state` (JSON)."""
    final = directory / name
    temporary = directory / f".{name}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, temporary / "model.safetensors")
    if optimizer is not None:
        save_file(_moments(model, optimizer), temporary / "optimizer.safetensors")
    (temporary / "state.json").write_text(json.dumps({"step": step, **state}), encoding="utf-8")
    manifest = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
    (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for path in (*temporary.iterdir(), temporary):
        _sync(path)
    if final.exists() and _damage(final) is None:  # a resumed run that is interrupted at once saves the same step again
        shutil.rmtree(temporary)
        return final
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    _sync(directory)
    return final


def load_newest(directory: Path, prefix: str = "step-") -> Checkpoint | None:
    """The newest checkpoint whose files are what its manifest says, None where there is none. Damaged ones are named."""
    for path in checkpoints(directory, prefix)[::-1]:
        wrong = _damage(path)
        if wrong is None:
            moments = path / "optimizer.safetensors"
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            return Checkpoint(
                step=state.pop("step"), weights=_read_tensors(path / "model.safetensors"),
                moments=_read_tensors(moments) if moments.is_file() else {}, state=state,
            )  # fmt: skip
        say(f"checkpoint {path} is damaged ({wrong}); looking for an older one")
    return None


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """In memory of our own: a tensor that is mapped from the file is not aligned, and products round otherwise on some CPUs."""
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def checkpoints(directory: Path, prefix: str = "step-") -> list[Path]:
    """Oldest first."""
    if not directory.is_dir():
        return []
    return sorted(path for path in directory.iterdir() if re.fullmatch(rf"{re.escape(prefix)}\d+", path.name))


def keep_newest(directory: Path, count: int, prefix: str = "step-") -> None:
    """Remove all but the newest `count`, and what a killed process left half-written."""
    for path in checkpoints(directory, prefix)[:-count]:
        shutil.rmtree(path)
    for path in directory.glob(f".{prefix}*"):
        shutil.rmtree(path)


def restore_optimizer(model: torch.nn.Module, optimizer: torch.optim.Optimizer, moments: dict[str, torch.Tensor]) -> None:
    """Put the moments back under the same parameters."""
    name_of = {parameter: name for name, parameter in model.named_parameters()}
    order = [name_of[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    state = {
        i: {moment: moments[f"{name}/{moment}"] for moment in MOMENTS} for i, name in enumerate(order) if f"{name}/step" in moments
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _moments(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = optimizer.state
    return {
        f"{name}/{moment}": torch.as_tensor(state[parameter][moment]).contiguous()
        for name, parameter in model.named_parameters() if state.get(parameter) for moment in MOMENTS
    }  # fmt: skip


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, None if it is whole."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return next(
            (f"{name} is not what was written" for name, digest in manifest.items() if _sha256(path / name) != digest), None
        )
    except (OSError, ValueError) as error:
        return str(error)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
