"""Each kind of task has a head: label.py, multilabel.py, score.py and span.py, which share head.py."""

from debft.scoring.heads.build import head_of
from debft.scoring.heads.head import Assessment, Head, LogitsNotFiniteError, at_least_float32, model_inputs, plain_loss
from debft.scoring.heads.label import LabelHead, probabilities
from debft.scoring.heads.multilabel import MultiLabelHead
from debft.scoring.heads.score import ScoreHead
from debft.scoring.heads.span import SpanHead

__all__ = [
    "Assessment",
    "Head",
    "LabelHead",
    "LogitsNotFiniteError",
    "MultiLabelHead",
    "ScoreHead",
    "SpanHead",
    "at_least_float32",
    "head_of",
    "model_inputs",
    "plain_loss",
    "probabilities",
]
