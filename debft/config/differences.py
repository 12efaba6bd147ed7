"""This module lists the keys in which two recipes differ, of those that count for a purpose."""

from dataclasses import fields
from typing import Any, Literal

from debft.config.recipe import SCORE_SECTIONS, Recipe, value_at

Purpose = Literal["resume", "repeat", "cell"]

# Every key that moves the score: what is trained on what, from which weights, and how.
SCORE_KEYS = (
    "task",
    "model",
    "init_from",
    "data",
    *(f"{section}.{f.name}" for section in SCORE_SECTIONS for f in fields(getattr(Recipe(), section))),
)

# Keys of the optimisation, which may be changed when a run goes on that came to a step that was not finite. With another value the
# steps behind it are other ones, and their number, rows and weights are the same.
OPTIMISATION = (
    "train.learning_rate",
    "train.warmup_steps",
    "train.schedule",
    "train.layerwise_lr_decay",
    "train.adam_beta1",
    "train.adam_beta2",
    "train.adam_epsilon",
    "train.weight_decay",
    "train.max_grad_norm",
    "sift.weight",
    "sift.init_std",
    "sift.step_size",
)

# Keys in which two recipes may differ all the same, by the question that is asked of them.
# resume: may a run go on with this recipe? Only with the very recipe that it began with.
# repeat: is this run another one of that recipe? The seed is what is varied, and the rows that were read are compared by
#   themselves: they tell whether a bad one was left out. Whoever asks has chosen by task and model, and knows where data and
#   initial weights may lie.
# cell: may this run stand beside a cell of the table that the recipe reproduces? As a repetition, and a run of some languages has
#   no score for the cells of the others.
_APART = frozenset({"task", "model", "init_from", "data", "train.seed", "train.skip_bad_rows"})
NOT_COUNTED: dict[Purpose, frozenset[str]] = {
    "resume": frozenset(),
    "repeat": _APART,
    "cell": _APART | {"languages.eval_languages"},
}


# Keys of `runtime` that a run may be resumed with otherwise, and that move its numbers by their rounding.
ROUNDING_KEYS = tuple(
    f"runtime.{name}"
    for name in ("precision", "attention", "checkpoint_activations", "shard", "deterministic", "micro_batch_tokens")
)
_PLACES = frozenset({"model", "init_from", "data"})  # they may be spelled otherwise


def changed_values(recorded: Recipe, asked: Recipe) -> dict[str, Any]:
    """Return the values of a run that goes on which are not those of its recipe and may move a number, by their dotted keys."""
    keys = [key for key in (*SCORE_KEYS, *ROUNDING_KEYS) if key not in _PLACES]
    return {key: value_at(asked, key) for key in keys if value_at(recorded, key) != value_at(asked, key)}


def differing_keys(one: Recipe, other: Recipe, purpose: Purpose) -> list[str]:
    """List the dotted keys in which two recipes differ, in the order of a recipe, of those that count for the purpose."""
    counted = [key for key in SCORE_KEYS if key not in NOT_COUNTED[purpose]]
    return [key for key in counted if value_at(one, key) != value_at(other, key)]
