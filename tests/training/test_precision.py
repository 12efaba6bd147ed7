"""Which precision a recipe runs in: SiFT's as published, whatever `auto` means elsewhere."""

import pytest
from conftest import write_mnli, write_model_config

from debft.config.packaged import recipe_names, recipe_path
from debft.config.reading import load_recipe
from debft.errors import InputError
from debft.training.precision import precision_for
from debft.training.run import finetune

ASCENT = "SiFT's ascent is lost in bf16's rounding"


def hardware(*there):
    """What `check_precision` says where these precisions are there, the one of `auto` first."""

    def check(asked):
        if asked not in ("auto", *there):
            raise InputError(f"--precision {asked}: expected other hardware")
        return there[0] if asked == "auto" else asked

    return check


CPU, OLD_GPU, GPU = hardware("fp32", "bf16"), hardware("fp32", "fp16"), hardware("bf16", "fp16", "fp32")


def recipe_of(name, **overrides):
    return load_recipe(recipe_path(name), {key.replace("__", "."): value for key, value in overrides.items()})


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.endswith("-sift") and "quick" not in name])
def test_sift_recipe_runs_in_its_published_precision_on_a_gpu(name):
    """Source: microsoft/DeBERTa experiments/glue at 4d7fe0b: `--fp16 False` for small with SiFT, True for the others."""
    assert precision_for(recipe_of(name), GPU) == ("fp32" if "v3-small" in name else "fp16", "as published")


def test_published_precision_that_is_not_there_becomes_float32_and_is_said():
    recipe = recipe_of("mnli/deberta-v3-xsmall-sift")
    assert precision_for(recipe, CPU) == ("fp32", "the published fp16 is not there on this machine")
    assert precision_for(recipe, OLD_GPU) == ("fp16", "as published")


@pytest.mark.parametrize("check", [CPU, OLD_GPU, GPU])
def test_sift_without_a_published_precision_runs_in_float32_and_says_so(check):
    for name in ("mnli/deberta-v3-large-repo", "mnli/quick-sift"):
        assert precision_for(recipe_of(name, sift__weight=5.0), check) == ("fp32", "SiFT's ascent would be lost in bf16")


def test_auto_means_as_published_for_a_sift_recipe():
    assert precision_for(recipe_of("mnli/deberta-v3-base-sift", runtime__precision="auto"), GPU) == ("fp16", "as published")


def test_precision_asked_for_is_taken_and_what_it_loses_is_said():
    published, own = "mnli/deberta-v3-base-sift", "mnli/quick-sift"
    assert precision_for(recipe_of(published, runtime__precision="bf16"), GPU) == ("bf16", f"published in fp16, {ASCENT}")
    assert precision_for(recipe_of(published, runtime__precision="fp32"), GPU) == ("fp32", "published in fp16")
    assert precision_for(recipe_of(own, runtime__precision="bf16"), CPU) == ("bf16", ASCENT)
    assert precision_for(recipe_of(own, runtime__precision="fp32"), GPU) == ("fp32", "")


def test_precision_without_sift_is_the_hardwares():
    plain = recipe_of("mnli/deberta-v3-xsmall-repo")
    assert [precision_for(plain, check) for check in (CPU, OLD_GPU, GPU)] == [("fp32", ""), ("fp32", ""), ("bf16", "")]


def test_recipe_for_another_model_gives_way_to_the_hardware_as_well():
    for name in ("mnli/deberta-v3-xsmall-sift", "mnli/deberta-v3-large-repo"):
        recipe = recipe_of(name, model="my/model", runtime__precision="fp16")
        assert precision_for(recipe, CPU) == ("fp32", "the recipe's fp16 is not there on this machine")


def test_run_says_its_precision_beside_the_device(tmp_path, demo_model, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    small = {
        "model": str(write_model_config(tmp_path / "m", demo_model)),
        "data": str(write_mnli(tmp_path / "data")),
        "train.from_scratch": True,
        "train.max_steps": 1,
        "train.train_batch_size": 4,
        "train.warmup_steps": 0,
        "text.max_seq_length": 32,
    }
    result = finetune(load_recipe(recipe_path("mnli/deberta-v3-xsmall-sift"), small), tmp_path / "run")
    assert (result.environment["precision"], result.recipe["runtime"]["precision"]) == ("fp32", "fp16")
    assert ", fp32 (the recipe's fp16 is not there on this machine), attention " in capsys.readouterr().err
