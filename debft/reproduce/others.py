"""Runs of the same recipe, rows and seed that other code or other versions made: they are shown, never counted, never deleted."""

from dataclasses import dataclass
from pathlib import Path

from debft.console import say
from debft.errors import InputError
from debft.reproduce.jobs import last_step
from debft.reproduce.keys import made_by
from debft.reproduce.plan import Run, TablePlan
from debft.runs.directory import RunDirectory


@dataclass(frozen=True, kw_only=True)
class OtherRun:
    """A run that lies beside `beside`, the id of the one that this code makes. status: `complete`, `interrupted` or `damaged`."""

    id: str
    directory: Path
    beside: str
    status: str
    made_by: str


def other_runs(plan: TablePlan) -> list[OtherRun]:
    """What lies in the output with the key of a planned run, but was made by other code, versions or another model revision."""
    return [_look(path, run) for run in plan.runs for path in _beside(run)]


def say_other_runs(others: list[OtherRun]) -> None:
    """A line for each maker, with the names of its runs."""
    for maker in dict.fromkeys(other.made_by for other in others):
        names = [f"{other.id} ({other.status})" for other in others if other.made_by == maker]
        say(f"made by {maker}; not counted, not resumed, they stay: {', '.join(names)}")


def _beside(run: Run) -> list[Path]:
    """The directories of the same key. The first versions of debft wrote nothing behind the key."""
    name = f"seed-{run.seed}-{run.key}"
    there = [run.directory.with_name(name), *sorted(run.directory.parent.glob(f"{name}-*"))]
    return [path for path in there if path != run.directory and path.is_dir()]


def _look(path: Path, run: Run) -> OtherRun:
    try:
        result = RunDirectory(path).result()
    except InputError:
        status, maker = "damaged", "something that its files do not tell"
    else:
        status = "complete" if result else f"interrupted after step {last_step(path):,}"
        maker = made_by(result.environment) if result else "other code or versions"
        if maker == "this code":
            maker += " from another revision of the model"
    return OtherRun(id=f"{path.parent.name}/{path.name}", directory=path, beside=run.id, status=status, made_by=maker)
