"""This module says what a reproduction will cost: tokens and FLOPs from the data, hours from a probe, disk from the weights."""

import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from debft.config.recipe import Recipe
from debft.console import say
from debft.data.load import encode_split
from debft.models.size import count_parameters
from debft.models.tokens.tokenizer import build_tokenizer
from debft.reproduce.plan import RecipePlan
from debft.runs.directory import RunDirectory
from debft.tasks import Task

if TYPE_CHECKING:
    from debft.training.session import Session

PROBE_STEPS = 20
SETTLING_STEPS = 5  # the first steps of a probe fill caches and are left out of its median
SIFT_FACTOR = 8 / 3  # plain steps in one with SiFT: three forward passes, an input-only backward pass, one over two graphs


@dataclass(frozen=True, kw_only=True)
class Cost:
    """A cost says what one run of a recipe takes, and how many of its runs are missing."""

    name: str
    """The packaged recipe, by name."""
    missing: int
    """Runs that are still to be run or resumed."""
    steps: int
    """Optimizer steps of one run."""
    num_tokens: int
    """Tokens that one run trains on, without padding."""
    eval_tokens: int
    """Tokens of all evaluations of one run, without padding."""
    flops: float
    """Floating-point operations of one run: 2 x backbone parameters x tokens for a forward pass, 4 for a backward pass."""
    disk_bytes: int
    """Bytes of its model, which stays."""
    running_bytes: int
    """The most bytes that its checkpoints take while it runs."""
    seconds: float | None = None
    """Seconds of one run on this machine; None without a probe."""


@dataclass(frozen=True, kw_only=True)
class TotalCost:
    """A total cost says what all missing runs take together."""

    runs: int
    """Runs that are missing."""
    num_tokens: int
    """Tokens that they train on, without padding."""
    flops: float
    """Floating-point operations."""
    hours: float | None
    """Hours on this machine; None where a recipe was not probed."""
    disk_bytes: int
    """Bytes of their models, and of the checkpoints of those that run at the same time."""


def cost_of(recipe_plan: RecipePlan) -> Cost:
    """Return the cost without a probe. The splits are encoded for it; the runs then find them in the cache."""
    plan = recipe_plan.ready
    tokenizer = build_tokenizer(plan.files)
    lengths = {
        name: encode_split(plan.task, examples, tokenizer, recipe_plan.recipe, what=name).lengths()
        for name, examples in plan.examples.items()
    }
    parameters, backbone = count_parameters(plan.files)
    return cost_from(
        recipe_plan.name,
        recipe_plan.recipe,
        plan.task,
        missing=sum(run.is_missing() for run in recipe_plan.runs),
        steps=plan.total_steps,
        sequences={name: len(values) for name, values in lengths.items()},
        mean_tokens={name: float(values.mean()) for name, values in lengths.items()},
        parameters=parameters,
        backbone=backbone,
    )


def cost_from(
    name: str,
    recipe: Recipe,
    task: Task,
    *,
    missing: int,
    steps: int,
    sequences: Mapping[str, int],
    mean_tokens: Mapping[str, float],
    parameters: int,
    backbone: int,
) -> Cost:
    """Return the cost of one run.

    sequences: rows or windows by split
    mean_tokens: tokens of one of these, by split
    parameters, backbone: how many the model has, with and without its word embeddings
    """
    config, train = recipe.train, task.train.name
    num_tokens = mean_tokens[train] * config.train_batch_size * steps
    if config.max_steps is None:
        num_tokens = min(num_tokens, mean_tokens[train] * sequences[train] * config.num_train_epochs)
    eval_tokens = _eval_tokens(recipe, task, steps, {split: sequences[split] * mean_tokens[split] for split in sequences})
    factor = SIFT_FACTOR if recipe.sift.weight else 1.0
    kept = recipe.runtime.keep_checkpoints + 1  # the newest is written before the oldest goes
    copies = 3 * kept + 2 * (config.checkpoint == "best")  # of the weights: two moments beside them, none beside the best
    return Cost(
        name=name,
        missing=missing,
        steps=steps,
        num_tokens=round(num_tokens),
        eval_tokens=round(eval_tokens),
        flops=backbone * (6 * factor * num_tokens + 2 * eval_tokens),
        disk_bytes=4 * parameters,
        running_bytes=4 * parameters * copies,
    )


def _eval_tokens(recipe: Recipe, task: Task, steps: int, tokens: Mapping[str, float]) -> float:
    """Count the tokens of all evaluations: those during the run see the selection splits, the last one all splits."""
    config = recipe.train
    during = steps // config.eval_steps if config.eval_steps else 0
    if config.eval_each_epoch:
        during += int(config.num_train_epochs)
    selection = sum(tokens[split.name] for split in task.selection_evals)
    return during * selection + sum(tokens[split.name] for split in task.evals)


def with_probe(cost: Cost, recipe_plan: RecipePlan, threads: int | None = None) -> Cost:
    """Add the seconds of a run, from the median of `PROBE_STEPS` real steps; a dev token counts as a third of a trained one.

    threads: CPU threads that the run will have; None: all
    """
    import torch

    from debft.training.opening import open_session

    say(f"{recipe_plan.name}: {PROBE_STEPS} steps on this machine")
    if threads is not None:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="debft-probe-") as directory:
        started = time.perf_counter()
        session, _ = open_session(recipe_plan.ready, RunDirectory(Path(directory) / "run"), claim=False)
        opening = time.perf_counter() - started
        per_token = seconds_per_token(session)
    factor = SIFT_FACTOR if recipe_plan.recipe.sift.weight else 1.0
    return replace(cost, seconds=opening + per_token * (cost.num_tokens + cost.eval_tokens / 3 / factor))


def seconds_per_token(session: "Session") -> float:
    """Measure the seconds per token of a training step, without padding. It trains the weights of the session."""
    steps = session.steps(pause_after=lambda step: False)
    measured = [log.seconds / log.num_tokens for log in islice(steps, PROBE_STEPS)]
    return statistics.median(measured[SETTLING_STEPS:] or measured)


def total_cost(costs: Iterable[Cost], jobs: int, devices: int = 0) -> TotalCost:
    """Add up the missing runs, `jobs` of which run at the same time.

    devices: GPUs, on each of which several jobs take turns; 0 for a CPU, whose probes had the cores that one of the jobs gets
    """
    costs = list(costs)
    seconds = [cost.missing * cost.seconds for cost in costs if cost.seconds is not None]
    running = sorted((cost.running_bytes for cost in costs for _ in range(cost.missing)), reverse=True)
    return TotalCost(
        runs=sum(cost.missing for cost in costs),
        num_tokens=sum(cost.missing * cost.num_tokens for cost in costs),
        flops=sum(cost.missing * cost.flops for cost in costs),
        hours=sum(seconds) / 3600 / (min(jobs, devices) if devices else jobs) if len(seconds) == len(costs) and costs else None,
        disk_bytes=sum(cost.missing * cost.disk_bytes for cost in costs) + sum(running[:jobs]),
    )
