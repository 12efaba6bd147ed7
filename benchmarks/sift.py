"""What a SiFT step costs beside a plain one: the same batch, the two in turn, ratio of medians; and the peak memory of each.

    python benchmarks/sift.py [--layers 12] [--hidden 384] [--batch 16] [--length 40] [--repeats 7] [--device cpu]

The floor by FLOPs is 2.67: three forward passes, a backward pass to the input alone and one over two graphs, against one and one.
The model has the shape of deberta-v3-xsmall with random weights; the optimizer's step is part of both.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

from debft.config.recipe import SiftConfig
from debft.scoring.heads import LabelHead, plain_loss
from debft.tasks import TASKS
from debft.training.sift import SiftLoss


def build(options: argparse.Namespace) -> DebertaV2ForSequenceClassification:
    torch.manual_seed(0)
    config = DebertaV2Config(
        vocab_size=options.vocabulary,
        hidden_size=options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=options.hidden // 64,
        intermediate_size=4 * options.hidden,
        max_position_embeddings=512,
        relative_attention=True,
        position_buckets=256,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        type_vocab_size=0,
        pad_token_id=0,
        num_labels=3,
        attn_implementation="eager",
    )
    return DebertaV2ForSequenceClassification(config).to(options.device).train()


def batch_of(options: argparse.Namespace) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, options.vocabulary, (options.batch, options.length), generator=generator)
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.arange(options.batch) % 3,
        "noise_seed": torch.arange(options.batch),
    }
    return {name: tensor.to(options.device) for name, tensor in batch.items()}


def steps(options: argparse.Namespace, kinds: list[str]) -> dict[str, list[float]]:
    """Seconds of each step by kind, the first one left out."""
    model, batch, task = build(options), batch_of(options), TASKS["mnli"]
    head = LabelHead(task=task, labels=task.labels)
    losses = {"plain": plain_loss(head), "sift": SiftLoss(head=head, config=SiftConfig(weight=3.0), plain=model)}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(options.repeats + 1):
        for kind in kinds:
            started = time.perf_counter()
            losses[kind](model, batch)[0].backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if options.device != "cpu":
                torch.cuda.synchronize()
            seconds[kind].append(time.perf_counter() - started)
    return {kind: times[1:] for kind, times in seconds.items()}


def peak_bytes(options: argparse.Namespace) -> int:
    if options.device != "cpu":
        return torch.cuda.max_memory_allocated()
    # Not getrusage: its maximum begins with what the parent process held.
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("layers", 12), ("hidden", 384), ("batch", 16), ("length", 40), ("repeats", 7), ("vocabulary", 128_100)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", choices=("plain", "sift"), help="one kind, and its peak memory")
    options = parser.parse_args()
    if options.only:
        steps(options, [options.only])
        print(peak_bytes(options))
        return
    medians = {kind: statistics.median(times) for kind, times in steps(options, ["plain", "sift"]).items()}
    print(
        f"{options.layers} layers, hidden {options.hidden}, {options.batch} x {options.length} tokens, {options.device}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    for kind, seconds in medians.items():
        command = [sys.executable, *sys.argv, "--only", kind, "--repeats", "2"]
        memory = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{kind:<6} {seconds:7.3f} s per step   peak memory {memory / 2**30:.2f} GiB")
    print(f"sift / plain: {medians['sift'] / medians['plain']:.2f}, the floor by FLOPs is 2.67")


if __name__ == "__main__":
    main()
