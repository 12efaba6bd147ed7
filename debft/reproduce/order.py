"""Runs in an order in which each one finds the run that it starts from."""

from collections.abc import Sequence
from pathlib import Path

from debft.console import say
from debft.reproduce.jobs import Failure, run_all
from debft.reproduce.plan import Run


def run_in_order(runs: Sequence[Run], jobs: int, devices: Sequence[str], logs: Path) -> tuple[dict[str, Failure], int]:
    """Like `run_all`, but first the runs that start from none, then those that start from these.

    One that starts from a run without a result is not run, fails with the exit code of that one, or with 2, and is named.
    """
    failures, waiting = {}, list(runs)
    while ready := [run for run in waiting if run.after is None or _complete(run.after)]:
        waiting = [run for run in waiting if run not in ready]
        failed, signal_number = run_all(ready, jobs, devices, logs)
        failures |= failed
        if signal_number:
            return failures, signal_number
    for run in waiting:
        failures[run.id] = Failure(
            code=failures[run.after.id].code if run.after.id in failures else 2,
            error=f"not run: it starts from {run.after.id}, which has no result",
        )
        say(f"{run.id}: {failures[run.id].error}")
    return failures, 0


def _complete(run: Run) -> bool:
    return run.damage() is None and run.result() is not None
