"""What a launcher's variables may decide, and what they may not."""

import os

import pytest

from debft.errors import InputError
from debft.runtime.variables import check_variables

# What `accelerate launch debft ...` sets, with one process, with several and with --cpu; what torchrun and NVIDIA's images set.
HARMLESS = {
    "ACCELERATE_MIXED_PRECISION": "no",
    "ACCELERATE_DYNAMO_BACKEND": "NO",
    "ACCELERATE_DYNAMO_MODE": "default",
    "ACCELERATE_DYNAMO_USE_FULLGRAPH": "False",
    "ACCELERATE_DYNAMO_USE_DYNAMIC": "False",
    "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": "False",
    "ACCELERATE_USE_CPU": "true",
    "ACCELERATE_CPU_AFFINITY": "1",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1",
    "OMP_NUM_THREADS": "1",
    "KMP_BLOCKTIME": "1",
    "RANK": "0",
    "WORLD_SIZE": "1",
    "TORCHELASTIC_RUN_ID": "none",
    "FSDP_VERSION": "1",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1",
    "PMI_SIZE": "1",
}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("ACCELERATE_", "FSDP_", "PMI_", "OMPI_", "MV2_")):
            monkeypatch.delenv(name)


def test_variables_of_a_plain_launch_are_allowed(monkeypatch):
    for name, value in HARMLESS.items():
        monkeypatch.setenv(name, value)
    check_variables("fp32", gpus=0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR"),
        ("ACCELERATE_MIXED_PRECISION", "bf16"),
        ("ACCELERATE_USE_FSDP", "true"),
        ("ACCELERATE_USE_DEEPSPEED", "true"),
        ("ACCELERATE_USE_MEGATRON_LM", "True"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "true"),
        ("ACCELERATE_USE_SAGEMAKER", "true"),
        ("ACCELERATE_TORCH_DEVICE", "meta"),
        ("ACCELERATE_BYPASS_DEVICE_MAP", "true"),
        ("ACCELERATE_USE_SOMETHING_NEW", "1"),
        ("ONEDNN_DEFAULT_FPMATH_MODE", "BF16"),
        ("OMPI_COMM_WORLD_SIZE", "2"),
    ],
)
def test_variable_that_asks_for_other_mathematics_is_refused_by_name(monkeypatch, name, value):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"{name}: expected .*{value}"):
        check_variables("fp32", gpus=0)


@pytest.mark.parametrize("name", ["ACCELERATE_USE_CPU", "ACCELERATE_CPU_AFFINITY", "ACCELERATE_DEBUG_MODE"])
@pytest.mark.parametrize("value", ["maybe", "", " true"])
def test_switch_that_accelerate_cannot_read_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"{name}: expected true or false, got '{value}'; unset the variable"):
        check_variables(None, gpus=0)


def test_rounded_products_are_refused_where_there_is_a_gpu(monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")
    check_variables("fp32", gpus=0)
    with pytest.raises(InputError, match="NVIDIA_TF32_OVERRIDE"):
        check_variables("fp32", gpus=1)


def test_precision_of_the_launcher_may_agree(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    check_variables("bf16", gpus=0)


def test_every_problem_is_named_at_once(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "2")
    with pytest.raises(InputError) as error:
        check_variables(None, gpus=0)
    assert len(error.value.problems) == 2
