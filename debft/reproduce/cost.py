"""What a reproduction will cost: tokens and arithmetic from the data, hours from a probe on this machine, disk from the weights."""

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
SETTLING_STEPS = 5  # of the probe, left out of its median: the first ones fill caches
SIFT_FACTOR = 8 / 3  # three forward passes, an input-only backward pass and one over two graphs, in plain steps


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one run of a recipe, and how many of them are missing.

    num_tokens: trained on, without padding; eval_tokens: of all evaluations
    flops: 2 x backbone parameters x tokens for a forward pass, 4 for a backward pass
    seconds: None without a probe; disk_bytes: of its model, which stays; running_bytes: at most of the checkpoints while it runs
    """

    name: str
    missing: int
    steps: int
    num_tokens: int
    eval_tokens: int
    flops: float
    disk_bytes: int
    running_bytes: int
    seconds: float | None = None


def cost_of(found: RecipePlan) -> Cost:
    """Without a probe. Encodes the splits, which the runs then find in the cache."""
    plan = found.plan
    tokenizer = build_tokenizer(plan.files)
    lengths = {
        name: encode_split(plan.task, examples, tokenizer, found.recipe, what=name).lengths()
        for name, examples in plan.examples.items()
    }
    parameters, backbone = count_parameters(plan.files)
    return cost_from(
        found.name,
        found.recipe,
        plan.task,
        missing=sum(run.is_missing() for run in found.runs),
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
    """The cost of one run.

    sequences, mean_tokens: by split, its rows or windows, and the tokens of one; parameters, backbone: of the model
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
    """Those during the run see the selection splits, the last one all of them."""
    config = recipe.train
    during = steps // config.eval_steps if config.eval_steps else 0
    if config.eval_each_epoch:
        during += int(config.num_train_epochs)
    selection = sum(tokens[split.name] for split in task.selection_evals)
    return during * selection + sum(tokens[split.name] for split in task.evals)


def with_probe(cost: Cost, found: RecipePlan, threads: int | None = None) -> Cost:
    """The seconds of a run, from the median of `PROBE_STEPS` real steps, dev tokens taken as a forward pass, a third of a step.

    threads: that the run will have; None: all
    """
    import torch

    from debft.training.opening import open_session

    say(f"{found.name}: {PROBE_STEPS} steps on this machine")
    if threads is not None:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="debft-probe-") as directory:
        started = time.perf_counter()
        session, _ = open_session(found.plan, RunDirectory(Path(directory) / "run"), resume=False)
        opening = time.perf_counter() - started
        per_token = seconds_per_token(session)
    factor = SIFT_FACTOR if found.recipe.sift.weight else 1.0
    return replace(cost, seconds=opening + per_token * (cost.num_tokens + cost.eval_tokens / 3 / factor))


def seconds_per_token(session: "Session") -> float:
    """Of a training step, without padding; the weights of the session are trained by it and of no further use."""
    from debft.training.loop import optimizer_steps

    plan = session.plan
    steps = optimizer_steps(
        session.accelerator,
        session.model,
        session.optimizer,
        session.splits[plan.task.train.name],
        plan.recipe.train,
        collate=session.loaded.collate,
        micro_batch_tokens=session.micro_batch_tokens,
        total_steps=plan.total_steps,
        loss_fn=session.loss_fn,
    )
    measured = [log.seconds / log.num_tokens for log in islice(steps, PROBE_STEPS)]
    return statistics.median(measured[SETTLING_STEPS:] or measured)


def total(costs: Iterable[Cost], jobs: int, devices: int = 0) -> dict[str, float | int | None]:
    """Of all missing runs, `jobs` at a time. devices: GPUs, 0 for a CPU, whose probes had the cores that one of the jobs gets.

    hours: None without a probe. Several jobs on one GPU take turns, and count as one after the other.
    """
    costs = list(costs)
    seconds = [cost.missing * cost.seconds for cost in costs if cost.seconds is not None]
    running = sorted((cost.running_bytes for cost in costs for _ in range(cost.missing)), reverse=True)
    return {
        "runs": sum(cost.missing for cost in costs),
        "num_tokens": sum(cost.missing * cost.num_tokens for cost in costs),
        "flops": sum(cost.missing * cost.flops for cost in costs),
        "hours": sum(seconds) / 3600 / (min(jobs, devices) if devices else jobs) if len(seconds) == len(costs) and costs else None,
        "disk_bytes": sum(cost.missing * cost.disk_bytes for cost in costs) + sum(running[:jobs]),
    }
