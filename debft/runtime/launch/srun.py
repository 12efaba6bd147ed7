"""`srun debft ...` starts the same command several times: Slurm's variables say which process this is and where the others are.

Source: OUTPUT ENVIRONMENT VARIABLES in srun(1) and sbatch(1), Slurm 22.05.
"""

import os
import re
from collections.abc import Mapping

from debft.console import say, say_field
from debft.errors import InputError
from debft.runtime.launch.group import PARENT
from debft.runtime.variables import whole_number

FIRST_PORT, PORTS = 20000, 12768  # below those that the system gives out by itself


def join_step() -> None:
    """Take this process' place among the tasks of its step of Slurm, and say so; a step of one task is a plain run.

    A launcher within the job, such as torchrun, goes before it, and so does debft that started this process.
    """
    if "RANK" in os.environ or PARENT in os.environ or "SLURM_PROCID" not in os.environ:
        return
    if "SLURM_STEP_NUM_TASKS" not in os.environ:  # in the script of a job, which srun has not started
        if (tasks := os.environ.get("SLURM_NTASKS", "1")) != "1":
            say(f"note: the job of Slurm has {tasks} tasks, and this process was started without srun: it trains alone")
        return
    variables = variables_of_step(os.environ)
    if not variables:
        return
    os.environ.update(variables)
    if variables["RANK"] == "0":
        nodes = os.environ.get("SLURM_STEP_NUM_NODES", os.environ.get("SLURM_NNODES", "1"))
        tasks = f"{variables['WORLD_SIZE']}, the tasks of step {os.environ['SLURM_JOB_ID']}.{os.environ.get('SLURM_STEP_ID', '0')}"
        where = f"{variables['MASTER_ADDR']}:{variables['MASTER_PORT']}"
        say_field("processes", f"{tasks} of Slurm, nodes {nodes}; they meet at {where}")


def variables_of_step(given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which torch.distributed knows the tasks of the step; {} where it has one task.

    What is set already, such as MASTER_ADDR, stays. Raises InputError where a variable of Slurm is not there, or no number.
    """
    try:
        size = whole_number("SLURM_STEP_NUM_TASKS", least=1, given=given)
        if size == 1:
            return {}
        place = str(whole_number("SLURM_LOCALID", least=0, most=size - 1, given=given))
        if len(given.get("CUDA_VISIBLE_DEVICES", "").split(",")) == 1 and given.get("CUDA_VISIBLE_DEVICES"):
            place = "0"  # --gpus-per-task=1: each task sees its own GPU alone
        job = whole_number("SLURM_JOB_ID", least=0, given=given)
        step = whole_number("SLURM_STEP_ID", "0", least=0, given=given)
        variables = {
            "RANK": str(whole_number("SLURM_PROCID", least=0, most=size - 1, given=given)),
            "WORLD_SIZE": str(size),
            "LOCAL_RANK": place,
            "MASTER_ADDR": first_host(given.get("SLURM_STEP_NODELIST") or given["SLURM_JOB_NODELIST"]),
            "MASTER_PORT": str(FIRST_PORT + (job + step) % PORTS),
        }
    except KeyError as error:
        raise InputError(
            f"{error.args[0]}: expected it beside SLURM_PROCID, as srun sets it, got none; start debft by srun"
        ) from None
    if cores := given.get("SLURM_CPUS_PER_TASK"):
        variables["OMP_NUM_THREADS"] = cores
    return {name: given.get(name) or value for name, value in variables.items()}


def first_host(nodes: str) -> str:
    """Return the first host of a list of Slurm's: of `rack[2-3]-[07,09-11],login` it is rack2-07."""
    first = re.split(r",(?![^\[]*\])", nodes)[0]
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", first)
