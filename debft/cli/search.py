"""`debft search TASK`: the options of the task's own command, and how settings are searched."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from debft.cli.options import command_with
from debft.cli.several import show_estimate
from debft.cli.stdout import print_json
from debft.errors import HubError
from debft.library.options import DEFAULT_MODEL, OF_LAUNCH, RUN, Option, options_of
from debft.library.resolving import default_output, in_words_of_options, options_typed, resolve
from debft.runtime.extras import check_extra
from debft.tasks import TASKS, TEXT

TRIALS = 20  # that a search has where --trials says nothing else
# Options of a task's command that a search does not have: it goes on by itself, and each trial is one process with one seed.
NOT_OF_A_SEARCH = ("resume", "restart", "overwrite", "seeds", "jobs", "folds", *OF_LAUNCH)
HELP = {  # of options that a task's command has for a run
    "output": "Directory of the search (default: runs/TASK-MODEL/search).",
    "as_json": "Print study.json on stdout, and nothing else there (with --dry-run the plan).",
}
OWN_OPTIONS = (
    Option(name="trials", key=None, kind=int, flag="--trials", panel=RUN, help=f"Trials in all (default: {TRIALS}).", least=1),
    Option(
        name="space",
        key=None,
        kind=str,
        flag="--space",
        panel=RUN,
        help="YAML file of what is tried (default: rate 1e-5 to 1e-4, batch size 16, 32 or 64, 2 to 5 epochs, warm-up 0 to 0.2).",
        is_path=True,
    ),
    Option(
        name="jobs", key=None, kind=int, flag="--jobs", panel=RUN, help="Trials at a time (default: one per GPU, else 1).", least=1
    ),
)
app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Search for the settings that score best on the dev rows (needs optuna): debft search text --data DIR --trials 30",
)


def search_command(task: str) -> Callable[..., None]:
    """Make the command `debft search TASK`, with the signature from which Typer makes its options."""
    shared = [option for option in options_of(task) if option.name not in NOT_OF_A_SEARCH]
    options = [*OWN_OPTIONS, *(replace(option, help=HELP.get(option.name, option.help)) for option in shared)]

    def run(keys: Mapping[str, Any], **others: Any) -> None:
        with in_words_of_options(options_typed(keys, others["assignments"] or ())):
            search(task, keys, **others)

    return command_with(options, run)


def search(
    task: str,
    keys: Mapping[str, Any],
    *,
    trials: int | None,
    space: str | None,
    jobs: int | None,
    recipe: str | None,
    sift: bool | None,
    assignments: Sequence[str] | None,
    output: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Search for settings of `task`. keys: the keys of the recipe that were typed, which are the same in every trial."""
    check_extra("search", "debft search")
    from debft.several.space import check_not_typed, read_space

    resolved = resolve(task, keys, recipe=recipe, sift=sift, assignments=assignments or ())
    dimensions = read_space(Path(space) if space else None, resolved)
    check_not_typed(dimensions, options_typed(keys, assignments or ()))
    from debft.several.search import plan_search, show_plan
    from debft.several.search import search as run_search

    directory = Path(output) if output else default_output(resolved).with_name("search")
    try:
        plan = plan_search(resolved, directory)
    except HubError as error:
        if not dry_run:
            raise
        show_estimate(resolved, trials or TRIALS, error, as_json)
        sys.exit(0)
    if dry_run:
        content, code = show_plan(plan, dimensions, directory, trials=trials or TRIALS, jobs=jobs), 0
    else:
        content, code = run_search(plan, dimensions, directory, trials=trials or TRIALS, jobs=jobs)
    if as_json:
        print_json(content)
    sys.exit(code)  # typer.Exit would print a second line for an interrupted search


for _name, _task in TASKS.items():
    _model = "" if _task is TEXT else f" --model {DEFAULT_MODEL}"
    _example = f"debft search {_name}{' --data DIR' if _task is TEXT else _model} --trials 30 --space space.yaml"
    app.command(_name, help=f"Search for settings of {_name}.", epilog=f"Example: {_example}")(search_command(_name))
