"""Signals to commands that make several runs: a table, a search, seeds. Each run leaves a checkpoint, and the same command goes on."""

import random
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from group_runs import SEVERAL, busy, runs_in, send, start_command, what_is_left
from many_signals import SECONDS_TO_LEAVE, TO, after, slowest
from parts import Case, Part
from small_runs import made_once, without_times

from debft.runs.directory import RunDirectory
from debft.runtime.signals import SIGNALS

CASES = 60
# Where the first run to get there is when the signal comes. Behind `model` and `result` one is complete, and the other is not.
POINTS = ("reading:1", "step:1", "step:5", "saving:1", "evaluation:1", "evaluation:2", "batch:3", "step:12", "model:1", "result:1")


def cases() -> Iterator[Case]:
    """Return the cases: the commands, points and receivers in turn, the signals and how often they come at random."""
    for number in range(CASES):
        drawn = random.Random(2000 + number)
        kind = list(SEVERAL)[number % len(SEVERAL)]
        point, to = POINTS[number // len(SEVERAL) % len(POINTS)], TO[number // 2 % len(TO)]
        sent, times = SIGNALS[drawn.randrange(len(SIGNALS))], drawn.randint(1, 3)
        how = {"kind": kind, "point": point, "to": to, "sent": sent, "times": times}
        yield Case(name=f"{number:02d} {kind} {point} {sent.name} x {times} to {to}", run=partial(stopped, **how))


def stopped(directory: Path, *, kind: str, point: str, to: str, sent: signal.Signals, times: int) -> str:
    """Send the signal when a run is at the point, look at what each run left, and go on to the results of one that had no signal."""
    expected = made_once(directory.parent / "through" / kind, partial(_through, kind=kind))
    running = start_command(directory, SEVERAL[kind], point)
    running.meet()
    pids = running.pids()
    targets = {"parent": pids[:1], "children": pids[1:], "all": pids}[to]
    for _ in range(times):
        send(targets, sent)
        time.sleep(0.1 / times)
    began = time.monotonic()
    code, err = running.ended()
    took = time.monotonic() - began
    running.all_are_gone()
    left = [what_is_left(one) for one in runs_in(running.output)]
    complete = len(left) == len(runs_in(expected / "run")) and all(words == "complete" for words in left)
    assert code == (0 if complete else 128 + sent), f"exit code {code} with {left}\n{err}"
    assert took < SECONDS_TO_LEAVE * busy(), f"{took:.1f} s until the end\n{err}"
    shutil.rmtree(directory / "pids")
    (directory / "reached").unlink()
    code, err = start_command(directory, SEVERAL[kind], "").ended()
    assert code == 0, f"going on: exit code {code}\n{err}"
    assert not (different := _difference(expected / "run", running.output)), f"{different}, left {left}"
    return f"exit code {0 if complete else 128 + sent} {after(took)}, {', '.join(left) or 'nothing begun'}, went on"


def _through(directory: Path, *, kind: str) -> None:
    """Make the runs that had no signal."""
    directory.mkdir()
    code, err = start_command(directory, SEVERAL[kind], "").ended()
    assert code == 0, err


def _difference(expected: Path, got: Path) -> str:
    """Name the first thing in which the runs below two directories differ, "" where nothing does."""
    whole, others = ({run.path.relative_to(place): run for run in runs_in(place)} for place in (expected, got))
    if whole.keys() != others.keys():
        return f"runs {', '.join(map(str, whole))} without a signal, {', '.join(map(str, others))} with it"
    for name, run in whole.items():
        one, other = _of(run), _of(others[name])
        if keys := [key for key in one if one[key] != other[key]]:
            return f"{name}: other {', '.join(keys)}"
    return ""


def _of(run: RunDirectory) -> dict[str, object]:
    """Return what two runs of the same recipe have in common, the bytes of the model among it."""
    result = run.result()
    assert result is not None, f"{run.path} has no result"
    files = {name: file.sha256 for name, file in result.model_files.items()}
    steps = without_times(run.path / "steps.jsonl")
    return {"scores": result.scores, "number of tokens": result.num_tokens, "model": files, "steps": steps}


PART = Part(
    name="signals-of-several",
    claim="each run of a table, a search or seeds left with its checkpoint, and went on with 0 bits changed; 0 processes left",
    cases=cases,
    few=4,
    figure=slowest,
)
