"""Checkpoints that are whole or absent: safetensors and JSON under a manifest of sha256, put in place by one rename.

Nothing is pickled. A kill at any moment leaves the previous checkpoint; a damaged file is noticed when it is read.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from debft.console import say
from debft.errors import InputError
from debft.runs.storage import disk_errors, remove_directory, whole_directory

MANIFEST, MODEL, OPTIMIZER, STATE = "manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
FORMAT_VERSION = 2  # of state.json; 1 had no version and no logs beside it


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What was read: `step` done so far, `state` and the `logs` by file name as they were given to `save_checkpoint`.

    digest: sha256 of the manifest, which is that of every file
    """

    step: int
    digest: str
    weights: dict[str, torch.Tensor]
    moments: dict[str, torch.Tensor]
    state: dict[str, Any]
    logs: dict[str, bytes]


class _DamagedError(Exception):
    """What is wrong with the files of a checkpoint."""


def save_checkpoint(
    directory: Path,
    name: str,
    step: int,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None,
    state: dict[str, Any],
    logs: Sequence[Path] = (),
) -> Path:
    """`directory/name` with the weights, the optimizer's moments by parameter name, `state` (JSON) and a copy of each of `logs`.

    A whole checkpoint of that name stays: a resumed run that is interrupted at once saves the same step again.
    Raises DiskError where the disk refuses, with nothing half-written left.
    """
    final = directory / name
    with disk_errors(directory):
        if final.is_dir() and _is_whole(final):
            return final
    with whole_directory(final) as folder:
        save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, folder / MODEL)
        if optimizer is not None:
            save_file(_moments(model, optimizer), folder / OPTIMIZER)
        for log in logs:
            if log.is_file():
                shutil.copyfile(log, folder / log.name)
        content = {"format_version": FORMAT_VERSION, "step": step, **state}
        (folder / STATE).write_text(json.dumps(content), encoding="utf-8")
        manifest = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return final


def load_newest(directory: Path, prefix: str = "step-") -> Checkpoint | None:
    """The newest checkpoint whose files are what its manifest says; None where there never was one.

    Raises InputError that names every checkpoint where none of them is whole, or one that a newer debft wrote, and DiskError for
    one that cannot be read twice over: it may be whole, and going back to an older one would give up what it holds.
    """
    damaged = []
    for path in checkpoints(directory, prefix)[::-1]:
        try:
            found = _read(path)
        except _DamagedError as error:
            damaged.append(f"{path.name} ({error})")
            continue
        if damaged:
            say(f"{directory}: {', '.join(damaged)} is damaged; going back to {path.name}")
        return found
    if damaged:
        raise InputError(
            f"{directory}: expected a whole checkpoint, found only damaged ones: {', '.join(damaged)}; choose another --output, "
            "or remove this folder to begin again"
        )
    return None


def load_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint `path` and no other. Raises InputError where it is gone or damaged, DiskError where it cannot be read."""
    try:
        return _read(path)
    except _DamagedError as error:
        raise InputError(f"{path}: expected the checkpoint that was written, but {error}; train again") from None


def checkpoints(directory: Path, prefix: str = "step-") -> list[Path]:
    """Oldest first."""
    if not directory.is_dir():
        return []
    found = [path for path in directory.iterdir() if re.fullmatch(rf"{re.escape(prefix)}\d+", path.name)]
    return sorted(found, key=_number)


def keep_newest(directory: Path, count: int, prefix: str = "step-", last: int | None = None) -> None:
    """Remove all but the newest `count`, and what a killed process left half-written.

    last: the step just saved. What has a higher number is no newer: it was damaged when the run went back behind it, and goes.
    """
    found = checkpoints(directory, prefix)
    beyond = [path for path in found if last is not None and _number(path) > last]
    found = [path for path in found if path not in beyond]
    for path in (*beyond, *found[:-count]):
        remove_directory(path)
    for path in directory.glob(f".{prefix}*"):
        shutil.rmtree(path, ignore_errors=True)


def keep_best(directory: Path, best_step: int) -> None:
    """Remove each best checkpoint but that of `best_step` and those that a saved state names, which may be resumed from yet."""
    kept = {best_step}
    for path in checkpoints(directory):
        try:
            kept.add(json.loads((path / STATE).read_bytes()).get("best_step", 0))
        except (OSError, ValueError, AttributeError):
            return  # which one it names is not known, so all stay until it is gone
    for path in checkpoints(directory, "best-"):
        if _number(path) not in kept:
            remove_directory(path)


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
        for name, parameter in model.named_parameters()
        if state.get(parameter)
        for moment in MOMENTS
    }


def _read(path: Path) -> Checkpoint:
    """Read once more where the machine fails: a passing error of a disk or network says nothing about the files."""
    try:
        return _read_once(path)
    except OSError as error:
        say(f"{path}: cannot be read: {error.strerror}; trying once more")
    with disk_errors(path, "read"):
        return _read_once(path)


def _read_once(path: Path) -> Checkpoint:
    manifest, digest = _check(path)
    state = json.loads((path / STATE).read_bytes())
    if (version := state.pop("format_version", 1)) > FORMAT_VERSION:
        raise InputError(f"{path}: was written by a newer debft (format {version}, known up to {FORMAT_VERSION}); upgrade debft")
    return Checkpoint(
        step=state.pop("step"),
        digest=digest,
        weights=_read_tensors(path / MODEL),
        moments=_read_tensors(path / OPTIMIZER) if OPTIMIZER in manifest else {},
        state=state,
        logs={name: (path / name).read_bytes() for name in manifest if name.endswith(".jsonl")},
    )


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """In memory of our own: a tensor that is mapped from the file is not aligned, and products round otherwise on some CPUs."""
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def _check(path: Path) -> tuple[dict[str, str], str]:
    """The manifest, by file name, and its own digest. Raises _DamagedError where a file is not what it says, or is gone."""
    try:
        content = (path / MANIFEST).read_bytes()
        manifest = json.loads(content)
        wrong = [name for name in (MODEL, STATE) if name not in manifest]
        wrong += [name for name, digest in manifest.items() if _sha256(path / name) != digest]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _DamagedError(f"{Path(error.filename).name} is missing") from None
    except (ValueError, TypeError, AttributeError):
        wrong = [MANIFEST]
    if wrong:
        raise _DamagedError(f"{wrong[0]} is not what was written")
    return manifest, hashlib.sha256(content).hexdigest()


def _is_whole(path: Path) -> bool:
    try:
        return bool(_check(path))
    except _DamagedError:
        return False


def _number(path: Path) -> int:
    """Of the step: 1000000 comes behind 999995, which the order of the names denies."""
    return int(path.name.rpartition("-")[2])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
