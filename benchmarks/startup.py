"""How long a run takes to reach its first step: `python benchmarks/startup.py --data DIR [--rows N]`.

Rows of MNLI's number and shape are put together of the real ones in DIR/mnli/train.tsv, with a word of another row in each
premise, so that all differ. The model has the embeddings and the vocabulary of DeBERTa-v3 and two layers. The first start
encodes, the second finds the token ids in the cache; both are timed from torch's import to the first line of steps.jsonl.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from shapes import CONFIGS

LABELS = ("entailment", "neutral", "contradiction")
RUN = """
import os, sys, time
import torch
wall, processor = time.perf_counter(), time.process_time()
from debft.runs.logs import Logs
def append(self, name, row):
    if name == "steps.jsonl":
        print(f"{time.perf_counter() - wall:.1f} s, {time.process_time() - processor:.1f} s of processors", flush=True)
        os._exit(0)
Logs.append = append
from debft.cli.main import main
main()
"""


def main() -> None:
    """Write rows and model, start twice, print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with mnli/train.tsv and tokenizer/deberta-v3/spm.model")
    parser.add_argument("--rows", type=int, default=392_702)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        rows = [
            line.split("\t") for line in (options.data / "mnli" / "train.tsv").read_text(encoding="utf-8").split("\n")[1:] if line
        ]
        for split, count in (("train", options.rows), ("validation_matched", 9_815), ("validation_mismatched", 9_832)):
            write_rows(place / "data" / "mnli" / f"{split}.tsv", rows, count, random.Random(split))
        model = place / "model"
        model.mkdir()
        (model / "config.json").write_text(json.dumps(CONFIGS["deberta-v3-xsmall"] | {"num_hidden_layers": 2}))
        shutil.copyfile(options.data / "tokenizer" / "deberta-v3" / "spm.model", model / "spm.model")
        for start in ("first", "second"):
            print(f"{start} start of {options.rows:,} rows: {start_once(place, model, start)}", flush=True)


def write_rows(file: Path, rows: list[list[str]], count: int, draw: random.Random) -> None:
    """Write `count` rows, each with a premise and a hypothesis of two of `rows`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="\n") as out:
        out.write("premise\thypothesis\tlabel\n")
        for _ in range(count):
            words = draw.choice(rows)[0].split()
            words.insert(draw.randrange(len(words) + 1), draw.choice(draw.choice(rows)[0].split() or ["a"]))
            out.write(f"{' '.join(words)}\t{draw.choice(rows)[1]}\t{draw.choice(LABELS)}\n")


def start_once(place: Path, model: Path, start: str) -> str:
    """Start a run and return what it printed at its first step."""
    command = ["mnli", "--model", model, "--from-scratch", "--data", place / "data", "--max-steps", "2", "--output", place / start]
    environment = os.environ | {"DEBFT_CACHE": str(place / "cache"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", RUN, *map(str, command)], env=environment, capture_output=True, text=True)
    if done.returncode or not done.stdout:
        sys.exit(done.stderr)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
