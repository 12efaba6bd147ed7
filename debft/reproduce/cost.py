"""What a reproduction will cost: tokens and arithmetic from the data, hours from a probe on this machine, disk from the weights."""

import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from debft.data import encode_split
from debft.models import build_tokenizer, count_parameters
from debft.plan import Plan
from debft.progress import say
from debft.reproduce.plan import RecipePlan
from debft.results import RunDirectory

if TYPE_CHECKING:
    from debft.session import Session

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
    plan, config = found.plan, found.recipe.train
    tokenizer = build_tokenizer(plan.files)
    tokens = {
        name: int(encode_split(plan.task, examples, tokenizer, config, what=name).lengths().sum())
        for name, examples in plan.examples.items()
    }
    lengths = encode_split(plan.task, plan.train, tokenizer, config, what=plan.task.train.name).lengths()
    num_tokens = int(lengths.mean() * config.train_batch_size * plan.total_steps)
    if config.max_steps is None:
        num_tokens = int(min(num_tokens, lengths.sum() * config.num_train_epochs))
    eval_tokens = _eval_tokens(plan, tokens)
    parameters, backbone = count_parameters(plan.files)
    factor = SIFT_FACTOR if found.recipe.sift.weight else 1.0
    kept = found.recipe.runtime.keep_checkpoints + 1  # the newest is written before the oldest goes
    copies = 3 * kept + 2 * (config.checkpoint == "best")  # of the weights: two moments beside them, none beside the best
    return Cost(
        name=found.name, missing=sum(run.result() is None for run in found.runs), steps=plan.total_steps, num_tokens=num_tokens,
        eval_tokens=eval_tokens, flops=backbone * (6 * factor * num_tokens + 2 * eval_tokens), disk_bytes=4 * parameters,
        running_bytes=4 * parameters * copies,
    )  # fmt: skip


def _eval_tokens(plan: Plan, tokens: dict[str, int]) -> int:
    """Those during the run see the selection splits, the last one all of them."""
    config = plan.recipe.train
    during = plan.total_steps // config.eval_steps if config.eval_steps else 0
    if config.eval_each_epoch:
        during += int(config.num_train_epochs)
    selection = sum(tokens[split.name] for split in plan.task.selection_evals)
    return during * selection + sum(tokens[split.name] for split in plan.task.evals)


def with_probe(cost: Cost, found: RecipePlan) -> Cost:
    """The seconds of a run, from the median of `PROBE_STEPS` real steps, dev tokens taken as a forward pass, a third of a step."""
    from debft.session import open_session

    say(f"{found.name}: {PROBE_STEPS} steps on this machine")
    with tempfile.TemporaryDirectory(prefix="debft-probe-") as directory:
        started = time.perf_counter()
        session, _ = open_session(found.plan, RunDirectory(Path(directory) / "run"), resume=False)
        opening = time.perf_counter() - started
        per_token = seconds_per_token(session)
    factor = SIFT_FACTOR if found.recipe.sift.weight else 1.0
    return replace(cost, seconds=opening + per_token * (cost.num_tokens + cost.eval_tokens / 3 / factor))


def seconds_per_token(session: "Session") -> float:
    """Of a training step, without padding; the weights of the session are trained by it and of no further use."""
    from debft.train import optimizer_steps

    plan = session.plan
    steps = optimizer_steps(
        session.accelerator, session.model, session.optimizer, session.splits[plan.task.train.name], plan.recipe.train,
        collate=session.collate, micro_batch_tokens=session.micro_batch_tokens, total_steps=plan.total_steps,
        loss_fn=session.loss_fn,
    )  # fmt: skip
    measured = [log.seconds / log.num_tokens for log in islice(steps, PROBE_STEPS)]
    return statistics.median(measured[SETTLING_STEPS:] or measured)


def total(costs: Iterable[Cost], jobs: int) -> dict[str, float | int | None]:
    """Of all missing runs; hours: with `jobs` at a time, None without a probe."""
    costs = list(costs)
    seconds = [cost.missing * cost.seconds for cost in costs if cost.seconds is not None]
    running = sorted((cost.running_bytes for cost in costs for _ in range(cost.missing)), reverse=True)
    return {
        "runs": sum(cost.missing for cost in costs),
        "num_tokens": sum(cost.missing * cost.num_tokens for cost in costs),
        "flops": sum(cost.missing * cost.flops for cost in costs),
        "hours": sum(seconds) / 3600 / jobs if len(seconds) == len(costs) and costs else None,
        "disk_bytes": sum(cost.missing * cost.disk_bytes for cost in costs) + sum(running[:jobs]),
    }
