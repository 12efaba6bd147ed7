"""A task gets the head of its kind."""

from debft.config.recipe import QuestionConfig
from debft.scoring.heads.head import Head
from debft.scoring.heads.label import LabelHead
from debft.scoring.heads.score import ScoreHead
from debft.scoring.heads.span import SpanHead
from debft.tasks import QuestionAnswering, Task


def head_of(task: Task, config: QuestionConfig, labels: tuple[str, ...], threshold: float | None = None) -> Head:
    """Return the head of the task.

    labels: the names of the model's outputs, in their order
    threshold: the no-answer threshold of a model that is used; None for one that is trained, which has yet to choose it
    """
    if isinstance(task, QuestionAnswering):
        return SpanHead(task=task, config=config, threshold=threshold)
    if task.is_regression:
        return ScoreHead(task=task, name=labels[0])
    return LabelHead(task=task, labels=labels)
