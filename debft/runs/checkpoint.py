"""Checkpoints are whole or absent: safetensors and JSON under a manifest of sha256, put in place by one rename.

Nothing is pickled. A kill at any moment leaves the previous checkpoint, and a damaged file is noticed when it is read.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from debft.console import say
from debft.errors import InputError
from debft.runs.digested import first_bytes, write_digested, write_tensors
from debft.runs.reading import read_twice
from debft.runs.storage import disk_errors, remove_directory, whole_directory

MANIFEST, MODEL, OPTIMIZER, STATE = "manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"
MOMENTS = ("exp_avg", "exp_avg_sq", "step")
FORMAT_VERSION = 3  # of state.json; 1 had no version and no logs beside it, 2 the optimizer state of every embedding row


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint holds, once it is read, everything that `save_checkpoint` was given."""

    step: int
    """Optimizer steps done so far."""
    digest: str
    """sha256 of the manifest, and by it of every file."""
    weights: dict[str, torch.Tensor]
    """The model's state, by the name of the parameter or buffer."""
    moments: dict[str, torch.Tensor]
    """The optimizer's state, by `<parameter>/<moment>`; {} where none was saved."""
    state: dict[str, Any]
    """The content of state.json, without step and format."""
    logs: dict[str, bytes]
    """The content of each log, by file name."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A snapshot is what a checkpoint will hold.

    step: optimizer steps done so far.
    weights: the model's state, by the name of the parameter or buffer.
    moments: the optimizer's state, by `<parameter>/<moment>`; None where none is to be saved.
    state: what else is to be saved, which JSON must be able to hold. Its `run`, where it has one, is the number of the run, and its
        `best_step`, where it is not 0, names a best checkpoint.
    logs: how many bytes of each log belong to the step; lines that are added later do not.
    """

    step: int
    weights: dict[str, torch.Tensor]
    moments: dict[str, torch.Tensor] | None = None
    state: dict[str, Any] = field(default_factory=dict)
    logs: Mapping[Path, int] = field(default_factory=dict)


class _DamagedError(Exception):
    """A file of a checkpoint is missing, or not what was written."""


def save_checkpoint(
    directory: Path,
    name: str,
    step: int,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer | None,
    state: dict[str, Any],
    logs: Iterable[Path] = (),
) -> Path:
    """Write what model, optimizer and logs are at this moment to `directory/name`, as `write_checkpoint` does."""
    moments, sizes = None if optimizer is None else moments_of(model, optimizer), sizes_of(directory, logs)
    snapshot = Snapshot(step=step, weights=model.state_dict(), moments=moments, state=state, logs=sizes)
    return write_checkpoint(directory, name, snapshot)


def write_checkpoint(directory: Path, name: str, snapshot: Snapshot) -> Path:
    """Write the weights, the optimizer's moments, the state and a copy of each log to `directory/name`.

    A whole checkpoint of that name stays as it is, if it is of the same run: a resumed run that is interrupted at once saves the
    same step again. Raises DiskError where the disk refuses; nothing half-written is left then.
    """
    final = directory / name
    with disk_errors(directory):
        if final.is_dir() and _is_whole(final, snapshot.state.get("run")):
            return final
    content = json.dumps({"format_version": FORMAT_VERSION, "step": snapshot.step, **snapshot.state})
    with whole_directory(final) as folder:
        manifest = {MODEL: write_tensors(folder / MODEL, snapshot.weights)}
        if snapshot.moments is not None:
            manifest[OPTIMIZER] = write_tensors(folder / OPTIMIZER, snapshot.moments)
        for log, size in snapshot.logs.items():
            manifest[log.name] = write_digested(folder / log.name, first_bytes(log, size))
        manifest[STATE] = write_digested(folder / STATE, [content.encode()])
        (folder / MANIFEST).write_text(json.dumps(dict(sorted(manifest.items())), indent=1), encoding="utf-8")
    return final


def sizes_of(directory: Path, logs: Iterable[Path]) -> dict[Path, int]:
    """Return the bytes that each log has at this moment, without those that are not there. directory: which a DiskError names"""
    with disk_errors(directory):
        return {log: log.stat().st_size for log in logs if log.is_file()}


def newest_whole(directory: Path, *, run: str | None = None) -> Path | None:
    """Return the newest checkpoint whose files are what its manifest says, None where there is none. It reads all of them.

    run: as `load_newest` has it
    """
    with disk_errors(directory, "read"):
        return next((path for path in checkpoints(directory)[::-1] if _is_whole(path, run)), None)


def load_newest(directory: Path, prefix: str = "step-", *, run: str | None = None) -> Checkpoint | None:
    """Read the newest checkpoint that is whole, and whose best checkpoint is; None where there never was one.

    run: the number of the run, whose checkpoints alone count; None of a run that an older debft began
    Raises InputError where none of the checkpoints is whole, and names each, or where a newer debft wrote one. Raises DiskError
    where one cannot be read at a second try either: it may be whole, and going back to an older one would lose what it holds.
    """
    damaged = []
    for path in checkpoints(directory, prefix)[::-1]:
        try:
            checkpoint = _read(path, run)
            _check_best(directory, checkpoint, run)
        except _DamagedError as error:
            damaged.append(f"{path.name} ({error})")
            continue
        if damaged:
            say(f"{directory}: {', '.join(damaged)} is damaged; going back to {path.name}")
        return checkpoint
    if damaged:
        raise InputError(
            f"{directory}: expected a whole checkpoint, found only damaged ones: {', '.join(damaged)}; bring one back, or "
            "--restart in the place of --resume begins the run anew"
        )
    return None


def load_checkpoint(path: Path, *, run: str | None = None) -> Checkpoint:
    """Read the checkpoint `path` and no other. Raises InputError where it is gone or damaged, DiskError where it is unreadable.

    run: as `load_newest` has it
    """
    try:
        return _read(path, run)
    except _DamagedError as error:
        raise InputError(
            f"{path}: expected the checkpoint that was written, but {error}; --resume goes on from an older one that is whole"
        ) from None


def checkpoints(directory: Path, prefix: str = "step-") -> list[Path]:
    """List the checkpoints in `directory`, the oldest first."""
    if not directory.is_dir():
        return []
    paths = [path for path in directory.iterdir() if re.fullmatch(rf"{re.escape(prefix)}\d+", path.name)]
    return sorted(paths, key=_number)


def keep_newest(directory: Path, count: int, prefix: str = "step-", last: int | None = None) -> None:
    """Remove all but the newest `count`, and what a killed process left half-written.

    last: the step that was just saved. A checkpoint with a higher number is no newer: it was damaged when the run went back
        behind it, and is removed.
    """
    paths = checkpoints(directory, prefix)
    beyond = [path for path in paths if last is not None and _number(path) > last]
    paths = [path for path in paths if path not in beyond]
    for path in (*beyond, *paths[:-count]):
        remove_directory(path)
    for path in directory.glob(f".{prefix}*"):
        shutil.rmtree(path, ignore_errors=True)


def keep_best(directory: Path, best_step: int) -> None:
    """Remove every best checkpoint but that of `best_step` and those named by a saved state, from which a run may yet resume."""
    kept = {best_step}
    for path in checkpoints(directory):
        try:
            kept.add(json.loads((path / STATE).read_bytes()).get("best_step", 0))
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            return  # which one it names is not known, so all stay until it is gone
    for path in checkpoints(directory, "best-"):
        if _number(path) not in kept:
            remove_directory(path)


def restore_optimizer(model: torch.nn.Module, optimizer: torch.optim.Optimizer, moments: dict[str, torch.Tensor]) -> None:
    """Give the optimizer the moments of a checkpoint, each for the parameter of the same name."""
    name_of = {parameter: name for name, parameter in model.named_parameters()}
    order = [name_of[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    state = {
        i: {moment: moments[f"{name}/{moment}"] for moment in MOMENTS} for i, name in enumerate(order) if f"{name}/step" in moments
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def moments_of(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return the optimizer's state, by `<parameter>/<moment>`."""
    state = optimizer.state
    return {
        f"{name}/{moment}": torch.as_tensor(state[parameter][moment]).contiguous()
        for name, parameter in model.named_parameters()
        if state.get(parameter)
        for moment in MOMENTS
    }


def _read(path: Path, run: str | None) -> Checkpoint:
    """Read a checkpoint, twice where the machine fails: a passing error of a disk or network says nothing about the files."""
    return read_twice(path, lambda: _read_once(path, run))


def _read_once(path: Path, run: str | None) -> Checkpoint:
    manifest, digest, state = _check(path, run)
    if (version := state.pop("format_version", 1)) > FORMAT_VERSION:
        raise InputError(f"{path}: format {version} is newer than this debft reads ({FORMAT_VERSION}); upgrade debft")
    return Checkpoint(
        step=state.pop("step"),
        digest=digest,
        weights=_read_tensors(path / MODEL),
        moments=_read_tensors(path / OPTIMIZER) if OPTIMIZER in manifest else {},
        state=state,
        logs={name: (path / name).read_bytes() for name in manifest if name.endswith(".jsonl")},
    )


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read tensors into memory of their own: those mapped from the file are not aligned, and some CPUs then round otherwise."""
    path.open("rb").close()  # raises with the system's reason, which safetensors leaves out
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def _check_best(directory: Path, checkpoint: Checkpoint, run: str | None) -> None:
    """Raise _DamagedError where the best checkpoint that this one names is not whole: the run would fail at its very end."""
    if step := checkpoint.state.get("best_step"):
        best = directory / f"best-{step:06d}"
        try:
            read_twice(best, lambda: _check(best, run))
        except _DamagedError as error:
            raise _DamagedError(f"its {best.name}: {error}") from None


def _check(path: Path, run: str | None) -> tuple[dict[str, str], str, dict[str, Any]]:
    """Return (the manifest, by file name, its own digest, the content of state.json).

    Raises _DamagedError where a file is gone or has another digest, or all of it is of another step or run than the place says.
    """
    try:
        content = (path / MANIFEST).read_bytes()
        manifest = json.loads(content)
        wrong = [name for name in (MODEL, STATE) if name not in manifest]
        wrong += [name for name, digest in manifest.items() if _sha256(path / name) != digest]
    except (FileNotFoundError, NotADirectoryError) as error:
        name = Path(error.filename).name
        raise _DamagedError(f"{name} is missing{'' if name == MANIFEST else f', which {MANIFEST} names'}") from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        wrong = [MANIFEST]
    if wrong:
        said_by = "was written" if wrong[0] == MANIFEST else f"{MANIFEST} says"
        raise _DamagedError(f"{wrong[0]} is not what {said_by}")
    state = json.loads((path / STATE).read_bytes())
    if state["step"] != _number(path):
        raise _DamagedError(f"it is that of step {state['step']}")
    if None not in (run, state.get("run")) and state["run"] != run:
        raise _DamagedError("it is that of another run")
    return manifest, hashlib.sha256(content).hexdigest(), state


def _is_whole(path: Path, run: str | None) -> bool:
    try:
        return bool(_check(path, run))
    except _DamagedError:
        return False


def _number(path: Path) -> int:
    """Return the step in the name, to sort by: by name 1000000 would stand before 999995."""
    return int(path.name.rpartition("-")[2])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
