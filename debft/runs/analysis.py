"""The analysis of a run, and the file analysis.json that holds it: which classes, lengths and rows its scores come from.

The text below a field is its description in docs/analysis.schema.json.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from debft.errors import InputError, shown
from debft.runs.json_records import json_of, read_as

FORMAT_VERSION = 1
KindOfAnswer = Literal["correct", "boundary", "wrong_span", "missed_answer", "answered_unanswerable"]


@dataclass(frozen=True, kw_only=True)
class ClassScores:
    """These are the scores of one label, in percent."""

    label: str
    """Its name."""
    precision: float
    """Rows of the label among those it is predicted for; 0 where it is never predicted."""
    recall: float
    """Rows it is predicted for among those of the label; 0 where no row has it."""
    f1: float
    """Harmonic mean of the two."""
    support: int
    """Rows that have the label."""
    predicted: int
    """Rows that it is predicted for."""


@dataclass(frozen=True, kw_only=True)
class ConfusedCell:
    """A cell of the confusion matrix counts the rows of one label that one label is predicted for."""

    label: str
    """The true label."""
    prediction: str
    """The predicted one."""
    rows: int
    """How many rows, at least one; a cell that is not listed has none."""


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """A bin of the calibration holds the predictions whose probability lies in a range of a tenth."""

    low: float
    """Lower end of the range, not in it but for 0."""
    high: float
    """Upper end, in it."""
    predictions: int
    """How many predictions."""
    probability: float
    """Mean of their probabilities, in percent; 0 where there are none."""
    right: float
    """Share of them that are right, in percent; 0 where there are none."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The calibration tells how far the probabilities may be taken at their word."""

    error: float
    """Expected calibration error in points: the mean over all predictions of the distance of the two shares of their bin."""
    bins: list[CalibrationBin]
    """Ten ranges of the same width."""


@dataclass(frozen=True, kw_only=True)
class HistogramBin:
    """A bin of a histogram counts the rows of a range."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""
    rows: int
    """How many rows."""


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """Residuals are predicted scores minus true ones, in the unit of the scores."""

    mean: float
    """Their mean: above 0 the predictions are too high."""
    mean_absolute: float
    """Mean of their sizes."""
    root_mean_square: float
    """Root of the mean of their squares."""
    bins: list[HistogramBin]
    """Their histogram."""


@dataclass(frozen=True, kw_only=True)
class AnalysedRow:
    """A row is shown with its texts because it is among the worst ones, or an example of a kind of error."""

    id: str
    """Its id in the predictions."""
    texts: dict[str, str]
    """Its texts by column; one that is very long is shown in part."""
    label: Any
    """What is true: a label, the list of its labels, a score, or the gold answers of a question."""
    prediction: Any
    """What was predicted."""
    scores: dict[str, float] = field(default_factory=dict)
    """Probability of each label; of a question that of its answer and that there is none; of a score the score."""
    loss: float
    """By what the rows are ranked: cross-entropy, squared error, or for a question the probability of its wrong answer."""
    tokens: int
    """Tokens of the whole row, those that were cut off included."""
    cut: bool
    """Whether the model did not read all of them at once."""


@dataclass(frozen=True, kw_only=True)
class AnswerKind:
    """Answers are of one kind: right, or wrong in one of several ways."""

    kind: KindOfAnswer
    """`correct`, `boundary` (overlaps a gold answer), `wrong_span` (overlaps none), `missed_answer` (said to have none) or
    `answered_unanswerable`."""
    questions: int
    """How many questions."""
    examples: list[AnalysedRow]
    """Some of them, the most certain ones first; none of the correct ones."""


@dataclass(frozen=True, kw_only=True)
class SplitAnalysis:
    """A split was analysed."""

    rows: int
    """Its rows."""
    loss: float | None = None
    """Mean of the losses of its rows: cross-entropy or squared error; null for questions."""
    label_counts: dict[str, int] = field(default_factory=dict)
    """Rows of each label; {} where there are no labels."""
    classes: list[ClassScores] = field(default_factory=list)
    """The scores of each label; [] where there are no labels."""
    confusion: list[ConfusedCell] = field(default_factory=list)
    """Cells of the confusion matrix; [] where a row has not exactly one label."""
    calibration: Calibration | None = None
    """How far the probabilities may be taken at their word; null for scores and questions."""
    residuals: Residuals | None = None
    """How far the predicted scores are off; null where there are none."""
    answers: list[AnswerKind] = field(default_factory=list)
    """The answers by kind; [] where there are no questions."""
    worst: list[AnalysedRow] = field(default_factory=list)
    """The rows that the model is most wrong about, the worst first."""


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """An analysis holds what a complete run got wrong. It is the content of analysis.json."""

    format_version: int = FORMAT_VERSION
    """Version of this file's format."""
    splits: dict[str, SplitAnalysis]
    """Each evaluated split by its name."""

    def to_json(self) -> str:
        """Return the content of analysis.json."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False)


def analysis_from_json(text: str, where: str) -> Analysis:
    """Read the content of analysis.json. A field that is not known here is left alone.

    Raises InputError where the format is newer than this one, and ValueError where the text is no analysis.
    """
    content = json_of(text)
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, got {shown(content)}")
    version = content.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise InputError(f"{where}: format {version} is newer than this debft reads ({FORMAT_VERSION}); upgrade debft")
    return read_as(content, Analysis, "")
