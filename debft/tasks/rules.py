"""This module finds what is wrong with a recipe for its task, before anything expensive starts."""

from collections.abc import Iterator
from dataclasses import fields

from debft.config.reading import Problem, secrets_in
from debft.config.recipe import Recipe, value_at, window_stride
from debft.errors import InputError
from debft.runtime.tracker_names import unknown_tracker
from debft.tasks import TEXT, QuestionAnswering, Task, TextClassification, task_of

WINDOWS = ("text.long_texts", "text.pooling", "text.window_stride")
SPECIAL_TOKENS = 4  # around a pair, at most: RoBERTa has two between the texts


def check_recipe(recipe: Recipe, where: str = "") -> None:
    """Raise InputError with a line for everything that the types of a recipe cannot say. where: the file, for the lines."""
    if recipe.task is None:
        raise InputError(Problem(path="task", message="expected a task, the recipe names none").line(where))
    if recipe.model is None:
        raise InputError("--model: expected a model, the recipe names none; give --model")
    task = task_of(recipe.task, recipe.languages, where)
    if problems := [*secrets_in(recipe), *_useless(task, recipe), *_impossible(task, recipe)]:
        raise InputError(*(problem.line(where) for problem in problems))


def check_lengths(task: Task, recipe: Recipe, where: str) -> None:
    """Raise InputError where windows would not move on. where: what stands before `max_seq_length` in the error line."""
    if message := _too_short(task, recipe):
        raise InputError(f"{where}max_seq_length: {message}")


def _useless(task: Task, recipe: Recipe) -> Iterator[Problem]:
    """Find the values that were given and do nothing for this task."""
    answers_questions, usual = isinstance(task, QuestionAnswering), Recipe()
    for kind, used, keys in (
        ("XNLI", task.name == "xnli", _keys_of("languages")),
        ("own data", task is TEXT, _keys_of("own")),
        ("question answering", answers_questions, _keys_of("questions")),
        ("classification", not answers_questions, ("train.head_dropout", "text.swap_texts", *WINDOWS)),
        ("labels", isinstance(task, TextClassification) and not task.is_regression, ("train.class_weight",)),
    ):
        for key in keys:
            if not used and value_at(recipe, key) != value_at(usual, key):
                yield Problem(path=key, message=f"is for {kind}, the task is {task.name}; leave it out")


def _impossible(task: Task, recipe: Recipe) -> Iterator[Problem]:
    """Find the values that cannot work."""
    warmup = recipe.train.warmup_steps
    if warmup >= 1 and warmup != int(warmup):
        message = f"expected a whole number of steps or a fraction below 1, got {warmup}"
        yield Problem(path="train.warmup_steps", message=message)
    for key in ("train.metric", "train.patience"):
        if value_at(recipe, key) is not None and recipe.train.checkpoint != "best":
            yield Problem(path=key, message="needs the best weights, train.checkpoint is last; leave one of the two out")
    if (separator := recipe.own.label_separator) is not None:
        if not separator.strip():
            yield Problem(path="own.label_separator", message=f"expected what stands between two labels, got {separator!r}")
        elif recipe.own.problem not in ("auto", "multilabel"):
            message = f"is for own.problem multilabel, got {recipe.own.problem}; leave one of the two out"
            yield Problem(path="own.label_separator", message=message)
    if recipe.text.long_texts == "cut":
        for key in WINDOWS:
            if value_at(recipe, key) != value_at(Recipe(), key):
                yield Problem(path=key, message="does nothing where long texts are cut; give --long-texts windows as well")
    if (held_out := (recipe.own.validation or 0.0) + (recipe.own.test or 0.0)) >= 1:
        yield Problem(
            path="own.validation", message=f"expected a sum with own.test below 1, got {held_out:g}: nothing is left to train on"
        )
    if recipe.own.folds is not None and recipe.own.validation is not None:
        yield Problem(path="own.validation", message="does not go with own.folds, which score every row; leave one of the two out")
    if too_short := _too_short(task, recipe):
        yield Problem(path="text.max_seq_length", message=too_short)
    if unknown := unknown_tracker(recipe.runtime.report_to):
        yield Problem(path="runtime.report_to", message=unknown)
    if recipe.own.fold is not None and (recipe.own.folds is None or recipe.own.fold > recipe.own.folds):
        most = f"at most the {recipe.own.folds} of own.folds" if recipe.own.folds else "own.folds beside it"
        yield Problem(path="own.fold", message=f"expected {most}, got {recipe.own.fold}")


def _too_short(task: Task, recipe: Recipe) -> str | None:
    """Say what `max_seq_length` must be for windows to move on; None where it is."""
    longest, questions = recipe.text.max_seq_length, recipe.questions
    if not isinstance(task, QuestionAnswering):
        shared = window_stride(recipe.text)
        least = 2 * shared + SPECIAL_TOKENS + 1  # a text that every window repeats may take half of the room
        if recipe.text.long_texts == "cut" or longest >= least:
            return None
        return f"expected at least {least} for windows that share {shared} tokens (window_stride), got {longest}"
    least = questions.max_question_length + questions.doc_stride + SPECIAL_TOKENS + 1
    if longest >= least:
        return None
    return (
        f"expected at least {least} for windows that share {questions.doc_stride} tokens (doc_stride) beside a question of "
        f"{questions.max_question_length} (max_question_length), got {longest}"
    )


def _keys_of(section: str) -> tuple[str, ...]:
    return tuple(f"{section}.{f.name}" for f in fields(getattr(Recipe(), section)))
