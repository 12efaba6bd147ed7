"""How fast a step is: debft beside transformers, in the same minutes, on the same real text, in the published shapes.

    python benchmarks/speed.py --data DIR [--rows mnli-xsmall,xnli-mdeberta] [--growth] [--results benchmarks/RESULTS.md]

A      transformers' Trainer as the model cards run it: fp32, every text padded to the longest allowed, 8 x 8 sequences, AdamW
B      transformers' Trainer at its best: bf16 where the hardware has it, texts of alike length together, fused AdamW
debft  `debft.training.run.finetune` with the packaged recipe
On a GPU also disentangled-flash inside of Trainer, without padding, and flashdeberta, where they are installed.

The weights are random. Each contender is a process of its own. They take turns, A B debft A B debft, and each figure is the median
over the rounds. A step of A consists of passes that are all alike: on a CPU one of them is done, whose time stands for those left
out as well. Speed is in real tokens, so that it does not depend on who meets whom; examples/s are the same by the mean
length. The share of dropout is what is gone where its probability is 0, that of the optimizer the time inside of its step(). The
floor is the time of the matrix products alone, measured in the same rounds. Memory is that of the whole process, libraries and rows
included, on a GPU what torch has allocated.
"""

import argparse
import contextlib
import json
import math
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from speed_growth import measure_growth
from speed_measure import ON_CPU, ON_GPU, SMALL, Setting, has_bf16, installed, measure
from speed_rows import ROWS
from speed_table import Line, remarks, table, write_section

ROOT = Path(__file__).resolve().parents[1]
NEEDED = ("mnli/train.tsv", "squad2/train-v2.0.json", "xnli/validation.en.tsv", "tokenizer/deberta-v3/spm.model")


def machine(cuda: bool) -> str:
    """Return what the machine is called in RESULTS.md."""
    if cuda:
        import torch

        return f"{torch.cuda.get_device_name()}, {os.cpu_count()} CPU cores"
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    names = [text.partition(":")[2].strip() for text in info.splitlines() if text.startswith("model name")]
    flags = (
        "AVX-512 bf16" if has_bf16(False) else "AVX-512" if "avx512f" in info else "AVX2" if "avx2" in info else platform.machine()
    )
    return f"{names[0] if names else platform.processor()} ({flags}), {os.cpu_count()} cores"


def section(setting: Setting, lines: list[Line], growth: list[Line], seconds: float) -> str:
    """Return the text of RESULTS.md."""
    packages = [
        name
        for name in ("torch", "transformers", "accelerate", "disentangled-flash", "flashdeberta")
        if installed(name.replace("-", "_"))
    ]
    versions = ", ".join([*(f"{name} {version(name)}" for name in packages), f"Python {platform.python_version()}"])
    half = "" if has_bf16(setting.cuda) else " This machine has no bf16 products, so that B and debft are in fp32."
    parts = [
        f"### Speed on {machine(setting.cuda)}",
        f"{setting.threads} threads, {versions}; {time.strftime('%Y-%m-%d')}, {seconds:.0f} s.{half}",
        f"```\n$ python {' '.join(['benchmarks/speed.py', *sys.argv[1:]])}\n```",
    ]
    parts += [table([*lines, *growth]), *remarks([*lines, *growth])]
    return "\n\n".join(parts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help=f"a directory with {', '.join(NEEDED)}")
    parser.add_argument("--rows", default=",".join(ROWS), help=f"of {', '.join(ROWS)} (default: all); none: no row")
    parser.add_argument("--growth", action="store_true", help="debft on 1,000, 10,000 and 100,000 rows as well")
    parser.add_argument("--steps", type=int, help="of a turn")
    parser.add_argument("--batch", type=int, help="sequences of a step, in the place of the row's")
    parser.add_argument("--rounds", type=int, help="turns of each contender")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--precision", help="of debft: fp32, bf16 or both with a comma (default: what the hardware multiplies in)")
    parser.add_argument("--seconds", type=float, help="after which no other row is begun (default: none)")
    parser.add_argument("--out", type=Path, help="where logs and runs stay (default: nowhere)")
    parser.add_argument("--results", type=Path, help="a file whose section for this machine is replaced")
    parser.add_argument("--json", type=Path, help="a file for the lines as data")
    parser.add_argument("--small", action="store_true", help="demo text and a tiny model: does it work? Its figures mean nothing")
    options = parser.parse_args()
    options.rows = [] if options.rows == "none" else options.rows.split(",")
    if unknown := [name for name in options.rows if name not in ROWS]:
        parser.error(f"--rows: expected {', '.join(ROWS)}, got {unknown[0]}")
    if unknown := [name for name in (options.precision or "fp32").split(",") if name not in ("fp32", "bf16")]:
        parser.error(f"--precision: expected fp32, bf16 or fp32,bf16, got {unknown[0]}")
    if options.small and (options.data or options.results):
        parser.error("--small: expected neither --data nor --results, its figures mean nothing")
    if not options.small and options.data is None:
        parser.error(f"--data: expected a directory of real text with {', '.join(NEEDED)}; generated text has other lengths")
    if lacking := [name for name in NEEDED if options.data and not (options.data / name).is_file()]:
        parser.error(f"--data {options.data}: expected {lacking[0]} in it, found none")
    return options


def main() -> None:
    options = _options()
    started = time.monotonic()
    with contextlib.ExitStack() as held:
        out = options.out or Path(held.enter_context(tempfile.TemporaryDirectory(prefix="debft-speed-")))
        out.mkdir(parents=True, exist_ok=True)
        # Before torch is imported, here and in the process that the contenders are forked from.
        os.environ |= {
            "OMP_NUM_THREADS": str(options.threads),
            "DEBFT_CACHE": str(out.resolve() / "cache"),
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0"),  # Trainer would take all that there are
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "benchmarks"), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        sys.path.insert(0, str(ROOT))
        from debft.runtime.devices import visible_gpus

        cuda = visible_gpus() > 0
        timing = SMALL if options.small else ON_GPU if cuda else ON_CPU
        given = {name: value for name, value in (("steps", options.steps), ("rounds", options.rounds)) if value}
        setting = Setting(
            data=options.data and options.data.resolve(),
            out=out.resolve(),
            timing=replace(timing, **given),
            threads=options.threads,
            batch_of_all=options.batch,
            precisions=tuple(options.precision.split(",")) if options.precision else None,
            cuda=cuda,
        )
        lines, growth = _measure_all(options, setting)
    seconds = time.monotonic() - started
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in (*lines, *growth)], indent=1) + "\n")
    if options.results:
        write_section(options.results, machine(cuda), section(setting, lines, growth, seconds))
    print(f"{'figures without meaning, ' if options.small else ''}{machine(cuda)}, {seconds:.0f} s")
    sys.exit(1 if setting.failed else 0)


def _measure_all(options: argparse.Namespace, setting: Setting) -> tuple[list[Line], list[Line]]:
    """Return (lines of the rows, lines of growth). A row that is not begun before --seconds are over is named, and missing."""
    lines: dict[str, list[Line]] = {}
    until = time.monotonic() + (options.seconds or math.inf)
    for name in [*options.rows, *(["growth"] if options.growth else [])]:
        if time.monotonic() > until:
            setting.note(f"{name}: not begun, {options.seconds:g} seconds were over")
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        lines[name] = measure_growth(setting) if name == "growth" else measure(ROWS[name], setting)
        print("\n".join([table(lines[name]), *remarks(lines[name])]), flush=True)
    growth = lines.pop("growth", [])
    return [one for of_row in lines.values() for one in of_row], growth


if __name__ == "__main__":
    main()
