"""Runs that are killed at a random moment of their whole life, and resumed until they are complete."""

import random
import re
import shutil
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from parts import Case, Part
from processes import SECONDS, Command, start_two
from small_runs import SAVE_STEPS, Kind, difference, inputs_beside, left_half_written, made_once, steps_logged

from debft import __version__

CASES = 1000
KINDS = [
    Kind(of=of, sift=sift, processes=processes)
    for of, sift, processes in product(("labels", "scores", "spans", "languages"), (False, True), (1, 2))
]
KILLS = (1, 1, 1, 2, 3)  # of one run, each as likely as the others
SPREAD = 0.2  # seconds at most between the ends of two processes that are killed together
MOST_TRIES = 10  # to kill a run before it is complete, on a machine whose speed changes
# What `debft TASK --resume` does up to the result. The page comes after it, and the nearest recipe costs a third of so short a run.
RESUME = """
import sys
from pathlib import Path
import debft.training.describe
from debft.config.reading import load_recipe
from debft.training.run import finetune
debft.training.describe.nearest_packaged = lambda recipe: (None, [])
finetune(load_recipe(Path(sys.argv[1])), Path(sys.argv[2]), resume=True)
"""


def cases() -> list[Case]:
    """Return the cases, the kinds of runs in turn. Each version of debft has moments of its own, so that releases add up."""
    return [Case(name=f"{number:04}", run=lambda directory, number=number: kill(directory, number)) for number in range(CASES)]


def kill(directory: Path, number: int) -> str:
    """Kill a run once or a few times, resume it each time, and compare its end with that of a run that nobody killed."""
    kind, rng = KINDS[number % len(KINDS)], random.Random(f"{__version__} {number}")
    inputs, (through, seconds) = inputs_beside(directory), uninterrupted(directory, kind)
    run, logged, said = directory / "run", 0, [kind.name]
    for count in range(rng.choice(KILLS)):
        moment = rng.random()
        for _ in range(MOST_TRIES):
            started, lived = killed(start(kind, run, inputs), run, moment * seconds, rng)
            if count or not complete(run):
                break
            seconds = lived / moment  # the machine is faster now: the same moment of this run's own life
            shutil.rmtree(run)
        logged = check_loss(run, started[0], logged)
        said.append(f"killed after {lived:.2f} of {seconds:.2f} s with {logged} steps logged")
    last = start(kind, run, inputs)
    check_loss(run, last[0], logged)
    ended(last)
    assert not (different := difference(through, run)), f"{', '.join(said)}: {different}"
    assert not (left := left_half_written(run)), f"{', '.join(said)}: {left[0]} was left"
    return ", ".join(said)


def uninterrupted(directory: Path, kind: Kind) -> tuple[Path, float]:
    """Return the directory of such a run that nobody killed, and the seconds from its start to its result."""

    def make(folder: Path) -> None:
        folder.mkdir()
        Command(code="").communicate()  # the first one of a process waits for the imports
        began = time.monotonic()
        started = start(kind, folder / "run", inputs)
        while not complete(folder / "run") and any(one.poll() is None for one in started):
            time.sleep(0.005)
        (folder / "seconds").write_text(str(time.monotonic() - began))
        ended(started)

    inputs = inputs_beside(directory)
    made = made_once(directory.parent / "through" / kind.name, make)
    return made / "run", float((made / "seconds").read_text())


def start(kind: Kind, run: Path, inputs: Path) -> Sequence[Command]:
    """Start the processes of a run, or start them again, which is the same."""
    arguments = (kind.recipe_file(inputs), run)
    return start_two(*arguments, code=RESUME) if kind.processes == 2 else [Command(*arguments, code=RESUME)]


def killed(started: Sequence[Command], run: Path, seconds: float, rng: random.Random) -> tuple[Sequence[Command], float]:
    """Kill the processes of a run after so many seconds, in any order. Return them and the seconds that they lived."""
    began = time.monotonic()
    while (lived := time.monotonic() - began) < seconds and not complete(run):
        time.sleep(min(0.005, max(0.0, seconds - lived)))
    for one in rng.sample(started, len(started)):
        one.kill()
        time.sleep(rng.random() * SPREAD if len(started) > 1 else 0.0)
    for one in started:
        one.communicate()
    return started, lived


def complete(run: Path) -> bool:
    """Return whether the run has its result."""
    return (run / "result.json").is_file()


def check_loss(run: Path, main: Command, logged: int) -> int:
    """Check that the run, where it said where it goes on, lost no more steps than lie between two checkpoints, and no more than as
    many again, which were done while the newer one was being written.

    logged: the steps that its log had before. Return what it has now; of a run that was killed before it went on, the same.
    """
    said = main.texts()[1]
    resumed = re.search(r"resuming after step ([\d,]+)", said)
    if not resumed and "starting afresh" not in said:
        return logged
    step = int(resumed[1].replace(",", "")) if resumed else 0
    assert logged - step <= 2 * SAVE_STEPS, f"{logged} steps were logged, and the run goes on after step {step}"
    return steps_logged(run)


def ended(started: Sequence[Command]) -> None:
    """Wait for the processes of a run, which must end well."""
    for one in started:
        _, said = one.communicate(SECONDS)
        assert one.returncode == 0, f"exit code {one.returncode}: {said.splitlines()[-1:]}"
        assert "Traceback" not in said, said


PART = Part(
    name="kills",
    claim="0 runs lost, 0 bits changed, never more than save_steps and a checkpoint in flight lost",
    cases=cases,
    few=6,
)
