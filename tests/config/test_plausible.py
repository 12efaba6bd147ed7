"""Values that can be typed and are hardly meant."""

import pytest

from debft.config.packaged import recipe_names, recipe_path
from debft.config.plausible import implausible
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, with_values


@pytest.mark.parametrize("name", recipe_names())
def test_no_packaged_recipe_is_implausible(name):
    assert implausible(load_recipe(recipe_path(name))) == []


SLIPS = {"train.learning_rate": 300.0, "train.num_train_epochs": 1e6, "train.adam_beta2": 0.1, "sift.weight": 1e4}


@pytest.mark.parametrize("key", SLIPS)
def test_slip_is_named_with_what_is_usual(key):
    (line,) = implausible(with_values(Recipe(), {key: SLIPS[key]}))
    assert line.startswith(f"{key}: {SLIPS[key]:g} is unusual, values between ")


def test_warm_up_that_outlasts_the_run_is_named():
    (line,) = implausible(with_values(Recipe(), {"train.max_steps": 50, "train.warmup_steps": 100.0}))
    assert line == "train.warmup_steps: 100 of the 50 steps of the run: the rate never falls; is it meant?"
