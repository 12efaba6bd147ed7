"""Runs that are stopped after a given step, once or several times in a row, and resumed: the end is that of a run without a stop."""

import json
import random
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from unittest.mock import patch

from parts import Case, Part
from processes import SECONDS, start_two
from small_runs import STEPS, TASKS_OF_RUNS, Kind, difference, inputs_beside, left_half_written, made_once

import debft.models.vocabulary
import debft.training.describe
import debft.training.train
from debft.errors import Interrupted
from debft.runtime.launch.group import process_name
from debft.training.run import finetune

KINDS = [
    Kind(of=of, sift=sift, dialect=dialect, precision=precision, processes=processes, fast=fast)
    for processes, of, sift, dialect, precision, fast in product(
        (1, 2), TASKS_OF_RUNS, (False, True), ("card", "repo"), ("fp32", "bf16"), (True, False)
    )
]
BETWEEN = 2  # steps from one stop of a run to the next
STOP = """
import json, sys
from pathlib import Path
from resume import stopped_and_resumed
from small_runs import Kind
kind, inputs, run, stops = (json.loads(argument) for argument in sys.argv[1:])
stopped_and_resumed(Kind(**kind), Path(inputs), Path(run), stops)
"""


def stops_from(first: int) -> list[int]:
    """Return the steps after which a run is stopped: one, two or three of them, the first as given."""
    return [step for step in range(first, first + BETWEEN * (1 + first % 3), BETWEEN) if step <= STEPS]


def cases() -> list[Case]:
    """Return a case for every kind of run and every step, the kinds in an order by chance: those of a short run are mixed."""
    return [
        Case(name=f"{kind.name}-{first}", run=partial(resume, kind=kind, first=first))
        for kind in random.Random(0).sample(KINDS, len(KINDS))
        for first in range(1, STEPS + 1)
    ]


def resume(directory: Path, kind: Kind, first: int) -> str:
    """Stop a run after the step `first` and perhaps later ones, resume it each time, and compare its end."""
    inputs, stops = inputs_beside(directory), stops_from(first)
    through = made_once(directory.parent / "through" / kind.name, lambda run: run_kind(kind, inputs, run, []))
    run_kind(kind, inputs, directory / "run", stops)
    words = f"stopped after {', '.join(map(str, stops))}"
    assert not (different := difference(through, directory / "run")), f"{words}: {different}"
    assert not (left := left_half_written(directory / "run")), f"{words}: {left[0]} was left"
    return words


def run_kind(kind: Kind, inputs: Path, run: Path, stops: Sequence[int]) -> None:
    """Do a run to its end, in this process, or in two of its own as two machines do it."""
    if kind.processes == 1:
        stopped_and_resumed(kind, inputs, run, stops)
        return
    arguments = (json.dumps(argument) for argument in (asdict(kind), str(inputs), str(run), list(stops)))
    for one in start_two(*arguments, code=STOP):
        _, said = one.communicate(SECONDS)
        assert one.returncode == 0, f"exit code {one.returncode}: {said.splitlines()[-1:]}"


def stopped_and_resumed(kind: Kind, inputs: Path, run: Path, stops: Sequence[int]) -> None:
    """Do a run to its end, with a stop after each of these steps; of two processes only one is told, in turn."""
    record, recipe = debft.training.train.record, kind.recipe(inputs)
    for number, stop in enumerate(stops):
        told = kind.processes == 1 or process_name() == f"process {(stop + number) % 2}"

        def record_and_stop(session, state, log, progress, stop=stop, told=told):
            record(session, state, log, progress)
            if log.step == stop and told:
                signal.raise_signal(signal.SIGTERM)

        with paths_of(kind), patch.object(debft.training.train, "record", record_and_stop):
            try:
                finetune(recipe, run, resume=True)
            except Interrupted as interrupted:
                assert f"after step {stop} of" in str(interrupted) or kind.processes == 2, interrupted
            else:
                raise AssertionError(f"the run was told to stop after step {stop} and did not")
    with paths_of(kind):
        finetune(recipe, run, resume=True)


def paths_of(kind: Kind) -> ExitStack:
    """Within the block whole runs compute as the kind asks, and do not look for the packaged recipe that is nearest to theirs."""
    patches = ExitStack()
    patches.enter_context(patch.object(debft.training.describe, "nearest_packaged", lambda recipe: (None, [])))
    if not kind.fast:
        patches.enter_context(patch.object(debft.models.vocabulary, "MOST_ACTIVE", 0.0))
    return patches


PART = Part(name="resume", claim="stopped after any step, once or up to three times: 0 bits changed", cases=cases, few=6)
