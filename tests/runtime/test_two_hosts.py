"""Two hosts: two network namespaces with a link between them run one job, lose each other, and go on.

The machines share nothing but the link: each has a directory of its own, and debft finds by itself which interface to use.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.sweep

SECONDS = 400  # until something counts as hanging, on a slow and busy machine
HANG_SECONDS = 10
ADDRESSES = ("10.77.0.1", "10.77.0.2")
PACKAGE = Path(__file__).parents[2]
JOB = ("--recipe", "demo", "--max-steps", 120, "--save-steps", 4, "--train-batch-size", 8, "--max-train-samples", 96)
ROWS = ("--data", "demo", "--max-eval-samples", 40, "--learning-rate", 1e-4, "--set", "train.eval_steps=null")


def ip(*words: object) -> None:
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, text=True)


class Hosts:
    """Two hosts and the link between them."""

    def __init__(self, number: int) -> None:
        self.names = tuple(f"debft-{number}-{host}" for host in range(2))
        self.links = tuple(f"d{number % 10**6}h{host}" for host in range(2))

    def build(self, held: ExitStack) -> None:
        for name in self.names:
            ip("netns", "add", name)
            held.callback(ip, "netns", "delete", name)  # and with it its end of the link
        ip("link", "add", self.links[0], "netns", self.names[0], "type", "veth", "peer", self.links[1], "netns", self.names[1])
        for name, link, address in zip(self.names, self.links, ADDRESSES, strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", link, "up")

    def cut(self) -> None:
        ip("-n", self.names[1], "link", "set", self.links[1], "down")

    def mend(self) -> None:
        ip("-n", self.names[1], "link", "set", self.links[1], "up")

    def start(self, directory: Path, *more: object) -> list[subprocess.Popen]:
        """The same command on both, but for the number of the machine, each in a folder of its own."""
        words = ("--num-machines", 2, "--num-processes", 2, "--main-process-ip", ADDRESSES[0], "--output", "run", *more)
        return [
            command(directory / f"host-{host}", *words, "--machine-rank", host, host=name) for host, name in enumerate(self.names)
        ]


def command(directory: Path, *words: object, host: str | None = None) -> subprocess.Popen:
    directory.mkdir(parents=True, exist_ok=True)
    inside = [] if host is None else ["ip", "netns", "exec", host]
    return subprocess.Popen(
        [*inside, sys.executable, "-m", "debft", "mnli", *map(str, (*JOB, *ROWS, *words))],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1"},
    )


def ended(processes: list[subprocess.Popen]) -> tuple[list[int], list[str]]:
    """(exit codes, what was said) of commands that end by themselves."""
    try:
        said = [process.communicate(timeout=SECONDS)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], said


@pytest.fixture
def hosts():
    if shutil.which("ip") is None:
        pytest.skip("no `ip` in PATH, by which network namespaces are made; Debian has it in iproute2")
    hosts = Hosts(os.getpid())
    with ExitStack() as held:
        try:
            hosts.build(held)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces are not allowed here: {error.stderr.strip()}")
        yield hosts


def test_two_hosts_are_one_run_and_go_on_after_the_link_was_cut(hosts, tmp_path):
    """A run that is cut in its middle and goes on ends as one process alone does, to the rounding of another order of sums."""
    alone = command(tmp_path / "alone", "--output", "run")
    assert ended([alone])[0] == [0]
    slow = ("--set", f"runtime.hang_seconds={HANG_SECONDS}")
    started = hosts.start(tmp_path, *slow)
    first = tmp_path / "host-0" / "run" / "checkpoints" / "step-000004"
    wait_for(first.is_dir, started)
    hosts.cut()
    began = time.monotonic()
    codes, said = ended(started)
    assert codes == [5, 5], said
    assert time.monotonic() - began < SECONDS / 2
    assert f"process 1: no sign of life for {HANG_SECONDS} seconds" in said[0] and "run/checkpoints/step-0000" in said[0]
    assert "process 0 has not answered" in said[1] and "--resume" in said[1]
    assert not any("Traceback" in text for text in said), said
    hosts.mend()
    codes, said = ended(hosts.start(tmp_path, *slow, "--resume"))
    assert codes == [0, 0], said
    assert "resuming after step" in said[0]
    assert not (tmp_path / "host-1" / "run").exists()
    one, two = (tmp_path / name / "run" for name in ("alone", "host-0"))
    losses = [[json.loads(line)["loss"] for line in (run / "steps.jsonl").read_text().splitlines()] for run in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    weights = [load_file(run / "model" / "model.safetensors") for run in (one, two)]
    for name, tensor in weights[0].items():
        assert tensor.sub(weights[1][name]).abs().max() < 1e-4, name  # as between processes of one machine


def wait_for(holds, processes: list[subprocess.Popen]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds() and time.monotonic() < deadline and all(process.poll() is None for process in processes):
        time.sleep(0.05)
    if not holds():
        pytest.fail(str(ended(processes)))
