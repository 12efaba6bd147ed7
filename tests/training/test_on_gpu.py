"""Whole runs on a GPU: every path and precision learns alike, a run repeats itself, and what fails is said.

Each test has a CPU part, where that makes sense, which runs in the suite; the GPU's parts run with `-m gpu` and skip with the reason
where there is none. What a test has measured goes into the report of `--junitxml`, from where `benchmarks/gpu.sh` prints it.
"""

import gc
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from conftest import write_model_config
from interrupting import interrupted_after
from on_device import DEVICES, require, require_kernels
from safetensors.torch import load_file
from test_finetune import lines, tiny_recipe
from test_sift import Parts, recorded_delta

import debft.training.opening
import debft.training.train
from debft.errors import MachineError
from debft.models.files import ModelFiles
from debft.runs.directory import RunDirectory
from debft.training.run import finetune

HEADS_OF_32 = {"hidden_size": 64, "num_attention_heads": 2}  # the kernels take no smaller ones
DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}
CPU_AND_GPU = [
    ("cpu", "torch", "fp32"),
    pytest.param("cpu", "eager", "fp32", marks=pytest.mark.sweep),
    pytest.param("cpu", "triton", "fp32", marks=pytest.mark.sweep),  # in Triton's interpreter
    *[
        pytest.param("cuda", backend, precision, marks=pytest.mark.gpu)
        for backend in ("eager", "torch", "triton")
        for precision in ("fp32", "bf16")
    ],
]
# Of the mean loss, about 1, in five steps of the warm-up: float32 keeps 1e-7, bfloat16 4e-3 of each number; a gradient that
# were wrong would show at its own size.
SAME_LOSS = {"fp32": 1e-4, "bf16": 2e-2, "fp16": 5e-3}


@pytest.fixture
def recipe_for(demo_model, tiny_data, tmp_path, monkeypatch):
    """(device, backend, precision) -> the recipe of 5 steps there; skips with the reason where it is not there."""

    def recipe(device, backend, precision, *, dropout=True, width=None, **changes):
        require_kernels(device, monkeypatch) if backend == "triton" else require(device)
        sizes = HEADS_OF_32 | ({"intermediate_size": width} if width else {})
        model = write_model_config(tmp_path / "m", demo_model, **sizes, **(DROPOUT if dropout else {}))
        wanted = {"model": str(model), "runtime.attention": backend, "runtime.precision": precision, "train.max_steps": 5}
        return tiny_recipe(tiny_data, **wanted | changes)

    return recipe


def weights(path) -> dict[str, torch.Tensor]:
    return load_file(path / "model" / "model.safetensors")


def losses(path) -> list[float]:
    return [line["loss"] for line in lines(path / "steps.jsonl")]


@pytest.mark.parametrize(("device", "backend", "precision"), CPU_AND_GPU)
def test_every_attention_learns_as_eager_does_in_float32(recipe_for, device, backend, precision, tmp_path, record_property):
    """Without dropout, whose draws are the backend's own."""
    eager = recipe_for(device, "eager", "fp32", dropout=False)
    result = finetune(recipe_for(device, backend, precision, dropout=False), tmp_path / "run")
    finetune(eager, tmp_path / "eager")
    differences = [abs(one - two) for one, two in zip(losses(tmp_path / "run"), losses(tmp_path / "eager"), strict=True)]
    record_property(f"{backend} {precision}: losses differ from eager fp32's by", f"{max(differences):.1e} at most")
    assert (result.paths.attention, result.paths.packed) == (backend, backend != "eager")
    assert max(differences) < SAME_LOSS[precision]


@pytest.mark.gpu
def test_loss_scaling_of_fp16_goes_on_after_an_overflow(recipe_for, tmp_path, monkeypatch, record_property):
    """It begins at 2^40, at which every gradient overflows, and is halved until one does not."""
    import accelerate.accelerator

    scalers = []

    def scaler(*_, **__):
        scalers.append(torch.amp.GradScaler("cuda", init_scale=2.0**40))
        return scalers[-1]

    monkeypatch.setattr(accelerate.accelerator, "get_grad_scaler", scaler)
    result = finetune(recipe_for("cuda", "torch", "fp16", dropout=False), tmp_path / "half")
    monkeypatch.undo()
    finetune(recipe_for("cuda", "torch", "fp32", dropout=False), tmp_path / "single")
    record_property("fp16: loss scale after an overflow", scalers[0].get_scale())
    assert 1.0 < scalers[0].get_scale() < 2.0**40
    assert result.overflows == sum(line["overflows"] for line in lines(tmp_path / "half" / "steps.jsonl")) > 0
    assert not RunDirectory(tmp_path / "half").stopped_not_finite()
    half, single = losses(tmp_path / "half"), losses(tmp_path / "single")
    assert len(half) == len(single) == 5
    assert half == pytest.approx(single, abs=SAME_LOSS["fp16"])


def stopped_and_resumed(recipe, path) -> None:
    """Run the recipe into `path`, stopped by a signal after step 3 and resumed."""
    with interrupted_after(3):
        finetune(recipe, path)
    finetune(recipe, path, resume=True)


@pytest.mark.parametrize(("device", "backend", "precision"), CPU_AND_GPU)
@pytest.mark.parametrize("deterministic", (True, False))
def test_resumed_run_is_the_same(recipe_for, device, backend, precision, deterministic, tmp_path, record_property):
    """Bit for bit on a CPU and with deterministic kernels; else to the rounding that two whole runs differ by as well."""
    recipe = recipe_for(device, backend, precision, **{"runtime.deterministic": deterministic})
    finetune(recipe, tmp_path / "whole")
    stopped_and_resumed(recipe, tmp_path / "broken")
    whole, broken = weights(tmp_path / "whole"), weights(tmp_path / "broken")
    differing = [name for name, tensor in whole.items() if not torch.equal(tensor, broken[name])]
    farthest = max(float((tensor - broken[name]).abs().max()) for name, tensor in whole.items())
    kernels = "deterministic" if deterministic else "default"
    record_property(
        f"{backend} {precision}, {kernels} kernels, resumed", f"{len(differing)} tensors differ, by {farthest:.1e} at most"
    )
    if deterministic or device == "cpu":
        assert differing == []
    assert farthest <= SAME_LOSS[precision]


@pytest.mark.parametrize(
    ("device", "backend", "precision"), [pytest.param(*CPU_AND_GPU[0], marks=pytest.mark.sweep), *CPU_AND_GPU[1:]]
)
def test_five_runs_with_deterministic_kernels_have_the_same_bits(recipe_for, device, backend, precision, tmp_path):
    recipe = recipe_for(device, backend, precision, **{"runtime.deterministic": True, "train.max_steps": 3})
    for number in range(5):
        finetune(recipe, tmp_path / str(number))
    first, *others = (weights(tmp_path / str(number)) for number in range(5))
    for other in others:
        assert [name for name in first if not torch.equal(first[name], other[name])] == []


@pytest.mark.parametrize(
    ("device", "backend"),
    (("cpu", "torch"), *(pytest.param("cuda", backend, marks=pytest.mark.gpu) for backend in ("eager", "torch", "triton"))),
)
def test_run_in_bf16_has_the_bits_of_plain_autocast(recipe_for, device, backend, tmp_path, monkeypatch):
    """With the copies of the weights that are made once a step, and without; on a GPU with triton the steps are recorded."""
    recipe = recipe_for(device, backend, "bf16", **{"runtime.deterministic": True, "train.max_steps": 4})
    finetune(recipe, tmp_path / "copies")
    monkeypatch.setattr(debft.training.opening, "WeightCopies", lambda *_: None)
    finetune(recipe, tmp_path / "autocast")
    assert losses(tmp_path / "copies") == losses(tmp_path / "autocast")
    copies, autocast = weights(tmp_path / "copies"), weights(tmp_path / "autocast")
    assert [name for name, tensor in copies.items() if not torch.equal(tensor, autocast[name])] == []


def sift_gradient(files, device, precision, step_size) -> tuple[torch.Tensor, torch.Tensor]:
    """(gradient of SiFT's total loss to all weights, the perturbation), flat, float64."""
    parts = Parts(files, "mnli")
    parts.model.to(device)
    batch = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in parts.batch().items()}
    loss = replace(parts.loss, config=replace(parts.loss.config, step_size=step_size))
    torch.manual_seed(7)  # the masks: the same in every precision
    with pytest.MonkeyPatch.context() as patch, torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        made = recorded_delta(patch)
        total, _ = loss(parts.model, batch)
    gradient = torch.autograd.grad(total, list(parts.model.parameters()))
    return torch.cat([one.flatten() for one in gradient]).double(), made[0][0].flatten().double()


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(one @ other / (one.norm() * other.norm()))


@pytest.mark.parametrize("device", DEVICES)
def test_bf16_keeps_the_gradient_of_sift_and_what_it_keeps_of_the_ascent_is_noted(device, demo_model, tmp_path, record_property):
    """The ascent's own part is the gradient with a step of ascent minus that without; in bf16 rounding is larger than it."""
    device = require(device)
    for rate in (0.0, 0.1):
        changes = {"hidden_dropout_prob": rate, "attention_probs_dropout_prob": rate, "initializer_range": 0.1}
        files = ModelFiles(name="m", path=write_model_config(tmp_path / str(rate), demo_model, **HEADS_OF_32, **changes))
        seen = {}
        for precision in ("fp32", "bf16"):
            (whole, moved), (without, first) = (sift_gradient(files, device, precision, step) for step in (1e-4, 0.0))
            seen[precision] = {
                "whole gradient": whole,
                "ascent's own part": whole - without,
                "direction of the step": moved - first,
            }
        cosines = {name: cosine(tensor, seen["fp32"][name]) for name, tensor in seen["bf16"].items()}
        said = ", ".join(f"{name} {value:.3f}" for name, value in cosines.items())
        record_property(f"SiFT in bf16 beside fp32, dropout {rate}: cosines", said)
        if device.type == "cpu" or rate == 0.0:  # a GPU's generator draws other masks for another dtype
            assert cosines["whole gradient"] > 0.99


@pytest.mark.parametrize(
    "error",
    (
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
        ),
    ),
    ids=("gpu", "python", "cpu"),
)
def test_memory_that_is_not_enough_is_a_failure_of_the_machine(recipe_for, error, tmp_path, monkeypatch):
    """Exit code 5, one line that says what to do; the checkpoint of an earlier step is continued with less."""
    train = debft.training.train.train

    def fail(*_):
        raise error

    recipe = recipe_for("cpu", "torch", "fp32", **{"train.max_steps": 1})
    monkeypatch.setattr(debft.training.train, "train", fail)
    with pytest.raises(
        MachineError, match=r"^the memory is not enough for the model and its optimizer: .*; on a device with more, .* --resume"
    ) as raised:
        finetune(recipe, tmp_path / "run")
    assert raised.value.exit_code == 5 and "\n" not in str(raised.value)
    monkeypatch.setattr(debft.training.train, "train", train)
    assert finetune(recipe, tmp_path / "run", resume=True).steps == 1


@contextmanager
def memory_limited_to(limit):
    """The GPU has no more than so many bytes for this process while the block lasts."""
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(max(limit / total, 1e-5))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.gpu
def test_memory_of_the_gpu_that_is_not_enough_is_a_failure_of_the_machine(recipe_for, tmp_path):
    recipe = recipe_for("cuda", "torch", "fp32", width=65_536, **{"train.max_steps": 2})  # matrices of 16 MiB: none lies free
    said = r"^the memory is not enough for the model and its optimizer: CUDA out of memory"
    with memory_limited_to(0), pytest.raises(MachineError, match=said):
        finetune(recipe, tmp_path / "run")
    assert finetune(recipe, tmp_path / "run", resume=True).steps == 2
    assert RunDirectory(tmp_path / "run").result() is not None


@pytest.mark.gpu
@pytest.mark.parametrize(("backend", "sift"), [("torch", False), ("torch", True), ("triton", False)])
def test_step_too_large_for_the_gpu_is_done_again_in_smaller_parts(recipe_for, backend, sift, tmp_path, record_property):
    """The card is given less and less until a run that had enough before does not: its losses and scores stay what they were."""
    changes = {"train.train_batch_size": 64, "runtime.micro_batch_tokens": 16_384, "train.max_steps": 4}
    recipe = recipe_for("cuda", backend, "fp32", width=16_384, **changes | ({"sift.weight": 3.0} if sift else {}))
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    whole = finetune(recipe, tmp_path / "whole")
    enough = torch.cuda.max_memory_allocated()
    for percent in range(90, 20, -10):  # what a run needs beside its activations is not known beforehand
        with memory_limited_to(percent / 100 * enough):
            result = finetune(recipe, tmp_path / str(percent))
        if "training" in (cut.during for cut in result.memory_cuts):
            break
    name = f"{backend}{' with SiFT' if sift else ''}"
    record_property(f"{name}: {percent} % of {enough / 2**20:.0f} MiB", "; ".join(map(str, result.memory_cuts)))
    assert whole.memory_cuts == []
    assert result.memory_cuts
    assert losses(tmp_path / str(percent)) == pytest.approx(losses(tmp_path / "whole"), abs=1e-5)
    assert result.scores == pytest.approx(whole.scores, abs=1e-6)
