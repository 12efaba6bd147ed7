"""The rows of a task come from the hub, a directory or the built-in demo, and become token ids."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from debft.config.recipe import SOURCES, Recipe, window_stride
from debft.data.encoding import EncodedSplit, encode, never
from debft.data.examples import Examples
from debft.data.own_rows import own_rows
from debft.data.rows import check_rows
from debft.data.sources import demo, directory
from debft.data.sources import hub as hub_datasets
from debft.data.sources.table import DataTable
from debft.data.text_windows import encode_text_windows
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
        return own_rows(recipe).task
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
    return {split.name: _read(task, split, recipe) for split in task.splits}


def _read(task: Task, split: Split, recipe: Recipe) -> Examples:
    is_train, config = split is task.train, recipe.train
    limit = config.max_train_samples if is_train else config.max_eval_samples
    return check_rows(load_table(task, split, recipe.data), task, limit, train=is_train, skip=config.skip_bad_rows)


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
    if recipe.text.long_texts == "windows":
        return encode_text_windows(
            examples,
            tokenizer,
            max_seq_length=recipe.text.max_seq_length,
            window_stride=window_stride(recipe.text),
            pooling=recipe.text.pooling,
            swap_texts=recipe.text.swap_texts,
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
