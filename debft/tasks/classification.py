"""One type for every task that classifies or scores one text or a pair."""

from dataclasses import dataclass

from debft.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class TextClassification(Task):
    """labels: in the hub's order, so that label i has the integer i in the hub's files; () for a score
    value_range: (lowest, highest) of a score; None for labels
    numbered: whether files may give labels as the hub's integers; without it `1` is a name like any other
    """

    labels: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None
    numbered: bool = True

    @property
    def is_regression(self) -> bool:
        return self.value_range is not None

    @property
    def gives(self) -> str:
        """What the model says, in words."""
        return ", ".join(self.labels) or "a score from {:g} to {:g}".format(*self.value_range)
