"""Locks: of many commands that are started at once into one directory exactly one trains, whatever the others are told."""

import re
import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from parts import Case, Part
from processes import Command

from debft.runs.directory import RunDirectory

STARTS, ROUNDS = 20, 50
STEPS = 2
# A command that is ready waits for the file `go` beside its run, so that all begin at the same moment.
TOGETHER = """
import sys, time
from pathlib import Path
from debft.__main__ import main
place = Path(sys.argv.pop(1))
(place / f"ready-{sys.argv.pop(1)}").touch()
while not (place / "go").exists():
    time.sleep(0.001)
main()
"""
ARGUMENTS = ("mnli", "--data", "demo", "--model", "demo", "--from-scratch", "--max-steps", STEPS, "--train-batch-size", 8)
FEW_ROWS = ("--max-train-samples", 32, "--max-eval-samples", 8)
# What a command that did not train may say, each with exit code 2.
TOLD = (
    r"another process is training into it \(pid (\d+) on \S+ since [0-9: -]+ UTC\); wait for it or end it",
    r"holds a run already; --resume continues it",
    r"another process has just completed this run",
)


def start_together(directory: Path, more: tuple[str, ...]) -> list[Command]:
    """Start the same command `STARTS` times and let all go at once."""
    run = directory / "run"
    commands = [
        Command(directory, number, *ARGUMENTS, *FEW_ROWS, "--output", run, *more, code=TOGETHER) for number in range(STARTS)
    ]
    while len(list(directory.glob("ready-*"))) < STARTS:
        time.sleep(0.01)
    (directory / "go").touch()
    return commands


def one_wins(more: tuple[str, ...], directory: Path) -> str:
    """Exactly one trains. The others are told why not: with --resume also that the run is complete, which ends with 0."""
    commands = start_together(directory, more)
    said = [command.communicate()[1].replace("\n", " ") for command in commands]
    codes = [command.returncode for command in commands]
    complete = [number for number, text in enumerate(said) if "already complete" in text]
    winners = [number for number, code in enumerate(codes) if code == 0 and number not in complete]
    assert len(winners) == 1, (codes, said)
    assert not complete or "--resume" in more, said
    winner, named = commands[winners[0]], 0
    for number, text in enumerate(said):
        if number in winners or number in complete:
            continue
        found = [match for told in TOLD if (match := re.search(told, text))]
        assert codes[number] == 2 and found, (codes[number], text)
        if found[0].re.groups:
            assert int(found[0][1]) == winner.pid, (found[0][0], winner.pid)
            named += 1
    run = RunDirectory(directory / "run")
    result = run.result()
    assert result is not None and result.steps == STEPS
    run.check_model(result)
    assert [row["step"] for row in run.logs.rows("steps.jsonl")] == list(range(1, STEPS + 1))
    assert not [path.name for path in run.path.rglob("*.partial")]
    return f"1 of {STARTS} trained, {named} were told who, {len(complete)} that it is complete"


@cache
def rounds() -> tuple[Case, ...]:
    """Every second round is a start of a new run, the others ask to resume what is not there yet."""
    kinds = (("new", ()), ("resume", ("--resume",)))
    return tuple(
        Case(name=f"{kind}-{number:02}", run=partial(one_wins, more))
        for number in range(ROUNDS)
        for kind, more in (kinds[number % len(kinds)],)
    )


def cases() -> Iterator[Case]:
    yield from rounds()


PART = Part(
    name="locks", claim=f"of {STARTS} simultaneous starts exactly one trains, and the others are told which", cases=cases, few=2
)
