"""A task gets the head of its kind."""

from debft.config.recipe import QuestionConfig
from debft.scoring.heads.head import Head
from debft.scoring.heads.label import LabelHead
from debft.scoring.heads.multilabel import MultiLabelHead
from debft.scoring.heads.score import ScoreHead
from debft.scoring.heads.span import SpanHead
from debft.tasks import QuestionAnswering, Task


def head_of(task: Task, config: QuestionConfig, labels: tuple[str, ...]) -> Head:
    """Return the head of the task, which has yet to choose its thresholds. labels: the model's outputs by name, in their order"""
    if isinstance(task, QuestionAnswering):
        return SpanHead(task=task, config=config)
    if task.is_regression:
        return ScoreHead(task=task, name=labels[0])
    if task.multilabel:
        return MultiLabelHead(task=task, labels=labels)
    return LabelHead(task=task, labels=labels)
