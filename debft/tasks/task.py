"""What every task has: where its rows are, in which splits, and what is measured."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Split:
    """`name` in our results and files, `config` and `hub_split` on the hub.

    num_rows: of the published benchmark; a run on any other number of rows is not compared with published scores.
    None: of the user's own data
    """

    name: str
    config: str
    hub_split: str
    num_rows: int | None = None


@dataclass(frozen=True)
class Layout:
    """A benchmark's own files: `directory/files[split name]`, with its names for our columns.

    header: the columns of files that have no header line
    where: (column, value) of the rows that belong to a split, by its name, where several splits share a file
    labels: the benchmark's names for our labels, where they differ
    """

    directory: str
    files: dict[str, str]
    columns: dict[str, str] = field(default_factory=dict)
    header: tuple[str, ...] | None = None
    where: dict[str, tuple[str, str]] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task as data.

    text_keys: the columns that the model reads; label_key: what it learns
    metrics: names in debft.scoring.metrics; the first ones stand beside the published cell, in its order
    selection: names of the eval splits that are scored during training and choose the best checkpoint; () means all
    test: splits without labels, for a leaderboard
    in_root: the files may lie in the data directory itself, not only below the task's name
    some_evals_suffice: data that lacks some of the eval splits is evaluated on the others
    """

    name: str
    dataset: str
    revision: str
    train: Split
    evals: tuple[Split, ...]
    text_keys: tuple[str, ...]
    label_key: str = "label"
    metrics: tuple[str, ...]
    layouts: tuple[Layout, ...] = ()
    selection: tuple[str, ...] = ()
    test: tuple[Split, ...] = ()
    in_root: bool = False
    some_evals_suffice: bool = False

    @property
    def splits(self) -> tuple[Split, ...]:
        return (self.train, *self.evals)

    @property
    def selection_evals(self) -> tuple[Split, ...]:
        return tuple(split for split in self.evals if not self.selection or split.name in self.selection)

    def score_names(self) -> tuple[str, ...]:
        return tuple(f"{split.name}/{metric}" for split in self.evals for metric in self.metrics)

    def selection_score(self, scores: dict[str, float]) -> float:
        """What the best checkpoint is best by: the mean over the splits of `selection` and the metrics.

        Source: microsoft/DeBERTa DeBERTa/apps/run.py eval_fn, calc_metrics.
        """
        chosen = [scores[f"{split.name}/{metric}"] for split in self.selection_evals for metric in self.metrics]
        return sum(chosen) / len(chosen)
