"""This module holds what a user may ask of Slurm for the runs of a table."""

import os
import re
from dataclasses import dataclass
from typing import Any

from debft.errors import InputError, has_half_surrogate, shown

EXECUTORS = ("local", "slurm")
SECONDS_BEFORE_LIMIT = 120  # that a run gets to save its state before its time is over, a quarter of that time at most
# Where one of these variables is set, sbatch and srun would not do what an option or debft itself says. Source: sbatch(1).
VARIABLES = {
    "partition": ("SBATCH_PARTITION",),
    "time": ("SBATCH_TIMELIMIT",),
    "gpus_per_task": ("SBATCH_GPUS", "SBATCH_GPUS_PER_NODE", "SBATCH_GPUS_PER_TASK", "SBATCH_GRES"),
    "cpus_per_task": ("SBATCH_CPUS_PER_TASK",),
    "mem": ("SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"),
    "account": ("SBATCH_ACCOUNT",),
    "qos": ("SBATCH_QOS",),
}
OPTION = {"setup": "--slurm-setup"}  # the options that have another name on the command line
ALWAYS = ("SBATCH_ARRAY_INX", "SBATCH_JOB_NAME", "SBATCH_SIGNAL", "SBATCH_NO_REQUEUE", "SBATCH_OUTPUT", "SBATCH_ERROR")
LONGEST_TIME = 20  # characters of one
# Forms of a time that sbatch takes, each with what its numbers are in seconds. Source: sbatch(1), --time.
TIMES = (
    (r"(\d+)", (60,)),
    (r"(\d+):(\d+)", (60, 1)),
    (r"(\d+):(\d+):(\d+)", (3600, 60, 1)),
    (r"(\d+)-(\d+)", (86400, 3600)),
    (r"(\d+)-(\d+):(\d+)", (86400, 3600, 60)),
    (r"(\d+)-(\d+):(\d+):(\d+)", (86400, 3600, 60, 1)),
)


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """These options hold for the job of each run; None leaves what the cluster says."""

    partition: str | None = None
    """The partition, or several with commas."""
    time: str | None = None
    """The longest time of a job: minutes, or `HH:MM:SS`; a run that needs longer goes on in the same job, begun anew."""
    gpus_per_task: int | None = None
    """The GPUs of each run, which takes one process for each."""
    cpus_per_task: int | None = None
    """The cores of each run."""
    mem: str | None = None
    """The memory of each run, such as `32G`."""
    account: str | None = None
    """The account that pays."""
    qos: str | None = None
    """The quality of service."""
    max_concurrent: int | None = None
    """Runs at a time, as far as Slurm has room."""
    setup: tuple[str, ...] = ()
    """Lines of shell that each job begins with."""

    def given(self) -> list[str]:
        """Return the options that were typed, by the names that they have on the command line."""
        names = [name for name, value in vars(self).items() if value not in (None, ())]
        return [OPTION.get(name, f"--{name.replace('_', '-')}") for name in names]

    def check(self) -> None:
        """Raise InputError for a time or text that is none, and for a variable that would win over an option."""
        self.minutes()
        for name in ("partition", "mem", "account", "qos", "setup"):
            text = "".join(getattr(self, name) or "")
            if has_half_surrogate(text) or (name != "setup" and not text.isprintable()):  # a line of shell may hold a tab
                option = OPTION.get(name, f"--{name}")
                raise InputError(f"{option}: expected text of one line in UTF-8, got {shown(text)}; correct it")
        taken = [(f"--{name.replace('_', '-')}", name) for name in VARIABLES if getattr(self, name) is not None]
        problems = [
            f"{option}: {variable} is set and would win over it; unset the variable, or leave {option} out"
            for option, name in taken
            for variable in VARIABLES[name]
            if variable in os.environ
        ]
        problems += [
            f"{variable}: expected it unset, debft says this itself; unset it" for variable in ALWAYS if variable in os.environ
        ]
        if problems:
            raise InputError(*problems)

    def minutes(self) -> int | None:
        """Return the longest time of a job in minutes, as Slurm counts it. Raises InputError where it is none."""
        if self.time is None:
            return None
        text = self.time.strip()
        fits = ((re.fullmatch(form, text, re.ASCII), units) for form, units in TIMES)
        seconds = next((_sum(found, units) for found, units in fits if found), 0) if len(text) <= LONGEST_TIME else 0
        if not seconds:
            raise InputError(f"--time: expected minutes or HH:MM:SS, such as 90 or 12:00:00, got {shown(self.time)}")
        return -(-seconds // 60)

    def parameters(self, name: str, runs: int) -> dict[str, Any]:
        """Return the same for submitit's SlurmExecutor. name: of the job; runs: how many there are

        What submitit would say where nobody has, five minutes and an accounting key, is left to the cluster. srun does not take
        the cores over from sbatch since Slurm 22.05, so they are said twice.
        """
        minutes = self.minutes()
        cores = [f"--cpus-per-task={self.cpus_per_task}"] if self.cpus_per_task else []
        given = {
            "partition": self.partition,
            "gpus_per_node": self.gpus_per_task,
            "cpus_per_task": self.cpus_per_task,
            "mem": self.mem,
            "account": self.account,
            "qos": self.qos,
            "setup": list(self.setup) or None,
        }
        return {key: value for key, value in given.items() if value is not None} | {
            "job_name": name,
            "time": minutes,
            "wckey": None,
            "nodes": 1,
            "ntasks_per_node": 1,
            "array_parallelism": min(self.max_concurrent or runs, runs),
            "signal_delay_s": min(SECONDS_BEFORE_LIMIT, 15 * minutes if minutes else SECONDS_BEFORE_LIMIT),
            "additional_parameters": {"requeue": True},
            "srun_args": cores,
        }


def _sum(found: re.Match[str], units: tuple[int, ...]) -> int:
    return sum(int(number) * unit for number, unit in zip(found.groups(), units, strict=True))
