"""What is wrong with a recipe or its schedule, before anything expensive starts."""

from debft.errors import InputError, did_you_mean
from debft.recipe import Recipe, TrainConfig
from debft.schedule import num_steps
from debft.tasks import TASKS


def check_recipe(recipe: Recipe, where: str = "") -> None:
    """Raises InputError for what the types cannot say. `where`: the file, for the error line."""
    if recipe.task is None:
        raise InputError(f"{where}task: expected a task, the recipe names none")
    if recipe.task not in TASKS:
        raise InputError(f"{where}task: unknown task '{recipe.task}'{did_you_mean(recipe.task, TASKS)}")
    if recipe.model is None:
        raise InputError("--model: expected a model, the recipe names none; give --model")
    config = recipe.train
    if config.warmup_steps >= 1 and config.warmup_steps != int(config.warmup_steps):
        raise InputError(f"train.warmup_steps: expected a whole number of steps or a fraction below 1, got {config.warmup_steps}")


def check_schedule(config: TrainConfig, num_examples: int) -> int:
    """Optimizer steps of the run. Raises InputError for a run without steps or a warm-up that it never leaves."""
    total = num_steps(config, num_examples)
    if total < 1:
        raise InputError(
            f"train: expected at least one optimizer step, got none: {num_examples:,} rows x {config.num_train_epochs:g} epochs "
            f"are less than one batch of {config.train_batch_size}; lower --train-batch-size"
        )
    if config.warmup_steps >= total:
        raise InputError(
            f"train.warmup_steps: expected less than the {total:,} steps of this run, got {config.warmup_steps:g}; "
            "give --warmup-steps (a number below 1 is a fraction of the run)"
        )
    return total
