"""What `gpu.py` looks at, each in processes of its own: training on demo rows, bits, milliseconds and memory of a step."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from speed_rows import config_of, make_shape

ROOT = Path(__file__).resolve().parents[1]
# The loss is about 1 and float32 keeps 1e-7 of it; a gradient that were wrong would show after few steps of the warm-up.
FIRST, ROUNDING = 10, 1e-4
# Those first that RESULTS.md needs most, should the time not do for all.
SPEED_ROWS = ("mnli-xsmall", "mnli-base", "squad2-base", "xnli-mdeberta", "evaluate-xsmall", "squad2-xsmall", "sift-xsmall")
VERSIONS = """
import json, platform, accelerate, torch, transformers
gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
print(json.dumps({"gpu": gpu, "torch": torch.__version__, "transformers": transformers.__version__,
                  "accelerate": accelerate.__version__, "Python": platform.python_version()}))
"""


class PartFailed(Exception):
    """What was looked at is not as it must be, or could not be looked at."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """learning, compared: optimizer steps of a run of parts 2, 3 and 4.

    seconds: from the start to the end of parts 2 to 4, and to the end of all; rows_seconds: after which part 5 begins no other row
    judged: whether scores must be above chance
    """

    learning: int
    compared: int
    seconds: tuple[float, float]
    rows_seconds: float
    judged: bool


FULL = Size(learning=300, compared=100, seconds=(180.0, 470.0), rows_seconds=220.0, judged=True)
SMALL = Size(learning=12, compared=30, seconds=(900.0, 1500.0), rows_seconds=600.0, judged=False)


@dataclass
class Bench:
    """The parts and what they share. slots: processes at a time; deadline: of those that run now, on the monotonic clock."""

    data: Path
    out: Path
    size: Size
    gpu: str | None = None
    slots: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(os.cpu_count() or 1))
    deadline: float = float("inf")
    table: str = ""  # of part 5

    def process(
        self, name: str, *command: object, stop_after: Path | None = None, threads: int | None = None, on_cpu: bool = False
    ) -> str:
        """Run this Python with `command` in the repository root and return its stdout; stderr goes to NAME.log.

        stop_after: a log of steps; when it holds a third of `size.compared` lines the process gets SIGTERM, and must have heard it.
        Raises PartFailed for another exit code than is due, or at the deadline.
        """
        environment = {**os.environ, "DEBFT_CACHE": str(self.out / "cache")}
        if threads:
            environment["OMP_NUM_THREADS"] = str(threads)
        if on_cpu:
            environment["ACCELERATE_USE_CPU"] = "true"
        log, printed, due = self.out / f"{name}.log", self.out / f"{name}.out", 0
        with self.slots, log.open("ab") as errors, printed.open("wb") as stdout:
            arguments = [sys.executable, *map(str, command)]
            process = subprocess.Popen(arguments, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=errors)
            try:
                while process.poll() is None and time.monotonic() < self.deadline:
                    if stop_after and not due and _lines(stop_after) >= self.size.compared // 3:
                        due = 128 + signal.SIGTERM
                        process.terminate()
                    time.sleep(0.01)
                late = process.poll() is None
            finally:
                process.kill()
                code = process.wait()
        if late:
            raise PartFailed(f"{name}: no time was left for it; see {log}")
        if stop_after and not due:
            raise PartFailed(f"{name}: ended before it could be stopped, with exit code {code}; see {log}")
        if code != due:
            last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise PartFailed(f"{name}: expected exit code {due}, got {code}: {last}")
        return printed.read_text(encoding="utf-8")

    def debft(self, name: str, task: str, *options: object, **more) -> Path:
        """Train into a run directory of this name, and return it."""
        run = self.out / name
        self.process(name, "-m", "debft", task, *options, "--output", run, **{"threads": 1, **more})
        return run

    def demo(self, name: str, task: str, steps: int, precision: str, *options: object, **more) -> Path:
        return self.debft(name, task, "--data", "demo", "--max-steps", steps, "--precision", precision, *options, **more)

    def versions(self) -> str:
        found = json.loads(self.process("versions", "-c", VERSIONS))
        self.gpu = found.pop("gpu")
        if not self.gpu and self.size.judged:
            raise PartFailed("torch finds no GPU; --small tries the parts on the CPU")
        return ", ".join([self.gpu or "CPU", f"{os.cpu_count()} cores", *(f"{name} {version}" for name, version in found.items())])

    def learns(self, name: str, task: str, steps: int, precision: str, least: float, *options: object) -> str:
        """Part 2 and 4. The first score must be `least`."""
        if precision == "fp16" and not self.gpu:
            return "left out: fp16 needs a GPU"
        scores = _result(self.demo(name, task, steps, precision, *options))["scores"]
        said = ", ".join(f"{score} {value:.2f}" for score, value in scores.items())
        first = next(iter(scores))
        if self.size.judged and scores[first] < least:
            raise PartFailed(f"{said}: expected {first} of at least {least:g}")
        return said

    def agrees_with_cpu(self) -> str:
        """Part 2: the same run on the GPU and on the CPU; the demo model has no dropout, so that nothing but rounding differs."""

        def demo(where: str, on_cpu: bool) -> Path:
            return self.demo(f"on-{where}", "mnli", self.size.compared, "fp32", on_cpu=on_cpu)

        with ThreadPoolExecutor(2) as both:
            pair = [both.submit(demo, where, on_cpu) for where, on_cpu in (("gpu", False), ("cpu", True))]
        runs = [run.result() for run in pair]
        apart = [abs(a["loss"] - b["loss"]) for a, b in zip(*map(_log, runs), strict=True)]
        scores = " and ".join(f"{next(iter(_result(run)['scores'].values())):.2f}" for run in runs)
        said = ", ".join(f"by {max(apart[:number]):.1e} in {number} steps" for number in (1, FIRST, len(apart)))
        if max(apart[:FIRST]) > ROUNDING:
            raise PartFailed(f"losses differ {said}, scores {scores}; expected {ROUNDING:g} at most in {FIRST} steps")
        return f"losses differ {said} at most, scores {scores}"

    def repeats(self, precision: str, deterministic: bool) -> str:
        """Part 3: the same run twice, and one that is stopped and resumed, beside the first."""
        options = ("--set", "train.head_dropout=0.1", *(("--set", "runtime.deterministic=true") if deterministic else ()))
        names = [f"{which}-{precision}{'-deterministic' if deterministic else ''}" for which in ("first", "second", "resumed")]

        def run(name: str, *resume: str, stop_after: Path | None = None) -> Path:
            return self.demo(name, "mnli", self.size.compared, precision, *options, *resume, stop_after=stop_after)

        def twice() -> list[Path]:
            return [run(name) for name in names[:2]]

        def resumed() -> Path:
            run(names[2], stop_after=self.out / names[2] / "steps.jsonl")
            return run(names[2], "--resume")

        with ThreadPoolExecutor(2) as both:
            pair, third = both.submit(twice), both.submit(resumed)
        (first, second), third = pair.result(), third.result()
        found = {"twice": differences(first, second), "stopped and resumed": differences(first, third)}
        said = "; ".join(f"{what}: {difference or 'equal bit for bit'}" for what, difference in found.items())
        if (deterministic or not self.gpu) and any(found.values()):
            raise PartFailed(f"{said}; expected no difference")
        return said

    def real(self, name: str, task: str, folder: str, *options: object) -> str:
        """Part 4: an epoch on all the rows of --data, in the shape of deberta-v3-xsmall with random weights."""
        shape = make_shape(
            self.out / "xsmall", config_of("deberta-v3-xsmall"), self.data / "tokenizer" / "deberta-v3" / "spm.model", dropout=True
        )
        steps = () if self.size.judged else ("--max-steps", 1, "--max-eval-samples", 8, "--train-batch-size", 2)
        where = ("--data", self.data / folder, "--model", shape, "--from-scratch", "--num-train-epochs", 1)
        result = _result(self.debft(name, task, *where, *steps, *options))
        said = ", ".join(f"{score} {value:.2f}" for score, value in result["scores"].items())
        timing = result["timing"]
        return f"{result['steps']:,} steps in {timing['train_seconds']:.0f} s, evaluation {timing['eval_seconds']:.0f} s; {said}"

    def speed(self) -> str:
        """Part 5: the table of `speed.py`, which is printed at the end."""
        real = ("--data", self.data, "--rows", ",".join(SPEED_ROWS), "--seconds", self.size.rows_seconds)
        what = real if self.size.judged else ("--small", "--rows", "mnli-xsmall")
        try:
            self.process("speed", "benchmarks/speed.py", *what, "--out", self.out / "speed")
        finally:  # what was measured before something failed
            self.table = (self.out / "speed.out").read_text(encoding="utf-8").strip()
        return "see the table below"


def differences(first: Path, second: Path) -> str:
    """How the weights of two runs differ, "" where they are equal bit for bit."""
    import numpy as np
    from safetensors.numpy import load_file

    a, b = (load_file(run / "model" / "model.safetensors") for run in (first, second))
    if a.keys() != b.keys():
        raise PartFailed(f"{first} and {second} hold different tensors")
    differing = [name for name in a if a[name].tobytes() != b[name].tobytes()]
    if not differing:
        return ""
    largest = max(float(np.abs(a[name].astype(np.float64) - b[name]).max()) for name in differing)
    return f"{len(differing)} of {len(a)} tensors differ, by {largest:.1e} at most"


def _result(run: Path) -> dict:
    return json.loads((run / "result.json").read_text(encoding="utf-8"))


def _log(run: Path) -> list[dict]:
    """A row per optimizer step."""
    return [json.loads(line) for line in (run / "steps.jsonl").read_text(encoding="utf-8").splitlines()]


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.is_file() else 0
