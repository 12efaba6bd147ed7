"""What is taken from a file of `accelerate config`, and what is refused in it by name."""

import os

import pytest
import yaml
from test_options import command

from debft.cli import train
from debft.cli.accelerate_file import Launch, read_accelerate_config
from debft.errors import InputError
from debft.runtime.launch.machines import Asked

# What `accelerate config` of 1.15 writes for two machines, and `accelerate config default`.
TWO_MACHINES = {
    "compute_environment": "LOCAL_MACHINE",
    "debug": False,
    "distributed_type": "MULTI_GPU",
    "downcast_bf16": "no",
    "enable_cpu_affinity": False,
    "gpu_ids": "all",
    "machine_rank": 0,
    "main_process_ip": "10.0.0.1",
    "main_process_port": 29501,
    "main_training_function": "main",
    "mixed_precision": "no",
    "num_machines": 2,
    "num_processes": 16,
    "rdzv_backend": "static",
    "same_network": True,
    "tpu_env": [],
    "tpu_use_cluster": False,
    "tpu_use_sudo": False,
    "use_cpu": False,
}


def written(path, **changes):
    path.write_text(yaml.safe_dump(TWO_MACHINES | changes))
    return path


def test_machines_and_processes_are_taken(tmp_path):
    asked = read_accelerate_config(written(tmp_path / "a.yaml"), "auto")
    assert asked == Asked(processes=16, machines=2, machine=0, address="10.0.0.1", port=29501)
    assert read_accelerate_config(written(tmp_path / "a.yaml", num_machines=1, num_processes=4), "auto") == Asked(
        processes=4, machines=1
    )


def test_option_goes_before_the_file(tmp_path):
    asked = Launch(accelerate_config=str(written(tmp_path / "a.yaml")), machine_rank=1).asked("auto")
    assert asked == Asked(processes=16, machines=2, machine=1, address="10.0.0.1", port=29501)


def test_devices_of_the_file_are_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "")
    for name in ("CUDA_VISIBLE_DEVICES", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name)
    read_accelerate_config(written(tmp_path / "a.yaml", use_cpu=True, gpu_ids="2,3"), "auto")
    assert (os.environ["ACCELERATE_USE_CPU"], os.environ["CUDA_VISIBLE_DEVICES"]) == ("true", "2,3")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("fsdp_config", {"fsdp_version": 2}, "expected distributed_type: FSDP beside it"),
        ("deepspeed_config", {"zero_stage": 3}, "debft has no DeepSpeed, take it out; --set runtime.shard=true lets each"),
        ("megatron_lm_config", {"megatron_lm_tp_degree": 2}, "debft has no Megatron"),
        ("distributed_type", "DEEPSPEED", "expected NO, MULTI_CPU, MULTI_GPU, FSDP, got 'DEEPSPEED'"),
        ("dynamo_config", {"dynamo_backend": "INDUCTOR"}, "does not compile"),
        ("gradient_accumulation_steps", 4, "--train-batch-size counts the sequences of a whole step"),
        ("mixed_precision", "bf16", "expected fp32 as --precision has it, got 'bf16'; give --precision bf16 or take it out"),
        ("mixed_precision", "fp8", "got 'fp8'; take it out"),
        ("parallelism_config", {"parallelism_config_tp_size": 2}, "cuts no layer into parts"),
        ("compute_environment", "AMAZON_SAGEMAKER", "expected LOCAL_MACHINE"),
        ("num_processes", "many", "expected a whole number of 1 or more, got 'many'"),
        ("something_new", 3, "debft does not know it, take it out"),
        ("gpu_ids", "0\0", r"expected a word, got '0\x00'"),
        ("gpu_ids", "\ud800", r"expected a word, got '\ud800'"),
        ("main_process_ip", True, "expected a word, got True"),
        ("main_process_ip", 1, "expected a word, got 1"),
    ],
)
def test_key_that_would_move_the_mathematics_is_refused_by_name(tmp_path, key, value, words):
    path = written(tmp_path / "a.yaml", **{key: value})
    with pytest.raises(InputError) as error:
        read_accelerate_config(path, "fp32")
    (problem,) = error.value.problems
    assert problem.startswith(f"{path}: {key}: ") and words in problem


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mixed_precision", "fp32"),
        ("gradient_accumulation_steps", 1),
        ("dynamo_config", {"dynamo_backend": "NO"}),
        ("fsdp_config", {}),
        ("deepspeed_config", None),
    ],
)
def test_key_that_asks_for_what_debft_does_may_be_there(tmp_path, key, value):
    assert read_accelerate_config(written(tmp_path / "a.yaml", **{key: value}), "fp32").processes == 16


# What `accelerate config` of 1.15 asks for with FSDP2, answered for DeBERTa.
FSDP = {
    "fsdp_activation_checkpointing": True,
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_cpu_ram_efficient_loading": True,
    "fsdp_offload_params": False,
    "fsdp_reshard_after_forward": True,
    "fsdp_state_dict_type": "FULL_STATE_DICT",
    "fsdp_transformer_layer_cls_to_wrap": "DebertaV2Layer",
    "fsdp_version": 2,
}


def test_fsdp_shards_the_model(tmp_path):
    launch = Launch(accelerate_config=str(written(tmp_path / "a.yaml", distributed_type="FSDP", fsdp_config=FSDP)))
    assert launch.asked("fp32").processes == 16
    assert launch.recipe_keys() == {"runtime.shard": True, "runtime.checkpoint_activations": True}
    assert Launch(accelerate_config=str(written(tmp_path / "b.yaml"))).recipe_keys() == Launch().recipe_keys() == {}


def test_fsdp_shards_the_model_of_a_command(tmp_path, monkeypatch, capsys):
    """By its own words, and beside an option of the recipe's."""
    path = written(tmp_path / "a.yaml", distributed_type="FSDP", fsdp_config=FSDP, num_machines=1, num_processes=2)
    monkeypatch.setattr(train, "_show_plan", lambda recipe, *others: print(recipe.runtime.shard, recipe.train.seed))
    arguments = ("--data", "demo", "--recipe", "demo", "--seed", "7", "--dry-run", "--accelerate-config", path)
    assert command(monkeypatch, capsys, "mnli", *arguments) == (0, "True 7\n", "")


def test_more_processes_than_the_machine_is_meant_for_are_refused_before_anything_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("debft.runtime.launch.local.visible_gpus", lambda: 0)
    path = written(tmp_path / "a.yaml", distributed_type="MULTI_CPU", num_machines=1, num_processes=1_000_000)
    for typed in (("--num-processes", "1000000"), ("--accelerate-config", path)):
        code, out, err = command(monkeypatch, capsys, "mnli", "--data", "demo", "--recipe", "demo", "--dry-run", *typed)
        assert (code, out) == (2, "") and err.splitlines() == [
            "--num-processes: expected at most one per core, 4 on this machine of 2, got 1000000; start fewer"
        ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fsdp_version": 1}, "fsdp_version: expected 2, got 1"),
        ({"fsdp_version": None}, "fsdp_version: expected 2, got None"),
        ({"fsdp_offload_params": True}, "fsdp_offload_params: expected False, got True"),
        ({"fsdp_state_dict_type": "SHARDED_STATE_DICT"}, "fsdp_state_dict_type: expected 'FULL_STATE_DICT'"),
        ({"fsdp_auto_wrap_policy": "SIZE_BASED_WRAP"}, "fsdp_auto_wrap_policy: expected 'TRANSFORMER_BASED_WRAP'"),
        ({"fsdp_reshard_after_forward": "SHARD_GRAD_OP"}, "fsdp_reshard_after_forward: expected True or 'FULL_SHARD'"),
        ({"fsdp_reshard_after_forward": False}, "fsdp_reshard_after_forward: expected True or 'FULL_SHARD', got False"),
        ({"fsdp_something_new": 3}, "fsdp_something_new: expected a key that debft knows, got 3"),
    ],
)
def test_key_of_fsdp_is_refused_by_name(tmp_path, changes, words):
    path = written(tmp_path / "a.yaml", distributed_type="FSDP", fsdp_config=FSDP | changes)
    with pytest.raises(InputError) as error:
        read_accelerate_config(path, "fp32")
    (problem,) = error.value.problems
    assert problem.startswith(f"{path}: fsdp_config: {words}") and "--set runtime.shard=true" in problem
