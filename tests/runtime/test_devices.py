"""Which GPUs there are is asked of torch; one that lies idle is said, one that is used is named."""

import builtins
import sys
from pathlib import Path

import pytest

from debft.cli import doctor
from debft.errors import InputError
from debft.runs.environment import environment
from debft.runtime import devices
from debft.runtime.launch import local
from debft.runtime.launch.machines import Share
from debft.runtime.memory import peak_memory_bytes

importing = builtins.__import__


@pytest.fixture
def gpus(monkeypatch):
    """Let torch find as many GPUs as are asked for."""
    import torch

    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def set_number(number):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)

    set_number(0)
    return set_number


@pytest.fixture
def device_files(monkeypatch, tmp_path):
    """A machine with /dev/nvidia2 alone, as a container may have it."""
    (tmp_path / "nvidia2").touch()
    monkeypatch.setattr(devices, "DEVICES", tmp_path)
    return str(tmp_path / "nvidia2")


RUN = local.RunOfGroup(stacks=Path("stacks.txt"), what_stays=lambda: "", hang_seconds=300.0)


def test_gpus_are_those_of_torch(gpus, monkeypatch):
    gpus(2)
    assert (devices.visible_gpus(), devices.devices_here()) == (2, ["0", "1"])
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert (devices.visible_gpus(), devices.devices_here()) == (0, [])


def test_torch_is_asked_wherever_a_device_file_exists(gpus, device_files, monkeypatch):
    """Without one it is not even imported."""
    gpus(1)
    torch = sys.modules["torch"]
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(builtins, "__import__", lambda name, *rest: torch if name == "torch" else importing(name, *rest))
    assert devices.visible_gpus() == 1
    monkeypatch.setattr(devices, "GPU_FILES", ())
    assert devices.visible_gpus() == 0


def test_devices_that_torch_cannot_use_are_not_given_out(gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert devices.devices_here() == []
    gpus(2)
    assert devices.devices_here() == ["3", "5"]


def test_more_processes_than_gpus_are_refused(gpus):
    gpus(1)
    with pytest.raises(InputError, match="expected at most one per GPU, 1, got 2"):
        local.start_processes(Share(processes=2), RUN)


def test_idle_gpu_is_said_before_training_and_by_doctor(gpus, device_files, capsys):
    devices.warn_of_unused_gpus()
    assert f"warning: {device_files} is there, but torch" in capsys.readouterr().err
    assert f"warning: {device_files} is there" in doctor._device().found


@pytest.mark.parametrize(("name", "value"), [("CUDA_VISIBLE_DEVICES", ""), ("ACCELERATE_USE_CPU", "true")])
def test_gpu_that_is_hidden_on_purpose_is_not_said(gpus, device_files, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert devices.unused_gpus() is None


def test_processes_on_the_cpu_say_that_a_gpu_lies_idle(gpus, device_files, monkeypatch, capsys):
    monkeypatch.setattr(local, "DEBFT", (sys.executable, "-c", "pass"))
    assert local.start_processes(Share(processes=2), RUN) == 0
    assert "warning" in capsys.readouterr().err


def test_run_names_its_card(monkeypatch):
    """Where it says where it runs, and in result.json: a speed without the card says nothing."""
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert (devices.device_name(cpu), devices.device_name(gpu)) == ("cpu", "cuda (NVIDIA H100 80GB HBM3)")
    for device, expected in ((cpu, ("cpu", None, None)), (gpu, ("cuda", "NVIDIA H100 80GB HBM3", "13.0"))):
        recorded = environment(str(device), devices.gpu_name(device), "fp32", 1, None)
        assert tuple(recorded[name] for name in ("device", "gpu", "cuda")) == expected


def test_peak_memory_is_of_the_process_where_the_gpu_is_left_alone(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 0)
    assert peak_memory_bytes() > 2**20
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 7)
    assert peak_memory_bytes() == 7
