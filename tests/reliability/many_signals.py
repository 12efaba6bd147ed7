"""Signals, one to three within 100 ms, to the parent, its processes or all of them, at every point of a run."""

import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from group_runs import KINDS, ONE_RUN, busy, lives, runs_in, send, start, what_is_left
from parts import Case, Part

from debft.runtime.signals import SIGNALS

SECONDS_TO_LEAVE = 10.0
CASES, CASES_WHILE_STARTING = 110, 20
# Where a signal comes, and whether the run is then complete all the same.
POINTS = {
    "reading:1": False,
    "opening:1": False,
    "step:1": False,
    "step:3": False,
    "step:12": False,
    "saving:1": False,
    "saving:3": False,
    "evaluation:1": False,
    "batch:2": False,
    "evaluation:2": False,
    "model:1": True,
    "result:1": True,
}
TO = ("parent", "children", "all")


def cases() -> Iterator[Case]:
    """Return every combination of point, command and receiver once, and the numbers in turn."""
    for number in range(CASES):
        drawn = random.Random(number)
        kind = "one" if number % 5 == 0 else "seeds" if number % 5 == 1 else "two"
        point = list(POINTS)[number % len(POINTS)]
        to = "parent" if kind == "one" else drawn.choice(TO)
        sent = SIGNALS[drawn.randrange(len(SIGNALS))]
        times = drawn.randint(1, 3)
        name = f"{number:03d} {kind} {point} {sent.name} x {times} to {to}"
        yield Case(
            name=name,
            run=lambda directory, *of, kind=kind, point=point, to=to, sent=sent, times=times: at_point(
                directory, kind, point, to, sent, times
            ),
        )
    for number in range(CASES_WHILE_STARTING):
        drawn = random.Random(1000 + number)
        sent, seconds, kind = SIGNALS[number % len(SIGNALS)], drawn.uniform(0.2, 6.0), ("one", "two")[number % 2]
        yield Case(
            name=f"start {number:02d} {kind} {sent.name} after {seconds:.2f} s",
            run=lambda directory, sent=sent, seconds=seconds, kind=kind: while_starting(directory, kind, sent, seconds),
        )


def at_point(directory: Path, kind: str, point: str, to: str, sent: signal.Signals, times: int) -> str:
    """Send the signal when the main process is at the point, and look at what is left."""
    run = start(directory, kind, point)
    run.meet()
    pids = run.pids()
    targets = {"parent": pids[:1], "children": pids[1:], "all": pids}[to]
    for _ in range(times):
        send(targets, sent)
        time.sleep(0.1 / times)
    began = time.monotonic()
    code, err = run.ended()
    took = time.monotonic() - began
    run.all_are_gone()
    left = [what_is_left(one) for one in runs_in(run.output)]
    complete = bool(left) and all(words == "complete" for words in left)
    assert code == (0 if complete else 128 + sent), f"exit code {code} with {left}\n{err}"
    assert complete or not POINTS[point] or kind == "seeds", f"{left}\n{err}"
    said = [line for line in err.splitlines() if "interrupted" in line]
    assert kind == "seeds" or len(said) == (code != 0), f"said {len(said)} times\n{err}"
    assert took < SECONDS_TO_LEAVE * busy(), f"{took:.1f} s until the end\n{err}"
    return f"exit code {code} {after(took)}, {', '.join(left) or 'nothing begun'}"


def while_starting(directory: Path, kind: str, sent: signal.Signals, seconds: float) -> str:
    """Send the signal so long after the start of a Python of its own, which imports all this time on a slow machine."""
    words = ["mnli", "--data", "demo", "--output", directory / "run", *ONE_RUN, *KINDS[kind], "--max-steps", 500]
    process = subprocess.Popen(
        [sys.executable, "-m", "debft", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    time.sleep(seconds)
    children = children_of(process.pid)
    send([process.pid], sent)
    began = time.monotonic()
    _, err = process.communicate(timeout=240)
    took = time.monotonic() - began
    code = process.returncode
    assert code in (128 + sent, -sent), f"exit code {code}\n{err}"  # the second: before the first line of ours has run
    assert "debft/" not in err.partition("Traceback")[2], err
    assert len([line for line in err.splitlines() if "interrupted" in line]) <= 1, err
    assert not [pid for pid in children if lives(pid)]
    left = [what_is_left(one) for one in runs_in(directory / "run")]
    assert took < SECONDS_TO_LEAVE * busy(), f"{took:.1f} s until the end\n{err}"
    return f"exit code {code} {after(took)}, {', '.join(left) or 'nothing begun'}"


def after(seconds: float) -> str:
    """Say after how many seconds a command had ended, and where other work on the machine made it slower."""
    return f"after {seconds:.1f} s" + (f" on a machine {busy():.1f} times as busy" if busy() > 1.0 else "")


def slowest(said: Sequence[str]) -> str:
    """Return the longest time of those that ran on an idle machine, and of the others, in the words of `after`."""
    found = [re.search(r"after ([\d.]+) s( on a machine [\d.]+ times as busy)?", words) for words in said]
    parts = []
    for name, is_busy in (("an idle machine", False), ("a busy one", True)):
        seconds = [float(one[1]) for one in found if one and bool(one[2]) is is_busy]
        parts += [f"{max(seconds):.1f} s on {name}"] if seconds else []
    return f"the slowest took {' and '.join(parts)}"


def children_of(pid: int) -> list[int]:
    """The processes that a process has started."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in listed.read_text().split()] if listed.is_file() else []


PART = Part(
    name="signals",
    claim="every one left with its checkpoint and exit code within 10 s, and said so once; 0 processes left",
    cases=cases,
    few=6,
    figure=slowest,
)
