"""Runs that go on with another precision or number of processes than they began with: the run is the same, and says so."""

from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

from parts import Case, Part
from resume import run_kind
from small_runs import STEPS, TASKS_OF_RUNS, Kind, inputs_beside, left_half_written, without_times

from debft.runs.directory import RunDirectory
from debft.runs.sessions import changes_in_words

STOP = 4  # the step after which the run is stopped; two processes may do one more before both have heard of it
CHANGES = {
    "precision-bf16": ({}, {"precision": "bf16"}),
    "precision-fp32": ({"precision": "bf16"}, {}),
    "num_processes-2": ({}, {"processes": 2}),
    "num_processes-1": ({"processes": 2}, {}),
}


def cases() -> list[Case]:
    """Return a case for each change of each kind of run."""
    return [
        Case(name=f"{of}-{'sift' if sift else 'plain'}-{change}", run=partial(resume_otherwise, of=of, sift=sift, change=change))
        for of, sift, change in product(TASKS_OF_RUNS, (False, True), CHANGES)
    ]


def resume_otherwise(directory: Path, of: str, sift: bool, change: str) -> str:
    """Begin a run one way, go on another, and look at what it says of itself."""
    inputs, run = inputs_beside(directory), directory / "run"
    before, after = (replace(Kind(of=of, sift=sift), **values) for values in CHANGES[change])
    run_kind(before, inputs, run, [STOP], to_end=False)
    run_kind(after, inputs, run, [])
    result = RunDirectory(run).result()
    assert [one["step"] for one in without_times(run / "steps.jsonl")] == list(range(1, STEPS + 1))
    assert len(result.sessions) == 2 and result.sessions[1].to_step == STEPS, result.sessions
    name, _, value = change.partition("-")
    (line,) = changes_in_words(result.sessions)
    assert line.startswith(f"resumed after step {result.sessions[0].to_step} with {name} {value}, not "), line
    assert not (left := left_half_written(run)), left
    return line


PART = Part(
    name="changes", claim="another precision or number of processes at --resume: gone on with, and recorded", cases=cases, few=2
)
