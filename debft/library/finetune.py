"""`debft.finetune`: a run as a call. What it needs of torch is imported when all the input has been checked."""

from collections.abc import Mapping
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any

from debft.config.recipe import Recipe
from debft.errors import InputError, Interrupted
from debft.library.kept import caller_kept
from debft.library.keywords import assignments_of, keys_of, path_of, told_by_keywords
from debft.library.page import write_page
from debft.library.resolving import default_output, in_words_of_options, options_typed, recipe_to_run, resolve
from debft.library.rows import Rows, RowsOnDisk, rows_to_write, splits_and_shares
from debft.runs.directory import RunDirectory
from debft.runs.result import RunResult


def finetune(
    task: str,
    *,
    train: Rows | None = None,
    validation: Rows | float | None = None,
    test: Rows | float | None = None,
    data: str | PathLike[str] | None = None,
    model: str | PathLike[str] | None = None,
    recipe: str | PathLike[str] | None = None,
    output: str | PathLike[str] | None = None,
    resume: bool = False,
    restart: bool = False,
    overwrite: bool = False,
    sift: bool | None = None,
    set: Mapping[str, Any] | None = None,
    quiet: bool = False,
    **options: Any,
) -> RunResult:
    """Fine-tune a model on `task` and return the result, which the run directory `output` holds as well.

    Every option of `debft TASK --help` is a keyword, with underscores: `max_steps=500`, `learning_rate=2e-5`, `seed=1`. The run
    is the one that the command line makes, score for score.

    task: a task of debft, such as `mnli` or `squad`; `text` for own data
    train, validation, test: rows in memory for `text`: a list of dicts, a dict of columns, a DataFrame of pandas or polars, a
        Dataset of datasets. They are written beside the run, as `OUTPUT.rows-DIGEST/train.jsonl` and so on, for evaluate, resume
        and compare. A number is the share of the training rows that is held out, as of `--validation` and `--test`
    data: where the rows are instead: a file, a directory, `demo` or `hub`
    model: an alias, a hub id or a directory (default: deberta-v3-xsmall)
    recipe: name or YAML file of a recipe (default: the published one of this model and task)
    output: directory of the run (default: runs/TASK-MODEL/seed-SEED)
    resume: the run in `output` goes on from its newest checkpoint; a complete one is returned as it is
    restart: the run in `output` begins anew with the options that it has, once everything is checked
    overwrite: another run takes the place of that in `output`, once everything is checked
    sift: train adversarially with the published strength (default: as the recipe has it)
    set: any other key of the recipe, `{"train.adam_epsilon": 1e-6}`
    quiet: nothing is printed; otherwise progress goes to stderr

    Raises InputError, with one line per problem, before anything is written, and another DebftError where training fails. Ctrl-C
    saves a checkpoint after the step that is being done and raises KeyboardInterrupt; once more ends at once. Seeds, handlers,
    environment and everything else that belongs to the whole process are left as the caller had them.
    """
    splits, shares = splits_and_shares(train=train, validation=validation, test=test)
    with caller_kept(quiet=quiet), told_by_keywords():
        keys = keys_of(task, options | shares | {"data": data, "model": model})
        rows = rows_to_write(task, splits, keys)
        return _finetune(
            task,
            keys,
            rows,
            recipe=None if recipe is None else path_of("recipe", recipe),
            sift=sift,
            assignments=assignments_of(set),
            output=None if output is None else path_of("output", output),
            resume=resume,
            restart=restart,
            overwrite=overwrite,
        )


def _finetune(
    task: str,
    keys: Mapping[str, Any],
    rows: RowsOnDisk | None,
    *,
    recipe: str | None,
    sift: bool | None,
    assignments: list[str],
    output: str | None,
    resume: bool,
    restart: bool,
    overwrite: bool,
) -> RunResult:
    """Do it, within the blocks that keep what is the caller's. rows: those in memory"""
    with ExitStack() as held:
        held.enter_context(in_words_of_options(options_typed(keys, assignments)))
        if rows is not None:
            unnamed = {**keys, "data": "rows"}
            named = output or default_output(resolve(task, unnamed, recipe=recipe, sift=sift, assignments=assignments))
            keys = {**keys, "data": str(held.enter_context(rows.written(Path(named))))}
        resolved, run = recipe_to_run(
            task, keys, recipe=recipe, sift=sift, assignments=assignments, output=output, goes_on=resume or restart
        )
        if resolved.own.folds is not None and resolved.own.fold is None:
            raise InputError("own.folds: a call is one run; `debft text --folds` runs them, each in a process of its own")
        result = _trained(resolved, run, resume=resume, restart=restart, overwrite=overwrite)
    write_page(run)
    return result


def _trained(recipe: Recipe, run: RunDirectory, *, resume: bool, restart: bool, overwrite: bool) -> RunResult:
    from debft.training.run import finetune as train

    try:
        return train(recipe, run.path, resume=resume, restart=restart, overwrite=overwrite)
    except Interrupted as interrupted:
        if interrupted.exit_code != 130:  # SIGHUP or SIGTERM: the program is to end, which is its own matter
            raise
        raise KeyboardInterrupt(str(interrupted)) from interrupted
