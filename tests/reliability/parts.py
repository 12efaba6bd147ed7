"""What a part of the reliability runs is: many small cases, each of which holds or does not.

A file of this directory that defines `PART` is a part; `run.py` finds them all, runs their cases in order, keeps what came of each in
a log, so that an interrupted run goes on, and prints one table. The suite runs a few cases of each part (`test_<part>.py`). The
directory is on the path of modules, so a part is not named as a module of Python's own is.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Case:
    """A case runs in an empty directory of its own and raises `AssertionError` where the claim does not hold.

    name: the same for the same case each time, so that a log can tell what was done: a seed, a call's number, a step
    run: takes the directory and returns a few words on what happened ("killed at 1.32 s, resumed from step 8")
    """

    name: str
    run: Callable[[Path], str]


@dataclass(frozen=True, kw_only=True)
class Part:
    """A claim and its cases.

    claim: what is true when every case holds, in the words of the table: "0 runs lost, 0 bits changed"
    cases: every case of the full run, made anew at each call; `few` of them, spread over the list, run in the suite
    figure: takes what the cases that held say of themselves, and returns what the table adds to the claim; None adds nothing
    """

    name: str
    claim: str
    cases: Callable[[], Iterable[Case]]
    few: int
    figure: Callable[[Sequence[str]], str] | None = None

    def few_cases(self) -> list[Case]:
        """Return the cases that the suite runs: the first one, and others at equal distances."""
        every = list(self.cases())
        count = min(self.few, len(every))
        return [every[number * len(every) // count] for number in range(count)]
