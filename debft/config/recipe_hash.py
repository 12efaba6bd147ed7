"""The hash of a recipe names what moves the score, and stays the same over the keys that versions of debft moved and added."""

import hashlib
import json
from dataclasses import asdict, fields

from debft.config.recipe import Recipe, value_at

# Keys that had another owner in older versions, with the place where each is now: first all were in `train`, then those of own data
# in `text`.
MOVED = {
    **{f"train.{key}": f"text.{key}" for key in ("max_seq_length", "truncation", "swap_texts")},
    **{f"{section}.{key}": f"own.{key}" for section in ("train", "text") for key in ("text_columns", "label_column", "problem")},
    **{f"train.{key}": f"questions.{key}" for key in ("doc_stride", "max_question_length", "max_answer_length", "n_best_size")},
    "train.train_language": "languages.train_language",
    "train.languages": "languages.eval_languages",
}
# Keys that a version added after runs had been named by their hash: one counts only where it is not what every older run did.
ADDED: tuple[str, ...] = (
    "train.class_weight",
    "train.metric",
    "train.patience",
    "train.layerwise_lr_decay",
    "text.long_texts",
    "text.pooling",
    "text.window_stride",
    "own.label_separator",
    "own.folds",
    "own.fold",
    "own.validation",
    "own.test",
    "own.split_seed",
    "own.split_column",
    "own.subset",
    "own.encoding",
)


def recipe_hash(recipe: Recipe) -> str:
    """Return 16 hex digits of what moves the score: model, task, data, the weights it starts from and `SCORE_SECTIONS`.

    A moved key is hashed in its first place, and a key of `ADDED` where it is not the default, so that a recipe keeps the hash that
    older reports and runs name.
    """
    added = {key: value for key in ADDED if (value := value_at(recipe, key)) != value_at(Recipe(), key)}
    train = {f.name: value_at(recipe, f"train.{f.name}") for f in fields(recipe.train) if f"train.{f.name}" not in ADDED}
    train |= {old.removeprefix("train."): value_at(recipe, new) for old, new in MOVED.items() if old.startswith("train.")} | added
    content = [recipe.model, recipe.task, recipe.data, recipe.init_from, train, asdict(recipe.sift)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
