"""Measure what a step takes where two hosts with a slow link between them send gradients behind or during the backward pass.

The hosts are network namespaces, as in tests/runtime/test_two_hosts.py, with one process and one thread each; it takes root.
Ways take turns step by step within one run, so that all of them see the same machine.

python benchmarks/exchange.py --data ../shared/data --rate 500mbit
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

from shapes import CONFIGS
from speed_rows import STEPS, config_of, make_shape

ADDRESSES = ("10.79.0.1", "10.79.0.2")
PORT = "29511"
LEAD = 1  # rounds of all ways that are not measured
MIB = 2**18  # gradients in float32
WAYS = {
    "behind, 32 MiB": (False, 32),
    "behind, 8 MiB": (False, 8),
    "overlapped, 32 MiB": (True, 32),
    "overlapped, 8 MiB": (True, 8),
}


def main() -> None:
    """Bring up the two hosts, run the same command on both, and let the first print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory with mnli/train.tsv and tokenizer/")
    parser.add_argument("--shape", choices=CONFIGS, default="deberta-v3-xsmall")
    parser.add_argument("--rate", default="500mbit", help="of the link in each direction, as tc has it")
    parser.add_argument("--rounds", type=int, default=8, help="steps of each way")
    parser.add_argument("--batch", type=int, default=32, help="sequences of a step, over both hosts")
    options = parser.parse_args()
    if "RANK" in os.environ:
        train(options)
        return
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        shape = make_shape(
            folder / "shape", config_of(options.shape), options.data / "tokenizer" / "deberta-v3" / "spm.model", dropout=True
        )
        names = build_hosts(held, options.rate)
        group = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": PORT}
        group |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "SHAPE": str(shape)}
        hosts = [
            subprocess.Popen(["ip", "netns", "exec", name, sys.executable, *sys.argv], env=os.environ | group | {"RANK": str(rank)})
            for rank, name in enumerate(names)
        ]
        sys.exit(max(host.wait() for host in hosts))


def build_hosts(held: ExitStack, rate: str) -> tuple[str, ...]:
    """Make two network namespaces and a link of that rate between them; they are gone once `held` is left."""
    names = tuple(f"debft-exchange-{host}" for host in range(2))
    links = tuple(f"dx{host}" for host in range(2))
    for name in names:
        ip("netns", "add", name)
        held.callback(ip, "netns", "delete", name)
    ip("link", "add", links[0], "netns", names[0], "type", "veth", "peer", links[1], "netns", names[1])
    for name, link, address in zip(names, links, ADDRESSES, strict=True):
        ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "link", "set", link, "up")
        slow = ("tbf", "rate", rate, "burst", "256kb", "latency", "50ms")
        ip("netns", "exec", name, "tc", "qdisc", "add", "dev", link, "root", *slow)
    return names


def ip(*words: str) -> None:
    """Run `ip`, which has to succeed."""
    subprocess.run([shutil.which("ip") or "ip", *words], check=True)


def train(options: argparse.Namespace) -> None:
    """Take the steps on this host, each way in turn, and print on the first host what they took."""
    import debft.training.exchange as exchange
    import debft.training.loop as loop
    from debft.config.packaged import recipe_path
    from debft.config.reading import load_recipe
    from debft.runs.directory import RunDirectory
    from debft.training.opening import open_session
    from debft.training.plan import make_plan

    class InTurn:
        """The exchange of a step is that of one way, and the next step has the next."""

        def __init__(self, model, num_processes):
            self.ways, self.steps = [], 0
            for final, size in WAYS.values():
                exchange.NUMBERS_AT_ONCE = size * MIB
                self.ways.append((final, exchange.Exchange(model, num_processes)))

        @contextmanager
        def sending(self, *, final):
            overlapped, way = self.ways[self.steps % len(self.ways)]
            with way.sending(final=final and overlapped):
                yield

        def finish(self):
            self.ways[self.steps % len(self.ways)][1].finish()
            self.steps += 1

    loop.Exchange = InTurn
    steps = (LEAD + options.rounds) * len(WAYS)
    changes = {
        "model": os.environ["SHAPE"],
        "data": str(options.data),
        "train.from_scratch": True,
        "train.train_batch_size": options.batch,
        "train.max_steps": STEPS,
        "train.max_train_samples": 10_014,
    }
    plan = make_plan(load_recipe(recipe_path(f"mnli/{options.shape}"), changes))
    with tempfile.TemporaryDirectory() as folder:
        session, _ = open_session(plan, RunDirectory(Path(folder) / "run"), claim=False)
        seconds = [log.seconds for log in islice(session.steps(), steps)]
    if not session.is_main:
        return
    sent = sum(parameter.numel() for parameter in session.loaded.model.parameters()) * 4
    print(f"{options.shape}, {options.batch} sequences a step, {sent / 1e6:,.0f} MB of gradients, {options.rate}")
    first = None
    for place, way in enumerate(WAYS):
        took = seconds[LEAD * len(WAYS) + place :: len(WAYS)]
        median = statistics.median(took)
        first = first or median
        print(f"  {way:<20} median {median:5.2f} s  {min(took):5.2f} to {max(took):5.2f}   {median / first:.2f} of the first")


if __name__ == "__main__":
    main()
