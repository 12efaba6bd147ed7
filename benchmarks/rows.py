"""What own data of many rows takes in memory and time: `python benchmarks/rows.py --data DIR --rows 1000000,10000000 [--work DIR]`.

Rows of made-up words, 8 to 21 of them, with one of two labels are written as CSV, about 99 bytes each. `debft text` holds out a
tenth of them, encodes all, trains five steps of a model of two layers with DeBERTa-v3's vocabulary and scores 500 rows. Its memory
is read twenty times a second: what is its own, and together with the pages of mapped files, which the system takes back where it
needs them. Each line that the run says is printed with the seconds since its start, and the highest memory so far.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from shapes import CONFIGS

STEPS = ("--recipe", "demo", "--from-scratch", "--max-steps", "5", "--max-eval-samples", "500", "--max-seq-length", "64")
SHAPE = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 48, "pooler_hidden_size": 64}


def main() -> None:
    """Write rows and model, train on them, print the figures of each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory with tokenizer/deberta-v3/spm.model")
    parser.add_argument("--rows", default="1000000,3000000,10000000")
    parser.add_argument("--work", type=Path, help="directory on a disk with 6 GB of free space (default: one for temporary files)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as directory:
        place = Path(directory)
        (place / "model").mkdir()
        (place / "model" / "config.json").write_text(json.dumps(CONFIGS["deberta-v3-xsmall"] | SHAPE))
        shutil.copyfile(options.data / "tokenizer" / "deberta-v3" / "spm.model", place / "model" / "spm.model")
        for count in map(int, options.rows.split(",")):
            write_rows(place / "rows.csv", count)
            size = (place / "rows.csv").stat().st_size
            print(f"{count:,} rows, {size / 1e6:,.0f} MB", flush=True)
            own, whole, seconds, processor = train(place)
            memory = f"{own:.2f} GiB own, {whole:.2f} GiB with mapped files"
            print(f"{count:,} rows: {memory}, {seconds:.0f} s, {processor:.0f} s of a core", flush=True)


def write_rows(file: Path, count: int) -> None:
    """Write rows whose label is that of a word in their middle."""
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(20_000)]
    telling, others = {"good": words[:200], "bad": words[200:400]}, words[400:]
    with file.open("w", encoding="utf-8") as out:
        out.write("text,label\n")
        for row in range(count):
            label, text = "good" if row % 3 else "bad", draw.choices(others, k=8 + int(draw.random() * 14))
            text[len(text) // 2] = draw.choice(telling[label])
            out.write(f"{' '.join(text)},{label}\n")


def train(place: Path) -> tuple[float, float, float, float]:
    """Return (GiB of its own, GiB with mapped files, seconds, seconds of a processor) of a run, the first two at their highest."""
    shutil.rmtree(place / "run", ignore_errors=True)
    shutil.rmtree(place / "cache", ignore_errors=True)
    command = [sys.executable, "-m", "debft", "text", "--data", place / "rows.csv", "--model", place / "model", *STEPS]
    start, before = time.monotonic(), os.times()
    run = subprocess.Popen(
        [*command, "--output", place / "run"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"DEBFT_CACHE": str(place / "cache")},
    )
    assert run.stderr is not None
    peaks = {"RssAnon": 0, "VmRSS": 0}
    watcher = threading.Thread(target=watch, args=(run.pid, peaks), daemon=True)
    watcher.start()
    for line in run.stderr:
        print(f"{time.monotonic() - start:7.1f} s  {peaks['RssAnon'] / 2**20:5.2f} GiB  {line.rstrip()[:150]}", flush=True)
    assert run.wait() == 0, "the run failed"
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return peaks["RssAnon"] / 2**20, peaks["VmRSS"] / 2**20, time.monotonic() - start, processor


def watch(pid: int, peaks: dict[str, int]) -> None:
    """Keep the highest figures of a process (KiB) until it is gone."""
    while True:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return
        found = {words[0].rstrip(":"): int(words[1]) for line in lines if len(words := line.split()) > 2 and words[2] == "kB"}
        for name in peaks:
            peaks[name] = max(peaks[name], found.get(name, 0))
        time.sleep(0.05)


if __name__ == "__main__":
    main()
