"""The logs of a run: a line of JSON for each optimizer step, and one for each evaluation."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from debft.config.reading import is_finite_number
from debft.console import say
from debft.errors import InputError, has_half_surrogate
from debft.runs.files import EVALUATIONS, LOGS, STEPS
from debft.runs.json_records import LARGEST, is_whole
from debft.runs.reading import read_file
from debft.runs.result import RunResult
from debft.runs.storage import append_line, disk_errors, sync, sync_or_rewrite, write_atomically


@dataclass(frozen=True, kw_only=True)
class Logs:
    """The two logs of a run: `steps.jsonl` and `evaluations.jsonl`."""

    directory: Path
    """The directory of the run."""
    content: Callable[[str], bytes]
    """Returns what a file of the run holds. Raises InputError where the run is complete and wrote something else."""

    @property
    def paths(self) -> list[Path]:
        """The log of the optimizer steps and the log of the evaluations."""
        return [self.directory / name for name in LOGS]

    def append(self, file: str, row: dict[str, Any]) -> None:
        """Add a row to one of the logs."""
        append_line(self.directory / file, json.dumps(row))

    def rows(self, file: str) -> list[dict[str, Any]]:
        """Return the rows of one of the logs. A last line that is still being written is left out.

        Raises InputError for a line that no run writes.
        """
        path = self.directory / file
        lines = self.content(file).split(b"\n")[:-1] if path.is_file() else []
        rows = []
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                scores = row["scores"] if file == EVALUATIONS else {"loss": row["loss"]}
                _check_numbers({name: value for name, value in row.items() if name != "scores"} | scores)
                _check_step(row["step"])
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                raise InputError(
                    f"{path}:{number}: expected the numbers of a step, got something else; remove {self.directory} to run it again"
                ) from None
            rows.append(row)
        return rows

    def training_scores(self, result: RunResult) -> dict[str, float]:
        """Return what the run logged of its training like scores: means over all steps, and the number of tokens.

        Raises InputError where the log is not that of the training that led to `result`.
        """
        path, rows = self.directory / STEPS, self.rows(STEPS)
        steps, tokens = len(rows), sum(row.get("num_tokens", 0) for row in rows)
        if (steps, tokens) != (result.steps, result.num_tokens):
            raise InputError(
                f"{path}: expected {result.steps:,} steps of {result.num_tokens:,} tokens as in result.json, got {steps:,} of "
                f"{tokens:,}; remove {self.directory} to run it again"
            )
        try:
            means = {f"train/{name}": fmean(row[name] for row in rows) for name in ("loss", "grad_norm", "learning_rate")}
        except KeyError as error:
            raise InputError(f"{path}: expected {error} in every line; remove {self.directory} to run it again") from None
        return means | {"train/num_tokens": tokens}

    def sync(self) -> None:
        """Bring the logs to the disk, before a checkpoint or a result that counts on their lines is written."""
        for path in self.paths:
            if path.exists():
                sync_or_rewrite(path)
        with disk_errors(self.directory):
            if self.directory.exists():
                sync(self.directory)

    def rewind(self, step: int, evaluated: int, saved: Mapping[str, bytes]) -> None:
        """Set the logs back to what they were after optimizer step `step` and the evaluation at step `evaluated`.

        saved: their content by file name, as the checkpoint of `step` has it. A log that is not in it is cut behind its last line
            that counts.
        """
        for path, last in zip(self.paths, (step, evaluated), strict=True):
            content = read_file(path) if path.is_file() else b""
            whole = saved.get(path.name, _rows_up_to(content, last))
            if not content.startswith(whole):
                how = "taken back from the checkpoint" if path.name in saved else "lines that cannot be read were dropped"
                say(f"{path}: is not what it was at step {step:,}; {how}")
            if content != whole:
                write_atomically(path, whole)


def _check_numbers(values: dict[Any, Any]) -> None:
    """Raise ValueError unless `values` maps names to numbers of which a mean can be taken."""
    for name, value in values.items():
        if not isinstance(name, str) or has_half_surrogate(name) or not is_finite_number(value) or abs(value) > LARGEST:
            raise ValueError


def _check_step(step: object) -> None:
    """Raise ValueError unless `step` is the number of an optimizer step."""
    if not is_whole(step) or step < 0:
        raise ValueError


def _rows_up_to(content: bytes, last: int) -> bytes:
    """Return the lines of a log whose step is at most `last`, without those that cannot be read."""
    lines = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
    return b"".join(line for line in lines if (step := logged_step(line)) and step <= last)


def logged_step(line: bytes) -> int | None:
    """Return the step of a line of a log, None where it cannot be read."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
