"""What a run leaves behind: the run directory, read and written."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from filelock import FileLock, Timeout

from debft import yaml12
from debft.cache import write_atomically
from debft.errors import InputError
from debft.launch import is_main_process
from debft.progress import say
from debft.recipe import Recipe, from_dict, to_dict

FORMAT_VERSION = 1
LOCK = ".lock"


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The content of result.json.

    scores: `<split>/<metric>` in percent (0-100)
    published: one entry per score of the published cell, with our difference, or () and why in `not_compared`
    num_examples: evaluated, by split; num_tokens: trained on, without padding
    data: source, fingerprints and skipped_rows, both by split
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
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False)


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
        return self.path.is_dir() and any(path.name != LOCK for path in self.path.iterdir())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Only one run at a time writes here; the lock goes with the process, kill -9 included. Held by the main process."""
        if not is_main_process():
            yield
            return
        made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise InputError(f"--output {self.path}: another process is training into it; wait for it or end it") from None
        try:
            yield
        finally:
            lock.release()
            (self.path / LOCK).unlink(missing_ok=True)
            for path in made:  # where nothing was begun, nothing stays
                if not any(path.iterdir()):
                    path.rmdir()

    def create(self, recipe: Recipe) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / "recipe.yaml", yaml.safe_dump(to_dict(recipe), sort_keys=False, allow_unicode=True).encode())

    def recipe(self) -> Recipe:
        where = self.path / "recipe.yaml"
        return from_dict(yaml12.load(where), str(where))

    def result(self) -> RunResult | None:
        """The result of a complete run, None before that. Raises InputError where the file is damaged."""
        path = self.path / "result.json"
        if not path.is_file():
            return None
        try:
            result = RunResult(**json.loads(path.read_text(encoding="utf-8")))
            _require(isinstance(result.task, str) and isinstance(result.model, str) and result.status == "complete")
            _require(isinstance(result.recipe["train"], dict) and isinstance(result.not_compared, str | None))
            _require(isinstance(result.data, dict) and isinstance(result.data["source"], str))
            _require_texts(result.data["fingerprints"])
            _require(isinstance(result.environment, dict))
            for numbers in (result.scores, result.timing, result.num_examples):
                _require_numbers(numbers)
            _require_numbers({name: getattr(result, name) for name in ("steps", "num_tokens", "num_train_examples")})
        except (ValueError, TypeError, KeyError, RecursionError):
            raise InputError(
                f"{path}: expected the result of a complete run, got something else; remove {self.path} to run it again"
            ) from None
        return result

    def logged(self, file: str) -> list[dict[str, Any]]:
        """The rows of steps.jsonl or evaluations.jsonl; a last line that is being written is left out.

        Raises InputError for a line that is none of a run.
        """
        path = self.path / file
        lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
        rows = []
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                scores = row.get("scores", {})
                _require_numbers({name: value for name, value in row.items() if name != "scores"} | {"step": row["step"]} | scores)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                raise InputError(
                    f"{path}:{number}: expected the numbers of a step, got something else; remove {self.path} to run it again"
                ) from None
            rows.append(row)
        return rows

    def training_scores(self, result: RunResult) -> dict[str, float]:
        """What the run logged of its training, as scores beside the others: means over all steps, and the tokens trained on.

        Raises InputError where what was logged is not the training that led to `result`.
        """
        path, rows = self.path / "steps.jsonl", self.logged("steps.jsonl")
        found = (len(rows), sum(row.get("num_tokens", 0) for row in rows))
        if found != (result.steps, result.num_tokens):
            raise InputError(
                f"{path}: expected {result.steps:,} steps of {result.num_tokens:,} tokens as in result.json, got {found[0]:,} of "
                f"{found[1]:,}; remove {self.path} to run it again"
            )
        try:
            means = {f"train/{name}": fmean(row[name] for row in rows) for name in ("loss", "grad_norm", "learning_rate")}
        except KeyError as error:
            raise InputError(f"{path}: expected {error} in every line; remove {self.path} to run it again") from None
        return means | {"train/num_tokens": found[1]}

    def write_result(self, result: RunResult) -> None:
        write_atomically(self.path / "result.json", (result.to_json() + "\n").encode())

    def write_predictions(self, split: str, rows: list[dict[str, Any]], files: dict[str, Any]) -> None:
        """`predictions/<split>.jsonl`, and `predictions/<name>` for each of `files`."""
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_atomically(self.path / "predictions" / f"{split}.jsonl", lines.encode("utf-8", "surrogatepass"))
        for name, content in files.items():
            text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            write_atomically(self.path / "predictions" / name, text.encode("utf-8", "surrogatepass"))

    def append(self, file: str, row: dict[str, Any]) -> None:
        with (self.path / file).open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")

    def rewind(self, step: int, evaluated: int) -> None:
        """Drop what was logged after optimizer step `step` and evaluation `evaluated`, before a resumed run logs it again."""
        for file, last in (("steps.jsonl", step), ("evaluations.jsonl", evaluated)):
            path = self.path / file
            if path.is_file():
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                steps = [(line, _logged_step(line)) for line in lines]
                if broken := sum(step is None for _, step in steps):
                    say(f"{path}: {broken} lines cannot be read and were dropped")
                write_atomically(path, "".join(f"{line}\n" for line, step in steps if step is not None and step <= last).encode())


def in_percent(score: str) -> bool:
    """Whether it is a score of the task, and not what training logged, such as `train/loss`."""
    return not score.startswith("train/")


def _require(right: bool) -> None:
    if not right:
        raise ValueError


def _require_texts(values: Any) -> None:
    _require(isinstance(values, dict) and all(isinstance(text, str) for text in (*values, *values.values())))


def _require_numbers(values: Any) -> None:
    """`{name: finite number}`."""
    _require(isinstance(values, dict) and all(isinstance(name, str) for name in values))
    _require(all(isinstance(value, int | float) and math.isfinite(value) for value in values.values()))


def _logged_step(line: str) -> int | None:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return None
