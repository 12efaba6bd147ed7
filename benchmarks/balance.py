"""Count the real tokens that each process computes of a step, and the bytes of gradients that it sends. Nothing is trained.

python benchmarks/balance.py --data ../shared/data
"""

import argparse
import json
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from shapes import CONFIGS
from transformers import AutoConfig, AutoModelForSequenceClassification

from debft.data.batches import by_length, share, step_examples

SPECIAL, LONGEST = 3, 256  # tokens of [CLS] and two [SEP], and of the longest input of the card's recipe
LONGEST_WINDOW, STRIDE = 384, 128  # of the recipes of SQuAD
SEED, STEPS = 42, 1000


def main() -> None:
    """Print the imbalance for several numbers of processes, then the bytes of a step with and without the active vocabulary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory with mnli/train.tsv and tokenizer/")
    options = parser.parse_args()
    lengths, rows = read(options.data)
    print(f"{len(lengths):,} pairs of MNLI, {lengths.mean():.1f} tokens on average, the longest {lengths.max()}")
    for batch in (32, 64, 256):
        for world in (2, 4, 8):
            print(f"{batch:>4} sequences, {world} processes:  {imbalance(lengths, batch, world)}")
    windows = read_windows(options.data)
    print(f"{len(windows):,} windows of SQuAD 2.0, {windows.mean():.1f} tokens on average, the longest {windows.max()}")
    for world in (2, 4, 6, 8):
        print(f"  32 sequences, {world} processes:  {imbalance(windows, 32, world)}")
    for name in ("deberta-v3-xsmall", "deberta-v3-base", "deberta-v3-large"):
        whole, active = gradient_bytes(name, rows)
        print(f"{name:<18} {whole / 1e6:,.0f} MB of gradients a step, {active / 1e6:,.0f} MB with {rows:,} active rows")


def read(data: Path) -> tuple[np.ndarray, int]:
    """Return the tokens of each pair, and how many tokens of the vocabulary occur."""
    processor = processor_of(data)
    header, *lines = (line.split("\t") for line in (data / "mnli" / "train.tsv").read_text(encoding="utf-8").splitlines())
    texts = [processor.encode([line[header.index(name)] for line in lines]) for name in ("premise", "hypothesis")]
    lengths = np.array([min(LONGEST, SPECIAL + len(premise) + len(hypothesis)) for premise, hypothesis in zip(*texts, strict=True)])
    occurring = {token for column in texts for ids in column for token in ids}
    return lengths, len(occurring) + SPECIAL


def processor_of(data: Path) -> sentencepiece.SentencePieceProcessor:
    """Return the checkpoint's own tokens."""
    return sentencepiece.SentencePieceProcessor(model_file=str(data / "tokenizer" / "deberta-v3" / "spm.model"))


def read_windows(data: Path) -> np.ndarray:
    """Return the tokens of each window of SQuAD's questions, up to LONGEST_WINDOW of which STRIDE are shared with the next."""
    processor, lengths = processor_of(data), []
    for name in ("train-v2.0.json", "dev-v2.0.json"):
        articles = json.loads((data / "squad2" / name).read_text(encoding="utf-8"))["data"]
        for paragraph in (paragraph for article in articles for paragraph in article["paragraphs"]):
            context = len(processor.encode(paragraph["context"]))
            for question in paragraph["qas"]:
                around = SPECIAL + len(processor.encode(question["question"]))
                left, room = context, LONGEST_WINDOW - around
                while left > room:
                    lengths.append(LONGEST_WINDOW)
                    left -= room - STRIDE
                lengths.append(around + left)
    return np.array(lengths)


def imbalance(lengths: np.ndarray, batch: int, world: int) -> str:
    """Say by how much the process with the most tokens has more than the mean, over the steps of the first epoch."""
    by_tokens, in_turn = [], []
    for step in range(min(STEPS, len(lengths) // batch)):
        indices = step_examples(step, SEED, len(lengths), batch)
        tokens = [lengths[share(indices, lengths, rank, world)].sum() for rank in range(world)]
        by_tokens.append(max(tokens) / np.mean(tokens) - 1)
        dealt = [lengths[by_length(indices, lengths)[rank::world]].sum() for rank in range(world)]
        in_turn.append(max(dealt) / np.mean(dealt) - 1)
    return (
        f"{np.mean(by_tokens):.1%} above the mean, 95 % of steps up to {np.quantile(by_tokens, 0.95):.1%}"
        f"   (dealt in turn {np.mean(in_turn):.1%} and {np.quantile(in_turn, 0.95):.1%})"
    )


def gradient_bytes(name: str, rows: int) -> tuple[int, int]:
    """Return the bytes of all gradients in float32, and of those that are left where the table has so many rows."""
    settings = dict(CONFIGS[name])
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(
            AutoConfig.for_model(settings.pop("model_type"), num_labels=3, **settings)
        )
    table = model.get_input_embeddings().weight
    whole = 4 * sum(parameter.numel() for parameter in model.parameters())
    return whole, whole - 4 * (len(table) - rows) * table.shape[1]


if __name__ == "__main__":
    main()
