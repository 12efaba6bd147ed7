"""Steps and rates against transformers' schedule and against the formulas."""

from dataclasses import replace

import pytest
import torch
from transformers import get_linear_schedule_with_warmup

from debft.config.recipe import TrainConfig
from debft.errors import InputError
from debft.training.schedule import check_schedule, learning_rate, num_steps, num_warmup_steps

CONFIG = TrainConfig(learning_rate=4.5e-5, warmup_steps=10)


@pytest.mark.parametrize(("warmup", "total"), [(10, 100), (0, 7), (99, 100), (1, 2)])
def test_linear_equals_transformers(warmup, total):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=4.5e-5)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, total)
    config = replace(CONFIG, warmup_steps=warmup)
    for step in range(total):
        assert learning_rate(step, config, total) == pytest.approx(schedule.get_last_lr()[0], rel=1e-12, abs=1e-20)
        optimizer.step()
        schedule.step()


def test_linear_unshifted_is_its_formula_and_drops_at_the_end_of_the_warmup():
    config = replace(CONFIG, schedule="linear_unshifted")
    rates = [learning_rate(step, config, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([4.5e-5 * k / 10 for k in range(10)])
    assert rates[10:] == pytest.approx([4.5e-5 * (1 - k / 100) for k in range(10, 100)])
    assert rates[10] == pytest.approx(4.5e-5 * 0.9)


@pytest.mark.parametrize("schedule", ["linear", "linear_unshifted"])
def test_first_update_of_a_warmup_has_rate_zero(schedule):
    assert learning_rate(0, replace(CONFIG, schedule=schedule), 100) == 0.0


def test_published_mnli_run_has_its_number_of_steps():
    card = TrainConfig(train_batch_size=64, num_train_epochs=3)
    assert num_steps(card, 392_702) == 3 * 6136  # ceil(392,702 / 64) = 6,136
    assert num_steps(replace(card, steps="down"), 392_702) == 18_407  # int(392,702 * 3 / 64)


def test_max_steps_wins_and_fractions_of_the_run_are_rounded_up():
    config = TrainConfig(max_steps=30, warmup_steps=0.1)
    assert num_steps(config, 10_000) == 30
    assert num_warmup_steps(config, 30) == 3
    assert num_warmup_steps(config, 31) == 4


def test_warmup_longer_than_the_run_is_an_input_error():
    with pytest.raises(InputError, match=r"train\.warmup_steps: expected less than the 30 steps of this run, got 1000"):
        check_schedule(TrainConfig(max_steps=30, warmup_steps=1000), 10_000)


def test_run_without_a_step_is_an_input_error():
    with pytest.raises(InputError, match="at least one optimizer step, got none: 10 rows x 3 epochs"):
        check_schedule(TrainConfig(steps="down", train_batch_size=64), 10)
