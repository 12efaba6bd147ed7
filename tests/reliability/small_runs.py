"""Runs small enough to be killed a thousand times: what they train on, each kind of them, and whether two of them ended alike."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import LanguageConfig, Recipe, to_dict
from debft.data.sources import demo
from debft.runs.directory import RunDirectory
from debft.tasks import TASKS, task_of

TASKS_OF_RUNS = {"labels": "mnli", "scores": "stsb", "spans": "squad2", "languages": "xnli"}
LANGUAGES = "en,sw"
STEPS, SAVE_STEPS = 8, 3
ROWS, DEV_ROWS = 20, 6
SETTINGS = {
    "train.max_steps": STEPS,
    "train.train_batch_size": 8,
    "train.eval_steps": 4,
    "train.checkpoint": "best",
    "runtime.save_steps": SAVE_STEPS,
    "runtime.micro_batch_tokens": 100,
}
OF = {"languages": {"languages.eval_languages": LANGUAGES}}
SIFT = {"sift.weight": 3.0}
SLOW = {"runtime.attention": "eager"}  # padded, every layer whole


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of run.

    of: what is learned, `labels`, `scores`, `spans` or `languages`
    fast: whether the paths are on that compute the same faster: packed texts, the last layer for the first token, few embedding rows
    """

    of: str = "labels"
    sift: bool = False
    dialect: str = "card"
    precision: str = "fp32"
    processes: int = 1
    fast: bool = True

    @property
    def name(self) -> str:
        """Name the kind in a few words, which may stand in the name of a file."""
        return "-".join(
            [
                self.of,
                "sift" if self.sift else "plain",
                self.dialect,
                self.precision,
                f"{self.processes}p",
                "fast" if self.fast else "slow",
            ]
        )

    @property
    def task(self) -> str:
        """The name of the task, as its command has it."""
        return TASKS_OF_RUNS[self.of]

    def recipe(self, inputs: Path, **changes: Any) -> Recipe:
        """Return the recipe of such a run. inputs: what `inputs_below` returned"""
        settings = SETTINGS | {"task": self.task, "dialect": self.dialect, "runtime.precision": self.precision}
        settings |= {"data": str(inputs / "data"), "model": str(inputs / "model")}
        return load_recipe(
            recipe_path("squad2/demo" if self.of == "spans" else "demo"),
            settings | OF.get(self.of, {}) | (SIFT if self.sift else {}) | ({} if self.fast else SLOW) | changes,
        )

    def recipe_file(self, inputs: Path) -> Path:
        """Return a file with the recipe, to be given to the command line."""
        path = inputs / f"{self.name}.yaml"
        if not path.is_file():
            temporary = path.with_suffix(f".{os.getpid()}")
            temporary.write_text(yaml.safe_dump(to_dict(self.recipe(inputs)), sort_keys=False))
            temporary.rename(path)
        return path


def inputs_beside(case: Path) -> Path:
    """Return a directory with the rows of every task and a tiny model with dropout, which all cases share."""
    return made_once(case.parent / "inputs", _write_inputs)


def made_once(directory: Path, make: Callable[[Path], None]) -> Path:
    """Return `directory`, which one of all processes makes, and which is whole once it is there."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_name(f".{directory.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.is_dir():
            making = directory.with_name(f".{directory.name}.making")
            shutil.rmtree(making, ignore_errors=True)
            make(making)
            making.rename(directory)
    return directory


def _write_inputs(inputs: Path) -> None:
    from conftest import write_model_config  # it changes the environment, which a process that goes on with a run brings along

    for name in TASKS_OF_RUNS.values():
        task = task_of(name, LanguageConfig(eval_languages=LANGUAGES)) if name == "xnli" else TASKS[name]
        for split in (task.train, *task.evals):
            count = ROWS if split is task.train else DEV_ROWS
            columns = {key: values[:count] for key, values in demo.table(task, split).columns.items()}
            rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
            path = inputs / "data" / name / f"{split.name}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    sizes = {"hidden_size": 32, "intermediate_size": 48, "pooler_hidden_size": 32, "num_attention_heads": 2}
    dropout = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.1)
    write_model_config(inputs / "model", demo.model_directory(), **sizes, **dropout)


def difference(expected: Path, got: Path) -> str:
    """Name the first thing in which two complete runs differ, beside what took how long; "" where nothing does."""
    one, other = RunDirectory(expected).result(), RunDirectory(got).result()
    if one is None or other is None:
        return "it has no result"
    for name in ("scores", "steps", "num_tokens", "num_examples", "intervals", "stopped_early"):
        if getattr(one, name) != getattr(other, name):
            return f"{name}: {getattr(one, name)} without a stop, {getattr(other, name)} with it"
    for name in ("steps.jsonl", "evaluations.jsonl"):
        before, after = (without_times(path / name) for path in (expected, got))
        if before != after:
            lines = [number for number, (a, b) in enumerate(zip(before, after, strict=False), 1) if a != b]
            return f"{name}: {len(before)} lines without a stop, {len(after)} with it, different from line {lines[:1]}"
    before, after = (digests(path) for path in (expected, got))
    different = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return f"other bytes in {', '.join(different)}" if different else ""


def without_times(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log without what they took."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def digests(run: Path) -> dict[str, str]:
    """Return sha256 of every file of the model, of the predictions and of the newest checkpoint's tensors."""
    newest = max((run / "checkpoints").glob("step-*"))
    files = [*(run / "model").rglob("*"), *(run / "predictions").rglob("*"), *newest.glob("*.safetensors")]
    found = {path.relative_to(run).as_posix(): path.read_bytes() for path in files if path.is_file()}
    return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}


def left_half_written(run: Path) -> list[str]:
    """Return what lies in a run directory under the name of something that is not whole yet."""
    return sorted(path.relative_to(run).as_posix() for path in run.rglob(".*.partial"))


def steps_logged(run: Path) -> int:
    """Return the number of whole lines of the log of steps."""
    path = run / "steps.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0
