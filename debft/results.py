"""What a run leaves behind: the run directory, read and written."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from debft import __version__, yaml12
from debft.cache import write_atomically
from debft.errors import InputError
from debft.recipe import Recipe, from_dict, to_dict

FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The content of result.json.

    scores: `<split>/<metric>` in percent (0-100)
    published: one entry per score of the published cell, with our difference, or () and why in `not_compared`
    num_examples: evaluated, by split; num_tokens: trained on, without padding
    timing: train_seconds, eval_seconds, examples_per_second, tokens_per_second (both of training alone)
    """

    format_version: int = FORMAT_VERSION
    task: str
    model: str
    status: str
    scores: dict[str, float]
    published: list[dict[str, Any]]
    not_compared: str | None
    num_examples: dict[str, int]
    num_train_examples: int
    num_tokens: int
    steps: int
    timing: dict[str, float]
    peak_memory_bytes: int
    data: dict[str, Any]
    recipe: dict[str, Any]
    environment: dict[str, Any]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run; DESIGN of the layout is in the README."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        return self.path / "model"

    def exists(self) -> bool:
        return (self.path / "recipe.yaml").is_file()

    def occupied(self) -> bool:
        """Whether anything is there that a run would mix with."""
        return self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))

    def create(self, recipe: Recipe) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / "recipe.yaml", yaml.safe_dump(to_dict(recipe), sort_keys=False, allow_unicode=True).encode())

    def recipe(self) -> Recipe:
        where = self.path / "recipe.yaml"
        return from_dict(yaml12.load(where), str(where))

    def result(self) -> RunResult | None:
        """The result of a complete run, None before that."""
        path = self.path / "result.json"
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return RunResult(**content)
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: expected the result of a run, got {error}") from None

    def write_result(self, result: RunResult) -> None:
        write_atomically(self.path / "result.json", (result.to_json() + "\n").encode())

    def write_predictions(self, split: str, rows: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_atomically(self.path / "predictions" / f"{split}.jsonl", lines.encode("utf-8", "surrogatepass"))

    def append(self, file: str, row: dict[str, Any]) -> None:
        with (self.path / file).open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")

    def rewind(self, step: int, evaluated: int) -> None:
        """Drop what was logged after optimizer step `step` and evaluation `evaluated`, before a resumed run logs it again."""
        for file, last in (("steps.jsonl", step), ("evaluations.jsonl", evaluated)):
            path = self.path / file
            if path.is_file():
                lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
                kept = [line for line in lines if json.loads(line)["step"] <= last]
                write_atomically(path, "".join(kept).encode())


def environment(device: str, precision: str, num_processes: int, model_revision: str | None) -> dict[str, Any]:
    """Versions and hardware; no paths, names or variables of the user's."""
    from importlib.metadata import version

    packages = ("torch", "transformers", "datasets", "evaluate", "accelerate", "tokenizers")
    return {
        "debft": __version__, "python": platform.python_version(), **{name: version(name) for name in packages},
        "platform": f"{platform.system()} {platform.machine()}", "device": device, "precision": precision,
        "cpu_cores": os.cpu_count(), "num_processes": num_processes, "model_revision": model_revision,
    }  # fmt: skip


def peak_memory_bytes() -> int:
    """Of the GPU where one is used, else of this process."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    import resource

    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
