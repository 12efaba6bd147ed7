"""One type for every task that classifies or scores one text or a pair."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Split:
    """`name` in our results and files, `config` and `hub_split` on the hub.

    num_rows: of the published benchmark; a run on any other number of rows is not compared with published scores
    """

    name: str
    config: str
    hub_split: str
    num_rows: int


@dataclass(frozen=True)
class Layout:
    """A benchmark's own files: `directory/files[split name]`, with its names for our columns.

    header: the columns of files that have no header line
    """

    directory: str
    files: dict[str, str]
    columns: dict[str, str] = field(default_factory=dict)
    header: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class TextClassification:
    """A task as data.

    labels: in the hub's order, so that label i has the integer i in the hub's files; () for a score
    value_range: (lowest, highest) of a score; None for labels
    metrics: names in debft.metrics; the first ones stand beside the published cell, in its order
    """

    name: str
    dataset: str
    revision: str
    train: Split
    evals: tuple[Split, ...]
    text_keys: tuple[str, ...]
    labels: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None
    metrics: tuple[str, ...]
    layouts: tuple[Layout, ...] = ()

    @property
    def splits(self) -> tuple[Split, ...]:
        return (self.train, *self.evals)

    @property
    def is_regression(self) -> bool:
        return self.value_range is not None

    def score_names(self) -> tuple[str, ...]:
        return tuple(f"{split.name}/{metric}" for split in self.evals for metric in self.metrics)

    def selection_score(self, scores: dict[str, float]) -> float:
        """What the best checkpoint is best by: the mean over dev sets and metrics.

        Source: microsoft/DeBERTa DeBERTa/apps/run.py eval_fn, calc_metrics.
        """
        names = self.score_names()
        return sum(scores[name] for name in names) / len(names)
