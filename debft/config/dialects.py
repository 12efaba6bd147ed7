"""A dialect is the program whose defaults hold for the keys that a recipe does not give."""

from typing import Any, Literal

from debft.config.recipe import Recipe, with_values

# What a recipe's `dialect` sets. The recipe's own keys win.
# card: the transformers command of the model cards (run_glue of 2021: AdamW, linear schedule, last checkpoint).
# repo: the DeBERTa repository. Source: microsoft/DeBERTa DeBERTa/optims/xadam.py (adamw, eps_mode 1, no bias
# correction), optims/lr_schedulers.py (warmup_linear), training/trainer.py (_eval_model keeps the best),
# apps/run.py and apps/train.py (num_train_steps is an int of the quotient), at commit 4d7fe0b.
DIALECTS: dict[str, dict[str, Any]] = {
    "card": {},
    "repo": {
        "train.schedule": "linear_unshifted",
        "train.bias_correction": False,
        "train.adam_epsilon": 1e-6,
        "train.weight_decay": 0.01,
        "train.steps": "down",
        "train.checkpoint": "best",
        "train.eval_each_epoch": True,
        "text.truncation": "random_ends",
    },
}


def of_dialect(name: Literal["card", "repo"]) -> Recipe:
    """Return the recipe that gives nothing but its dialect: every value is the default there."""
    return with_values(Recipe(dialect=name), DIALECTS[name])
