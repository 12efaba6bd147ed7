"""One type for every classification task on one text or a pair."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Split:
    """`name` in our results and files, `config` and `hub_split` on the hub, `benchmark_file` as the benchmark ships it.

    num_rows: of the published benchmark; a run on any other number of rows is not compared with published scores
    """

    name: str
    config: str
    hub_split: str
    benchmark_file: str
    num_rows: int


@dataclass(frozen=True, kw_only=True)
class TextClassification:
    """A task as data.

    labels: in the hub's order, so that label i has the integer i in the hub's files
    metrics: names in debft.metrics, the first is printed
    benchmark_dir, benchmark_columns: the benchmark's own layout and its names for our columns
    """

    name: str
    dataset: str
    revision: str
    train: Split
    evals: tuple[Split, ...]
    text_keys: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    benchmark_dir: str
    benchmark_columns: dict[str, str] = field(default_factory=dict)

    @property
    def splits(self) -> tuple[Split, ...]:
        return (self.train, *self.evals)

    def score_names(self) -> tuple[str, ...]:
        return tuple(f"{split.name}/{metric}" for split in self.evals for metric in self.metrics)

    def selection_score(self, scores: dict[str, float]) -> float:
        """What the best checkpoint is best by: the mean over dev sets and metrics, as in microsoft/DeBERTa run.py."""
        names = self.score_names()
        return sum(scores[name] for name in names) / len(names)
