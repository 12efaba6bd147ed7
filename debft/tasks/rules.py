"""What is wrong with a recipe for its task, before anything expensive starts."""

from dataclasses import fields

from debft.config.recipe import Recipe, value_at
from debft.errors import InputError
from debft.tasks import TEXT, QuestionAnswering, Task, task_of

SPECIAL_TOKENS = 4  # around a pair, at most: RoBERTa has two between the texts


def check_recipe(recipe: Recipe, where: str = "") -> None:
    """Raises InputError for what the types cannot say. `where`: the file, for the error line."""
    if recipe.task is None:
        raise InputError(f"{where}task: expected a task, the recipe names none")
    task = task_of(recipe.task, recipe.languages)
    if recipe.model is None:
        raise InputError("--model: expected a model, the recipe names none; give --model")
    config = recipe.train
    if config.warmup_steps >= 1 and config.warmup_steps != int(config.warmup_steps):
        raise InputError(f"train.warmup_steps: expected a whole number of steps or a fraction below 1, got {config.warmup_steps}")
    _check_for_task(task, recipe, where)


def _check_for_task(task: Task, recipe: Recipe, where: str) -> None:
    """Raise InputError for a value that does nothing for this task, or cannot work."""
    answers, usual = isinstance(task, QuestionAnswering), Recipe()
    for kind, used, keys in (
        ("XNLI", task.name == "xnli", _keys_of("languages")),
        ("own data", task is TEXT, ("text.text_columns", "text.label_column", "text.problem")),
        ("question answering", answers, _keys_of("questions")),
        ("classification", not answers, ("train.head_dropout", "text.swap_texts")),
    ):
        for key in keys:
            if not used and value_at(recipe, key) != value_at(usual, key):
                raise InputError(f"{where}{key}: is for {kind}, the task is {task.name}; leave it out")
    check_lengths(task, recipe, f"{where}text.")


def _keys_of(section: str) -> tuple[str, ...]:
    return tuple(f"{section}.{f.name}" for f in fields(getattr(Recipe(), section)))


def check_lengths(task: Task, recipe: Recipe, where: str) -> None:
    """Raise InputError where windows would not move on. where: what stands before `max_seq_length` in the error line."""
    longest, questions = recipe.text.max_seq_length, recipe.questions
    least = questions.max_question_length + questions.doc_stride + SPECIAL_TOKENS + 1
    if isinstance(task, QuestionAnswering) and longest < least:
        raise InputError(
            f"{where}max_seq_length: expected at least {least} for windows that share {questions.doc_stride} tokens "
            f"(doc_stride) beside a question of {questions.max_question_length} (max_question_length), got {longest}"
        )
