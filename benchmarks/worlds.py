"""Compare losses and weights of 1, 2 and 3 processes in the shape of a model, on real text, in float32 with dropout.

python benchmarks/worlds.py --data ../shared/data
"""

import argparse
import os
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from shapes import CONFIGS
from speed_rows import config_of, make_shape

PORT = "29512"
FOLDER = "WORLDS_FOLDER"  # the variable in which a process finds where to leave its weights
SAME = 1e-6


def main() -> None:
    """Train in groups of 1, 2 and 3 processes, one after the other, and print how far the last two are from the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory with mnli/train.tsv and tokenizer/")
    parser.add_argument("--shape", choices=CONFIGS, default="deberta-v3-xsmall")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=16, help="sequences of a step, over all processes")
    options = parser.parse_args()
    if FOLDER in os.environ:
        train(options, Path(os.environ[FOLDER]))
        return
    with tempfile.TemporaryDirectory() as folder:
        ended = [load_file(train_in_group(world, Path(folder) / str(world))) for world in (1, 2, 3)]
    for world, other in zip((2, 3), ended[1:], strict=True):
        print(f"{world} processes beside 1: {differences(ended[0], other)}")


def train_in_group(world: int, folder: Path) -> Path:
    """Start the processes of a group, and return the file that the first of them leaves."""
    folder.mkdir()
    group = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": PORT,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        FOLDER: str(folder),
    }
    places = [{"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0", "RANK": str(rank)} for rank in range(world)]
    started = [
        subprocess.Popen([sys.executable, *sys.argv], env=os.environ | group | (place if world > 1 else {})) for place in places
    ]
    codes = [process.wait() for process in started]
    if any(codes):
        sys.exit(f"processes ended with {codes}")
    return folder / "weights.safetensors"


def train(options: argparse.Namespace, folder: Path) -> None:
    """Be a process of a group: do the steps at the recipe's learning rate, without its warm-up."""
    from debft.config.packaged import recipe_path
    from debft.config.reading import load_recipe
    from debft.runs.directory import RunDirectory
    from debft.training.opening import open_session
    from debft.training.plan import make_plan

    vocabulary = options.data / "tokenizer" / "deberta-v3" / "spm.model"
    shape = make_shape(folder / f"shape-{os.environ.get('RANK', '0')}", config_of(options.shape), vocabulary, dropout=True)
    changes = {
        "model": str(shape),
        "data": str(options.data),
        "train.from_scratch": True,
        "train.train_batch_size": options.batch,
        "train.warmup_steps": 0,
        "train.max_train_samples": 4_000,
        "train.max_eval_samples": 20,
    }
    plan = make_plan(load_recipe(recipe_path(f"mnli/{options.shape}"), changes))
    session, _ = open_session(plan, RunDirectory(folder / "run"), claim=False)
    losses = [log.loss for log in islice(session.steps(), options.steps)]
    if session.is_main:
        weights = {name: tensor.clone() for name, tensor in session.loaded.model.state_dict().items()}
        save_file(weights | {"losses": torch.tensor(losses)}, folder / "weights.safetensors")


def differences(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> str:
    """Say how far losses and weights are apart."""
    off = {name: tensor.sub(other[name]).abs() for name, tensor in one.items() if name != "losses"}
    above = sum(int((tensor > SAME).sum()) for tensor in off.values())
    loss = float((other["losses"] / one["losses"] - 1).abs().max())
    most = max(float(tensor.max()) for tensor in off.values())
    return (
        f"losses equal to {loss:.1e}, {above} of {sum(map(torch.numel, off.values())):,} weights more than {SAME:.0e} apart, "
        f"none more than {most:.1e}"
    )


if __name__ == "__main__":
    main()
