"""`runtime.deterministic`: torch is told during the run alone, cuBLAS before it starts; what has no such kernel is said."""

import os

import pytest
import torch
from test_finetune import tiny_recipe

from debft.errors import InputError
from debft.runs.directory import RunDirectory
from debft.runtime import deterministic
from debft.training import run, train

VARIABLE = "CUBLAS_WORKSPACE_CONFIG"


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """The variable is unset, and torch is left as it was, whatever a test does."""
    monkeypatch.setenv(VARIABLE, "to be restored")
    monkeypatch.delenv(VARIABLE)
    yield
    torch.use_deterministic_algorithms(False)


def put() -> None:
    """A kernel without a deterministic form, on the CPU as well."""
    torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0]))


def state() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def in_each_step(monkeypatch, do) -> list:
    """What `do()` returns after each step of the runs that follow."""
    noted, record = [], train.record
    monkeypatch.setattr(train, "record", lambda *arguments: (record(*arguments), noted.append(do())))
    return noted


def test_run_has_deterministic_kernels_while_it_trains_alone(tiny_data, tmp_path, monkeypatch, capsys):
    seen = in_each_step(monkeypatch, state)
    recipe = tiny_recipe(tiny_data, **{"runtime.deterministic": True, "train.max_steps": 2})
    result = run.finetune(recipe, tmp_path / "run")
    assert (seen, state()) == ([(True, False)] * 2, (False, False))
    assert result.recipe["runtime"]["deterministic"] is True
    assert RunDirectory(tmp_path / "run").recipe().runtime.deterministic is True
    assert ", deterministic kernels, tokens of " in capsys.readouterr().err


def test_run_has_torchs_default_kernels_by_default(tiny_data, tmp_path, monkeypatch):
    seen = in_each_step(monkeypatch, state)
    result = run.finetune(tiny_recipe(tiny_data, **{"train.max_steps": 1}), tmp_path / "run")
    assert (seen, result.recipe["runtime"]["deterministic"]) == ([(False, False)], False)
    assert VARIABLE not in os.environ


def test_kernel_without_a_deterministic_form_ends_the_run_with_one_line(tiny_data, tmp_path, monkeypatch):
    in_each_step(monkeypatch, put)
    recipe = tiny_recipe(tiny_data, **{"runtime.deterministic": True, "train.max_steps": 1})
    with pytest.raises(InputError, match=r"^runtime\.deterministic: expected .*, got put_, which has none; train without it$"):
        run.finetune(recipe, tmp_path / "run")
    assert state() == (False, False)


def test_other_errors_of_torch_stay_what_they_are():
    with pytest.raises(RuntimeError, match="size of tensor"), deterministic.deterministic_kernels(True):
        torch.zeros(2) + torch.zeros(3)
    assert state() == (False, False)


@pytest.mark.parametrize("wanted", [True, False])
def test_setting_of_the_caller_comes_back(wanted):
    torch.use_deterministic_algorithms(True, warn_only=True)
    with deterministic.deterministic_kernels(wanted):
        assert state() == ((True, False) if wanted else (True, True))
    assert state() == (True, True)


@pytest.mark.parametrize(("given", "used"), [(None, ":4096:8"), (":16:8", ":16:8")])
def test_cublas_is_told_before_it_starts(monkeypatch, given, used):
    if given:
        monkeypatch.setenv(VARIABLE, given)
    with deterministic.deterministic_kernels(True):
        assert os.environ[VARIABLE] == used


def test_other_setting_of_cublas_is_refused_by_name(monkeypatch):
    monkeypatch.setenv(VARIABLE, ":4096:2")
    with pytest.raises(InputError, match=rf"^{VARIABLE}: expected :4096:8 or :16:8 .*, got :4096:2; unset it$"):
        deterministic.deterministic_kernels(True).__enter__()


def test_setting_of_cublas_that_would_come_too_late_is_refused(monkeypatch):
    """As in a program that has used the GPU and then calls debft. One that has not, but asked what it is, may."""
    allocated = {"allocation.all.allocated": 0}
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda: allocated)
    with deterministic.deterministic_kernels(True):
        pass
    monkeypatch.delenv(VARIABLE)
    allocated["allocation.all.allocated"] = 1
    with pytest.raises(InputError, match="got it unset; set it before the program starts"):
        deterministic.deterministic_kernels(True).__enter__()
