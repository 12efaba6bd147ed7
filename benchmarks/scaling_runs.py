"""What `scaling.py` runs: short trainings on one and two processes, two hosts with a slow link between them, and the wire alone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
ADDRESSES = ("10.78.0.1", "10.78.0.2")
SETTLING = 2  # steps whose time is left out: memory is taken and kernels are chosen in them
MESSAGE, REPEATS = 2**25, 3  # bytes of one sum, as debft cuts them; times that all gradients are sent
HELD_BACK = "50ms"  # how long a packet may wait for the link
WIRE = """
import sys, time, torch
import torch.distributed as group
rank, size, address, port, size_of_all, message, repeats = int(sys.argv[1]), 2, sys.argv[2], sys.argv[3], *map(int, sys.argv[4:])
group.init_process_group("gloo", init_method=f"tcp://{address}:{port}", rank=rank, world_size=size)
numbers, one = torch.ones(message // 4), torch.ones(1)
group.all_reduce(numbers)
for _ in range(repeats):
    group.barrier()
    started = time.perf_counter()
    for _ in range(round(size_of_all / message)):
        group.all_reduce(numbers)
    all_of_it = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(20):
        group.all_reduce(one)
    if rank == 0:
        print(all_of_it, (time.perf_counter() - started) / 20, flush=True)
group.destroy_process_group()
"""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One way to do the same steps.

    batch: pairs of a step. beside: runs at once that do not know each other. mbit: a second, of the link between two hosts.
    """

    name: str
    processes: int = 1
    threads: int = 1
    batch: int = 64
    beside: int = 1
    mbit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a step took. tokens: real ones, of all processes of its run"""

    seconds: float
    tokens: int


class Place:
    """Where the runs are: one directory with the shape of the model, and what they find there again."""

    def __init__(self, directory: Path, data: Path, shape: Path, steps: int) -> None:
        self.directory, self.data, self.shape, self.steps, self.number = directory, data, shape, steps, 0

    def measure(self, setting: Setting) -> list[Taken]:
        """Do the first steps of the run in this way and return what each took, without those that settle."""
        self.number += 1
        with ExitStack() as held:
            hosts = held.enter_context(two_hosts(setting.mbit)) if setting.mbit else ()
            outputs = [self.directory / f"{self.number}-{one}" for one in range(setting.beside)]
            if hosts:
                started = [self._start(setting, outputs[0], host, machine) for machine, host in enumerate(hosts)]
            else:
                started = [self._start(setting, output) for output in outputs]
            said = [process.communicate()[1] for process in started]
        if any(process.returncode for process in started):
            sys.exit(f"{setting.name}\n" + "\n".join(said))
        return [taken for output in outputs for taken in steps_of(output)]

    def _start(self, setting: Setting, output: Path, host: str | None = None, machine: int = 0) -> subprocess.Popen:
        run = ["mnli", "--model", self.shape, "--from-scratch", "--data", self.data, "--output", output, "--precision", "fp32"]
        short = ["--max-steps", SETTLING + self.steps, "--train-batch-size", setting.batch, "--max-eval-samples", 8]
        never = ["--set", "train.eval_steps=null", "--set", "runtime.save_steps=null"]
        several = ["--num-processes", setting.processes] if setting.processes > 1 else []
        if host is not None:
            several += ["--num-machines", 2, "--machine-rank", machine, "--main-process-ip", ADDRESSES[0]]
        inside = [] if host is None else ["ip", "netns", "exec", host]
        return subprocess.Popen(
            [*inside, sys.executable, "-m", "debft", *map(str, (*run, *short, *never, *several))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=self.variables | {"OMP_NUM_THREADS": str(setting.threads)},
            cwd=self.directory,
        )

    @property
    def variables(self) -> dict[str, str]:
        return os.environ | {"DEBFT_CACHE": str(self.directory / "cache"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}


def steps_of(output: Path) -> list[Taken]:
    """Return what the steps of a run took, without those that settle."""
    lines = [json.loads(line) for line in (output / "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    return [Taken(seconds=line["seconds"], tokens=line["num_tokens"]) for line in lines[SETTLING:]]


def seconds_a_token(taken: Sequence[Taken]) -> float:
    return median(one.seconds / one.tokens for one in taken)


def wire(gradient_bytes: int, mbit: int | None) -> tuple[float, float]:
    """Return (bytes a second of the wire, seconds of a sum of one number) between two processes that do nothing else."""
    with ExitStack() as held:
        hosts = held.enter_context(two_hosts(mbit)) if mbit else ()
        port = 23000 + os.getpid() % 5000
        words = [ADDRESSES[0] if hosts else "127.0.0.1", port, gradient_bytes, MESSAGE, REPEATS]
        interface = {"GLOO_SOCKET_IFNAME": "lo"} if not hosts else {}
        started = [
            subprocess.Popen(
                [*(["ip", "netns", "exec", hosts[rank]] if hosts else []), sys.executable, "-c", WIRE, *map(str, (rank, *words))],
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ
                | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
                | (interface or {"GLOO_SOCKET_IFNAME": f"scale{rank}"}),
            )
            for rank in range(2)
        ]
        said = [process.communicate()[0] for process in started]
    lines = [tuple(map(float, line.split())) for line in said[0].splitlines()]
    sent = round(gradient_bytes / MESSAGE) * MESSAGE  # two processes: each sends and receives as much as there is
    return sent / median(line[0] for line in lines), median(line[1] for line in lines)


@contextmanager
def two_hosts(mbit: int) -> Iterator[tuple[str, str]]:
    """Two network namespaces with a link between them that carries so many megabits a second in each direction. It needs root."""
    names = tuple(f"scale-{os.getpid()}-{host}" for host in range(2))
    with ExitStack() as held:
        for name in names:
            ip("netns", "add", name)
            held.callback(ip, "netns", "delete", name)
        ip("link", "add", "scale0", "netns", names[0], "type", "veth", "peer", "scale1", "netns", names[1])
        for number, (name, address) in enumerate(zip(names, ADDRESSES, strict=True)):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", f"scale{number}")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", f"scale{number}", "up")
            limit = ("rate", f"{mbit}mbit", "burst", "1mb", "latency", HELD_BACK)
            subprocess.run(
                ["ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", f"scale{number}", "root", "tbf", *limit], check=True
            )
        yield names


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
