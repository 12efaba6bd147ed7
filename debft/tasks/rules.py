"""What is wrong with a recipe for its task, before anything expensive starts."""

from debft.config.recipe import Recipe, TrainConfig
from debft.errors import InputError
from debft.tasks import TEXT, QuestionAnswering, Task, task_of

SPECIAL_TOKENS = 4  # around a pair, at most: RoBERTa has two between the texts


def check_recipe(recipe: Recipe, where: str = "") -> None:
    """Raises InputError for what the types cannot say. `where`: the file, for the error line."""
    if recipe.task is None:
        raise InputError(f"{where}task: expected a task, the recipe names none")
    task = task_of(recipe.task, recipe.train)
    if recipe.model is None:
        raise InputError("--model: expected a model, the recipe names none; give --model")
    config = recipe.train
    if config.warmup_steps >= 1 and config.warmup_steps != int(config.warmup_steps):
        raise InputError(f"train.warmup_steps: expected a whole number of steps or a fraction below 1, got {config.warmup_steps}")
    _check_for_task(task, config, where)


def _check_for_task(task: Task, config: TrainConfig, where: str) -> None:
    """Raises InputError for a value that does nothing for this task, or cannot work."""
    answers = isinstance(task, QuestionAnswering)
    for kind, used, keys in (
        ("XNLI", task.name == "xnli", ("train_language", "languages")),
        ("own data", task is TEXT, ("text_columns", "label_column", "problem")),
        ("question answering", answers, ("doc_stride", "max_question_length", "max_answer_length", "n_best_size")),
        ("classification", not answers, ("head_dropout", "swap_texts")),
    ):
        for key in keys:
            if not used and getattr(config, key) != getattr(TrainConfig(), key):
                raise InputError(f"{where}train.{key}: is for {kind}, the task is {task.name}; leave it out")
    check_lengths(task, config, f"{where}train.")


def check_lengths(task: Task, config: TrainConfig, where: str) -> None:
    """Raises InputError where windows would not move on. `where`: what stands before the key in the error line."""
    least = config.max_question_length + config.doc_stride + SPECIAL_TOKENS + 1
    if isinstance(task, QuestionAnswering) and config.max_seq_length < least:
        raise InputError(
            f"{where}max_seq_length: expected at least {least} for windows that share {config.doc_stride} tokens "
            f"(doc_stride) beside a question of {config.max_question_length} (max_question_length), got {config.max_seq_length}"
        )
