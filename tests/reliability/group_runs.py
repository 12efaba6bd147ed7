"""Runs of several processes for the parts that signal, stop and kill them: started, met at a point, and looked at afterwards."""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import forked
from conftest import write_mnli
from processes import FORKING, Command

from debft.runs.checkpoint import checkpoints, load_checkpoint
from debft.runs.directory import RunDirectory

STEPS, SAVE_STEPS, EVAL_STEPS = 12, 4, 6
SECONDS = 240  # until a process counts as hanging, on a slow and busy machine
ONE_RUN = (
    *("--recipe", "demo", "--train-batch-size", 8, "--max-steps", STEPS, "--save-steps", SAVE_STEPS, "--eval-steps", EVAL_STEPS),
    *("--set", "runtime.micro_batch_tokens=200"),
)
# The options of each kind of command beside `mnli`; the last runs start processes of their own.
KINDS: dict[str, tuple[object, ...]] = {"one": (), "two": ("--num-processes", 2), "seeds": ("--seeds", 2, "--jobs", 2)}
# Commands that make several runs, two at a time, each a process of its own. A search chooses the batch size and the evaluations.
_EACH = ("--max-steps", STEPS, "--set", f"runtime.save_steps={SAVE_STEPS}", "--set", "runtime.micro_batch_tokens=200")
_OF_TABLE = ("--set", f"train.eval_steps={EVAL_STEPS}", "--set", "train.train_batch_size=8")
SEVERAL: dict[str, tuple[object, ...]] = {
    "seeds": ("mnli", *ONE_RUN, *KINDS["seeds"]),
    "reproduce": ("reproduce", "demo", "--row", "MNLI", "--row", "MNLI+SiFT", "--seeds", 1, "--jobs", 2, *_EACH, *_OF_TABLE),
    "search": ("search", "mnli", "--recipe", "demo", "--trials", 2, "--jobs", 2, *_EACH),
}


@dataclass
class Started:
    """A command that was started in a directory, whose processes say who they are."""

    directory: Path
    command: Command

    @property
    def output(self) -> Path:
        return self.directory / "run"

    def pids(self) -> list[int]:
        """The processes of the command, itself first."""
        others = sorted(int(path.name) for path in (self.directory / "pids").iterdir() if path.name != str(self.command.pid))
        return [self.command.pid, *others]

    def of_rank(self, rank: int) -> int:
        """The process of that rank, once it has begun."""
        files = [path for path in (self.directory / "pids").iterdir() if path.read_text() == str(rank)]
        return int(files[0].name)

    def meet(self) -> None:
        """Wait until a process is at the point, or all have ended."""
        wait_for((self.directory / "reached").exists, self.command)

    def ended(self, seconds: float = SECONDS) -> tuple[int, str]:
        """(exit code, stderr), once it has ended."""
        _, err = self.command.communicate(timeout=seconds)
        assert "Traceback" not in err, err
        return self.command.returncode or 0, err

    def all_are_gone(self) -> None:
        """Every process ends with the command, or as soon as it has noticed."""
        deadline = time.monotonic() + SECONDS
        while (left := [pid for pid in self.pids() if lives(pid)]) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not left, f"left: {left}"


def start(directory: Path, kind: str, point: str, *more: object, waits: str = "0.3") -> Started:
    """Start a command of that kind, whose main process waits at the point."""
    return start_command(directory, ("mnli", *ONE_RUN, *KINDS[kind], *more), point, waits)


def start_command(directory: Path, words: Sequence[object], point: str, waits: str = "0.3") -> Started:
    """Start a command on rows of its own, whose main process, or one of its runs, waits at the point; at none where it is ""."""
    data = write_mnli(directory / "data", train=60, dev=12)
    (directory / "pids").mkdir(exist_ok=True)
    variables = {
        forked.POINT: point,
        forked.WHERE: str(directory / "reached"),
        forked.PIDS: str(directory / "pids"),
        forked.WAITS: waits,
        "OMP_NUM_THREADS": "1",
    }
    return Started(directory, Command(*words, "--data", data, "--output", directory / "run", code=FORKING, **variables))


def wait_for(condition: Callable[[], bool], command: Command) -> None:
    """Wait until it holds, or the command has ended."""
    deadline = time.monotonic() + SECONDS
    while not condition() and command.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)


def busy() -> float:
    """Return by what this machine is slower than one that does nothing else: the processes that want to run, per core."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def send(pids: Sequence[int], number: int) -> None:
    """Send a signal to each process that is still there."""
    for pid in pids:
        if lives(pid):
            os.kill(pid, number)


def lives(pid: int) -> bool:
    """Whether a process is there, and not only waited for by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def runs_in(output: Path) -> list[RunDirectory]:
    """The run, or the runs of several."""
    return [RunDirectory(path.parent) for path in sorted(output.rglob("recipe.yaml"))]


def what_is_left(run: RunDirectory) -> str:
    """Say what a run has left: it is complete, or its newest checkpoint is whole and that of its last step, or it did none."""
    if run.result() is not None:
        return "complete"
    log = run.path / "steps.jsonl"
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()] if log.is_file() else []
    if not steps:
        return "no step"
    newest = checkpoints(run.checkpoints)
    assert newest, f"{len(steps)} steps and no checkpoint"
    saved = max(load_checkpoint(path).step for path in newest)
    assert saved == steps[-1], f"step {steps[-1]} was done, the checkpoint is of step {saved}"
    return f"step {saved} saved"
