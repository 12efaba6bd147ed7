"""The directory of a run: its files, read and written, by one process at a time."""

import hashlib
import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from debft.config import yaml12
from debft.config.reading import from_dict
from debft.config.recipe import Recipe, to_dict
from debft.console import say
from debft.errors import InputError, shown
from debft.runs.analysis import Analysis, analysis_from_json
from debft.runs.lock import HeldError, Lock, locked
from debft.runs.reading import read_file, sha256_of
from debft.runs.result import RunResult, WrittenFile, from_json
from debft.runs.seal import SEAL, check_lines, check_seal, number_of_run, sealed, sealed_lines
from debft.runs.storage import (
    PARTIAL,
    append_line,
    disk_errors,
    make_directory,
    remove_partial,
    sync,
    sync_or_rewrite,
    write_atomically,
)
from debft.runtime.launch.group import is_main_process

STEP_OF_RUN = re.compile(r"(.+)@(\d+)")  # RUN@STEP
LOCK = ".lock"
RECIPE = "recipe.yaml"
STACKS = "stacks.txt"  # of the processes of a run of which one hung
MOST_TRIES = 100  # to make a directory that another process removes again
LOGS = ("steps.jsonl", "evaluations.jsonl")
NOT_FINITE = "not-finite.json"  # what is known of the last step that was not finite
# What a run leaves, in the order in which it is removed: a run without its result is not complete, one without its recipe is none.
FILES = (
    "result.json",
    "report.html",
    "analysis.json",
    "checkpoints",
    "predictions",
    "onnx",
    "model",
    "trackers",
    *LOGS,
    NOT_FINITE,
    "split.json",
    STACKS,
    RECIPE,
)


@dataclass(frozen=True)
class RunDirectory:
    """A run directory holds the files of one run. The README shows its layout."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """The directory of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The directory of the trained model."""
        return self.path / "model"

    @classmethod
    def at_step(cls, text: str) -> "tuple[RunDirectory, int | None]":
        """Return the run and the step that `RUN@STEP` names, (run, None) for a run alone or a directory that has such a name."""
        found = STEP_OF_RUN.fullmatch(text)
        return (cls(Path(text)), None) if found is None or Path(text).exists() else (cls(Path(found[1])), int(found[2]))

    def saved_steps(self) -> dict[int, Path]:
        """Return the checkpoint of each step that has one; that with the optimizer's state where there are two."""
        folders = [*self.checkpoints.glob("best-*"), *self.checkpoints.glob("step-*")] if self.checkpoints.is_dir() else []
        return dict(sorted((int(path.name[5:]), path) for path in folders if path.name[5:].isdecimal()))

    def state_of(self, checkpoint: Path) -> dict[str, Any]:
        """Return the content of a checkpoint's state.json, without its tensors. Raises InputError where it is damaged."""
        try:
            with disk_errors(checkpoint, "read"):
                content = json.loads((checkpoint / "state.json").read_bytes())
            _require(isinstance(content, dict))
        except ValueError:
            raise InputError(f"{checkpoint / 'state.json'}: is not what was written; take another checkpoint") from None
        return content

    @property
    def logs(self) -> list[Path]:
        """The log of the optimizer steps and the log of the evaluations, with a line for each."""
        return [self.path / name for name in LOGS]

    @property
    def stacks(self) -> Path:
        """The file for the stacks of all processes of the run, where one of them hung."""
        return self.path / STACKS

    def what_stays(self) -> str:
        """Say which checkpoint a process that was lost has left, and how to go on."""
        last = max(self.checkpoints.glob("step-*"), key=lambda path: (len(path.name), path.name), default=None)
        if last is None:
            return "no checkpoint was saved yet"
        return f"the last checkpoint, {last}, stays: the same command with --output {self.path} --resume goes on"

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / RECIPE).is_file()

    def occupied(self) -> bool:
        """Whether the directory holds anything that a run would mix with."""
        if not self.path.is_dir():
            return False
        return any(path.name not in (LOCK, STACKS) and path.suffix != PARTIAL for path in self.path.iterdir())

    def foreign_files(self) -> list[Path]:
        """Return what no run has left here."""
        return sorted(path for path in self.path.iterdir() if path.name not in (*FILES, LOCK) and path.suffix != PARTIAL)

    def remove(self) -> None:
        """Remove the run, by a process that holds its lock: the recipe last, so that what a kill leaves can be removed as well.

        The result is gone from the disk before anything that it speaks of, which a power cut could remove alone.
        """
        with disk_errors(self.path):
            for name in FILES:
                path = self.path / name
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
                if name in (FILES[0], FILES[-1]):
                    sync(self.path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let only one run at a time write here. The main process holds the lock, which ends with it, `kill -9` included.

        The file of the lock stays where a run was begun. Where none was, it is removed while the lock is still held, with the
        directories that were made for it. Raises InputError that names the holder where another process has the lock.
        """
        if not is_main_process():
            yield
            return
        made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        with ExitStack() as held:
            lock = self._take_lock(held)
            try:
                self._check_links()
                for folder in (self.path, self.checkpoints, self.path / "predictions"):
                    remove_partial(folder)
                yield
            finally:
                if not self.occupied():
                    lock.remove_file()
                    _remove_empty(made)

    def _check_links(self) -> None:
        """Raise InputError where a part of the run is a link that leads out of it, to what may be somebody else's."""
        for path in (self.path / name for name in FILES):
            if path.is_symlink() and not path.resolve().is_relative_to(self.path.resolve()):
                raise InputError(
                    f"{path}: expected a part of the run, got a link to {path.resolve()}, outside of it; remove it (the whole "
                    "run may lie elsewhere, behind a link to it)"
                )

    def _take_lock(self, held: ExitStack) -> Lock:
        """Return the lock, which ends with `held`."""
        with disk_errors(self.path):
            for _ in range(MOST_TRIES):
                try:
                    make_directory(self.path)
                    return held.enter_context(locked(self.path / LOCK))
                except HeldError as error:
                    raise InputError(
                        f"--output {self.path}: another process is training into it ({error.by}); wait for it or end it"
                    ) from None
                except FileNotFoundError as error:  # another process has just removed the directory that it began nothing in
                    gone = error
            raise gone

    def create(self, recipe: Recipe) -> None:
        """Begin a run: write its recipe below a new number of the run, by which its files are told from those of another one.

        A run that is there keeps its number.
        """
        lines = yaml.safe_dump(to_dict(recipe), sort_keys=False, allow_unicode=True).encode()
        write_atomically(self.path / RECIPE, sealed_lines(lines, self.number()))

    def number(self) -> str | None:
        """Return the number of the run, 16 hex digits; None where there is no run or an older debft began it."""
        return number_of_run(read_file(self.path / RECIPE)) if self.exists() else None

    def write_not_finite(self, content: Mapping[str, Any]) -> Path:
        """Write what is known of a step that was not finite, and return the path."""
        path = self.path / NOT_FINITE
        write_atomically(path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode("utf-8", "surrogatepass"))
        return path

    def stopped_not_finite(self) -> bool:
        """Return whether the run ended at a step that was not finite, and did not become complete later."""
        return (self.path / NOT_FINITE).is_file() and not (self.path / "result.json").is_file()

    def write_split(self, content: Mapping[str, Any]) -> None:
        """Write split.json: where the rows were read, and which of them were held out."""
        text = json.dumps(sealed({**content, "run": self.number()}), ensure_ascii=False)
        write_atomically(self.path / "split.json", (text + "\n").encode())

    def split(self) -> dict[str, Any]:
        """Return what `write_split` wrote, {} for a run that wrote none. Raises InputError where it is something else."""
        path = self.path / "split.json"
        if not path.is_file():
            return {}
        try:
            content = json.loads(read_file(path).decode())
            if not content.keys().isdisjoint((SEAL, "run")):  # an older debft wrote neither
                check_seal(content)
            held_out = content.get("held_out")
            _require(isinstance(content["path"], str | None) and isinstance(held_out, dict | None))
            _require(held_out is None or (isinstance(held_out["ids"], dict) and isinstance(held_out["fingerprint"], str)))
            _require(content.get("run") in (None, self.number()))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise InputError(
                f"{path}: expected the split of the run that {RECIPE} began, got something else or that of another run; bring it "
                "back, or give the rows to score by --data"
            ) from None
        return {key: value for key, value in content.items() if key not in (SEAL, "run")}

    def recipe(self) -> Recipe:
        """Read the recipe of the run. Raises InputError where it is none, or not the one that the run began with."""
        where = self.path / RECIPE
        if not where.is_file():
            raise InputError(f"{where}: expected the recipe of a run, found none")
        values = yaml12.parse(self._recipe_lines().decode(), str(where))
        if not isinstance(values, dict):
            raise InputError(f"{where}: expected a mapping of keys to values, got {shown(values)}")
        return from_dict(values, str(where))

    def _recipe_lines(self) -> bytes:
        """Return the content of recipe.yaml. Raises InputError where it is not what the run began with."""
        where = self.path / RECIPE
        content = read_file(where)
        try:
            check_lines(content)
            content.decode()
        except ValueError as error:
            raise InputError(
                f"{where}: expected the recipe that the run began with, but it was changed ({error}); bring it back, or "
                "--overwrite begins anew with the options that are typed"
            ) from None
        return content

    def result(self) -> RunResult | None:
        """Return the result of a complete run, None before that.

        Raises InputError where a newer debft wrote it, where it is not what the run wrote or of another run than recipe.yaml, and
        where the size of a file that it names is another one.
        """
        path = self.path / "result.json"
        if not path.is_file():
            return None
        try:
            result = from_json(read_file(path).decode(), str(path))
        except ValueError as error:
            raise InputError(
                f"{path}: expected the result of a complete run, got something else ({error}); remove {self.path} to run it again"
            ) from None
        self._check_same_run(result)
        self._check_sizes(result)
        return result

    def _check_same_run(self, result: RunResult) -> None:
        """Raise InputError where recipe.yaml is damaged, or is whole and of another run than `result`."""
        written = (result.run_files or {}).get(RECIPE)
        if written is None or not self.exists():  # somebody may have kept the results alone
            return
        if hashlib.sha256(self._recipe_lines()).hexdigest() != written.sha256:
            raise InputError(
                f"{self.path / 'result.json'}: expected the result of the run that {self.path / RECIPE} began, got that of another "
                f"run; bring the right one back, or remove {self.path} to run it again"
            )

    def _check_sizes(self, result: RunResult) -> None:
        """Raise InputError where a file has another size than the run wrote. It is cheap; who reads one compares its digest."""
        for name, written in (result.run_files or {}).items():
            path = self.path / name
            if path.is_file() and path.stat().st_size != written.bytes:  # somebody may have kept the results alone
                raise self._damaged(path, f"{written.bytes:,} bytes", f"{path.stat().st_size:,}")
        for name, written in (result.model_files or {}).items() if self.model.is_dir() else ():
            path = self.model / name
            size = path.stat().st_size if path.is_file() else 0
            if size != written.bytes:
                raise self._damaged(path, f"{written.bytes:,} bytes", f"{size:,}")

    def _check_written(self, result: RunResult, name: str, content: bytes) -> None:
        """Raise InputError where `content`, of the file `name`, is not what the run that led to `result` wrote."""
        written = (result.run_files or {}).get(name)
        if written is not None and (digest := hashlib.sha256(content).hexdigest()) != written.sha256:
            raise self._damaged(self.path / name, f"sha256 {written.sha256[:12]}...", f"{digest[:12]}...")

    def _content(self, name: str) -> bytes:
        """Return the content of a file of the run. Raises InputError where the run is complete and wrote another one."""
        content = read_file(self.path / name)
        if (result := self.result()) is not None:
            self._check_written(result, name, content)
        return content

    def check_model(self, result: RunResult) -> None:
        """Raise InputError where a file of model/ is not what the run wrote. All are read, which takes seconds for gigabytes."""
        if not (self.model / "config.json").is_file():
            raise InputError(f"{self.path}: the run is complete but its model/ is gone; run it into another --output")
        if result.model_files is None:
            say(f"{self.model}: not checked: an older debft did not record what it wrote")
        for name, written in (result.model_files or {}).items():
            if (digest := sha256_of(self.model / name)) != written.sha256:
                raise self._damaged(self.model / name, f"sha256 {written.sha256[:12]}...", f"{digest[:12]}...")

    def _damaged(self, path: Path, expected: str, got: str) -> InputError:
        """Return the error for a file of a complete run."""
        advice = f"bring the file back, or remove {self.path} to run it again"
        return InputError(f"{path}: expected what the run wrote, {expected}, got {got}; {advice}")

    def files_written(self) -> dict[str, WrittenFile]:
        """Return size and digest of every file of the run that is read again, without the model and result.json itself."""
        paths = [self.path / name for name in (RECIPE, "split.json", *LOGS, "analysis.json")]
        paths += sorted((self.path / "predictions").glob("*"))
        return {path.relative_to(self.path).as_posix(): _written(path) for path in paths if path.is_file()}

    def logged(self, file: str) -> list[dict[str, Any]]:
        """Return the rows of one of the LOGS. A last line that is still being written is left out.

        Raises InputError for a line that no run writes.
        """
        path = self.path / file
        lines = self._content(file).split(b"\n")[:-1] if path.is_file() else []
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
        """Return what the run logged of its training like scores: means over all steps, and the number of tokens.

        Raises InputError where the log is not that of the training that led to `result`.
        """
        path, rows = self.path / "steps.jsonl", self.logged("steps.jsonl")
        steps, tokens = len(rows), sum(row.get("num_tokens", 0) for row in rows)
        if (steps, tokens) != (result.steps, result.num_tokens):
            raise InputError(
                f"{path}: expected {result.steps:,} steps of {result.num_tokens:,} tokens as in result.json, got {steps:,} of "
                f"{tokens:,}; remove {self.path} to run it again"
            )
        try:
            means = {f"train/{name}": fmean(row[name] for row in rows) for name in ("loss", "grad_norm", "learning_rate")}
        except KeyError as error:
            raise InputError(f"{path}: expected {error} in every line; remove {self.path} to run it again") from None
        return means | {"train/num_tokens": tokens}

    def write_result(self, result: RunResult) -> None:
        """Write result.json, which makes the run complete."""
        write_atomically(self.path / "result.json", (result.to_json() + "\n").encode())

    def write_predictions(self, split: str, rows: list[dict[str, Any]], files: dict[str, Any]) -> None:
        """Write `predictions/<split>.jsonl`, and `predictions/<name>` for each of `files`."""
        lines = "".join(f"{line}\n" for line in map(json.JSONEncoder(ensure_ascii=False).encode, rows))
        write_atomically(self.path / "predictions" / f"{split}.jsonl", lines.encode("utf-8", "surrogatepass"))
        for name, content in files.items():
            text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            write_atomically(self.path / "predictions" / name, text.encode("utf-8", "surrogatepass"))

    def write_analysis(self, analysis: Analysis) -> None:
        """Write analysis.json."""
        write_atomically(self.path / "analysis.json", (analysis.to_json() + "\n").encode("utf-8", "surrogatepass"))

    def analysis(self) -> Analysis | None:
        """Return the analysis of a complete run; None where an older debft wrote none. Raises InputError where it is damaged."""
        path = self.path / "analysis.json"
        if not path.is_file():
            return None
        try:
            return analysis_from_json(self._content(path.name).decode("utf-8", "surrogatepass"), str(path))
        except ValueError as error:
            raise InputError(f"{path}: expected the analysis of a run, got something else ({error}); remove the file") from None

    def predictions(self, split: str) -> list[dict[str, Any]]:
        """Return the rows of `predictions/<split>.jsonl`. Raises InputError where they cannot be read."""
        path = self.path / "predictions" / f"{split}.jsonl"
        if not path.is_file():
            raise InputError(f"{path}: expected the predictions of a run, found none; run it again into another --output")
        try:
            content = self._content(f"predictions/{split}.jsonl").decode("utf-8", "surrogatepass")
            rows = [json.loads(line) for line in content.split("\n")[:-1]]
            _require(all(isinstance(row, dict) and {"id", "label", "prediction"} <= row.keys() for row in rows))
        except (ValueError, RecursionError):
            raise InputError(f"{path}: expected the predictions of a run, got something else; run it again") from None
        return rows

    def append(self, file: str, row: dict[str, Any]) -> None:
        """Add a row to one of the LOGS."""
        append_line(self.path / file, json.dumps(row))

    def sync_logs(self) -> None:
        """Bring the logs to the disk, before a checkpoint or a result that counts on their lines is written."""
        for path in self.logs:
            if path.exists():
                sync_or_rewrite(path)
        with disk_errors(self.path):
            if self.path.exists():
                sync(self.path)

    def rewind(self, step: int, evaluated: int, saved: Mapping[str, bytes]) -> None:
        """Set the logs back to what they were after optimizer step `step` and the evaluation at step `evaluated`.

        saved: their content by file name, as the checkpoint of `step` has it. A log that is not in it is cut behind its last line
            that counts.
        """
        for path, last in zip(self.logs, (step, evaluated), strict=True):
            content = read_file(path) if path.is_file() else b""
            whole = saved.get(path.name, _rows_up_to(content, last))
            if not content.startswith(whole):
                how = "taken back from the checkpoint" if path.name in saved else "lines that cannot be read were dropped"
                say(f"{path}: is not what it was at step {step:,}; {how}")
            if content != whole:
                write_atomically(path, whole)


def _require(right: bool) -> None:
    """Raise ValueError unless the condition is right."""
    if not right:
        raise ValueError


def _require_numbers(values: Any) -> None:
    """Raise ValueError unless `values` maps names to finite numbers."""
    _require(isinstance(values, dict) and all(isinstance(name, str) for name in values))
    _require(all(isinstance(value, int | float) and math.isfinite(value) for value in values.values()))


def files_of(folder: Path) -> dict[str, WrittenFile]:
    """Return size and digest of every file below `folder`, by its path there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _written(path) for path in paths}


def _written(path: Path) -> WrittenFile:
    return WrittenFile(bytes=path.stat().st_size, sha256=sha256_of(path))


def _rows_up_to(content: bytes, last: int) -> bytes:
    """Return the lines of a log whose step is at most `last`, without those that cannot be read."""
    lines = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
    return b"".join(line for line in lines if (step := _logged_step(line)) and step <= last)


def _logged_step(line: bytes) -> int | None:
    """Return the step of a line of a log, None where it cannot be read."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return None


def _remove_empty(made: list[Path]) -> None:
    """Remove directories that were made for nothing, innermost first, up to one that is in use."""
    for path in made:
        try:
            path.rmdir()
        except OSError:
            return
