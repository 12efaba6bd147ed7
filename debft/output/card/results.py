"""The scores of a run in the two forms that the hub reads: the model index of a card, and `.eval_results/*.yaml`.

Source: huggingface_hub EvalResult and EvalResultEntry (https://huggingface.co/docs/hub/eval-results).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from debft.config.recipe_hash import recipe_hash
from debft.output.card.subject import Subject
from debft.output.text import interval_text
from debft.runs.result import in_percent
from debft.tasks import QuestionAnswering, Split
from debft.tasks.titles import metric_title, task_title

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

EVAL_RESULTS = ".eval_results/debft.yaml"


def eval_results(subject: Subject) -> list["EvalResult"]:
    """Return the scores for a model index; [] where they are not to be set beside others (`Subject.without_result`)."""
    from huggingface_hub import EvalResult

    task = subject.task
    return [
        EvalResult(
            task_type=pipeline_tag(subject),
            task_name=task_title(task.name),
            dataset_type=task.dataset,
            dataset_name=task_title(task.name),
            dataset_config=split.config,
            dataset_split=split.hub_split,
            dataset_revision=_revision(subject),
            metric_type=_METRICS.get(metric, metric),
            metric_name=metric_title(metric),
            metric_value=value,
        )
        for split, metric, value, _ in _scores(subject)
    ]


def eval_results_yaml(subject: Subject) -> str | None:
    """Return the content of EVAL_RESULTS; None where there is nothing to say. The hub shows it where it knows the benchmark."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    from huggingface_hub.utils import yaml_dump

    digest = recipe_hash(subject.recipe)
    entries = [
        EvalResultEntry(
            dataset_id=subject.task.dataset,
            task_id=split.config,
            value=value,
            dataset_revision=_revision(subject),
            date=(subject.result.finished or "")[:10] or None,
            notes=f"{split.hub_split} {metric_title(metric)}{interval}; debft recipe {digest}",
        )
        for split, metric, value, interval in _scores(subject)
    ]
    return yaml_dump(eval_result_entries_to_yaml(entries), sort_keys=False) if entries else None


def pipeline_tag(subject: Subject) -> str:
    """Return the hub's name for what the model does."""
    return "question-answering" if isinstance(subject.task, QuestionAnswering) else "text-classification"


def _scores(subject: Subject) -> Iterator[tuple[Split, str, float, str]]:
    """Return split, metric, value and interval of each score: in percent for answers, as the metric of SQuAD has it, else a share.

    A mean over languages is of no split, and is left out.
    """
    if subject.without_result():
        return
    splits = {split.name: split for split in subject.task.evals}
    for name, score in subject.result.scores.items():
        part, _, metric = name.rpartition("/")
        if in_percent(name) and part in splits:
            percent = isinstance(subject.task, QuestionAnswering)
            interval = interval_text(subject.result.intervals.get(name))
            words = f", 95 % interval in percent {interval}" if interval else ""
            yield splits[part], metric, round(score if percent else score / 100, 6), words


def _revision(subject: Subject) -> str | None:
    """Return the commit of the rows, where they were read from the hub."""
    return subject.task.revision if subject.result.data.source == "hub" else None


_METRICS = {"macro_f1": "f1", "spearmanr": "spearmanr", "pearson": "pearsonr"}  # the hub's names, where they differ from ours
