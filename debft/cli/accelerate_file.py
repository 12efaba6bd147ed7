"""A file of `accelerate config` says which machines and processes a run has; what would move the mathematics in it is refused.

Source: the fields of ClusterConfig in accelerate 1.15, commands/config/config_args.py.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from debft.config import yaml12
from debft.errors import InputError, shown
from debft.runtime.launch.machines import Asked
from debft.runtime.variables import OFF

KINDS = ("NO", "MULTI_CPU", "MULTI_GPU", "FSDP")
NUMBERS = {"num_processes": 1, "num_machines": 1, "machine_rank": 0, "main_process_port": 1}  # with the least that each may be
TEXTS: dict[str, Any] = {"main_process_ip": str, "gpu_ids": str | int, "use_cpu": str | int}  # with what YAML may take each for
# Without effect on a number, and on which process does what.
IDLE = ("compute_environment", "debug", "enable_cpu_affinity", "main_training_function", "rdzv_backend", "same_network")
IN_ITS_PLACE = "take it out; --set runtime.shard=true lets each process hold a part of the model"
# What each key that would move the mathematics is refused with, once it says anything.
REFUSED = {
    "deepspeed_config": f"debft has no DeepSpeed, {IN_ITS_PLACE}",
    "megatron_lm_config": f"debft has no Megatron, {IN_ITS_PLACE}",
    "parallelism_config": f"debft cuts no layer into parts, {IN_ITS_PLACE}",
    "fp8_config": "debft computes in fp32, bf16 or fp16; take it out and give --precision",
    "dynamo_config": "debft does not compile models; take it out",
    "dynamo_backend": "debft does not compile models; take it out",
    "gradient_accumulation_steps": "--train-batch-size counts the sequences of a whole step; take it out",
    "gradient_clipping": "--set train.max_grad_norm=VALUE is its place; take it out",
    "mpirun_config": "debft is not started by MPI; take it out",
    "downcast_bf16": "debft does not train on TPUs; take it out",
    "fp16": "take it out and give --precision fp16",
}
# What each key of fsdp_config may say, beside nothing.
FSDP = {
    "fsdp_version": (2,),
    "fsdp_activation_checkpointing": (True, False),
    "fsdp_auto_wrap_policy": ("TRANSFORMER_BASED_WRAP",),
    "fsdp_offload_params": (False,),
    "fsdp_reshard_after_forward": (True, "FULL_SHARD"),
    "fsdp_sharding_strategy": ("FULL_SHARD",),
    "fsdp_state_dict_type": ("FULL_STATE_DICT",),
}
# Without effect on a number: each layer is put together by itself, and process 0 alone reads and writes.
FSDP_IDLE = (
    "fsdp_backward_prefetch",
    "fsdp_cpu_ram_efficient_loading",
    "fsdp_forward_prefetch",
    "fsdp_min_num_params",
    "fsdp_sync_module_states",
    "fsdp_transformer_layer_cls_to_wrap",
    "fsdp_use_orig_params",
)


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How the processes of a run are to be started: what was typed.

    num_processes, num_machines, machine_rank, main_process_ip, main_process_port: as the options of these names
    accelerate_config: the file that says what was not typed
    """

    num_processes: int | None = None
    num_machines: int | None = None
    machine_rank: int | None = None
    main_process_ip: str | None = None
    main_process_port: int | None = None
    accelerate_config: str | None = None

    def asked(self, precision: str) -> Asked:
        """Return what was asked for, in the file as well. precision: as the recipe has it. Raises InputError where that differs."""
        typed = Asked(
            processes=self.num_processes,
            machines=self.num_machines,
            machine=self.machine_rank,
            address=self.main_process_ip,
            port=self.main_process_port,
        )
        if self.accelerate_config is None:
            return typed
        written = read_accelerate_config(Path(self.accelerate_config), precision)
        given = {one.name: value for one in fields(Asked) if (value := getattr(typed, one.name)) is not None}
        return replace(written, **given)

    def recipe_keys(self) -> dict[str, bool]:
        """Return the keys of the recipe that the file gives, which `asked` checks: a model is sharded where it asks for FSDP."""
        content = {} if self.accelerate_config is None else yaml12.load(Path(self.accelerate_config))
        if content.get("distributed_type") != "FSDP":
            return {}
        given = content.get("fsdp_config")
        anew = isinstance(given, Mapping) and given.get("fsdp_activation_checkpointing") is True
        return {"runtime.shard": True} | ({"runtime.checkpoint_activations": True} if anew else {})


def read_accelerate_config(path: Path, precision: str) -> Asked:
    """Return what the file says of machines and processes, and take its choice of devices over.

    Raises InputError that names each key which would move the mathematics, or which is not known.
    """
    content = yaml12.load(path)
    of_fsdp = content.get("distributed_type") == "FSDP"
    found = {key: _problem(key, value, precision) for key, value in content.items() if not (of_fsdp and key == "fsdp_config")}
    if of_fsdp:
        found |= _problems_of_fsdp(content.get("fsdp_config"))
    if problems := [f"{path}: {key}: {problem}" for key, problem in found.items() if problem]:
        raise InputError(*problems)
    if str(content.get("use_cpu", False)).lower() == "true":
        os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    if str(content.get("gpu_ids") or "all") != "all":
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", str(content["gpu_ids"]))
    machines = content.get("num_machines")
    several = machines is not None and machines > 1
    return Asked(
        processes=content.get("num_processes"),
        machines=machines,
        machine=content.get("machine_rank") if several else None,  # accelerate writes 0 and an address for one machine as well
        address=content.get("main_process_ip") if several else None,
        port=content.get("main_process_port") if several else None,
    )


def _problem(key: str, value: Any, precision: str) -> str | None:
    """Return what is wrong with a key, None where it may be there."""
    if key in NUMBERS:
        least = NUMBERS[key]
        right = value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= least)
        return None if right else f"expected a whole number of {least} or more, got {shown(value)}"
    if key in IDLE:
        return "expected LOCAL_MACHINE, got SageMaker; take it out" if value == "AMAZON_SAGEMAKER" else None
    if key == "distributed_type":
        return None if value in KINDS else f"expected {', '.join(KINDS)}, got {shown(value)}; {IN_ITS_PLACE}"
    if key == "mixed_precision":
        return _problem_of_precision(value, precision)
    if key in TEXTS:
        right = value is None or (isinstance(value, TEXTS[key]) and str(value).isprintable())
        return None if right else f"expected a word, got {shown(value)}"
    if _is_off(value):
        return None
    if key == "gradient_accumulation_steps" and value == 1:
        return None
    if key == "fsdp_config":
        return f"expected distributed_type: FSDP beside it, got {shown(value)}; {IN_ITS_PLACE}"
    if key in REFUSED:
        return f"expected it left out, got {shown(value)}; {REFUSED[key]}"
    return f"expected a key of machines and processes, got {shown(value)}; debft does not know it, take it out"


def _problems_of_fsdp(given: Any) -> dict[str, str]:
    """Return what is wrong with a section for FSDP, by key: debft shards as FSDP2 does, in one way."""
    if not isinstance(given, Mapping):
        return {"fsdp_config": f"expected fsdp_version: 2 in it, got {shown(given)}; {IN_ITS_PLACE}"}
    problems = {}
    for name, value in ({"fsdp_version": None} | dict(given)).items():
        known = FSDP.get(name)
        nothing = _is_off(value) if known is None else value is None and name != "fsdp_version"
        if name not in FSDP_IDLE and not nothing and value not in (known or ()):
            expected = " or ".join(shown(one) for one in known) if known else "a key that debft knows"
            problems[f"fsdp_config: {name}"] = f"expected {expected}, got {shown(value)}; {IN_ITS_PLACE}"
    return problems


def _problem_of_precision(value: Any, precision: str) -> str | None:
    """Return what is wrong with the file's precision. It may say `no`, as each file that was not thought of does."""
    if _is_off(value) or value == precision:
        return None
    advice = f"give --precision {value} or take it out" if value in ("bf16", "fp16") else "take it out"
    return f"expected {precision} as --precision has it, got {shown(value)}; {advice}"


def _is_off(value: Any) -> bool:
    """Return whether a value asks for nothing."""
    if isinstance(value, Mapping):
        return all(_is_off(one) for one in value.values())
    return value is None or value == [] or str(value).strip().lower() in OFF
