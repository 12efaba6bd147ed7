"""What a fine-tuned model carries in its config.json so that it is used as it was trained."""

import math
from typing import Any

from debft.config.recipe import RuntimeConfig, TrainConfig, from_dict
from debft.data.sources.own import settings_of
from debft.errors import InputError, one_of, shown
from debft.models.files import ModelFiles
from debft.models.json_files import read_config
from debft.models.positions import longest_input
from debft.tasks import TASKS, QuestionAnswering, Task

SETTINGS = "debft"  # the key of config.json under which a fine-tuned model carries what it takes to use it
DEFAULT_LENGTH = 256
LONGEST_LENGTH = 8192  # of a model whose positions are relative, when it is used: memory grows with the square
# Keys of `train` that say how texts become tokens and tokens answers, and of `runtime` how the products are computed.
USE_ANSWERS = ("max_seq_length", "doc_stride", "max_question_length", "max_answer_length", "n_best_size")
USE_TEXTS = ("max_seq_length", "swap_texts", "truncation", "seed")  # seed: it draws what `random_ends` cuts
USE_RUNTIME = ("precision", "micro_batch_tokens")


def use_settings(task: Task, config: TrainConfig, runtime: RuntimeConfig) -> dict[str, Any]:
    """Return for config.json what it takes to use the model exactly as the run did that trained it.

    runtime: holds the precision that was in use, never `auto`
    """
    keys = USE_ANSWERS if isinstance(task, QuestionAnswering) else USE_TEXTS
    settings = {"task": task.name} | {key: getattr(config, key) for key in keys}
    settings |= {key: value for key in USE_RUNTIME if (value := getattr(runtime, key)) is not None}
    return settings | (settings_of(task) if task.name == "text" else {})


def read_settings(files: ModelFiles) -> dict[str, Any]:
    """Return what `use_settings` wrote into the model's config.json, {} for a model of another program.

    Raises InputError where it is no longer what a run writes.
    """
    where, settings = files.path / "config.json", read_config(files.path).get(SETTINGS) or {}
    if not isinstance(settings, dict):
        raise InputError(f"{where}: {SETTINGS}: expected the settings of a fine-tuned model, got {shown(settings)}")
    if "task" in settings and settings["task"] not in TASKS:
        raise InputError(f"{where}: {SETTINGS}.task: expected one of {one_of(TASKS)}, got {shown(settings['task'])}")
    threshold = settings.get("no_answer_threshold", 0.0)
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not math.isfinite(threshold):
        raise InputError(f"{where}: {SETTINGS}.no_answer_threshold: expected a number, got {shown(threshold)}")
    return settings


def use_config(files: ModelFiles, settings: dict[str, Any]) -> tuple[TrainConfig, RuntimeConfig]:
    """Return the settings as sections of a recipe.

    A model of another program is used with as many tokens as it has positions for, 256 where its positions are relative.

    Raises InputError for settings that no training would have accepted.
    """
    where, longest = f"{files.path / 'config.json'}: {SETTINGS}", longest_input(read_config(files.path))
    runtime = {key: settings[key] for key in USE_RUNTIME if key in settings}
    train = {key: value for key, value in settings.items() if key not in ("task", "no_answer_threshold", *USE_RUNTIME)}
    train.setdefault("max_seq_length", longest or DEFAULT_LENGTH)
    recipe = from_dict({"train": train, "runtime": runtime}, where)
    if recipe.train.max_seq_length > (longest or LONGEST_LENGTH):
        raise InputError(f"{where}.max_seq_length: expected at most {longest or LONGEST_LENGTH}, got {recipe.train.max_seq_length}")
    return recipe.train, recipe.runtime
