"""What `gpu.py` looks at, each in processes of its own: training on demo rows, bits, milliseconds and memory of a step."""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BATCH = 64  # sequences of a timed step
# The loss is about 1 and float32 keeps 1e-7 of it; a gradient that were wrong would show after few steps of the warm-up.
FIRST, ROUNDING = 10, 1e-4
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
    """learning, compared, timed: optimizer steps of a run of parts 2, 3 and 4, 5; layers, hidden: of the model that is timed.

    seconds: from the start to the end of parts 2 to 4, and to the end of all; judged: whether scores must be above chance
    """

    learning: int
    compared: int
    timed: int
    layers: int
    hidden: int
    seconds: tuple[float, float]
    judged: bool


FULL = Size(learning=300, compared=100, timed=24, layers=12, hidden=384, seconds=(120.0, 240.0), judged=True)
SMALL = Size(learning=12, compared=30, timed=2, layers=2, hidden=128, seconds=(900.0, 1500.0), judged=False)


@dataclass
class Bench:
    """The parts and what they share. slots: processes at a time; deadline: of those that run now, on the monotonic clock."""

    data: Path
    out: Path
    size: Size
    gpu: str | None = None
    slots: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(os.cpu_count() or 1))
    deadline: float = float("inf")
    speeds: dict[str, tuple[float, float]] = field(default_factory=dict)  # milliseconds a step, GiB

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

    def prepare_speed(self) -> str:
        """The rows of part 5, and the directory of a model without weights."""
        rows = (self.data / "mnli" / "train.tsv").read_text(encoding="utf-8").split("\n")[: 1 + BATCH * self.size.timed]
        splits = {"train": rows, "validation_matched": rows[: 1 + BATCH], "validation_mismatched": rows[: 1 + BATCH]}
        for folder in ("rows/mnli", "shape"):
            (self.out / folder).mkdir(parents=True, exist_ok=True)
        for split, lines in splits.items():
            (self.out / "rows" / "mnli" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        shape = {
            "model_type": "deberta-v2",
            "hidden_size": self.size.hidden,
            "intermediate_size": 4 * self.size.hidden,
            "num_hidden_layers": self.size.layers,
            "num_attention_heads": self.size.hidden // 64,
            "vocab_size": 128100,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            "initializer_range": 0.02,
            "max_position_embeddings": 512,
            "relative_attention": True,
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": "p2c|c2p",
            "layer_norm_eps": 1e-7,
            "max_relative_positions": -1,
            "position_biased_input": False,
            "type_vocab_size": 0,
        }
        (self.out / "shape" / "config.json").write_text(json.dumps(shape))
        (self.out / "shape" / "tokenizer_config.json").write_text('{"do_lower_case": false, "vocab_type": "spm"}')
        shutil.copy(self.data / "tokenizer" / "deberta-v3" / "spm.model", self.out / "shape")
        return f"{len(rows) - 1:,} pairs in {self.size.timed} steps, {self.size.layers} layers, hidden {self.size.hidden}"

    def speed_of_transformers(self, way: str) -> str:
        """Part 5."""
        where = ("--rows", self.out / "rows" / "mnli" / "train.tsv", "--shape", self.out / "shape")
        found = json.loads(self.process(f"speed-{way}", "benchmarks/plain.py", way, *where))
        return self._speed(way, found["milliseconds"], found["peak_bytes"])

    def speed_of_debft(self, name: str, precision: str, *options: object) -> str:
        """Part 5."""
        where = ("--data", self.out / "rows", "--model", self.out / "shape", "--from-scratch", "--precision", precision)
        size = ("--train-batch-size", BATCH, "--num-train-epochs", 1)
        run = self.debft(f"speed-{name.replace(' ', '-')}", "mnli", *where, *size, *options, threads=None)
        seconds = [row["seconds"] for row in _log(run)]
        milliseconds = 1000 * statistics.median(seconds[len(seconds) // 4 :])
        return self._speed(name, milliseconds, _result(run)["peak_memory_bytes"])

    def _speed(self, name: str, milliseconds: float, peak_bytes: int) -> str:
        self.speeds[name] = (milliseconds, peak_bytes / 2**30)
        return f"{milliseconds:.1f} ms a step, peak memory {peak_bytes / 2**30:.1f} GiB"

    def ratios(self) -> str:
        """Of part 5: how many times the time and the memory of debft each way of transformers takes."""
        said = []
        for way in ("card", "bf16"):
            for name in ("debft fp32", "debft bf16"):
                if way in self.speeds and name in self.speeds:
                    time_ratio, memory_ratio = (a / b for a, b in zip(self.speeds[way], self.speeds[name], strict=True))
                    said.append(f"{way} / {name}: {time_ratio:.2f} x the time, {memory_ratio:.2f} x the memory")
        if not said:
            raise PartFailed("nothing was measured")
        return "; ".join(said)


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
