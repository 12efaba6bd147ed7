"""A fine-tuned model carries settings in its config.json, so that it is used as it was trained."""

from collections.abc import Iterable
from typing import Any

from debft.config.reading import from_dict, is_finite_number
from debft.config.recipe import Recipe, value_at
from debft.config.recipe_hash import ADDED
from debft.data.sources.own import settings_of
from debft.errors import InputError, one_of, shown
from debft.models.files import ModelFiles
from debft.models.json_files import read_config
from debft.models.outputs import model_names
from debft.models.positions import longest_input
from debft.tasks import TASKS, TEXT, QuestionAnswering, Task, TextClassification

SETTINGS = "debft"  # the key of config.json under which a fine-tuned model carries what it takes to use it
DEFAULT_LENGTH = 256
LONGEST_LENGTH = 8192  # of a model whose positions are relative, when it is used: memory grows with the square
# Keys of a recipe that decide how texts become tokens and tokens answers, and how products are computed. A model's config.json has
# them without their sections.
USE_ANSWERS = (
    "text.max_seq_length",
    "questions.doc_stride",
    "questions.max_question_length",
    "questions.max_answer_length",
    "questions.n_best_size",
)
USE_TEXTS = (
    "text.max_seq_length",
    "text.swap_texts",
    "text.truncation",
    "train.seed",  # it draws what `random_ends` cuts
    "text.long_texts",
    "text.pooling",
    "text.window_stride",
)
USE_OWN = ("own.text_columns", "own.label_column", "own.problem", "own.label_separator")
USE_RUNTIME = ("runtime.precision", "runtime.micro_batch_tokens")
THRESHOLDS = "label_thresholds"  # the probability from which each label is predicted, by label
NO_ANSWER_THRESHOLD = "no_answer_threshold"  # by how much no answer has to be better than the best one
CHOSEN = (NO_ANSWER_THRESHOLD, THRESHOLDS)  # what was chosen on dev data


def flat_values(recipe: Recipe, keys: Iterable[str]) -> dict[str, Any]:
    """Return the values of dotted keys by their last part, as a model's config.json has them."""
    return {key.rpartition(".")[2]: value_at(recipe, key) for key in keys}


def use_settings(task: Task, recipe: Recipe) -> dict[str, Any]:
    """Return for config.json what it takes to use the model exactly as the run did that trained it.

    recipe: holds the precision that was in use, never `auto`
    """
    keys = [key for key in (USE_ANSWERS if isinstance(task, QuestionAnswering) else USE_TEXTS) if _says_something(recipe, key)]
    settings = {"task": task.name} | flat_values(recipe, keys)
    settings |= {key: value for key, value in flat_values(recipe, USE_RUNTIME).items() if value is not None}
    return settings | (settings_of(task) if isinstance(task, TextClassification) and task.name == TEXT.name else {})


def _says_something(recipe: Recipe, key: str) -> bool:
    """Tell whether a key has to be in config.json: one that a version added is left out where it is what every model did before."""
    return key not in ADDED or value_at(recipe, key) != value_at(Recipe(), key)


def read_settings(files: ModelFiles) -> dict[str, Any]:
    """Return what `use_settings` wrote into the model's config.json, {} for a model of another program.

    Raises InputError where it is no longer what a run writes.
    """
    where, settings = files.path / "config.json", read_config(files.path).get(SETTINGS) or {}
    if not isinstance(settings, dict):
        raise InputError(f"{where}: {SETTINGS}: expected the settings of a fine-tuned model, got {shown(settings)}")
    if "task" in settings and settings["task"] not in tuple(TASKS):
        raise InputError(f"{where}: {SETTINGS}.task: expected one of {one_of(TASKS)}, got {shown(settings['task'])}")
    threshold = settings.get(NO_ANSWER_THRESHOLD, 0.0)
    if not is_finite_number(threshold):
        raise InputError(f"{where}: {SETTINGS}.no_answer_threshold: expected a number, got {shown(threshold)}")
    thresholds = settings.get(THRESHOLDS, {})
    if not isinstance(thresholds, dict):
        raise InputError(f"{where}: {SETTINGS}.{THRESHOLDS}: expected a number by label, got {shown(thresholds)}")
    for label, number in thresholds.items():
        if label not in model_names(files) or not is_finite_number(number):
            expected = f"a number for one of {one_of(model_names(files))}"
            raise InputError(f"{where}: {SETTINGS}.{THRESHOLDS}: expected {expected}, got {shown(number)} for {shown(label)}")
    return settings


def use_config(files: ModelFiles, settings: dict[str, Any]) -> Recipe:
    """Return the settings as a recipe, which names neither task nor model.

    A model of another program is used with as many tokens as it has positions for, 256 where its positions are relative.

    Raises InputError for settings that no training would have accepted.
    """
    where, longest = f"{files.path / 'config.json'}: {SETTINGS}", longest_input(read_config(files.path))
    places = {key.rpartition(".")[2]: key.rpartition(".")[0] for key in (*USE_ANSWERS, *USE_TEXTS, *USE_OWN, *USE_RUNTIME)}
    content: dict[str, dict[str, Any]] = {}
    for key, value in {"max_seq_length": longest or DEFAULT_LENGTH, **settings}.items():
        if key not in ("task", *CHOSEN):
            content.setdefault(places.get(key, "train"), {})[key] = value
    recipe = from_dict(content, where)
    if recipe.text.max_seq_length > (longest or LONGEST_LENGTH):
        raise InputError(f"{where}.max_seq_length: expected at most {longest or LONGEST_LENGTH}, got {recipe.text.max_seq_length}")
    return recipe
