"""Which backend computes the attention: `auto` takes the best that is there and tells why not a better one."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import write_mnli, write_model_config

from debft.cli.main import main
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe
from debft.errors import InputError
from debft.library.resolving import resolve
from debft.models.attention import backends
from debft.models.attention.backends import attention_for, check_attention
from debft.models.files import ModelFiles
from debft.runs.directory import RunDirectory
from debft.runs.result import PathsOfRun
from debft.training import describe
from debft.training.describe import describe_device
from debft.training.run import finetune

REASONS = {"triton": "no package", "torch": "roberta is another model"}


@pytest.fixture
def there(monkeypatch):
    """Sets which backends are there; the others have a reason not to be."""

    def use(*names):
        monkeypatch.setattr(backends, "why_not", lambda name, *_: None if name in ("eager", *names) else REASONS[name])

    return use


@pytest.mark.parametrize(
    ("names", "device", "chosen"),
    [
        (("triton", "torch"), "cuda", ("triton", "")),
        (("torch",), "cuda", ("torch", "triton: no package")),
        ((), "cuda", ("eager", "triton: no package, torch: roberta is another model")),
        (("triton", "torch"), "cpu", ("torch", "")),
        ((), "cpu", ("eager", "torch: roberta is another model")),
    ],
)
def test_auto_takes_the_best_backend_and_tells_why_not_a_better_one(there, names, device, chosen):
    there(*names)
    assert attention_for("auto", {"model_type": "roberta"}, device) == chosen


def test_backend_that_is_asked_for_is_taken_or_refused_with_the_reason(there):
    there("torch")
    assert attention_for("torch", {}, "cpu") == ("torch", "")
    assert attention_for("eager", {}, "cuda") == ("eager", "")
    with pytest.raises(
        InputError, match=r"^--attention triton: expected a backend that works here, no package; give auto or eager$"
    ):
        attention_for("triton", {}, "cuda")


@pytest.mark.parametrize(
    ("keys", "assignments"), [({"runtime.attention": "triton"}, []), ({}, ["runtime.attention=triton"])], ids=["option", "set"]
)
def test_attention_of_a_task_command_is_refused_before_anything_is_read(there, keys, assignments):
    there()
    with pytest.raises(InputError, match=r"^--attention triton: "):
        resolve("mnli", {"model": "deberta-v3-xsmall"} | keys, assignments=assignments)


def test_eager_is_always_there():
    check_attention("eager", None, "cpu")
    check_attention("auto", None, "cpu")


@pytest.fixture(scope="module")
def trained(demo_model, tmp_path_factory):
    """(directory, result) of a run of one step."""
    directory = tmp_path_factory.mktemp("attention")
    small = {
        "model": str(write_model_config(directory / "m", demo_model)),
        "data": str(write_mnli(directory / "data")),
        "train.max_steps": 1,
        "train.train_batch_size": 4,
        "train.warmup_steps": 0,
        "train.from_scratch": True,
        "text.max_seq_length": 32,
        "runtime.attention": "eager",
    }
    return directory / "run", finetune(load_recipe(recipe_path("mnli/deberta-v3-xsmall"), small), directory / "run")


def test_run_records_what_computes_its_attention(trained):
    run, result = trained
    assert RunDirectory(run).result().paths == result.paths
    assert replace(result.paths, active_vocabulary=None) == PathsOfRun(attention="eager")


def test_what_computes_the_attention_stands_beside_the_device(demo_model, capsys, monkeypatch):
    plan = SimpleNamespace(recipe=Recipe(), total_steps=2, files=ModelFiles(name="demo", path=demo_model))
    for gpus, said in ((0, False), (1, False), (8, True)):
        monkeypatch.setattr(describe, "visible_gpus", lambda gpus=gpus: gpus)
        describe_device(plan, SimpleNamespace(device=torch.device("cpu"), num_processes=1), "fp32", "eager (torch: no reason)")
        shown = capsys.readouterr().err
        assert "device     cpu x 1, fp32, attention eager (torch: no reason)" in shown
        assert ("one of 8 GPUs is used: --num-processes 8" in shown) == said


@pytest.mark.parametrize("command", ["evaluate", "predict"])
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("flash", "--attention: expected one of auto, eager, torch, triton, got 'flash'"),
        ("triton", "--attention triton: expected a backend that works here, no package"),
    ],
)
def test_attention_of_a_model_in_use_is_refused_in_one_line(there, trained, monkeypatch, capsys, command, word, message):
    there()
    monkeypatch.setattr(sys, "argv", ["debft", command, str(trained[0]), "--attention", word])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert message in capsys.readouterr().err
