"""Measure what each process holds of a model and how much memory its steps take, with the whole model and sharded. Linux, on a CPU.

python benchmarks/sharded.py --model deberta-v3-large --processes 2 --shard
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from shapes import CONFIGS

STEPS, SEQUENCES = 2, 8
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main() -> None:
    """Start the processes, which print a line each, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=CONFIGS, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--shard", action="store_true")
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.directory is not None:
        measure(Path(options.directory), options.shard)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), options.model)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        group = {"WORLD_SIZE": str(options.processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        group["ACCELERATE_USE_CPU"] = "true"
        # What is let go of goes back to the system at once; else the holes that layers leave would count too.
        group |= {"MALLOC_MMAP_THRESHOLD_": "200000", "MALLOC_TRIM_THRESHOLD_": "200000"}
        command = [sys.executable, *sys.argv, "--directory", folder]
        ranks = [
            subprocess.Popen(command, env=os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
            for rank in range(options.processes)
        ]
        sys.exit(max([abs(rank.wait()) for rank in ranks]))


def write_model(folder: Path, name: str) -> None:
    """Write a model directory of that shape, whose weights are random, with the tokens of the demo model."""
    from debft.data.sources import demo

    shutil.copy(demo.model_directory() / "spm.model", folder)
    (folder / "config.json").write_text(json.dumps(CONFIGS[name] | {"pad_token_id": 0}), encoding="utf-8")


def measure(folder: Path, shard: bool) -> None:
    """Do the first steps of a run on demo rows, and print what this process held and took."""
    from debft.config.packaged import recipe_path
    from debft.config.reading import load_recipe
    from debft.models.shards import own_part
    from debft.runs.directory import RunDirectory
    from debft.runtime.accelerator import join_processes
    from debft.training.checkpoints import moments
    from debft.training.opening import open_session
    from debft.training.plan import make_plan

    settings = {
        "task": "mnli",
        "data": "demo",
        "model": str(folder),
        "train.from_scratch": True,
        "train.train_batch_size": SEQUENCES,
        "train.max_steps": STEPS,
        "train.max_train_samples": 100,
        "train.max_eval_samples": 10,
        "runtime.shard": shard,
        "runtime.checkpoint_activations": True,
    }
    join_processes()
    session, _ = open_session(make_plan(load_recipe(recipe_path("demo"), settings)), RunDirectory(folder / "run"), claim=False)
    opening = peak()
    RESET.write_text("5")  # the peak of the memory in use begins anew
    for _ in session.steps():
        pass
    model = session.loaded.model
    held = sum(own_part(weight).numel() for weight in model.parameters())
    state = sum(own_part(tensor).numel() for tensor in moments(session).values())
    of = sum(weight.numel() for weight in model.parameters())
    print(
        f"process {os.environ['RANK']} of {session.accelerator.num_processes}: {held:,} of {of:,} weights, {state:,} numbers of "
        f"optimizer state; peak {opening:.2f} GiB while opening, {peak():.2f} GiB in {STEPS} steps",
        flush=True,
    )


def peak() -> float:
    """Return the largest memory of this process since it began, or since the peak was reset, in GiB."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


if __name__ == "__main__":
    main()
