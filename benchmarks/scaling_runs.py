"""What `scaling.py` measures: trainings that take turns step by step, two hosts with a link between them, and the wire alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scaling_model import MESSAGE

ROOT = Path(__file__).resolve().parents[1]
ADDRESSES, HERE = ("10.78.0.1", "10.78.0.2"), "127.0.0.1"
PORTS = 23000 + os.getpid() % 2000 * 4  # the first of four
SETTLING = 2  # steps that are not measured: memory is taken and kernels are chosen in them
REPEATS = 3  # times that all gradients are sent
HELD_BACK = "50ms"  # how long a packet may wait for the link
SECONDS_BETWEEN_LOOKS = 0.005
WIRE = """
import sys, time, torch
import torch.distributed as group
rank, address, port, size_of_all, message, repeats = int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
group.init_process_group("gloo", init_method=f"tcp://{address}:{port}", rank=rank, world_size=2)
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
class Way:
    """One way to do the same steps.

    batch: pairs of a step. beside: runs at once that do not know each other.
    mbits: rates of the link between two hosts, each of which is a measurement of its own; (): one machine.
    """

    name: str
    processes: int = 1
    threads: int = 1
    batch: int
    beside: int = 1
    mbits: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a step took. tokens: real ones, of all processes of its run"""

    seconds: float
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the runs are. directory: of all of them; data: a directory with mnli/; shape: of the model."""

    directory: Path
    data: Path
    shape: Path


class Training:
    """A training that stands still but for the steps that it is asked for."""

    def __init__(self, way: Way, place: Place, number: int, hosts: Sequence[str] = ()) -> None:
        self.way, self.hosts = way, hosts
        self.outputs = [place.directory / f"{number}-{one}" for one in range(way.beside)]
        self.started = [
            self._start(place, output, rank, PORTS + number) for output in self.outputs for rank in range(way.processes)
        ]
        for _ in range(SETTLING):
            self._wait_for(1 + self._done())
        self._send(signal.SIGSTOP)

    def step(self) -> Taken:
        """Do a step, in each of the runs where there are several beside each other: the slowest counts."""
        number = 1 + self._done()
        began = time.perf_counter()
        self._send(signal.SIGCONT)
        self._wait_for(number)
        seconds = time.perf_counter() - began
        self._send(signal.SIGSTOP)
        return Taken(seconds=seconds, tokens=self._lines(self.outputs[0])[number - 1]["num_tokens"])

    def end(self) -> None:
        self._send(signal.SIGKILL)
        for process in self.started:
            process.wait()

    def _start(self, place: Place, output: Path, rank: int, port: int) -> subprocess.Popen:
        """Start one process, with the variables by which a launcher would tell it who it is."""
        run = ["mnli", "--model", place.shape, "--from-scratch", "--data", place.data, "--output", output, "--precision", "fp32"]
        endless = ["--max-steps", 10**6, "--train-batch-size", self.way.batch, "--max-eval-samples", 8]
        never = [f"--set={key}" for key in ("train.eval_steps=null", "runtime.save_steps=null", "runtime.hang_seconds=3600")]
        group = {"RANK": rank, "WORLD_SIZE": self.way.processes, "MASTER_ADDR": (*ADDRESSES, HERE)[0 if self.hosts else 2]}
        group |= {"MASTER_PORT": port, "LOCAL_RANK": 0 if self.hosts else rank, "LOCAL_WORLD_SIZE": 1 if self.hosts else 2}
        variables = {"OMP_NUM_THREADS": self.way.threads, "PYTHONPATH": ROOT, "DEBFT_CACHE": place.directory / "cache"}
        variables |= {"HF_HUB_OFFLINE": 1, "ACCELERATE_USE_CPU": "true"} | (group if self.way.processes > 1 else {})
        return subprocess.Popen(
            [*inside(self.hosts, rank), sys.executable, "-m", "debft", *map(str, (*run, *endless, *never))],
            stdout=subprocess.DEVNULL,
            stderr=(place.directory / f"{output.name}-{rank}.log").open("w"),
            env=os.environ | {name: str(value) for name, value in variables.items()},
            cwd=place.directory,
            start_new_session=True,  # Linux shares a busy machine out by sessions: within one, two processes would get half each
        )

    def _send(self, number: int) -> None:
        for process in self.started:
            process.send_signal(number)

    def _done(self) -> int:
        return min(len(self._lines(output)) for output in self.outputs)

    def _lines(self, output: Path) -> list[dict]:
        file = output / "steps.jsonl"
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []

    def _wait_for(self, number: int) -> None:
        while self._done() < number:
            if any(process.poll() is not None for process in self.started):
                sys.exit("\n".join(log.read_text() for log in sorted(self.outputs[0].parent.glob("*.log"))))
            time.sleep(SECONDS_BETWEEN_LOOKS)


def seconds_a_token(taken: Sequence[Taken]) -> float:
    return median(one.seconds / one.tokens for one in taken)


def wire(gradient_bytes: int, hosts: Sequence[str] = ()) -> tuple[float, float]:
    """Return (bytes a second of the wire, seconds of a sum of one number) between two processes that do nothing else."""
    words = [(*ADDRESSES, HERE)[0 if hosts else 2], PORTS + 3, gradient_bytes, MESSAGE, REPEATS]
    started = [
        subprocess.Popen(
            [*inside(hosts, rank), sys.executable, "-c", WIRE, *map(str, (rank, *words))],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR", "GLOO_SOCKET_IFNAME": link_of(rank) if hosts else "lo"},
        )
        for rank in range(2)
    ]
    said = [process.communicate()[0] for process in started]
    lines = [tuple(map(float, line.split())) for line in said[0].splitlines()]
    sent = round(gradient_bytes / MESSAGE) * MESSAGE  # of two processes each sends and receives as much as there is
    return sent / median(line[0] for line in lines), median(line[1] for line in lines)


@contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a link between them. It needs root."""
    names = tuple(f"scale-{os.getpid()}-{host}" for host in range(2))
    with ExitStack() as held:
        for name in names:
            run("ip", "netns", "add", name)
            held.callback(run, "ip", "netns", "delete", name)
        run("ip", "link", "add", link_of(0), "netns", names[0], "type", "veth", "peer", link_of(1), "netns", names[1])
        for host, (name, address) in enumerate(zip(names, ADDRESSES, strict=True)):
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", link_of(host))
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "link", "set", link_of(host), "up")
        yield names


def limit(hosts: Sequence[str], mbit: int) -> None:
    """Let the link carry so many megabits a second in each direction."""
    for host in range(2):
        rate = ("rate", f"{mbit}mbit", "burst", "1mb", "latency", HELD_BACK)
        run(*inside(hosts, host), "tc", "qdisc", "replace", "dev", link_of(host), "root", "tbf", *rate)


def inside(hosts: Sequence[str], host: int) -> list[str]:
    return ["ip", "netns", "exec", hosts[host]] if hosts else []


def link_of(host: int) -> str:
    return f"scale{host}"


def run(*words: str) -> None:
    subprocess.run(words, check=True)
