"""What each kind of task does with a model: label.py, score.py and span.py, and in head.py what they share."""

from debft.scoring.heads.build import head_of
from debft.scoring.heads.head import Assessment, Head, at_least_float32, model_inputs, plain_loss
from debft.scoring.heads.label import LabelHead, probabilities
from debft.scoring.heads.score import ScoreHead
from debft.scoring.heads.span import SpanHead

__all__ = [
    "Assessment",
    "Head",
    "LabelHead",
    "ScoreHead",
    "SpanHead",
    "at_least_float32",
    "head_of",
    "model_inputs",
    "plain_loss",
    "probabilities",
]
