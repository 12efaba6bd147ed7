"""This module decides when a run is evaluated, which of its weights are best, and whether it has waited long enough for better."""

from debft.config.recipe import Recipe, TrainConfig
from debft.data.batches import steps_per_epoch
from debft.errors import InputError, did_you_mean
from debft.tasks import QuestionAnswering, Task
from debft.tasks.task import LOSS


def check_choice(task: Task, recipe: Recipe) -> None:
    """Raise InputError where the best weights of this task cannot be told by what the recipe asks for."""
    config = recipe.train
    if config.checkpoint == "best" and not task.selection_evals:
        raise InputError(
            f"train.checkpoint: best needs {task.selection[0]} to choose by; add {recipe.languages.train_language} to --language, "
            "or its rows to the data"
        )
    metrics = task.metrics if isinstance(task, QuestionAnswering) else (*task.metrics, LOSS)
    splits = [split.name for split in task.selection_evals]
    known = [*metrics, *(f"{split}/{metric}" for split in splits for metric in metrics)]
    if config.metric is not None and config.metric not in known:
        raise InputError(f"train.metric: unknown metric '{config.metric}'{did_you_mean(config.metric, known)}")


def check_rhythm(config: TrainConfig, total_steps: int, num_sequences: int) -> None:
    """Raise InputError where a run that is to end early is evaluated at its end alone."""
    if config.patience is None:
        return
    if not any(evaluation_due(config, step, total_steps, num_sequences) for step in range(1, total_steps)):
        raise InputError(
            f"train.patience: expected at least 2 evaluations in the {total_steps:,} steps of this run, got 1; "
            f"give --eval-steps, such as {max(1, total_steps // 10)}"
        )


def evaluation_due(config: TrainConfig, step: int, total_steps: int, num_sequences: int) -> bool:
    """Return whether the recipe asks for an evaluation after this step; that of the last one is another matter.

    num_sequences: sequences of an epoch
    """
    end_of_epoch = step % steps_per_epoch(num_sequences, config.train_batch_size) == 0
    due = (config.eval_steps is not None and step % config.eval_steps == 0) or (config.eval_each_epoch and end_of_epoch)
    return due and step < total_steps


def ends_early(config: TrainConfig, step: int, total_steps: int, waited: int) -> bool:
    """Return whether the run ends after this step, before its last one. waited: evaluations since the best one"""
    return config.patience is not None and waited >= config.patience and step < total_steps


def patience_in_words(evaluations: int) -> str:
    """Return `3 evaluations without a better one`."""
    return f"{evaluations:,} evaluation{'' if evaluations == 1 else 's'} without a better one"


def in_words(task: Task, config: TrainConfig) -> str:
    """Name what the best weights are best by."""
    names = task.selection_names(config.metric)
    best = "lowest" if config.metric and config.metric.rpartition("/")[2] == LOSS else "highest"
    return f"{best} {names[0]}" if len(names) == 1 else f"{best} mean of {', '.join(names)}"
