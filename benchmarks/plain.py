"""Plain transformers training on pairs of texts: the ways that `gpu.py` times debft beside, without a line of debft.

    python benchmarks/plain.py card|bf16 --rows TRAIN.TSV --shape DIR

card: the model cards' command, fp32, padded to 256 tokens, 64 sequences in 8 parts; bf16: autocast, padded to the longest of a
step, 64 sequences at once. Prints JSON: milliseconds of a step, the median without the first quarter, and the peak memory.
"""

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

import sentencepiece
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

LABELS = ("entailment", "neutral", "contradiction")
BATCH, LONGEST = 64, 256  # sequences of a step; tokens of a sequence
CLS, SEP = 1, 2  # of DeBERTa-v3's vocabulary; padding is 0
# way: (autocast to bf16, always padded to the longest input, sequences of one forward pass)
WAYS = {"card": (False, True, 8), "bf16": (True, False, BATCH)}
Row = tuple[list[int], int]


def read_rows(file: Path, vocabulary: Path) -> list[Row]:
    """Of each row its tokens and the number of its label."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(vocabulary))
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").split("\n")[1:] if line]

    def tokens(premise: str, hypothesis: str) -> list[int]:
        return [CLS, *pieces.encode(premise), SEP, *pieces.encode(hypothesis), SEP][:LONGEST]

    return [(tokens(premise, hypothesis), LABELS.index(label)) for premise, hypothesis, label in rows]


def batch_of(rows: list[Row], length: int, device: str) -> dict[str, torch.Tensor]:
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, (tokens, _) in enumerate(rows):
        ids[i, : len(tokens)], mask[i, : len(tokens)] = torch.tensor(tokens), 1
    batch = {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([label for _, label in rows])}
    return {name: tensor.to(device) for name, tensor in batch.items()}


def seconds_of_steps(way: str, rows: list[Row], shape: Path, device: str) -> list[float]:
    half, padded, micro = WAYS[way]
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(shape, num_labels=len(LABELS))
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.0, fused=True)
    seconds = []
    for first in range(0, len(rows), BATCH):
        started = time.perf_counter()
        step = rows[first : first + BATCH]
        for part in (step[i : i + micro] for i in range(0, len(step), micro)):
            batch = batch_of(part, LONGEST if padded else max(len(tokens) for tokens, _ in part), device)
            with torch.autocast(device, torch.bfloat16, enabled=half):
                loss = model(**batch).loss
            (loss * len(part) / len(step)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--rows", type=Path, required=True, help="TSV with a header: premise, hypothesis, label")
    parser.add_argument("--shape", type=Path, required=True, help="a directory with config.json and spm.model")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    seconds = seconds_of_steps(options.way, read_rows(options.rows, options.shape / "spm.model"), options.shape, device)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"milliseconds": 1000 * statistics.median(seconds[len(seconds) // 4 :]), "peak_bytes": peak}))


if __name__ == "__main__":
    main()
