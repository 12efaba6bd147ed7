"""The recipe decides how many optimizer steps a run has, and the learning rate of each."""

import math

from debft.config.recipe import TrainConfig
from debft.data.batches import steps_per_epoch
from debft.errors import InputError


def num_steps(config: TrainConfig, num_examples: int) -> int:
    """Return the number of optimizer steps of the whole run."""
    if config.max_steps is not None:
        return config.max_steps
    if config.steps == "down":
        return int(num_examples * config.num_train_epochs / config.train_batch_size)
    return math.ceil(steps_per_epoch(num_examples, config.train_batch_size) * config.num_train_epochs)


def num_warmup_steps(config: TrainConfig, total_steps: int) -> int:
    """Return the number of optimizer steps of the warm-up; a fraction of the run is rounded up, as in transformers."""
    return math.ceil(total_steps * config.warmup_steps) if config.warmup_steps < 1 else int(config.warmup_steps)


def learning_rate(step: int, config: TrainConfig, total_steps: int) -> float:
    """Return the rate of update `step`, counted from 0: the first update of a run with a warm-up has rate 0, in both forms.

    Source: `linear`, transformers optimization.get_linear_schedule_with_warmup; `linear_unshifted`, microsoft/DeBERTa
    DeBERTa/optims/lr_schedulers.py warmup_linear.
    """
    warmup = num_warmup_steps(config, total_steps)
    if step < warmup:
        return config.learning_rate * step / warmup
    if config.schedule == "linear_unshifted":
        return config.learning_rate * (1 - step / total_steps)
    return config.learning_rate * (total_steps - step) / (total_steps - warmup)


def check_schedule(config: TrainConfig, num_examples: int) -> int:
    """Return the number of optimizer steps. Raises InputError for a run without steps or a warm-up that it never leaves."""
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
