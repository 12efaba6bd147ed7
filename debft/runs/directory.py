"""The directory of a run: what is where in it, what a run writes there, and how that is read back."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from debft.config import yaml12
from debft.config.reading import from_dict
from debft.config.recipe import Recipe, to_dict
from debft.console import say
from debft.errors import InputError, shown
from debft.runs.analysis import Analysis, analysis_from_json
from debft.runs.files import ANALYSIS, FILES, LOCK, LOGS, NOT_FINITE, RECIPE, RESULT, SPLIT, STACKS
from debft.runs.json_records import read_as
from debft.runs.logs import Logs
from debft.runs.predictions import check_predictions
from debft.runs.reading import read_file
from debft.runs.result import RunResult
from debft.runs.result_file import from_json
from debft.runs.seal import SEAL, check_lines, check_seal, number_of_run, sealed, sealed_lines
from debft.runs.storage import PARTIAL, disk_errors, write_atomically
from debft.runs.written import WrittenFile, check_content, check_model_files, check_sizes, written
from debft.tasks import Task

STEP_OF_RUN = re.compile(r"(.+)@(\d+)")  # RUN@STEP


@dataclass(frozen=True, kw_only=True)
class RecordedRows:
    """What is read again of the rows that a run held out: how many rows there were, their digest, and the ids by split."""

    of: int
    fingerprint: str
    ids: dict[str, list[str]]


@dataclass(frozen=True)
class RunDirectory:
    """A run directory holds the files of one run; docs/pages/run-directory.md shows its layout."""

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
        except (ValueError, RecursionError):
            raise InputError(f"{checkpoint / 'state.json'}: is not what was written; take another checkpoint") from None
        return content

    @property
    def logs(self) -> Logs:
        """The log of the optimizer steps and the log of the evaluations."""
        return Logs(directory=self.path, content=self._content)

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
        return (self.path / NOT_FINITE).is_file() and not (self.path / RESULT).is_file()

    def write_split(self, content: Mapping[str, Any]) -> None:
        """Write split.json: where the rows were read, and which of them were held out."""
        text = json.dumps(sealed({**content, "run": self.number()}), ensure_ascii=False)
        write_atomically(self.path / SPLIT, (text + "\n").encode("utf-8", "surrogatepass"))  # of a path, which is bytes

    def split(self) -> dict[str, Any]:
        """Return what `write_split` wrote, {} for a run that wrote none. Raises InputError where it is something else."""
        path = self.path / SPLIT
        if not path.is_file():
            return {}
        try:
            content = json.loads(read_file(path).decode("utf-8", "surrogatepass"))
            if not content.keys().isdisjoint((SEAL, "run")):  # an older debft wrote neither
                check_seal(content)
            _require(isinstance(path_of_rows := content["path"], str | None) and b"\0" not in os.fsencode(path_of_rows or ""))
            read_as(content.get("held_out"), RecordedRows | None, "held_out")
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
        path = self.path / RESULT
        if not path.is_file():
            return None
        try:
            result = from_json(read_file(path).decode(), str(path))
        except ValueError as error:
            advice = f"remove {self.path} to run it again"
            if not self.exists():
                advice = f"no {RECIPE} is beside it, so if no run of debft wrote it, name the runs and leave this directory out"
            raise InputError(f"{path}: expected the result of a complete run, got something else ({error}); {advice}") from None
        self._check_same_run(result)
        check_sizes(self.path, result.run_files or {}, result.model_files or {})
        return result

    def _check_same_run(self, result: RunResult) -> None:
        """Raise InputError where recipe.yaml is damaged, or is whole and of another run than `result`."""
        recipe = (result.run_files or {}).get(RECIPE)
        if recipe is None or not self.exists():  # somebody may have kept the results alone
            return
        if hashlib.sha256(self._recipe_lines()).hexdigest() != recipe.sha256:
            raise InputError(
                f"{self.path / RESULT}: expected the result of the run that {self.path / RECIPE} began, got that of another "
                f"run; bring the right one back, or remove {self.path} to run it again"
            )

    def _content(self, name: str) -> bytes:
        """Return the content of a file of the run. Raises InputError where the run is complete and wrote another one."""
        content = read_file(self.path / name)
        result = self.result()
        if result is not None and (file := (result.run_files or {}).get(name)) is not None:
            check_content(self.path, name, content, file)
        return content

    def check_model(self, result: RunResult) -> None:
        """Raise InputError where a file of model/ is not what the run wrote. All are read, which takes seconds for gigabytes."""
        if not (self.model / "config.json").is_file():
            raise InputError(f"{self.path}: the run is complete but its model/ is gone; run it into another --output")
        if result.model_files is None:
            say(f"{self.model}: not checked: an older debft did not record what it wrote")
        check_model_files(self.path, result.model_files or {})

    def files_written(self) -> dict[str, WrittenFile]:
        """Return size and digest of every file of the run that is read again, without the model and result.json itself."""
        paths = [self.path / name for name in (RECIPE, SPLIT, *LOGS, ANALYSIS)]
        paths += sorted((self.path / "predictions").glob("*"))
        return {path.relative_to(self.path).as_posix(): written(path) for path in paths if path.is_file()}

    def write_result(self, result: RunResult) -> None:
        """Write result.json, which makes the run complete."""
        write_atomically(self.path / RESULT, (result.to_json() + "\n").encode())

    def write_predictions(self, split: str, rows: list[dict[str, Any]], files: dict[str, Any]) -> None:
        """Write `predictions/<split>.jsonl`, and `predictions/<name>` for each of `files`."""
        lines = "".join(f"{line}\n" for line in map(json.JSONEncoder(ensure_ascii=False).encode, rows))
        write_atomically(self.path / "predictions" / f"{split}.jsonl", lines.encode("utf-8", "surrogatepass"))
        for name, content in files.items():
            text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            write_atomically(self.path / "predictions" / name, text.encode("utf-8", "surrogatepass"))

    def write_analysis(self, analysis: Analysis) -> None:
        """Write analysis.json."""
        write_atomically(self.path / ANALYSIS, (analysis.to_json() + "\n").encode("utf-8", "surrogatepass"))

    def analysis(self) -> Analysis | None:
        """Return the analysis of a complete run; None where an older debft wrote none. Raises InputError where it is damaged."""
        path = self.path / ANALYSIS
        if not path.is_file():
            return None
        try:
            return analysis_from_json(self._content(ANALYSIS).decode("utf-8", "surrogatepass"), str(path))
        except ValueError as error:
            raise InputError(f"{path}: expected the analysis of a run, got something else ({error}); remove the file") from None

    def predictions(self, split: str, task: Task) -> list[dict[str, Any]]:
        """Return the rows of `predictions/<split>.jsonl`. Raises InputError where they are none of the task."""
        path = self.path / "predictions" / f"{split}.jsonl"
        if not path.is_file():
            raise InputError(f"{path}: expected the predictions of a run, found none; run it again into another --output")
        try:
            content = self._content(f"predictions/{split}.jsonl").decode("utf-8", "surrogatepass")
            rows = [json.loads(line) for line in content.split("\n")[:-1]]
            check_predictions(rows, task)
        except (ValueError, RecursionError):
            raise InputError(f"{path}: expected the predictions of a run, got something else; run it again") from None
        return rows


def _require(right: bool) -> None:
    """Raise ValueError unless the condition is right."""
    if not right:
        raise ValueError
