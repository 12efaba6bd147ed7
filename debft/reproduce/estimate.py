"""What a reproduction would cost, without the hub: from published row counts and packaged sizes. An estimate, never a probe."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from debft.config import yaml12
from debft.config.recipe import Recipe, source_kind, value_at
from debft.console import meter
from debft.data.load import load_table, task_for
from debft.data.rows import check_rows
from debft.errors import InputError
from debft.models.names import MODELS
from debft.reproduce.cost import SIFT_FACTOR, Cost, cost_from
from debft.reproduce.plan import RecipePlan
from debft.tasks import QuestionAnswering, Split, Task
from debft.training.schedule import check_schedule

FACTS = Path(__file__).with_name("facts.yaml")
PRODUCTS = 20  # that the speed of this machine is measured with
# Of what a machine does in large products alone, what a whole training step reaches. Assumed; on a CPU xsmall trains about 30 of
# the 87 MNLI pairs a second that the products of two cores would allow.
SHARE_ON_CPU, SHARE_ON_GPU = 1 / 3, 0.3
STEP_SECONDS_ON_GPU = 0.03  # of an optimizer step that launches its kernels one by one, whatever its size. Assumed
H100_FLOPS = 989e12  # a second, bf16, dense. Source: NVIDIA's data sheet of the H100 SXM.


@dataclass(frozen=True, kw_only=True)
class Machine:
    """flops: a second, of a whole training step; step_seconds: of an optimizer step without any arithmetic."""

    flops: float
    step_seconds: float

    def seconds(self, cost: Cost, recipe: Recipe) -> float:
        """Of one run."""
        launches = cost.steps * (SIFT_FACTOR if recipe.sift.weight else 1.0)
        return cost.flops / self.flops + launches * self.step_seconds


H100 = Machine(flops=H100_FLOPS * SHARE_ON_GPU, step_seconds=STEP_SECONDS_ON_GPU)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of the runs of one recipe, none of which can be planned here. remarks: what stands in it that nobody measured.

    seconds_here, seconds_h100: of one run; `cost.seconds` stays None, which is for what was probed
    """

    cost: Cost
    seconds_here: float
    seconds_h100: float
    remarks: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        numbers = {name: value for name, value in vars(self.cost).items() if name != "seconds"}
        hours = {"seconds_here": self.seconds_here, "seconds_h100": self.seconds_h100}
        return {"estimate": True, **numbers, **hours, "remarks": list(self.remarks)}


def estimate(found: RecipePlan, seeds: int, here: Machine) -> Estimate:
    """Of a recipe that lacks only the hub.

    Raises InputError for a schedule that does not fit the rows, or a model whose size is not packaged.
    """
    recipe, facts = found.recipe, _facts()
    task = task_for(recipe)
    if recipe.model not in facts["models"]:
        raise InputError(f"{recipe.model}: its size is not among those that are packaged: {', '.join(facts['models'])}")
    size, tokens = facts["models"][recipe.model], facts["tokens"][task.name]
    num_sequences = {name: round(rows * _windows(tokens, name)) for name, rows in _num_rows(task, recipe).items()}
    mean_tokens = {name: min(_tokens_of_row(tokens, name), recipe.text.max_seq_length) for name in num_sequences}
    cost = cost_from(
        found.name,
        recipe,
        task,
        missing=seeds,
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
    """By split, as published for the hub's data; of other data they are read and counted."""
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
    said = [f"{task.name}: tokens per row assumed ({tokens['assumed']})"] if "assumed" in tokens else []
    said += [f"{task.name}: {tokens['note']}"] if "note" in tokens else []
    lengths = [
        (key.rpartition(".")[2], tokens.get(key.rpartition(".")[2]), value_at(recipe, key))
        for key in ("text.max_seq_length", "questions.doc_stride")
    ]
    said += [
        f"{task.name}: windows counted at {key} {there}, not {here}"
        for key, there, here in lengths
        if isinstance(task, QuestionAnswering) and there != here
    ]
    return tuple(said)


@cache
def _facts() -> dict[str, Any]:
    return yaml12.load(FACTS)


def needed_from_hub(found: Sequence[RecipePlan]) -> str:
    """The data sets and models that these recipes lack or may lack, for a line."""
    tasks = dict.fromkeys(recipe.recipe.task for recipe in found if source_kind(recipe.recipe.data) == "hub")
    from debft.tasks import TASKS

    sets = dict.fromkeys(TASKS[task].dataset for task in tasks if task)
    models = dict.fromkeys(MODELS[recipe.recipe.model].hub_id for recipe in found if recipe.recipe.model in MODELS)
    return ", ".join([*sets, *models])


def measure_this_machine() -> Machine:
    """Its speed at products alone, measured for some seconds, times the share of it that a whole step reaches."""
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
    """The best speed, in floating-point operations a second, of a product with 384 x 1536 weights and its gradients.

    On a CPU that of one core, by its processor time: another program that keeps the machine busy does not count.
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
