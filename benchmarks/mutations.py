"""Break one thing at a time in a copy of debft and see which cells of the frozen table `demo` turn red.

    python benchmarks/mutations.py --jobs 2 --output runs/mutations

Prints a Markdown table. Finished breakages are kept in --output and not run again.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Breakage:
    """`old` in `file`, where it stands once, becomes `new`."""

    name: str
    file: str
    old: str
    new: str


BREAKAGES = (
    Breakage("nothing", "debft/training/loop.py", "rate = learning_rate(", "rate = learning_rate("),
    Breakage("learning rate x 3", "debft/training/loop.py", "rate = learning_rate(", "rate = 3 * learning_rate("),
    Breakage("learning rate x 1/3", "debft/training/loop.py", "rate = learning_rate(", "rate = 1 / 3 * learning_rate("),
    Breakage(
        "schedule: no decay",
        "debft/training/schedule.py",
        "return config.learning_rate * (total_steps - step) / (total_steps - warmup)",
        "return config.learning_rate",
    ),
    Breakage(
        "schedule: two steps per update",
        "debft/training/loop.py",
        "learning_rate(step, config, total_steps)",
        "learning_rate(min(2 * step, total_steps - 1), config, total_steps)",
    ),
    Breakage(
        "loss scaling: micro-batches are added, not averaged",
        "debft/training/loop.py",
        "loss * (weight * world / len(indices))",
        "loss * (weight * world / len(batch))",
    ),
    Breakage(
        "label order: the DeBERTa repository's for predictions",
        "debft/scoring/heads/label.py",
        "of_task_C[logits_NC.argmax(axis=1)]",
        "of_task_C[::-1][logits_NC.argmax(axis=1)]",
    ),
    Breakage(
        "tokenizer: the character map is dropped",
        "debft/models/tokens/vocabulary.py",
        "    if spec.precompiled_charsmap:",
        "    if not spec.precompiled_charsmap:",
    ),
    Breakage(
        "tokenizer: words are not split off",
        "debft/models/tokens/vocabulary.py",
        'prepend_scheme="always"',
        'prepend_scheme="never"',
    ),
    Breakage(
        "metric: answers only, no threshold for none",
        "debft/scoring/metrics/squad.py",
        "def best_threshold(",
        "def best_threshold(*_):\n    return 1e9, 0.0\n\n\ndef searched_threshold(",
    ),
    Breakage(
        "metric: every split gets the score of the first",
        "debft/scoring/evaluation.py",
        "for name, assessment in assessed.items() for metric, value in assessment.scores.items()",
        "for name in assessed for metric, value in next(iter(assessed.values())).scores.items()",
    ),
    Breakage(
        "SiFT: no loss of its own",
        "debft/training/sift.py",
        "loss = self.head.loss(clean, batch) + self.config.weight * sift",
        "loss = self.head.loss(clean, batch) + 0 * sift",
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="words of the names of breakages")
    parser.add_argument("--row", action="append", default=[], help="only this row of the table")
    parser.add_argument("--output", type=Path, default=Path("runs/mutations"))
    arguments = parser.parse_args()
    print("| broken by hand | red cells | which |\n|---|---|---|")
    for number, breakage in enumerate(BREAKAGES):
        if arguments.only and not any(word in breakage.name for word in arguments.only):
            continue
        red, cells = red_cells(breakage, arguments.output / str(number), arguments)
        print(f"| {breakage.name} | {len(red)} of {cells} | {', '.join(red) or '-'} |", flush=True)


def red_cells(breakage: Breakage, directory: Path, arguments: argparse.Namespace) -> tuple[list[str], int]:
    """The scores whose verdict is not `reproduced`, and how many there are."""
    package = directory / "package"
    shutil.rmtree(package, ignore_errors=True)
    for name in ("debft", "recipes"):
        shutil.copytree(ROOT / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = package / breakage.file
    text = path.read_text(encoding="utf-8")
    assert text.count(breakage.old) == 1, f"{breakage.name}: {breakage.old!r} stands {text.count(breakage.old)} times"
    path.write_text(text.replace(breakage.old, breakage.new), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(package), "DEBFT_CACHE": str(directory / "cache")}
    command = [
        sys.executable,
        "-m",
        "debft",
        "reproduce",
        "demo",
        "--seeds",
        str(arguments.seeds),
        "--jobs",
        str(arguments.jobs),
        "--output",
        str(directory / "runs"),
        "--check",
        "--json",
        *(word for row in arguments.row for word in ("--row", row)),
    ]
    done = subprocess.run(command, env=environment, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert done.returncode in (0, 4), f"{breakage.name}: exit code {done.returncode}"
    cells = json.loads(done.stdout)["cells"]
    red = [f"{cell['row']} {cell['score']} {_difference(cell)}" for cell in cells if cell["verdict"] != "reproduced"]
    assert bool(red) == (done.returncode == 4)
    return red, len(cells)


def _difference(cell: dict) -> str:
    return cell["verdict"] if cell["difference"] is None else f"{cell['difference']:+.3g}"


if __name__ == "__main__":
    main()
