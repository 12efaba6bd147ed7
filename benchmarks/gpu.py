"""debft on an NVIDIA GPU: does it learn in every precision, does a run repeat itself bit for bit, and how fast is a step?

    bash benchmarks/gpu.sh --data DIR [--out DIR] [--small]

Every part prints one line when it ends, with its seconds; one that fails says why, and the others go on:

1  versions and the card; the tests marked `gpu`, in a few processes
2  MNLI on demo rows in fp32, bf16 and fp16 learns: a score near chance fails; in fp32 the first losses are those of the CPU
3  the same run twice, and one that is stopped and resumed: how many tensors differ, and by how much; with deterministic kernels,
   and on a CPU, any difference fails
4  SiFT and SQuAD 2.0 on demo rows in bf16; an epoch of MNLI and of SQuAD 2.0 on the real rows, with random weights
5  debft beside transformers, step by step: the rows of `speed.py`, whose table is printed last; nothing else runs meanwhile

Parts 1 to 4 are not timed and run side by side. Runs and logs stay in --out.
"""

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gpu_parts import FULL, SMALL, Bench
from gpu_tests import TESTS, run_tests
from speed import NEEDED

# An accuracy or F1 in percent that chance does not give: three labels, and a third of the questions without an answer.
LEARNED, ABOVE_CHANCE = 60.0, 40.0
AT_A_TIME = 20  # parts that wait for their processes; as many processes run as there are cores


@dataclass
class Part:
    """What is looked at: `do` returns what is to be said of it, or raises."""

    name: str
    do: Callable[[], str]
    seconds: float = 0.0

    def run(self) -> str:
        started = time.monotonic()
        try:
            return self.do()
        finally:
            self.seconds = time.monotonic() - started


def side_by_side(bench: Bench) -> list[Part]:
    """Parts 1 to 4 but for the versions."""
    size = bench.size
    tests = [Part(f"1 tests of {name}", partial(run_tests, bench, name)) for name in TESTS]
    learns = [
        Part(f"2 demo MNLI, {precision}", partial(bench.learns, f"mnli-{precision}", "mnli", size.learning, precision, LEARNED))
        for precision in ("fp32", "bf16", "fp16")
    ]
    learns.append(Part("2 demo MNLI, fp32, beside the CPU", bench.agrees_with_cpu))
    repeats = [
        Part(f"3 repeated, {precision}{kernels}", partial(bench.repeats, precision, bool(kernels)))
        for kernels in ("", ", deterministic")
        for precision in ("fp32", "bf16")
    ]
    others = [
        Part(f"4 demo {name}, bf16", partial(bench.learns, run, task, size.compared, "bf16", ABOVE_CHANCE, *options))
        for name, run, task, options in (("SiFT", "sift", "mnli", ("--sift",)), ("SQuAD 2.0", "squad2", "squad2", ()))
    ]
    real = [
        Part(f"4 real {name}, bf16", partial(bench.real, f"real-{task}", task, folder))
        for name, task, folder in (("SQuAD 2.0", "squad2", "squad2"), ("MNLI", "mnli", ""))
    ]
    return [*tests, *real, *repeats, *learns, *others]  # the longest first


def alone(bench: Bench) -> list[Part]:
    """Part 5, with nothing beside it."""
    return [Part("5 speed beside transformers", bench.speed)]


def run_parts(parts: list[Part], at_a_time: int) -> bool:
    """Run them and print a line for each as it ends. Whether all went well."""
    with ThreadPoolExecutor(at_a_time) as pool:
        futures: dict[Future, Part] = {pool.submit(part.run): part for part in parts}
        for future in as_completed(futures):
            part, error = futures[future], future.exception()
            said = future.result() if error is None else f"FAILED {type(error).__name__}: {error}"
            print(f"{part.name:<40} {part.seconds:6.1f} s   {said}", flush=True)
        return all(future.exception() is None for future in futures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help=f"holds {', '.join(NEEDED)}")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="an empty or new directory (default: runs/gpu)")
    parser.add_argument("--small", action="store_true", help="a few steps of every part, on the CPU as well; no score is judged")
    options = parser.parse_args()
    bench = Bench(data=options.data.resolve(), out=options.out.resolve(), size=SMALL if options.small else FULL)
    for name in NEEDED:
        if not (bench.data / name).is_file():
            parser.error(f"--data {options.data}: expected {name} in it, found none")
    bench.out.mkdir(parents=True, exist_ok=True)
    if any(bench.out.iterdir()):
        parser.error(f"--out {options.out}: expected an empty or new directory")
    started = time.monotonic()
    if not run_parts([Part("1 versions", bench.versions)], 1):
        sys.exit(1)
    well = True
    for parts, at_a_time, seconds in zip((side_by_side(bench), alone(bench)), (AT_A_TIME, 1), bench.size.seconds, strict=True):
        bench.deadline = started + seconds
        well &= run_parts(parts, at_a_time)
    print(bench.table)
    print(f"{'all parts' if well else 'not all parts are well,'} {time.monotonic() - started:.0f} s", flush=True)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
