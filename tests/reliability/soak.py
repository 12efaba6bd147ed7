"""Long runs: nothing grows and nothing is missing after 5,000 steps, and what makes a run safe takes little of its time."""

import json
import os
import statistics
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from unittest.mock import patch

from parts import Case, Part
from processes import Command
from small_runs import Kind, inputs_beside, left_half_written

import debft.models.vocabulary
import debft.training.train
from debft.config.recipe import RuntimeConfig
from debft.runs.directory import RunDirectory
from debft.training.checkpoints import save, save_if_possible
from debft.training.opening import open_session
from debft.training.plan import make_plan
from debft.training.run import finetune
from debft.training.session import Session, TrainState

STEPS, EVERY = 5000, 100  # optimizer steps, and those from one look, checkpoint and evaluation to the next
LONGEST = 3600.0  # seconds of such a run on a busy machine
WARM = 10  # looks until everything has been used once
MOST_GROWTH = 0.02  # of the memory behind that; torch's own allocator keeps a block more or less
MOST_COST = 0.02  # of the time of the steps from one checkpoint to the next, for which they stand still
# microsoft/deberta-v3-xsmall: the shape decides what a step and a checkpoint take, the weights do not.
XSMALL = {
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "intermediate_size": 1536,
    "pooler_hidden_size": 384,
    "max_position_embeddings": 512,
    "position_buckets": 256,
    "vocab_size": 128100,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}
TIMES_LONGER = 2  # than a row of the demo: then a pair has about the 40 tokens of MNLI's
MEASURED = 3  # steps and checkpoints, behind one of each to warm up
LOOK = """
import json, sys
from pathlib import Path
from small_runs import Kind
from soak import looked_at
print(json.dumps(looked_at(Kind(**json.loads(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]))))
"""


def cases() -> list[Case]:
    """Return a long run of each of two kinds, and the cost of a checkpoint."""
    kinds = {"labels": Kind(), "spans-sift": Kind(of="spans", sift=True)}
    long = [Case(name=f"{STEPS}-steps-{name}", run=partial(soak, kind=kind)) for name, kind in kinds.items()]
    return [Case(name="cost-of-safety", run=cost_of_safety), *long]


def soak(directory: Path, kind: Kind) -> str:
    """Do a long run in a process of its own, and compare what it used early and late."""
    inputs, run = inputs_beside(directory), directory / "run"
    asked = {"of": kind.of, "sift": kind.sift}
    process = Command(json.dumps(asked), inputs, run, code=LOOK)
    out, said = process.communicate(LONGEST)
    assert process.returncode == 0, f"exit code {process.returncode}: {said.splitlines()[-1:]}"
    memory, files = json.loads(out.splitlines()[-1])
    steps = [json.loads(line)["step"] for line in (run / "steps.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1)), f"{len(steps)} lines of steps"
    evaluated = [json.loads(line)["step"] for line in (run / "evaluations.jsonl").read_text().splitlines()]
    assert sorted(set(evaluated)) == list(range(EVERY, STEPS + 1, EVERY)), f"evaluated at {evaluated}"
    assert not left_half_written(run)
    early, late = (statistics.median(part) for part in (memory[WARM : 2 * WARM], memory[-WARM:]))
    assert late <= early * (1 + MOST_GROWTH), f"{early / 2**20:.1f} MiB at first, {late / 2**20:.1f} at last"
    assert len(set(files[WARM:])) == 1, f"open files: {files}"
    return f"{early / 2**20:.1f} MiB at first, {late / 2**20:.1f} at last, {files[-1]} open files"


def looked_at(kind: Kind, inputs: Path, run: Path) -> tuple[list[int], list[int]]:
    """Do a long run, and return its resident memory in bytes and its open files after every so many steps. Source: proc(5)."""
    memory, files, record = [], [], debft.training.train.record

    def record_and_look(session, state, log, progress):
        record(session, state, log, progress)
        if log.step % EVERY == EVERY - 1:
            memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            files.append(len(list(Path("/proc/self/fd").iterdir())))

    rhythm = {"train.max_steps": STEPS, "train.eval_steps": EVERY, "runtime.save_steps": EVERY, "train.train_batch_size": 2}
    with patch.object(debft.training.train, "record", record_and_look):
        finetune(kind.recipe(inputs, **rhythm), run)
    return memory, files


def cost_of_safety(directory: Path) -> str:
    """Measure checkpoints and steps of the xsmall shape, with the optimizer state of the whole vocabulary, the largest there is."""
    from conftest import write_model_config

    from debft.data.sources import demo

    data = directory / "data"
    for source in (inputs_beside(directory) / "data" / "mnli").iterdir():
        rows = [json.loads(line) for line in source.read_text().splitlines()]
        longer = [
            {key: value if key == "label" else " ".join([value] * TIMES_LONGER) for key, value in row.items()} for row in rows
        ]
        (data / "mnli").mkdir(parents=True, exist_ok=True)
        (data / "mnli" / source.name).write_text(
            "".join(f"{json.dumps(row)}\n" for row in longer * (4 if source.stem == "train" else 1))
        )
    model = write_model_config(directory / "model", demo.model_directory(), **XSMALL)
    changes = {"data": str(data), "model": str(model), "train.train_batch_size": 64, "runtime.micro_batch_tokens": None}
    recipe = Kind().recipe(directory, **changes)
    with patch.object(debft.models.vocabulary, "MOST_ACTIVE", 0.0):
        session, state = open_session(make_plan(recipe), RunDirectory(directory / "run"))
    step, waited, stood, written = (
        statistics.median(seconds[1:]) for seconds in zip(*_steps_and_saves(session, state), strict=True)
    )
    cost = stood / (RuntimeConfig().save_steps * step)
    size = sum(path.stat().st_size for path in max((directory / "run" / "checkpoints").glob("step-*")).iterdir())
    words = (
        f"training stands still for {stood:.2f} s of a checkpoint of {size / 2**20:,.0f} MiB, which is on the disk after "
        f"{written:.2f} s; {waited:.2f} s where training waits; a step of 64 sequences {step:.2f} s: {cost:.3%} of the time"
    )
    assert cost <= MOST_COST, words
    return words


def _steps_and_saves(session: Session, state: TrainState) -> Iterator[tuple[float, float, float, float]]:
    """Yield the seconds of a step, of a checkpoint that training waits for, of the pause for one that a thread writes, and until
    that is on the disk. The two are written in turn, each under a step of its own."""
    for log in islice(session.steps(), 1 + MEASURED):
        began = time.perf_counter()
        state.step = 2 * log.step - 1
        save(session, state)
        waited = time.perf_counter() - began
        state.step += 1
        began = time.perf_counter()
        save_if_possible(session, state, training=True)
        stood = time.perf_counter() - began
        session.saving.finish()
        yield log.seconds, waited, stood, time.perf_counter() - began


PART = Part(
    name="soak", claim="5,000 steps: memory and open files flat, no line missing; safety costs at most 2 %", cases=cases, few=0
)
