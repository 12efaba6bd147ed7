"""What repeats a run: the same recipe over several seeds."""

import sys
from pathlib import Path
from typing import NoReturn

from debft.cli.stdout import print_json
from debft.config.recipe import Recipe
from debft.errors import InputError


def refuse_alone(option: str, num_processes: int | None) -> None:
    """Raise InputError for an option of a single run that `option` leaves no room for."""
    if num_processes not in (None, 1):
        raise InputError(f"--num-processes: does not go with {option}, whose runs have a process each; leave one of them out")


def repeat_seeds(recipe: Recipe, directory: Path, count: int, *, jobs: int | None, dry_run: bool, as_json: bool) -> NoReturn:
    """Run `recipe` with `count` seeds below `directory`, or show what would be run, and end the command."""
    from debft.several.repeat import show_plan
    from debft.several.seeds import plan_seeds, run_seeds

    repetition = plan_seeds(recipe, directory, count)
    if dry_run:
        content, code = show_plan(repetition, jobs)
    else:
        summary, code = run_seeds(repetition, jobs)
        content = summary.as_dict()
    if as_json:
        print_json(content)
    sys.exit(code)  # typer.Exit would print a second line for an interrupted run
