"""This module repeats a run into directories beside each other: it checks what is there, runs what is missing, and sums up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, to_dict, with_train
from debft.console import clock, say
from debft.errors import InputError
from debft.output.layout import print_table
from debft.output.terminal import estimate_lines
from debft.output.text import counted, plural
from debft.reproduce.identity import made_by, made_here
from debft.reproduce.jobs import jobs_at_a_time, run_all, signal_that_ended
from debft.reproduce.notes import Failure
from debft.reproduce.planned_run import PlannedRun
from debft.reproduce.run import worst_code
from debft.reproduce.terminal import at_a_time
from debft.runs.directory import RunDirectory
from debft.runs.result import RunResult
from debft.runs.storage import write_atomically
from debft.runtime.devices import devices_here
from debft.runtime.launch.group import in_a_group
from debft.runtime.progress import activity
from debft.runtime.signals import INTERRUPTED
from debft.several.summary import SUMMARY, RunOfSeveral, StatusOfSeveral, Summary, spread_of, spread_table
from debft.tasks import Task
from debft.training.place import check_same_run, check_writable
from debft.training.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Repetition:
    """A repetition plans several runs of one recipe, which differ in their seed or in their fold."""

    over: Literal["seed", "fold"]
    """What differs."""
    first: Plan
    """The plan of the first run."""
    recipe: Recipe
    """The recipe that they have in common; its own seed is that of the first run."""
    directory: Path
    """The directory that their directories are in."""
    runs: dict[int, PlannedRun]
    """The runs by seed or fold."""

    @property
    def task(self) -> Task:
        """Return the task, as the data of the first run has it."""
        return self.first.task

    def missing(self) -> list[PlannedRun]:
        """Return the runs that are to be run or resumed; damaged ones are not."""
        return [run for run in self.runs.values() if run.is_missing()]

    def damaged(self) -> dict[str, str]:
        """Return what is wrong with each run whose files cannot be trusted, by its id."""
        return {run.id: damage for run in self.runs.values() if (damage := run.damage())}


def check_place(option: str, directory: Path, over: str, recipe: Recipe, runs: Mapping[Path, Recipe]) -> None:
    """Raise InputError, with a line for each directory, where runs of another recipe or other files are in the way.

    recipe: what all runs have in common; runs: the recipe of each by its directory
    """
    if in_a_group():
        raise InputError(f"{option}: starts processes of its own; start debft without torchrun or accelerate")
    check_writable(directory)
    if RunDirectory(directory).exists():
        raise InputError(f"--output {directory}: expected a directory for several runs, got that of a single run; choose another")
    problems = []
    for path, own_recipe in runs.items():
        run = RunDirectory(path)
        if run.occupied() and not run.exists():
            problems.append(f"--output {path}: expected an empty directory or a run, got other files; give another --output")
        elif run.exists():
            problems += _differences(path, run.recipe, own_recipe)
    common, others = common_recipe(directory, over), sorted(directory.glob(f"{over}-*/recipe.yaml"))
    if not problems and common.is_file() and others:  # runs with other seeds would else be of another recipe than those beside them
        problems += _differences(directory, lambda: _from_seed(load_recipe(common), recipe, over), recipe)
    if problems:
        raise InputError(*problems)


def _from_seed(recorded: Recipe, asked: Recipe, over: str) -> Recipe:
    """Return a recorded recipe with the first seed of the one that is asked for, where seeds are what differs."""
    return with_train(recorded, seed=asked.train.seed) if over == "seed" else recorded


def _differences(path: Path, recorded: Callable[[], Recipe], asked: Recipe) -> tuple[str, ...]:
    """Return the error lines about the recipe that is in a directory, none where it is the one that is asked for."""
    try:
        check_same_run(f"--output {path}", recorded(), asked)
    except InputError as error:
        return error.problems
    return ()


def common_recipe(directory: Path, over: str) -> Path:
    """Return the path of the recipe that all runs below `directory` have in common."""
    return directory / f"{over}s.yaml"


def planned(recipe: Recipe, directory: Path, *, steps: int, fingerprints: Mapping[str, str], options: Sequence[str]) -> PlannedRun:
    """Return the planned run of `recipe` into `directory`. options: what its command has beside `--output`."""
    return PlannedRun(
        id=directory.name,
        recipe=recipe,
        directory=directory,
        arguments=(recipe.task or "", *options, "--output", str(directory)),
        total_steps=steps,
        fingerprints=dict(fingerprints),
        any_code=True,
    )


def repeat(repetition: Repetition, jobs: int | None) -> tuple[dict[str, Failure], int]:
    """Run or resume what is missing, `jobs` at a time, and say what is damaged.

    Return (failures by run id, the signal that ended it early or 0). A run whose files are damaged is a failure with exit code 2.
    """
    missing, damaged, directory = repetition.missing(), repetition.damaged(), repetition.directory
    say_state(repetition, jobs)
    failures: dict[str, Failure] = {}
    signal_number = 0
    if missing:
        content = yaml.safe_dump(to_dict(repetition.recipe), sort_keys=False, allow_unicode=True)
        write_atomically(common_recipe(directory, repetition.over), content.encode())
        at_once = _at_once(repetition, missing, jobs)
        failures, signal_number = run_all(missing, at_once, devices_here(), directory / "logs", what=f"{repetition.over}s")
        signal_number = signal_that_ended(signal_number, missing)
    return failures | {name: Failure(code=2, error=damage) for name, damage in damaged.items()}, signal_number


def say_state(repetition: Repetition, jobs: int | None) -> None:
    """Say how many runs there are and what becomes of them, and name the damaged ones."""
    missing, damaged, numbers = repetition.missing(), repetition.damaged(), list(repetition.runs)
    which = f"{plural(repetition.over, len(numbers))} {numbers[0]}" + (f" to {numbers[-1]}" if len(numbers) > 1 else "")
    line = (
        f"{counted(len(numbers), 'run')} of {which}: {len(numbers) - len(missing) - len(damaged)} complete, {len(missing)} to run"
    )
    line += f", {at_a_time(_at_once(repetition, missing, jobs))}" if len(missing) > 1 else ""
    line += f", {len(damaged)} damaged, neither counted nor run" if damaged else ""
    say(f"{line}   {repetition.directory}")
    for damage in damaged.values():
        say(damage)


def _at_once(repetition: Repetition, missing: Sequence[PlannedRun], jobs: int | None) -> int:
    return min(jobs_at_a_time(jobs, repetition.recipe.data), max(len(missing), 1))


def show_plan(repetition: Repetition, jobs: int | None) -> tuple[dict[str, Any], int]:
    """Say what would be run, and train nothing. Return (the same for scripts, the exit code)."""
    say_state(repetition, jobs)
    missing, damaged = {run.id for run in repetition.missing()}, repetition.damaged()
    estimate = probe_of_runs(repetition.first, repetition.directory, len(missing), jobs) if missing else None
    runs = [
        {
            "number": number,
            "directory": str(run.directory),
            "status": "damaged" if run.id in damaged else "missing" if run.id in missing else "complete",
            "steps": run.total_steps,
            "fingerprints": run.fingerprints,
            "command": run.command,
        }
        for number, run in repetition.runs.items()
    ]
    content: dict[str, Any] = {
        "output": str(repetition.directory),
        "over": repetition.over,
        "runs": runs,
        "recipe": to_dict(repetition.recipe),
        "estimate": estimate,
    }
    say(f"{sum(run.total_steps for run in repetition.runs.values()):,} optimizer steps in all; nothing was trained (--dry-run)")
    return content, 2 if damaged else 0


def probe_of_runs(plan: Plan, directory: Path, number: int, jobs: int | None) -> dict[str, Any]:
    """Do a few steps of a run in memory, and print what one and all of `number` such runs will take. Return the same for scripts.

    Runs that share a CPU share its cores, so that they take as long together as one after the other.
    """
    with activity("loading torch"):
        from debft.training.probe import probe
    estimate = probe(plan, RunDirectory(directory))
    on_gpus = min(jobs_at_a_time(jobs, plan.recipe.data), max(len(devices_here()), 1), number)
    seconds = number * (estimate.train_seconds + estimate.eval_seconds) / on_gpus
    for line in estimate_lines(estimate):
        say(line)
    say(f"in all    about {clock(seconds)} for {counted(number, 'run')}" + (f", {at_a_time(on_gpus)}" if on_gpus > 1 else ""))
    return asdict(estimate) | {"runs": number, "seconds_of_all": seconds}


def summarize(repetition: Repetition, failures: Mapping[str, Failure], rule: str) -> Summary:
    """Sum up the runs that are complete; those that another code made are counted, and named."""
    results = {number: run.result() for number, run in repetition.runs.items() if not run.damage()}
    complete = {number: result for number, result in results.items() if result is not None}
    first = next(iter(complete.values()), None)
    names = dict.fromkeys(name for result in complete.values() for name in result.scores)
    published = {row.score: row.value for row in first.published} if first else {}
    return Summary(
        over=repetition.over,
        task=repetition.task.name,
        model=repetition.recipe.model or "",
        scores={
            name: spread_of(
                name,
                {str(number): result.scores[name] for number, result in complete.items() if name in result.scores},
                published=published.get(name),
                with_interval=repetition.over == "seed",
            )
            for name in names
        },
        rule=rule,
        runs=[_entry(repetition, number, results.get(number), failures) for number in repetition.runs],
        recipe=to_dict(repetition.recipe),
    )


def _entry(repetition: Repetition, number: int, result: RunResult | None, failures: Mapping[str, Failure]) -> RunOfSeveral:
    run = repetition.runs[number]
    failure, damage = failures.get(run.id), run.damage()
    status: StatusOfSeveral = "complete" if result else "damaged" if damage else "not run"
    if failure and not result and not damage:
        status = "interrupted" if failure.code in INTERRUPTED else "failed"
    return RunOfSeveral(
        number=number,
        directory=run.directory.relative_to(repetition.directory).as_posix(),
        status=status,
        error=damage or (failure.error if failure and not result else None),
        command=run.command,
        scores=result.scores if result else {},
        fingerprints=run.fingerprints,
        made_by=made_by(result.environment) if result and not made_here(result.environment) else None,
    )


def show(summary: Summary, directory: Path) -> None:
    """Print the table of the scores, what was not counted and what was made otherwise, and where everything is."""
    if summary.scores:
        print_table(spread_table(summary))
        say(summary.rule)
    for run in summary.runs:
        if run.status != "complete":
            say(f"{run.directory}: {run.status}, not counted" + (f": {run.error}" if run.error else ""))
        elif run.made_by:
            say(f"{run.directory}: made by {run.made_by}; counted all the same, remove it to make it anew")
    say(f"{directory}   {SUMMARY}  {summary.over}-*/")


def exit_code(failures: Mapping[str, Failure], signal_number: int) -> int:
    """Return 128 + the signal that ended everything, else the worst exit code of the runs."""
    return 128 + signal_number if signal_number else worst_code(failure.code for failure in failures.values())
