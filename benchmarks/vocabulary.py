"""Time one optimizer step of an embedding table, all rows against the active ones: gradient, clipping, AdamW. A process each.

python benchmarks/vocabulary.py --rows 128100 --width 384 --active 19000
"""

import argparse
import statistics
import subprocess
import sys
import time

import numpy as np
import torch

from debft.config.recipe import TrainConfig
from debft.models.vocabulary import use_active_vocabulary
from debft.runtime.memory import peak_memory_bytes
from debft.training.optimization import build_optimizer

SEQUENCES, LENGTH = 64, 40
KINDS = ("all", "active")


class Table(torch.nn.Module):
    """The embeddings of a model without the model."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = torch.nn.Embedding(rows, width, padding_idx=0)
        self.config = argparse.Namespace(to_dict=lambda: {"pad_token_id": 0})

    def get_input_embeddings(self) -> torch.nn.Embedding:
        return self.word_embeddings


def main() -> None:
    """Print seconds of a step (median, and the fastest) and peak memory of both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=128_100)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--active", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--kind", choices=KINDS)
    options = parser.parse_args()
    if options.kind:
        measure(options)
        return
    print(
        f"{options.rows:,} x {options.width}, {options.active:,} active, {SEQUENCES} x {LENGTH} tokens, torch {torch.__version__}"
    )
    for kind in KINDS:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--kind", kind], check=True)


def measure(options: argparse.Namespace) -> None:
    """Print the line of one kind."""
    before = peak_memory_bytes()
    model, rng = Table(options.rows, options.width), np.random.default_rng(0)
    places = np.sort(rng.choice(np.arange(1, options.rows), options.active - 1, replace=False))
    looked_at = 0.0
    if options.kind == "active":
        vocabulary = use_active_vocabulary(model, places, 0, lambda first, last: 0.99)
        started = time.perf_counter()
        with vocabulary.whole(1):
            looked_at = time.perf_counter() - started
        places = np.arange(1, options.active)
    optimizer, seconds = build_optimizer(model, TrainConfig(weight_decay=0.01)), []
    for _ in range(options.steps):
        ids = torch.from_numpy(rng.choice(places, (SEQUENCES, LENGTH)))
        started = time.perf_counter()
        model.word_embeddings(ids).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - started)
    memory = (peak_memory_bytes() - before) / 2**20
    line = f"{options.kind:7} {statistics.median(seconds):.4f} s per step, fastest {min(seconds):.4f}   memory {memory:,.0f} MiB"
    print(f"{line}   the whole table {looked_at:.3f} s" if looked_at else line)


if __name__ == "__main__":
    main()
