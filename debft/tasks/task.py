"""This module declares what every task has: where its rows are, in which splits, and what is measured."""

from dataclasses import dataclass, field

LOSS = "loss"  # stands beside the names of metrics where the loss on dev rows is meant


@dataclass(frozen=True)
class Split:
    """A split is one part of a task's rows, such as those that are trained on."""

    name: str
    """Name in our results and files, `validation_matched`."""
    config: str
    """Name of the configuration of the data set on the hub that the split is in; of XNLI the language."""
    hub_split: str
    """Name of the split on the hub."""
    num_rows: int | None = None
    """Rows in the published benchmark; a run on any other number of rows is not compared with published scores. None: own data."""


@dataclass(frozen=True)
class BenchmarkFiles:
    """The files of a benchmark as its authors ship them, with their names for our columns and labels."""

    directory: str
    """Directory of the files below the data directory; "" for that one itself."""
    files: dict[str, str]
    """Name of the file by the name of the split; several splits may share one."""
    columns: dict[str, str] = field(default_factory=dict)
    """Our name by the benchmark's name of a column, where they differ."""
    header: tuple[str, ...] | None = None
    """Columns of files that have no header line; None: they have one."""
    where: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Column and value of a split's rows, by its name, where several splits share a file."""
    labels: dict[str, str] = field(default_factory=dict)
    """Our name by the benchmark's name of a label, where they differ."""


@dataclass(frozen=True, kw_only=True)
class BaseTask:
    """A task is data: everything that one task has and another has not. kinds.py has the kinds of tasks that there are."""

    name: str
    """Name of the command, `mnli`."""
    title: str = ""
    """Name for people, `MNLI`; "" where there is none but that of the command."""
    dataset: str
    """Id of the data set on the hub; "" where the rows are the user's own."""
    revision: str
    """Commit of the data set that every run reads."""
    train: Split
    """Split that is trained on."""
    evals: tuple[Split, ...]
    """Splits that are evaluated at the end of a run."""
    text_keys: tuple[str, ...]
    """Columns that the model reads, one or two."""
    label_key: str = "label"
    """Column that the model learns."""
    metrics: tuple[str, ...]
    """Names in debft.scoring.metrics; the first ones stand beside the published cell, in its order."""
    benchmark_files: tuple[BenchmarkFiles, ...] = ()
    """Files of the benchmark that a data directory may hold instead of the hub's schema, tried in this order."""
    selection: tuple[str, ...] = ()
    """Names of the eval splits that are scored during training and choose the best checkpoint; (): all."""
    test: tuple[Split, ...] = ()
    """Splits without labels, for a leaderboard."""
    in_root: bool = False
    """Whether the files may lie in the data directory itself, not only below the task's name."""
    some_evals_suffice: bool = False
    """Whether data that lacks some of the eval splits is evaluated on the others."""

    @property
    def gives(self) -> str:
        """What the task gives, for a person: its labels, a score or an answer; "" where its kind does not say."""
        return ""

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits of a run: the one that is trained on, then those that are evaluated."""
        return (self.train, *self.evals)

    @property
    def selection_evals(self) -> tuple[Split, ...]:
        """The eval splits that are scored during training."""
        return tuple(split for split in self.evals if not self.selection or split.name in self.selection)

    def score_names(self) -> tuple[str, ...]:
        """Name every score of a run, `validation/accuracy`."""
        return tuple(f"{split.name}/{metric}" for split in self.evals for metric in self.metrics)

    def selection_names(self, metric: str | None = None) -> tuple[str, ...]:
        """Name the scores whose mean chooses the best checkpoint: of `metric`, on the split that it may name, else of all."""
        of_split, slash, name = (metric or "").rpartition("/")
        names = (name,) if metric else self.metrics
        return tuple(f"{s.name}/{one}" for s in self.selection_evals if not slash or s.name == of_split for one in names)

    def selection_score(self, scores: dict[str, float], metric: str | None = None) -> float:
        """Return what the best checkpoint is best by, the higher the better: a mean of scores, of losses times -1.

        Source: microsoft/DeBERTa DeBERTa/apps/run.py eval_fn, calc_metrics, for the mean over splits and metrics.
        """
        chosen = [scores[name] for name in self.selection_names(metric)]
        mean = sum(chosen) / len(chosen)
        return -mean if metric and metric.rpartition("/")[2] == LOSS else mean
