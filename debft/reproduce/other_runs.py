"""This module lists the runs of a planned recipe, rows and seed that other code made: shown, never counted, never deleted."""

from pathlib import Path

from debft.console import say
from debft.errors import InputError
from debft.output.pages.records import OtherRun
from debft.reproduce.identity import made_by
from debft.reproduce.plan import TablePlan
from debft.reproduce.planned_run import PlannedRun
from debft.reproduce.process import last_step
from debft.runs.directory import RunDirectory


def other_runs(table_plan: TablePlan) -> list[OtherRun]:
    """Return what lies in the output with the key of a planned run, but was made by other code, versions or another revision."""
    return [_read(path, run) for run in table_plan.runs for path in _directories_beside(run)]


def say_other_runs(others: list[OtherRun]) -> None:
    """Say a line for each maker, with the names of its runs."""
    for maker in dict.fromkeys(other.made_by for other in others):
        names = [f"{other.id} ({other.status})" for other in others if other.made_by == maker]
        say(f"made by {maker}; not counted, not resumed, they stay: {', '.join(names)}")


def _directories_beside(run: PlannedRun) -> list[Path]:
    """Return the other directories of the same key. The first versions of debft wrote nothing behind the key."""
    name = f"seed-{run.seed}-{run.key}"
    paths = [run.directory.with_name(name), *sorted(run.directory.parent.glob(f"{name}-*"))]
    return [path for path in paths if path != run.directory and path.is_dir()]


def _read(path: Path, run: PlannedRun) -> OtherRun:
    try:
        result = RunDirectory(path).result()
    except InputError:
        status, maker = "damaged", "something that its files do not tell"
    else:
        status = "complete" if result else f"interrupted after step {last_step(path):,}"
        maker = made_by(result.environment) if result else "other code or versions"
        if maker == "this code":
            maker += " from another revision of the model"
    return OtherRun(id=f"{path.parent.name}/{path.name}", directory=str(path), beside=run.id, status=status, made_by=maker)
