"""What a run will take is estimated: exact tokens times what a token took in a few steps that leave nothing behind."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import write_mnli

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import TrainConfig, with_train
from debft.data.batches import step_examples
from debft.output.terminal import estimate_lines
from debft.runs.directory import RunDirectory
from debft.tasks import TASKS
from debft.training.plan import make_plan
from debft.training.probe import SETTLING_STEPS, STEPS, Measured, probe, seconds_for, tokens_of_evaluations, tokens_of_steps
from debft.training.run import finetune


def recipe_of(data, **changes):
    settings = {"task": "mnli", "data": str(data), "train.max_steps": 5, "train.train_batch_size": 8}
    return load_recipe(recipe_path("demo"), settings | changes)


@pytest.mark.parametrize("total_steps", [1, 3, 4, 11, 12])
def test_tokens_of_a_run_are_those_of_its_steps(total_steps):
    lengths_S = np.random.default_rng(0).integers(3, 90, 29)
    config = TrainConfig(train_batch_size=8, seed=5)
    one_by_one = sum(int(lengths_S[step_examples(step, 5, 29, 8)].sum()) for step in range(total_steps))
    assert tokens_of_steps(lengths_S, config, total_steps) == one_by_one


def test_time_is_that_of_the_median_token():
    """A step that the machine was busy with something else in does not count for more than one."""
    steps = [Measured(seconds=s, tokens=t) for s, t in ((0.1, 100), (0.4, 200), (0.3, 300), (30.0, 100), (0.2, 100))]
    assert seconds_for(5000, steps) == pytest.approx(5000 * 0.002)


@pytest.mark.parametrize("seed", range(40))
def test_estimate_is_within_a_quarter_of_a_run_whose_steps_vary(seed):
    """A machine whose steps take a fixed time, one by token and one by its square, vary by 15 %, and now and then take thrice as long."""
    generator = np.random.default_rng(seed)
    lengths_S = np.clip(generator.lognormal(3.5, 0.5, 3000), 5, 256).astype(int)  # about those of MNLI, 38 on average
    config = TrainConfig(train_batch_size=32, seed=seed)
    seconds, tokens = [], []
    for step in range(250):
        lengths_B = lengths_S[step_examples(step, seed, len(lengths_S), 32)]
        usual = 0.05 + 4e-4 * lengths_B.sum() + 1e-6 * (lengths_B**2).sum()
        seconds.append(usual * generator.lognormal(0, 0.15) * (3 if generator.random() < 0.02 else 1))
        tokens.append(int(lengths_B.sum()))
    probed = range(SETTLING_STEPS, SETTLING_STEPS + STEPS)
    estimate = seconds_for(
        tokens_of_steps(lengths_S, config, 250), [Measured(seconds=seconds[i], tokens=tokens[i]) for i in probed]
    )
    assert estimate == pytest.approx(sum(seconds), rel=0.25)


@pytest.mark.parametrize(
    ("changes", "times"),
    [
        ({"eval_steps": None}, {"validation_matched": 1, "validation_mismatched": 1}),
        ({"eval_steps": 4}, {"validation_matched": 3, "validation_mismatched": 3}),
        ({"eval_steps": 4, "eval_each_epoch": True}, {"validation_matched": 6, "validation_mismatched": 6}),
        ({"eval_steps": 4, "checkpoint": "best"}, {"validation_matched": 4, "validation_mismatched": 4}),
    ],
)
def test_tokens_of_evaluations_are_counted_for_each_that_falls_due(changes, times):
    """Ten steps of 8 of 24 sequences: an epoch ends after 3, 6 and 9, and the last evaluation is that of step 10."""
    recipe = with_train(recipe_of("demo"), train_batch_size=8, **changes)
    plan = SimpleNamespace(recipe=recipe, task=TASKS["mnli"], total_steps=10)
    tokens = {"train": 999, "validation_matched": 1, "validation_mismatched": 1000}
    expected = sum(tokens[name] * count for name, count in times.items())
    assert tokens_of_evaluations(plan, tokens, {"train": np.ones(24)}) == expected


def test_probe_leaves_nothing_behind_and_knows_the_tokens_of_the_run(tmp_path):
    recipe = recipe_of(write_mnli(tmp_path / "data", train=30, dev=6), **{"runtime.save_steps": 2})
    estimate = probe(make_plan(recipe), RunDirectory(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    assert (estimate.probed_steps, estimate.device, estimate.precision) == (2, "cpu", "fp32")
    assert estimate.train_seconds > 0 and estimate.eval_seconds > 0 and estimate.peak_memory_bytes > 0
    assert estimate.lengths["train"].longest >= estimate.lengths["train"].p95 >= estimate.lengths["train"].median > 0
    assert estimate.num_tokens == finetune(recipe, tmp_path / "run").num_tokens
    # Weights and optimizer state, and the few trained rows of the table twice; each tensor begins at a multiple of 64 bytes.
    saved = sum(path.stat().st_size for path in (tmp_path / "run" / "checkpoints" / "step-000004").glob("*.safetensors"))
    assert saved == pytest.approx(estimate.copy_bytes, rel=0.1)


def test_estimate_counts_no_copy_where_no_checkpoint_is_written_between_the_steps():
    estimate = dict.fromkeys(("train_seconds", "num_tokens", "eval_seconds", "eval_tokens", "probed_steps", "peak_memory_bytes"), 1)
    line = lambda copy: estimate_lines(SimpleNamespace(**estimate, device="cpu", precision="fp32", copy_bytes=copy))[-1]  # noqa: E731
    assert line(0).endswith("GiB at most in these steps")
    assert line(3 * 2**20).endswith("steps; 3 MiB of the host for a copy while a checkpoint is written")


@pytest.mark.sweep
def test_estimated_time_is_near_that_of_the_run(tmp_path, monkeypatch):
    """Both are counted in seconds of the processor; on a shared one even these were seen to differ by 40 % from minute to minute."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    recipe = recipe_of("demo", **{"train.max_steps": 120, "train.train_batch_size": 32, "train.max_eval_samples": 200})
    estimate = probe(make_plan(recipe), RunDirectory(tmp_path / "none"))
    timing = finetune(recipe, tmp_path / "run").timing
    assert timing.train_seconds / 2 < estimate.train_seconds < 2 * timing.train_seconds
