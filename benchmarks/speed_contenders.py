"""The contenders of `speed.py`, each in a process of its own: transformers' Trainer in several forms, debft, products alone.

debft takes its own road, `finetune`; only where it writes the line of a step or of an evaluation it waits for its next turn. All of
them read the same rows as the same tokens.
"""

import numpy as np
import torch
from speed_rows import PRODUCTS, Job
from speed_trainer import evaluate_with_trainer, train_with_trainer
from speed_turns import Turns
from transformers import AutoConfig

from debft.data.encoding import EncodedSplit
from debft.data.packing import Collator
from debft.runs.logs import Logs
from debft.training.run import finetune


def contend(turns: Turns, job: Job) -> None:
    """Be a contender until nobody asks for more."""
    torch.set_num_threads(job.threads)
    if job.contender.kind == PRODUCTS:
        multiply(turns, job)
    elif job.contender.kind == "debft":
        run_debft(turns, job)
    elif job.row.kind == "evaluate":
        evaluate_with_trainer(turns, job)
    else:
        train_with_trainer(turns, job)


def run_debft(turns: Turns, job: Job) -> None:
    counts, measured = _counted_batches(), "evaluations.jsonl" if job.row.kind == "evaluate" else "steps.jsonl"
    append, begun = Logs.append, False
    started = 0.0

    def append_and_wait(logs: Logs, name: str, row: dict) -> None:
        nonlocal begun, started
        append(logs, name, row)
        seconds = turns.now() - started if started else 0.0
        if name == measured and not begun:  # the first one warms up
            begun = True
            turns.begin()
        elif name == measured == "steps.jsonl":
            turns.step(examples=row["num_examples"], tokens=row["num_tokens"], positions=_padded(counts, row["num_tokens"]))
        elif name == measured:
            turns.step(examples=counts.examples, tokens=counts.tokens, positions=counts.positions, seconds=seconds)
        counts.clear()
        started = turns.now()

    Logs.append = append_and_wait
    finetune(job.recipe(), job.out)


class Counts:
    """What went through `Collator` since `clear`: sequences, their tokens, and the positions of the batches they were put in."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.examples = self.tokens = self.positions = 0


def _padded(counts: Counts, tokens: int) -> int | None:
    """Return positions for so many tokens at the share of padding that was counted: batches may be prepared ahead of their step."""
    return round(tokens * counts.positions / counts.tokens) if counts.tokens else None


def _counted_batches() -> Counts:
    counts, collate = Counts(), Collator.__call__

    def counted(collator: Collator, split: EncodedSplit, indices: np.ndarray, *arguments, **options):
        batch = collate(collator, split, indices, *arguments, **options)
        counts.examples += len(indices)
        counts.tokens += int(split.lengths()[indices].sum())
        counts.positions += batch["input_ids"].numel()
        return batch

    Collator.__call__ = counted
    return counts


def multiply(turns: Turns, job: Job) -> None:
    """The products of a layer's feed-forward part and of one projection in its attention, forward and backward."""
    config = AutoConfig.from_pretrained(job.shape)
    device, dtype = "cuda" if job.cuda else "cpu", getattr(torch, {"fp32": "float32", "bf16": "bfloat16"}[job.contender.precision])
    tokens = 16384 if job.cuda else 2048
    sizes = [(config.hidden_size, config.intermediate_size), (config.intermediate_size, config.hidden_size)]
    sizes += [(config.hidden_size, config.hidden_size)]
    tensors = [
        (
            torch.randn(tokens, inner, device=device, dtype=dtype),
            torch.randn(outer, inner, device=device, dtype=dtype),
            torch.randn(tokens, outer, device=device, dtype=dtype),
        )
        for inner, outer in sizes
    ]
    flops = sum(3 * 2 * tokens * inner * outer for inner, outer in sizes)

    def once() -> None:
        for x, weight, gradient in tensors:
            x @ weight.T, gradient @ weight, gradient.T @ x

    for _ in range(3):
        once()
    turns.begin()
    while True:
        once()
        turns.step(flops=flops)
