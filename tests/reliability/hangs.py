"""Processes that are stopped or killed are noticed; those that are slow, or paused together, are left alone."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from group_runs import KINDS, busy, lives, runs_in, send, start, what_is_left
from parts import Case, Part

SECONDS_TO_END = 10.0  # after a process was killed
HANG_SECONDS = 2.0  # in the place of five minutes
SLOW = 4 * HANG_SECONDS  # what no process does that lives, as the watch has it
POINTS = ("reading:1", "opening:1", "step:1", "step:3", "saving:1", "evaluation:1", "batch:2", "model:1")
RANKS = {"parent": None, "rank 0": 0, "rank 1": 1}


def cases() -> Iterator[Case]:
    """Return who is stopped or killed at which point, then who is only slow at it."""
    for point in POINTS:
        for who in RANKS:
            yield Case(name=f"stop {who} at {point}", run=lambda directory, point=point, who=who: stopped(directory, point, who))
        for who in ("rank 0", "rank 1"):
            yield Case(name=f"kill {who} at {point}", run=lambda directory, point=point, who=who: killed(directory, point, who))
        for how in ("", "hold "):
            for kind in KINDS:
                yield Case(
                    name=f"slow {how}{kind} at {point}",
                    run=lambda directory, point=point, how=how, kind=kind: slow(directory, point, how, kind),
                )
    for point in POINTS[2:5]:
        yield Case(name=f"stop a run of two at {point}", run=lambda directory, point=point: one_of_several(directory, point))
        yield Case(name=f"stop what runs two at {point}", run=lambda directory, point=point: parent_of_several(directory, point))
        for kind in ("two", "seeds"):
            yield Case(
                name=f"pause {kind} at {point}",
                run=lambda directory, point=point, kind=kind: paused(directory, point, kind, ctrl_z),
            )
            yield Case(
                name=f"pause each of {kind} at {point}",
                run=lambda directory, point=point, kind=kind: paused(directory, point, kind, stop_each),
            )


def stopped(directory: Path, point: str, who: str) -> str:
    """Stop one process for good: exit code 5, the stacks of all in a file that the line names, no process left."""
    # The main process waits at the point for longer than that, else a quick run is complete before anything is noticed.
    run = start(directory, "two", point, "--set", f"runtime.hang_seconds={HANG_SECONDS}", waits=f"{2 * HANG_SECONDS}")
    run.meet()
    rank = RANKS[who]
    target = run.command.pid if rank is None else run.of_rank(rank)
    os.kill(target, signal.SIGSTOP)
    code, err = run.ended()
    run.all_are_gone()
    line = next(line for line in err.splitlines() if "no sign of life" in line)
    assert code == 5, f"exit code {code}\n{err}"
    assert line.startswith("the process that started them" if rank is None else f"process {rank}: "), line
    stacks = (run.output / "stacks.txt").read_text()
    assert str(run.output / "stacks.txt") in line
    parts = stacks.split("--- ")[1:]
    # A process whose work was done by then has ended well, and has no stacks.
    assert len(parts) == 3 and all("most recent call first" in part or "ended with 0" in part for part in parts), stacks
    assert "most recent call first" in parts[0], stacks
    return f"exit code {code}, {what_is_left(runs_in(run.output)[0]) if runs_in(run.output) else 'nothing begun'}"


def killed(directory: Path, point: str, who: str) -> str:
    """Kill one process: exit code 5 and one line that names it, its signal and the last checkpoint; the others end soon."""
    run = start(directory, "two", point)
    run.meet()
    os.kill(run.of_rank(RANKS[who] or 0), signal.SIGKILL)
    began = time.monotonic()
    code, err = run.ended()
    took = time.monotonic() - began
    run.all_are_gone()
    assert code == 5, f"exit code {code}\n{err}"
    about = [line for line in err.splitlines() if re.search("^process|lost|interrupted|SIG", line)]
    assert len(about) == 1, err
    assert about[0].startswith(f"process {RANKS[who]}: ended by SIGKILL"), err
    saved = sorted(path.name for path in (run.output / "checkpoints").glob("step-*"))
    known = ["no checkpoint was saved yet", *saved][-2:]  # one that was being saved is whole after the line was written
    assert any(words in about[0] for words in known), err
    assert took < SECONDS_TO_END * busy(), f"{took:.1f} s until the end\n{err}"
    return f"exit code {code} after {took:.1f} s, {saved[-1] if saved else 'no checkpoint'}"


def slow(directory: Path, point: str, how: str, kind: str) -> str:
    """Let the main process take its time, in Python or in C that lets no other thread run: the run comes to its end."""
    run = start(directory, kind, point, "--set", f"runtime.hang_seconds={HANG_SECONDS}", waits=f"{how}{SLOW}")
    code, err = run.ended()
    assert code == 0, f"exit code {code}\n{err}"
    return f"{SLOW:.0f} s were not taken for a hang"


def one_of_several(directory: Path, point: str) -> str:
    """Stop one of two runs that debft does at a time: it fails with exit code 5, the other is complete."""
    run = start(directory, "seeds", point, "--set", f"runtime.hang_seconds={HANG_SECONDS}")
    run.meet()
    os.kill(run.pids()[1], signal.SIGSTOP)
    code, err = run.ended()
    run.all_are_gone()
    left = sorted(what_is_left(one) for one in runs_in(run.output))
    assert code == 5 and "no sign of life" in err, f"exit code {code}\n{err}"
    assert left[0] == "complete" and "most recent call first" in next(run.output.rglob("stacks.txt")).read_text(), left
    return f"exit code {code}, {', '.join(left)}"


def parent_of_several(directory: Path, point: str) -> str:
    """Stop the process that runs two at a time: it is woken, both save their state, and all end with exit code 5."""
    run = start(directory, "seeds", point, "--set", f"runtime.hang_seconds={HANG_SECONDS}", waits=str(SLOW))
    run.meet()
    os.kill(run.command.pid, signal.SIGSTOP)
    code, err = run.ended()
    run.all_are_gone()
    left = [what_is_left(one) for one in runs_in(run.output)]
    assert code == 5 and "was stopped" in err, f"exit code {code}\n{err}"
    assert "most recent call first" in (run.output / "logs" / "stacks.txt").read_text()
    return f"exit code {code}, {', '.join(left)}"


def ctrl_z(pids: list[int]) -> None:
    """Stop the command as the terminal does, which reaches its first process alone."""
    os.kill(pids[0], signal.SIGTSTP)
    deadline = time.monotonic() + SECONDS_TO_END
    while not all(is_stopped(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert all(is_stopped(pid) for pid in pids if lives(pid)), "Ctrl-Z stops them all"


def stop_each(pids: list[int]) -> None:
    """Stop each process, as one who stops a cgroup does."""
    send(pids, signal.SIGSTOP)


def is_stopped(pid: int) -> bool:
    """Whether the system says so. A process that is gone does nothing either."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == "T"
    except FileNotFoundError:
        return True


def paused(directory: Path, point: str, kind: str, pause: Callable[[list[int]], None]) -> str:
    """Pause all processes for longer than a hang takes, and let them go on: the run comes to its end."""
    run = start(directory, kind, point, "--set", f"runtime.hang_seconds={HANG_SECONDS}", waits="1.0")
    run.meet()
    pids = run.pids()
    pause(pids)
    time.sleep(SLOW)
    send(pids[:1] if pause is ctrl_z else pids, signal.SIGCONT)
    code, err = run.ended()
    assert code == 0, f"exit code {code}\n{err}"
    return f"{SLOW:.0f} s of pause were not taken for a hang"


PART = Part(
    name="hangs",
    claim="stopped processes noticed, stacks of all written, 0 processes left; 0 slow or paused ones taken for stopped",
    cases=cases,
    few=6,
)
