"""A launcher's environment variables may decide which process this is, where the others are, and which devices it has.

Every other one that would reach into the mathematics is overridden, or refused by its name: accelerate reads it without a word.
Source: every os.environ in accelerate 1.15, and in torch 2.13 what moves a float32 product.
"""

import os
import re
from collections.abc import Mapping

from debft.errors import InputError, shown

# Set for every `accelerate launch`, or without effect on a number. RANK, MASTER_ADDR, NCCL_... and the like are torch's own.
ALLOWED = {
    "ACCELERATE_USE_CPU",
    "ACCELERATE_CPU_AFFINITY",
    "ACCELERATE_DEBUG_MODE",
    "ACCELERATE_LOG_LEVEL",
    "ACCELERATE_ENABLE_RICH",
}
# Those of them that accelerate takes for true or false, by these words.
SWITCHES = ("ACCELERATE_USE_CPU", "ACCELERATE_CPU_AFFINITY", "ACCELERATE_DEBUG_MODE")
TRUE_OR_FALSE = ("y", "yes", "t", "true", "on", "1", "n", "no", "f", "false", "off", "0")
# Read only behind a switch that is refused.
BEHIND_A_SWITCH = (
    "ACCELERATE_DYNAMO_",
    "ACCELERATE_DEEPSPEED_",
    "ACCELERATE_CONFIG_DS_FIELDS",
    "ACCELERATE_SAGEMAKER_",
    "ACCELERATE_FP8_",
    "ACCELERATE_GRADIENT_CLIPPING",
    "ACCELERATE_ALLOW_CP_STANDALONE",
)
OFF = ("", "0", "no", "false", "off", "none", "n", "f")
MOST = 2**32 - 1  # of a number in a variable; the steps of Slurm that it numbers itself end there
LAUNCH = "start it with torchrun, accelerate launch or --num-processes"


def whole_number(
    name: str, default: str | None = None, *, least: int, most: int = MOST, given: Mapping[str, str] = os.environ
) -> int:
    """Return the whole number in a variable. Raises InputError where that has none, KeyError where it is not set."""
    text = given[name] if default is None else given.get(name, default)
    if not re.fullmatch(r"\s*[+-]?[0-9]{1,18}\s*", text) or not least <= int(text) <= most:
        raise InputError(f"{name}: expected a whole number, {least} to {most}, got {shown(text)}; unset it, or {LAUNCH}")
    return int(text)


def check_variables(precision: str | None, gpus: int) -> None:
    """Raise InputError that names each variable which asks for something else than this run does.

    precision: the one in use, fp32, bf16 or fp16; None where it is not known yet.
    gpus: the number of GPUs that torch can use.
    """
    problems = [problem for problem in (*_accelerate(os.environ, precision), *_torch(os.environ, gpus)) if problem]
    if problems:
        raise InputError(*problems)


def _accelerate(given: Mapping[str, str], precision: str | None) -> list[str]:
    problems = []
    for name, value in sorted(given.items()):
        on = value.strip().lower() not in OFF
        if name in SWITCHES and value.lower() not in TRUE_OR_FALSE:
            problems.append(f"{name}: expected true or false, got {shown(value)}; unset the variable")
        if not name.startswith("ACCELERATE_") or name in ALLOWED or not on:
            continue
        if name == "ACCELERATE_GRADIENT_ACCUMULATION_STEPS":
            if value.strip() != "1":
                problems.append(
                    f"{name}: expected 1, got {value}; --train-batch-size counts the sequences of a whole step, unset the variable"
                )
        elif name == "ACCELERATE_MIXED_PRECISION":
            if precision and value.strip().lower() != precision:
                problems.append(f"{name}: expected {precision} as --precision has it, got {value}; give --precision or unset it")
        elif name == "ACCELERATE_DYNAMO_BACKEND":
            problems.append(f"{name}: expected no, got {value}; debft does not compile models, unset the variable")
        elif name == "ACCELERATE_USE_FSDP":
            problems.append(
                f"{name}: expected it unset, got {value}; --set runtime.shard=true shards the model, unset the variable"
            )
        elif not name.startswith(BEHIND_A_SWITCH):
            problems.append(f"{name}: expected it unset, got {value}; debft trains plainly or with one copy per device, unset it")
    return problems


def _torch(given: Mapping[str, str], gpus: int) -> list[str]:
    problems = []
    for name in ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"):
        if given.get(name, "STRICT").strip().upper() not in ("STRICT", ""):
            problems.append(f"{name}: expected STRICT, got {given[name]}; float32 products would be rounded, unset the variable")
    if gpus and given.get("NVIDIA_TF32_OVERRIDE", "0").strip() not in ("0", ""):
        problems.append("NVIDIA_TF32_OVERRIDE: expected it unset or 0, got 1; float32 products would be rounded, unset it")
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"):
        if "WORLD_SIZE" not in given and given.get(name, "1").strip() not in ("1", ""):
            problems.append(f"{name}: expected one process, got {given[name]} of MPI; {LAUNCH}")
    return problems
