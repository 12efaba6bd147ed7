"""Strong scaling: the same steps on one and two processes, beside what `scaling_model.py` computes; then its figures for GPUs.

    python benchmarks/scaling.py --data ../shared/data [--rounds 12] [--batch 64] [--mbit 1000,200] [--without NAME]
    python benchmarks/scaling.py --data ../shared/data --rounds 0        # the computed tables alone, in seconds

DIR has mnli/ and tokenizer/deberta-v3/spm.model. All ways train at once, the shape of deberta-v3-xsmall with random weights,
and take turns: one does a step while the others stand still, every other round in the opposite order. The link between two hosts is
one of network namespaces, which takes root.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
from balance import SEED, STEPS, gradient_bytes, read
from scaling_model import ADAM_BYTES, FLOP_A_PARAMETER, Device, Link, Work, step, work_of
from scaling_runs import Place, Taken, Training, Way, limit, seconds_a_token, two_hosts, wire
from shapes import CONFIGS
from speed_rows import config_of, make_shape, product_parameters

from debft.data.batches import share, step_examples

SHAPE, BATCH = "deberta-v3-xsmall", 64

# Measured on one H100, bf16, attention triton, recorded as CUDA graphs. Source: "On a GPU" in RESULTS.md.
# Shape, real tokens of a step, ms; the first two give the constants of the model, the third checks it.
ROWS = 19_681  # of the embedding table that the MNLI rows of --data train; SQuAD's are 17,632
H100 = (("deberta-v3-xsmall", 2484, 14.0), ("deberta-v3-base", 2458, 22.0), ("deberta-v3-base", 5562, 52.7))
NOT_RECORDED = 79.7  # ms of the first where the kernels are launched one after another, for which the GPU waits
HBM = 3.35e12  # bytes a second. Source: nvidia.com/en-us/data-center/h100, H100 SXM
# Bandwidth: what NCCL reaches on NVLink 4 by NVIDIA/nccl-tests#212, on PCIe 5 with eight GPUs by NVIDIA/nccl#1639; Ethernet carries
# 95 % of its rate, as here. Latency of passing on: hwLat of Ring/Simple in src/graph/tuning.cc of NVIDIA/nccl at 01afd20.
NVLINK = Link(name="NVLink", bytes=370e9, latency_seconds=3.4e-6)
PCIE = Link(name="PCIe", bytes=28e9, latency_seconds=5.7e-6)
REACHED = 0.95
ETHERNET = tuple(Link(name=f"{gbit} Gbit/s Ethernet", bytes=REACHED * gbit * 1e9 / 8, latency_seconds=9.6e-6) for gbit in (100, 10))
LAYOUTS = (
    (1, None),
    *((gpus, link) for link in (NVLINK, PCIE) for gpus in (2, 4, 8)),
    *((4, link) for link in ETHERNET),
    *((32, link) for link in ETHERNET),
)
MODELS = ("deberta-v3-xsmall", "deberta-v3-base", "deberta-v3-large", "deberta-v2-xxlarge")


def main() -> None:
    """Measure in rounds, print the table beside the model, then the computed ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=12, help="steps of each way")
    parser.add_argument("--batch", type=int, default=BATCH, help="pairs of a step that is measured")
    parser.add_argument("--mbit", default="1000,200", help="rates of the links between two hosts; none: an empty word")
    parser.add_argument(
        "--without", help="leave out the ways with this in their name: two threads crawl on a machine that others use"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and with it what was started
    lengths, rows = read(options.data)
    if options.rounds:
        rates = tuple(int(rate) for rate in options.mbit.split(",") if rate)
        chosen = [way for way in ways(options.batch, rates) if options.without is None or options.without not in way.name]
        with tempfile.TemporaryDirectory() as directory, ExitStack() as held:
            vocabulary = options.data / "tokenizer" / "deberta-v3" / "spm.model"
            shape = make_shape(Path(directory) / "model", config_of(SHAPE), vocabulary, dropout=True)
            place = Place(directory=Path(directory), data=options.data.resolve(), shape=shape)
            hosts = held.enter_context(two_hosts()) if rates else ()
            _, sent = gradient_bytes(SHAPE, rows)
            measured = in_turn(place, chosen, hosts, options.rounds)
            wires = {None: wire(sent)}
            for mbit in rates:
                limit(hosts, mbit)
                wires[mbit] = wire(sent, hosts)
        print_measured(measured, wires, lengths, rows)
    print_checked()
    print_computed(lengths, rows)


def ways(batch: int, rates: tuple[int, ...]) -> list[Way]:
    """Return the ways to do a step: the first is what others are compared with, the one beside itself what the model is made of."""
    return [
        Way(name="1 process, 1 thread", batch=batch),
        Way(name="1 process, 2 threads", threads=2, batch=batch),
        Way(name="2 runs of half the step beside each other", batch=batch // 2, beside=2),
        Way(name="2 processes of 1 thread", processes=2, batch=batch),
        *([Way(name="2 hosts", processes=2, batch=batch, mbits=rates)] if rates else []),
    ]


def in_turn(place: Place, chosen: Sequence[Way], hosts: Sequence[str], rounds: int) -> dict[tuple[Way, int | None], list[Taken]]:
    """Return what the steps took in each way and at each rate of the link, one after another in every round."""
    with ExitStack() as held:
        trainings = []
        for number, way in enumerate(chosen):
            trainings.append(training := Training(way, place, number, hosts if way.mbits else ()))
            held.callback(training.end)
            print(f"load {os.getloadavg()[0]:.1f}: {way.name}: begun", flush=True)
        turns = [(training, mbit) for training in trainings for mbit in training.way.mbits or (None,)]
        measured: dict[tuple[Way, int | None], list[Taken]] = {(training.way, mbit): [] for training, mbit in turns}
        for number in range(rounds):
            for training, mbit in turns if number % 2 == 0 else turns[::-1]:
                if mbit:
                    limit(hosts, mbit)
                measured[training.way, mbit].append(training.step())
            seconds = ", ".join(f"{taken[-1].seconds:.1f}" for taken in measured.values())
            print(f"round {number + 1}, load {os.getloadavg()[0]:.1f}: {seconds} s", flush=True)
    return measured


def print_measured(
    measured: dict[tuple[Way, int | None], list[Taken]],
    wires: dict[int | None, tuple[float, float]],
    lengths: np.ndarray,
    rows: int,
) -> None:
    """Print what a step took in each way, by how much that is faster than one core, and for several processes what the model says.

    Its throughput is that of two runs which know nothing of each other, its bandwidth that of the wire alone. It is computed for
    gradients that travel behind the backward pass, in parts (compute, uneven shares, gradients, latency), and during it.
    """
    alone, beside = next(iter(measured))[0], next(way for way, _ in measured if way.beside == 2)
    tokens = alone.batch * float(lengths.mean())
    _, sent = gradient_bytes(SHAPE, rows)
    seconds = {key: tokens * seconds_a_token(taken) for key, taken in measured.items()}
    flop = FLOP_A_PARAMETER * product_parameters(CONFIGS[SHAPE])
    both_busy = Device(flops=flop / seconds_a_token(measured[beside, None]))
    work, uneven = work_of(SHAPE, tokens, active_rows=rows), imbalance(lengths, alone.batch, 2)
    each = f"{tokens:,.0f} tokens, {sent / 1e6:,.0f} MB of gradients, {both_busy.flops / 1e9:.1f} GFLOP/s a core"
    print(f"\na step of {alone.batch} pairs, {each}")
    print("| | s a step | spread | times one core | computed, behind | off by | computed, during | off by | of the former |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---|")
    for (way, mbit), taken in measured.items():
        one = np.array([one.seconds / one.tokens for one in taken])
        spread = (np.quantile(one, 0.75) - np.quantile(one, 0.25)) / median(one)
        whole = seconds[way, mbit] / way.beside  # several beside each other do a step together
        name = f"{way.name}, {mbit:,} Mbit/s" if mbit else way.name
        line = f"| {name} | {whole:.2f} | {spread:.0%} | {seconds[alone, None] / whole:.2f} |"
        if way.processes == 2:
            bandwidth, latency = wires[mbit]
            link = Link(name=name, bytes=bandwidth, latency_seconds=latency / 2)
            computed = step(work, both_busy, link, 2, imbalance=uneven)
            hidden = step(work, both_busy, link, 2, imbalance=uneven, overlapped=True)
            parts = (computed.compute, computed.imbalance, computed.exchange, computed.latency)
            for one in (computed, hidden):
                line += f" {one.total:.2f} | {one.total / whole - 1:+.0%} |"
            line += f" {', '.join(f'{part:.2f}' for part in parts)} at {bandwidth / 1e6:,.0f} MB/s |"
        else:
            line += " - | - | - | - | - |"
        print(line, flush=True)


def imbalance(lengths: np.ndarray, batch: int, world: int) -> float:
    """Return by how much the process with the most tokens has more than the mean, over the steps of the first epoch."""
    above = []
    for number in range(min(STEPS, len(lengths) // batch)):
        indices = step_examples(number, SEED, len(lengths), batch)
        tokens = [lengths[share(indices, lengths, rank, world)].sum() for rank in range(world)]
        above.append(max(tokens) / np.mean(tokens) - 1)
    return float(np.mean(above))


def h100() -> Device:
    """Return the GPU of the model: two measured steps give its throughput and what a layer takes whatever its tokens are."""
    (small, few, first), (large, more, second), _ = H100
    works = [work_of(small, few, active_rows=ROWS), work_of(large, more, active_rows=ROWS)]
    beside = [1e-3 * ms - work.parameters * ADAM_BYTES / HBM for ms, work in zip((first, second), works, strict=True)]
    flops = (works[1].flop - works[0].flop) / (beside[1] - beside[0])
    fixed = (beside[0] - works[0].flop / flops) / works[0].layers
    launch = (1e-3 * NOT_RECORDED - works[0].parameters * ADAM_BYTES / HBM) / works[0].layers
    return Device(flops=flops, fixed_seconds=fixed, launch_seconds=launch, memory_bytes=HBM)


def print_checked() -> None:
    """Print the constants of the GPU and the measured steps beside the computed ones."""
    device = h100()
    print(
        f"\nH100, bf16: {device.flops / 1e12:.0f} TFLOP/s, {1e3 * device.fixed_seconds:.2f} ms a layer, "
        f"{1e3 * device.launch_seconds:.2f} ms a layer where it is not recorded"
    )
    for shape, tokens, ms in H100:
        computed = 1e3 * step(work_of(shape, tokens, active_rows=ROWS), device, graphs=True).total
        print(f"{shape}, {tokens:,} tokens a step: measured {ms} ms, computed {computed:.1f}, {computed / ms - 1:+.0%}")


def pairs_that_pay(shape: str, rows: int, mean: float) -> int:
    """Return from how many pairs a step is done faster by eight GPUs than by one, in powers of two."""
    device, pairs = h100(), 1
    while True:
        work = work_of(shape, pairs * mean, active_rows=rows)
        if step(work, device, NVLINK, 8, overlapped=True).total < step(work, device, graphs=True).total:
            return pairs
        pairs *= 2


def print_computed(lengths: np.ndarray, rows: int) -> None:
    """Print the computed tables: as debft is, with several processes launching kernels one by one, and as it would be recorded."""
    tokens = BATCH * float(lengths.mean())
    works = {name: work_of(name, tokens, active_rows=rows) for name in MODELS}
    for graphs, title in (
        (False, "recorded on one GPU alone, as debft does"),
        (True, "recorded on every GPU, which debft does not do"),
    ):
        print(f"\ncomputed, ms a step of {BATCH} pairs of MNLI, {title}: gradients behind the backward pass / within it")
        print(f"| | {' | '.join(MODELS)} |\n|---|{'---:|' * len(MODELS)}")
        for gpus, link in LAYOUTS:
            name = "1 GPU" if link is None else f"{gpus} GPUs, {link.name}"
            print(f"| {name} | {' | '.join(cells(works.values(), gpus, link, lengths, graphs))} |")
    print()
    for name in MODELS:
        pairs = pairs_that_pay(name, rows, float(lengths.mean()))
        print(
            f"{name}: eight GPUs with NVLink are faster than one from steps of {pairs:,} pairs, if only one is recorded (computed)"
        )


def cells(works: Sequence[Work], gpus: int, link: Link | None, lengths: np.ndarray, graphs: bool) -> Iterator[str]:
    """Give a cell for each model: milliseconds, and how many times as fast as one GPU that is."""
    device, uneven = h100(), imbalance(lengths, BATCH, gpus)
    for work in works:
        alone = step(work, device, graphs=True).total
        recorded = graphs or gpus == 1
        both = [
            step(work, device, link, gpus, imbalance=uneven, graphs=recorded, overlapped=overlapped).total
            for overlapped in (False, True)
        ]
        milliseconds = " / ".join(dict.fromkeys(f"{1e3 * seconds:,.0f}" for seconds in both))
        yield milliseconds if gpus == 1 else f"{milliseconds} ({alone / both[-1]:.2f} x)"


if __name__ == "__main__":
    main()
