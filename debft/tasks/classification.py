"""This module declares the type of every task that classifies or scores one text or a pair."""

import math
from dataclasses import dataclass

from debft.tasks.task import BaseTask


@dataclass(frozen=True, kw_only=True)
class TextClassification(BaseTask):
    """A task that gives a text, or a pair, one of several labels, a set of them, or a score."""

    labels: tuple[str, ...] = ()
    """Names in the hub's order, so that label i has the integer i in the hub's files; () for a score."""
    value_range: tuple[float, float] | None = None
    """Lowest and highest score; None for labels."""
    numbered: bool = True
    """Whether files may give labels as the hub's integers; without it `1` is a name like any other."""
    multilabel: bool = False
    """Whether a text may have several of the labels, or none."""
    label_separator: str | None = None
    """What stands between the labels of one cell, `|` in `a|b`; None: a cell that is no list is one label."""

    @property
    def is_regression(self) -> bool:
        """Whether the task is to give a score, not a label."""
        return self.value_range is not None

    @property
    def gives(self) -> str:
        """The outputs of the model in words, for the help text."""
        if self.labels or self.value_range is None:
            return ", ".join(self.labels)
        bounded = all(map(math.isfinite, self.value_range))
        return "a score from {:g} to {:g}".format(*self.value_range) if bounded else "a score"
