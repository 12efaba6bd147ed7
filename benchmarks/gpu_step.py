"""What a training step of debft takes on an NVIDIA GPU, and what the GPU and the host do in it, from torch's profiler.

    python benchmarks/gpu_step.py --data DIR [--recipe mnli/deberta-v3-xsmall] [--precision bf16] [--set runtime.cuda_graphs=false]

DIR as for speed.py; the model has the recipe's shape and random weights. The first steps compile kernels and record graphs, and are
not measured.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
import yaml
from speed_rows import config_of, make_shape

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.runs.logs import Logs
from debft.training.run import finetune

PROFILED, SHOWN = 4, 25  # steps; rows of the profile


class Watched:
    """Sees every line that a run writes: it times the steps behind the first ones, profiles a few, and ends the process."""

    def __init__(self, warm_up: int, timed: int) -> None:
        self.warm_up, self.timed = warm_up, timed
        self.steps = self.tokens = 0
        self.started = 0.0
        self.profile = torch.profiler.profile()

    def see(self, name: str, row: dict) -> None:
        if name != "steps.jsonl":
            return
        self.steps += 1
        self.tokens += row["num_tokens"]
        if self.steps == self.warm_up:
            torch.cuda.synchronize()
            self.started, self.tokens = time.perf_counter(), 0
        elif self.steps == self.warm_up + self.timed:
            self.print_time()
            self.profile.start()
        elif self.steps == self.warm_up + self.timed + PROFILED:
            torch.cuda.synchronize()
            self.profile.stop()
            self.print_profile()
            raise SystemExit

    def print_time(self) -> None:
        torch.cuda.synchronize()
        seconds = time.perf_counter() - self.started
        peak = torch.cuda.max_memory_allocated() / 2**30
        rate = f"{1000 * seconds / self.timed:.1f} ms a step, {self.tokens / seconds:,.0f} tokens/s"
        print(f"{rate}, peak {peak:.2f} GiB", flush=True)

    def print_profile(self) -> None:
        averages = self.profile.key_averages()
        launches = sum(one.count for one in averages if "LaunchKernel" in one.key or "cudaGraphLaunch" in one.key)
        print(f"{launches / PROFILED:.0f} launches a step")
        for side in ("self_device_time_total", "self_cpu_time_total"):
            for one in sorted(averages, key=lambda one: -getattr(one, side))[:SHOWN]:
                milliseconds = getattr(one, side) / PROFILED / 1000
                print(f"{side.split('_')[1]} {milliseconds:7.2f} ms x{one.count / PROFILED:6.0f} {one.key[:90]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", default="mnli/deberta-v3-xsmall")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    parser.add_argument("--warm-up", type=int, default=150)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("torch finds no GPU")
    with tempfile.TemporaryDirectory() as directory:
        vocabulary = options.data / "tokenizer" / "deberta-v3" / "spm.model"
        model = make_shape(Path(directory) / "model", config_of(options.recipe.partition("/")[2]), vocabulary, dropout=True)
        folder = options.data / "squad2" if options.recipe.startswith("squad2/") else options.data
        overrides = {"model": str(model), "data": str(folder), "train.from_scratch": True, "train.max_steps": 10**6}
        overrides |= {"train.eval_steps": None, "runtime.save_steps": None, "runtime.precision": options.precision}
        overrides |= {key: yaml.safe_load(value) for key, _, value in (one.partition("=") for one in options.set)}
        watched, append = Watched(options.warm_up, options.steps), Logs.append

        def append_and_see(logs: Logs, name: str, row: dict) -> None:
            append(logs, name, row)
            watched.see(name, row)

        Logs.append = append_and_see  # type: ignore[method-assign]
        finetune(load_recipe(recipe_path(options.recipe), overrides), Path(directory) / "run")


if __name__ == "__main__":
    main()
