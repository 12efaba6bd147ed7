"""This module knows between which values a key usually lies: beyond them a recipe is allowed, and probably a slip."""

from debft.config.recipe import Recipe, value_at

# (lowest, highest) usual value, of fine-tuning from published recipes of 1e-6 to 2e-3, with room on both sides.
USUAL = {
    "train.learning_rate": (1e-7, 1e-2),
    "train.num_train_epochs": (0.01, 100),
    "train.train_batch_size": (1, 8192),
    "train.weight_decay": (0, 1),
    "train.max_grad_norm": (0.01, 100),
    "train.adam_beta1": (0.5, 0.999),
    "train.adam_beta2": (0.8, 0.99999),
    "train.adam_epsilon": (1e-12, 1e-3),
    "train.head_dropout": (0, 0.7),
    "text.max_seq_length": (16, 8192),
    "sift.weight": (0, 100),
    "sift.init_std": (0, 1),
    "sift.step_size": (0, 1),
}


def implausible(recipe: Recipe) -> list[str]:
    """Return a line for each value that can be typed and is hardly meant."""
    lines = []
    for key, (lowest, highest) in USUAL.items():
        value = value_at(recipe, key)
        if value is not None and not lowest <= value <= highest:
            lines.append(f"{key}: {value:g} is unusual, values between {lowest:g} and {highest:g} are usual; is it meant?")
    steps, warmup = recipe.train.max_steps, recipe.train.warmup_steps
    if steps is not None and warmup >= 1 and warmup >= steps:
        lines.append(f"train.warmup_steps: {warmup:g} of the {steps:,} steps of the run: the rate never falls; is it meant?")
    return lines
