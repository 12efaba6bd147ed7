"""The accelerator is built as the recipe says, whatever a launcher's variables ask for."""

import sys

import pytest

from debft.errors import InputError
from debft.runtime import accelerator as built


def test_accelerator_reads_no_variable_of_its_own(monkeypatch):
    """Should a check be missed, the accelerator is looked at as well."""
    import torch

    monkeypatch.setattr(built, "check_variables", lambda *_: None)
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    accelerator, precision = built.build_accelerator("fp32")
    assert (accelerator.gradient_accumulation_steps, accelerator.mixed_precision, precision) == (1, "no", "fp32")
    assert torch.get_float32_matmul_precision() == "highest"
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "EAGER")
    with pytest.raises(InputError, match="expected compilation no, got eager"):
        built.build_accelerator("fp32")


def test_accelerator_does_without_datasets_where_nothing_has_imported_it(monkeypatch):
    """It takes a second to import, and only rows of the hub need it."""
    monkeypatch.delitem(sys.modules, "datasets", raising=False)
    built.build_accelerator("fp32")
    assert "datasets" not in sys.modules
