"""A step for which the memory is not enough is cut into smaller micro-batches, in all processes and for the rest of the run."""

import math
from dataclasses import dataclass, field

from debft.console import say
from debft.errors import TooLittleMemoryError
from debft.runs.result import MemoryCut, tokens_after


@dataclass(kw_only=True)
class Memory:
    """How many tokens go through the model at once in a step: fewer and fewer as the memory proves not to be enough.

    asked: as many as the recipe asks for, or as suit the device.
    cuts: where the memory was not enough so far, in all processes; `agree` adds to it.
    main: whether this process says what happens.
    tokens: the limit of this process; 0: the memory is not enough for one sequence.
    agreed: the limit that all processes know of.
    reason: how torch said that there is no memory, "" where it did not in this process.
    """

    asked: int
    cuts: list[MemoryCut]
    main: bool
    tokens: int = field(init=False)
    agreed: int = field(init=False)
    reason: str = ""

    def __post_init__(self) -> None:
        self.tokens = self.agreed = tokens_after(self.cuts, "training", self.asked)

    def cut_to(self, tokens: int, reason: str) -> None:
        """Cut the limit of this process; the others hear of it with the figures of the step."""
        self.tokens, self.reason = tokens, reason

    def told(self) -> float:
        """Return what the others are told: the limit where they do not know it yet, else infinity."""
        return self.tokens if self.tokens < self.agreed else math.inf

    def agree(self, step: int, tokens: float) -> None:
        """Take over the lowest limit that a process told with the figures of a step (from 1).

        Raises TooLittleMemoryError, in all processes, where it is 0.
        """
        if tokens >= self.agreed:
            return
        if not tokens:
            where = f" ({self.reason})" if self.reason else " in another process"
            line = f"step {step}: the memory is not enough for one sequence at a time{where}"
            raise TooLittleMemoryError(*([line] if self.main else []))
        before, self.agreed = self.agreed, int(tokens)
        self.tokens = min(self.tokens, self.agreed)
        self.cuts.append(MemoryCut(during="training", step=step, before=before, after=self.agreed))
        if self.main:
            say(
                f"step {step:,}: the memory is not enough for {before:,} tokens at once; "
                f"the step was done again with {self.agreed:,}, as is the rest of the run"
            )
