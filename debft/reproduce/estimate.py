"""This module estimates the cost without the hub, from published row counts and packaged sizes; nothing is probed."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from debft.config import yaml12
from debft.config.recipe import Recipe, source_kind, value_at
from debft.data.load import load_table, task_for
from debft.data.rows import check_rows
from debft.errors import InputError
from debft.models.names import MODELS
from debft.reproduce.cost import SIFT_FACTOR, Cost, cost_from
from debft.runtime.progress import meter
from debft.tasks import TASKS, QuestionAnswering, Split, Task
from debft.training.schedule import check_schedule

FACTS = Path(__file__).with_name("facts.yaml")
PRODUCTS = 20  # matrix products with which the speed of this machine is measured
# The share of its speed at large matrix products that a machine reaches over a whole training step. Assumed; on a CPU xsmall
# trains about 30 of the 87 MNLI pairs a second that the products of two cores would allow.
SHARE_ON_CPU, SHARE_ON_GPU = 1 / 3, 0.3
STEP_SECONDS_ON_GPU = 0.03  # seconds in which an optimizer step launches its kernels one by one, whatever its size. Assumed
H100_FLOPS = 989e12  # floating-point operations per second, bf16, dense. Source: NVIDIA's data sheet of the H100 SXM.


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine is known by its speed at training."""

    flops: float
    """Floating-point operations per second over a whole training step."""
    step_seconds: float
    """Seconds of an optimizer step without any arithmetic."""

    def seconds(self, cost: Cost, recipe: Recipe) -> float:
        """Return the seconds of one run."""
        launches = cost.steps * (SIFT_FACTOR if recipe.sift.weight else 1.0)
        return cost.flops / self.flops + launches * self.step_seconds


H100 = Machine(flops=H100_FLOPS * SHARE_ON_GPU, step_seconds=STEP_SECONDS_ON_GPU)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An estimate says what the runs of a recipe would cost that cannot be planned here."""

    cost: Cost
    """The cost; its `seconds` stay None, because nothing was probed."""
    seconds_here: float
    """Seconds of one run on this machine."""
    seconds_h100: float
    """Seconds of one run on an H100."""
    remarks: tuple[str, ...]
    """What was assumed and not measured."""

    def as_dict(self) -> dict[str, Any]:
        numbers = {name: value for name, value in vars(self.cost).items() if name != "seconds"}
        hours = {"seconds_here": self.seconds_here, "seconds_h100": self.seconds_h100}
        return {"estimate": True, **numbers, **hours, "remarks": list(self.remarks)}


def estimate(name: str, recipe: Recipe, runs: int, here: Machine) -> Estimate:
    """Estimate a recipe that lacks only the hub.

    name: what its line says
    runs: runs of it
    here: the speed of this machine
    Raises InputError for a schedule that does not fit the rows, or a model whose size is not packaged.
    """
    facts, task = _facts(), task_for(recipe)
    if recipe.model not in facts["models"]:
        raise InputError(f"{recipe.model}: its size is not among those that are packaged: {', '.join(facts['models'])}")
    size, tokens = facts["models"][recipe.model], facts["tokens"][task.name]
    num_sequences = {name: round(rows * _windows(tokens, name)) for name, rows in _num_rows(task, recipe).items()}
    mean_tokens = {name: min(_tokens_of_row(tokens, name), recipe.text.max_seq_length) for name in num_sequences}
    cost = cost_from(
        name,
        recipe,
        task,
        missing=runs,
        steps=check_schedule(recipe.train, num_sequences[task.train.name]),
        sequences=num_sequences,
        mean_tokens=mean_tokens,
        parameters=size["all"],
        backbone=size["backbone"],
    )
    return Estimate(
        cost=cost,
        seconds_here=here.seconds(cost, recipe),
        seconds_h100=H100.seconds(cost, recipe),
        remarks=_remarks(task, recipe, tokens),
    )


def _num_rows(task: Task, recipe: Recipe) -> dict[str, int]:
    """Return the rows of each split, as published for the hub's data; other data is read and counted."""
    return {split.name: _num_rows_of(task, split, recipe) for split in task.splits}


def _num_rows_of(task: Task, split: Split, recipe: Recipe) -> int:
    config = recipe.train
    limit = config.max_train_samples if split is task.train else config.max_eval_samples
    if source_kind(recipe.data) == "hub":
        return min(split.num_rows or 0, limit or split.num_rows or 0)
    table = load_table(task, split, recipe.data)
    return len(check_rows(table, task, limit, train=split is task.train, skip=config.skip_bad_rows))


def _windows(tokens: dict[str, Any], split: str) -> float:
    return tokens.get("windows", {}).get(split, 1.0)


def _tokens_of_row(tokens: dict[str, Any], split: str) -> float:
    return tokens["rows"].get(split, tokens["rows"].get("other"))


def _remarks(task: Task, recipe: Recipe, tokens: dict[str, Any]) -> tuple[str, ...]:
    remarks = [f"{task.name}: tokens per row assumed ({tokens['assumed']})"] if "assumed" in tokens else []
    remarks += [f"{task.name}: {tokens['note']}"] if "note" in tokens else []
    lengths = [
        (key.rpartition(".")[2], tokens.get(key.rpartition(".")[2]), value_at(recipe, key))
        for key in ("text.max_seq_length", "questions.doc_stride")
    ]
    remarks += [
        f"{task.name}: windows counted at {key} {counted}, not {asked}"
        for key, counted, asked in lengths
        if isinstance(task, QuestionAnswering) and counted != asked
    ]
    return tuple(remarks)


@cache
def _facts() -> dict[str, Any]:
    return yaml12.load(FACTS)


def can_be_estimated(recipe: Recipe) -> bool:
    """Return whether the lengths of the task's texts and the size of the model are packaged."""
    return recipe.task in _facts()["tokens"] and recipe.model in _facts()["models"]


def needed_from_hub(recipes: Sequence[Recipe]) -> str:
    """Return the data sets and models that these recipes lack or may lack, for a line."""
    tasks = dict.fromkeys(recipe.task for recipe in recipes if source_kind(recipe.data) == "hub")
    data_sets = dict.fromkeys(TASKS[task].dataset for task in tasks if task)
    models = dict.fromkeys(MODELS[recipe.model].hub_id for recipe in recipes if recipe.model in MODELS)
    return ", ".join([*data_sets, *models])


def measure_this_machine() -> Machine:
    """Measure the speed of matrix products for some seconds, and take the share of it that a whole step reaches."""
    import torch

    if torch.cuda.is_available():
        return Machine(flops=SHARE_ON_GPU * _speed_of_products("cuda"), step_seconds=STEP_SECONDS_ON_GPU)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return Machine(flops=SHARE_ON_CPU * threads * _speed_of_products("cpu"), step_seconds=0.0)
    finally:
        torch.set_num_threads(threads)


def _speed_of_products(device: str) -> float:
    """Return the best speed of a product with 384 x 1536 weights and its gradients, in floating-point operations per second.

    On a CPU it is that of one core, by its processor time: another program that keeps the machine busy does not count.
    """
    import torch

    on_gpu = device == "cuda"
    clock, dtype, rows = (time.perf_counter, torch.bfloat16, 16384) if on_gpu else (time.thread_time, torch.float32, 1024)
    layer = torch.nn.Linear(384, 1536, device=device, dtype=dtype)
    inputs = torch.randn(rows, 384, device=device, dtype=dtype, requires_grad=True)
    gradient = torch.randn(rows, 1536, device=device, dtype=dtype)
    fastest = math.inf
    with meter("measure", PRODUCTS, "products") as progress:
        for _ in range(PRODUCTS):
            started = clock()
            layer(inputs).backward(gradient)
            if on_gpu:
                torch.cuda.synchronize()
            fastest = min(fastest, clock() - started)
            progress.advance()
    return 6 * rows * 384 * 1536 / fastest
