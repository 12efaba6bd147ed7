"""The rows of a task come from the hub, a directory or the built-in demo, and become token ids."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from debft.config.recipe import SOURCES, Recipe, source_kind
from debft.data.encoding import EncodedSplit, encode, never
from debft.data.problems import NOTHING_SKIPPED
from debft.data.rows import Examples, check_rows
from debft.data.sources import demo, directory
from debft.data.sources import hub as hub_datasets
from debft.data.sources.own import own_task
from debft.data.sources.table import DataTable
from debft.data.splits import folds_of
from debft.data.windows import encode_windows
from debft.errors import InputError
from debft.tasks import TEXT, QuestionAnswering, Split, Task, task_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def load_table(task: Task, split: Split, source: str) -> DataTable:
    """Read the rows of a split under the task's names for the columns. `source` is `hub`, `demo` or a directory.

    Raises InputError where there are none.
    """
    if source == "demo":
        return demo.table(task, split)
    if source == "hub":
        if not task.dataset:
            raise InputError(f"--data hub: {task.name} reads your own files; give --data DIR with train and validation files")
        return hub_datasets.table(task, split)
    return directory.table(task, split, Path(source))


def task_for(recipe: Recipe) -> Task:
    """Return the task as the recipe's data has it: with own data's columns and labels, and the eval splits that have rows."""
    task = task_of(recipe.task or "", recipe.languages)
    if task is TEXT:
        return own_task(recipe.own, load_table(task, task.train, recipe.data), skip=recipe.train.skip_bad_rows)
    return present(task, recipe.data, all_of_them=recipe.languages.eval_languages is not None)


def present(task: Task, source: str, *, all_of_them: bool = False) -> Task:
    """Return the task with those of its eval splits that `source` has rows of, where some suffice.

    all_of_them: the languages were asked for by name, so that each must have rows in some split
    Raises InputError where no split has rows.
    """
    if not task.some_evals_suffice or source in SOURCES:
        return task
    evals = tuple(split for split in task.evals if directory.has_rows(task, split, Path(source)))
    if not evals and not any(directory.find(task, split, Path(source)) for split in task.evals):
        directory.table(task, task.evals[0], Path(source))  # raises, with what was expected
    lacking = absent_languages(task, evals)
    if lacking and (all_of_them or not evals):
        present_ones = ", ".join(dict.fromkeys(split.config for split in evals)) or "none of the others either"
        raise InputError(f"--language: expected rows of {', '.join(lacking)} in {source}, got none; it has {present_ones}")
    return replace(task, evals=evals)


def load_examples(task: Task, recipe: Recipe) -> dict[str, Examples]:
    """Read and check the rows of every split of a run, by the name of the split. Raises InputError for bad rows."""
    of_fold = _of_fold(task, recipe) if recipe.own.folds is not None else {}
    return {split.name: of_fold[split.name] if split.name in of_fold else _read(task, split, recipe) for split in task.splits}


def _read(task: Task, split: Split, recipe: Recipe) -> Examples:
    is_train, config = split is task.train, recipe.train
    limit = config.max_train_samples if is_train else config.max_eval_samples
    return check_rows(load_table(task, split, recipe.data), task, limit, train=is_train, skip=config.skip_bad_rows)


def load_folds(task: Task, recipe: Recipe) -> tuple[Examples, np.ndarray]:
    """Return all training rows, N of them, and the fold of each, (N,) from 1. Raises InputError where they cannot be cut so."""
    folds, validation = recipe.own.folds, task.evals[0]
    if source_kind(recipe.data) == "directory" and (other := directory.find(task, validation, Path(recipe.data))):
        raise InputError(
            f"--folds {folds}: cuts the training rows, but {other[0]} is there as well, which nothing would read; add its rows to "
            "the training file, or leave --folds out"
        )
    whole = check_rows(load_table(task, task.train, recipe.data), task, train=True, skip=recipe.train.skip_bad_rows)
    if len(whole) < folds:
        raise InputError(f"--folds {folds}: expected at least as many rows, got {len(whole)} in {whole.source}")
    return whole, folds_of(whole, folds)


def _of_fold(task: Task, recipe: Recipe) -> dict[str, Examples]:
    """Return the rows of a run on folds: one is the validation split, the others are trained on."""
    config, fold, folds = recipe.train, recipe.own.fold, recipe.own.folds
    if fold is None:
        raise InputError(f"own.folds: expected a fold for a single run, 1 to {folds}; give --set own.fold=1")
    whole, fold_N = load_folds(task, recipe)
    train = whole.chosen(np.flatnonzero(fold_N != fold), f"{whole.source} without fold {fold} of {folds}")
    held_out = whole.chosen(np.flatnonzero(fold_N == fold), f"{whole.source}, fold {fold} of {folds}")
    train, held_out = train.part(0, config.max_train_samples), held_out.part(0, config.max_eval_samples)
    if len(np.unique(train.labels, axis=0)) < 2 or not len(held_out):
        raise InputError(
            f"--folds {folds}: expected at least two labels to train on and a row to score in every fold, got too few in "
            f"{train.source}; give fewer folds"
        )
    return {task.train.name: train, task.evals[0].name: replace(held_out, skipped=NOTHING_SKIPPED)}


def absent_languages(task: Task, evals: "tuple[Split, ...]") -> list[str]:
    """Return the languages of the task that none of these splits is in, in the task's order."""
    return [
        language
        for language in dict.fromkeys(split.config for split in task.evals)
        if language not in {split.config for split in evals}
    ]


def encode_split(
    task: Task,
    examples: Examples,
    tokenizer: "PreTrainedTokenizerFast",
    recipe: Recipe,
    *,
    what: str,
    by_word: Callable[[], bool] = never,
    cached: bool = True,
    show: bool = True,
) -> EncodedSplit:
    """Encode the examples with the lengths and the truncation of `recipe`, as its task needs it. The rest is as in `encode`."""
    if isinstance(task, QuestionAnswering):
        return encode_windows(
            examples,
            tokenizer,
            max_seq_length=recipe.text.max_seq_length,
            doc_stride=recipe.questions.doc_stride,
            max_question_length=recipe.questions.max_question_length,
            what=what,
            by_word=by_word,
            cached=cached,
            show=show,
        )
    return encode(
        examples,
        tokenizer,
        max_seq_length=recipe.text.max_seq_length,
        truncation=recipe.text.truncation,
        seed=recipe.train.seed,
        swap_texts=recipe.text.swap_texts,
        what=what,
        by_word=by_word,
        cached=cached,
        show=show,
    )
