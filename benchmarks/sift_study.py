"""Does SiFT do anything? Demo MNLI with little data and noisy labels: dev accuracy of plain runs against SiFT, the same seeds.

    python benchmarks/sift_study.py [--rows 1000] [--noise 0.15] [--epochs 40] [--weight 3] [--seeds 5]

Of the first ROWS demo training rows a share NOISE gets another label; the dev rows stay clean. The rows and the noise are the same
in every run, the seed moves the initial weights and the order. Everything but SiFT is the demo recipe.
"""

import argparse
import random
import statistics
import tempfile
from pathlib import Path

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.data.sources import demo
from debft.tasks import TASKS
from debft.training.run import finetune

COLUMNS = ("premise", "hypothesis", "label")
SCORES = ("validation_matched/accuracy", "validation_mismatched/accuracy")


def write_rows(directory: Path, rows: int, noise: float) -> None:
    task, rng = TASKS["mnli"], random.Random("noise")
    for split in task.splits:
        columns = demo.table(task, split).columns
        lines = ["\t".join(COLUMNS)]
        for texts in list(zip(*(columns[name] for name in COLUMNS), strict=True))[: rows if split is task.train else None]:
            premise, hypothesis, label = texts
            if split is task.train and rng.random() < noise:
                label = rng.choice([other for other in task.labels if other != label])
            lines.append("\t".join((premise, hypothesis, label)))
        path = directory / "mnli" / f"{split.name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--noise", type=float, default=0.15)
    parser.add_argument("--epochs", type=float, default=40)
    parser.add_argument("--weight", type=float, default=3.0)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    found: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in SCORES} for kind in ("plain", "sift")}
    with tempfile.TemporaryDirectory() as directory:
        write_rows(Path(directory) / "data", options.rows, options.noise)
        for seed in range(options.seeds):
            for kind, weight in (("plain", 0.0), ("sift", options.weight)):
                overrides = {
                    "task": "mnli",
                    "data": f"{directory}/data",
                    "train.seed": seed,
                    "train.num_train_epochs": options.epochs,
                    "sift.weight": weight,
                    "runtime.save_steps": None,
                }
                result = finetune(load_recipe(recipe_path("demo"), overrides), Path(directory) / f"{kind}-{seed}")
                for name in SCORES:
                    found[kind][name].append(result.scores[name])
    print(
        f"{options.rows} rows, {options.noise:.0%} wrong labels, {options.epochs:g} epochs, lambda {options.weight:g}, "
        f"{options.seeds} seeds"
    )
    for name in SCORES:
        for kind in found:
            scores = found[kind][name]
            each = " ".join(f"{score:.1f}" for score in scores)
            spread = f"mean {statistics.mean(scores):.2f}   standard deviation {statistics.stdev(scores):.2f}"
            print(f"{name:<32} {kind:<6} {spread}   {each}")


if __name__ == "__main__":
    main()
