"""What a run leaves behind: the run directory, read and written."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from filelock import FileLock, Timeout

from debft.config import yaml12
from debft.config.reading import from_dict
from debft.config.recipe import Recipe, to_dict
from debft.console import say
from debft.errors import InputError
from debft.runs.storage import PARTIAL, append_line, disk_errors, make_directory, remove_partial, sync, write_atomically
from debft.runtime.launch.group import is_main_process

FORMAT_VERSION = 2  # of result.json; 1 had no model_files
LOCK = ".lock"
MOST_TRIES = 100  # to make a directory that another process removes again
LOGS = ("steps.jsonl", "evaluations.jsonl")


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The content of result.json.

    scores: `<split>/<metric>` in percent (0-100)
    published: one entry per score of the published cell, with our difference, or () and why in `not_compared`
    num_examples: evaluated, by split; num_tokens: trained on, without padding
    data: source, fingerprints and skipped_rows, both by split
    timing: train_seconds, eval_seconds, examples_per_second, tokens_per_second (both of training alone)
    model_files: of model/, by name: bytes and sha256; None for a run of a debft that did not record them
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
    model_files: dict[str, dict[str, Any]] | None = None

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

    @property
    def logs(self) -> list[Path]:
        """One line per optimizer step, and one per evaluation."""
        return [self.path / name for name in LOGS]

    def exists(self) -> bool:
        return (self.path / "recipe.yaml").is_file()

    def occupied(self) -> bool:
        """Whether anything is there that a run would mix with."""
        return self.path.is_dir() and any(path.name != LOCK and path.suffix != PARTIAL for path in self.path.iterdir())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Only one run at a time writes here; the lock goes with the process, kill -9 included. Held by the main process.

        Its file stays where a run was begun. Where nothing was, it goes while the lock is still held: whoever waits for it
        finds that the file it has open is gone, and starts over. Removed after its release, two would hold it at once.
        """
        if not is_main_process():
            yield
            return
        made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        lock = self._take_lock()
        try:
            for folder in (self.path, self.checkpoints, self.path / "predictions"):
                remove_partial(folder)
            yield
        finally:
            if not self.occupied():
                (self.path / LOCK).unlink(missing_ok=True)
                _remove_empty(made)
            lock.release()

    def _take_lock(self) -> FileLock:
        lock = FileLock(self.path / LOCK)
        with disk_errors(self.path):
            for _ in range(MOST_TRIES):
                try:
                    make_directory(self.path)
                    return lock.acquire(blocking=False).lock
                except Timeout:
                    raise InputError(f"--output {self.path}: another process is training into it; wait for it or end it") from None
                except FileNotFoundError as error:  # another process has just removed the directory that it began nothing in
                    gone = error
            raise gone

    def create(self, recipe: Recipe) -> None:
        write_atomically(self.path / "recipe.yaml", yaml.safe_dump(to_dict(recipe), sort_keys=False, allow_unicode=True).encode())

    def recipe(self) -> Recipe:
        where = self.path / "recipe.yaml"
        return from_dict(yaml12.load(where), str(where))

    def result(self) -> RunResult | None:
        """The result of a complete run, None before that.

        Raises InputError where the file, or the size of one in model/, is not what was written, or a newer debft wrote it.
        """
        path = self.path / "result.json"
        if not path.is_file():
            return None
        try:
            with disk_errors(path, "read"):
                content = json.loads(path.read_text(encoding="utf-8"))
            version = content["format_version"]
            _require(isinstance(version, int))
            if version > FORMAT_VERSION:
                raise InputError(
                    f"{path}: was written by a newer debft (format {version}, known up to {FORMAT_VERSION}); upgrade debft"
                )
            result = _upgraded(content)
            _require(isinstance(result.task, str) and isinstance(result.model, str) and result.status == "complete")
            _require(isinstance(result.recipe["train"], dict) and isinstance(result.not_compared, str | None))
            _require(isinstance(result.data, dict) and isinstance(result.data["source"], str))
            _require_texts(result.data["fingerprints"])
            _require(isinstance(result.environment, dict))
            _require(isinstance(result.model_files, dict | None))
            for written in (result.model_files or {}).values():
                _require(isinstance(written["bytes"], int) and isinstance(written["sha256"], str))
            for numbers in (result.scores, result.timing, result.num_examples):
                _require_numbers(numbers)
            _require_numbers({name: getattr(result, name) for name in ("steps", "num_tokens", "num_train_examples")})
        except (ValueError, TypeError, KeyError, RecursionError):
            raise InputError(
                f"{path}: expected the result of a complete run, got something else; remove {self.path} to run it again"
            ) from None
        if self.model.is_dir():  # somebody may have kept the results alone
            for name, written in (result.model_files or {}).items():
                size = (self.model / name).stat().st_size if (self.model / name).is_file() else 0
                if size != written["bytes"]:
                    raise self._damaged_model(name, f"{written['bytes']:,} bytes", f"{size:,}")
        return result

    def check_model(self, result: RunResult) -> None:
        """Raises InputError where a file of model/ is not the one that the run wrote. Reads them all: seconds for gigabytes."""
        if not (self.model / "config.json").is_file():
            raise InputError(f"{self.path}: the run is complete but its model/ is gone; run it into another --output")
        if result.model_files is None:
            say(f"{self.model}: not checked: a debft before this one did not record what it wrote")
        for name, written in (result.model_files or {}).items():
            with disk_errors(self.model, "read"), (self.model / name).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != written["sha256"]:
                raise self._damaged_model(name, f"sha256 {written['sha256'][:12]}...", f"{digest[:12]}...")

    def _damaged_model(self, name: str, expected: str, got: str) -> InputError:
        advice = f"bring the file back, or remove {self.path} to run it again"
        return InputError(f"{self.model / name}: expected what the run wrote, {expected}, got {got}; {advice}")

    def logged(self, file: str) -> list[dict[str, Any]]:
        """The rows of one of the LOGS; a last line that is being written is left out.

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
        append_line(self.path / file, json.dumps(row))

    def sync_logs(self) -> None:
        """The logs are on disk when it returns: before a checkpoint or a result that counts on their lines."""
        with disk_errors(self.path):
            for path in (*self.logs, self.path):
                if path.exists():
                    sync(path)

    def rewind(self, step: int, evaluated: int, saved: Mapping[str, bytes]) -> None:
        """The logs as they were after optimizer step `step` and evaluation `evaluated`, before a resumed run goes on with them.

        saved: by file name, as the checkpoint of `step` has them; one that is not in it is cut behind its last line that counts
        """
        for path, last in zip(self.logs, (step, evaluated), strict=True):
            with disk_errors(path, "read"):
                there = path.read_bytes() if path.is_file() else b""
            whole = saved.get(path.name, _rows_up_to(there, last))
            if not there.startswith(whole):
                how = "taken back from the checkpoint" if path.name in saved else "lines that cannot be read were dropped"
                say(f"{path}: is not what it was at step {step:,}; {how}")
            if there != whole:
                write_atomically(path, whole)


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


def files_of(folder: Path) -> dict[str, dict[str, Any]]:
    """bytes and sha256 of every file below `folder`, by its path there."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": digest}
    return found


def _upgraded(content: dict[str, Any]) -> RunResult:
    """What an older debft wrote, as this one would have. A field that is not known here was added since and is left alone."""
    known = {field.name for field in fields(RunResult)}
    return RunResult(**{key: value for key, value in content.items() if key in known} | {"format_version": FORMAT_VERSION})


def _rows_up_to(content: bytes, last: int) -> bytes:
    """The lines of a log whose step is at most `last`, without those that cannot be read."""
    lines = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
    return b"".join(line for line in lines if (step := _logged_step(line)) and step <= last)


def _logged_step(line: bytes) -> int | None:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return None


def _remove_empty(made: list[Path]) -> None:
    """Directories that were made for nothing, innermost first, up to one that is in use."""
    for path in made:
        try:
            path.rmdir()
        except OSError:
            return
