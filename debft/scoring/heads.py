"""What a kind of task does with a model: its loss, the logits of one sequence, scores and predictions.

Legend: B sequences in a batch, L its padded length, N examples, C labels, F windows.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from debft.config.recipe import QuestionConfig
from debft.data.encoding import EncodedSplit
from debft.data.rows import Examples
from debft.data.windows import EncodedWindows
from debft.errors import NotFiniteError
from debft.scoring import spans
from debft.scoring.metrics import by_name as metrics
from debft.scoring.metrics import squad
from debft.tasks import QuestionAnswering, Task, TextClassification

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
DIGITS = 10  # of a score in percent: 30.35, not 30.349999999999998


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Of one split. scores: by metric, in percent; rows: one per example; files: JSON beside the rows, by file name;
    settings: what was chosen on this split and belongs to the model.
    """

    scores: dict[str, float]
    rows: list[dict[str, Any]]
    files: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, float] = field(default_factory=dict)


class Head(Protocol):
    """One per kind of task."""

    def prepare(self, split: EncodedSplit) -> EncodedSplit:
        """The split with its labels in the order of the model's outputs."""

    def outputs(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The logits of a batch, float32."""

    def loss(self, outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The SUM over the sequences of a batch, float32."""

    def divergence(self, target: torch.Tensor, outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """How far `outputs` are from saying what `target` says, summed over the sequences; for SiFT."""

    def sequences(self, outputs: torch.Tensor, lengths: np.ndarray, left: bool) -> list[np.ndarray]:
        """What the model says of each sequence, without its padding. left: padding is in front."""

    def assess(self, logits: list[np.ndarray], split: EncodedSplit, examples: Examples) -> Assessment:
        """Scores and predictions. Raises NotFiniteError for logits that are not: their argmax means nothing."""

    def predict(self, logits: list[np.ndarray], split: EncodedSplit, examples: Examples) -> list[dict[str, Any]]:
        """Rows without labels. Raises NotFiniteError."""


def plain_loss(head: Head) -> Callable[[torch.nn.Module, dict[str, torch.Tensor]], tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """The task's loss alone, for `optimizer_steps`."""
    return lambda model, batch: (head.loss(head.outputs(model, batch), batch), {})


def head_of(task: Task, config: QuestionConfig, labels: tuple[str, ...], threshold: float | None = None) -> Head:
    """labels: in the order of the model's outputs; threshold: of a model that is used, None for one that is trained."""
    if isinstance(task, QuestionAnswering):
        return SpanHead(task=task, config=config, threshold=threshold)
    return ClassificationHead(task=task, labels=labels)


@dataclass(frozen=True, kw_only=True)
class ClassificationHead:
    """Labels or one score per example. labels: in the order of the model's outputs, which is that of the split's labels too."""

    task: TextClassification
    labels: tuple[str, ...]

    def prepare(self, split: EncodedSplit) -> EncodedSplit:
        """Labels counted in the order of the model's outputs."""
        return split if self.task.is_regression else split.with_labels(self.task.labels, self.labels)

    def outputs(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, C)."""
        return at_least_float32(model(**model_inputs(batch)).logits)

    def loss(self, outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Cross-entropy, or the squared error of a score."""
        if self.task.is_regression:
            return torch.nn.functional.mse_loss(outputs.squeeze(-1), batch["labels"], reduction="sum")
        return torch.nn.functional.cross_entropy(outputs, batch["labels"], reduction="sum")

    def divergence(self, target: torch.Tensor, outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Cross-entropy of the probabilities that `target` gives, or half the squared difference of two scores.

        SiFT adds it in both directions, which makes the squared difference whole.
        """
        if self.task.is_regression:
            return torch.nn.functional.mse_loss(outputs, target, reduction="sum") / 2
        return torch.nn.functional.cross_entropy(outputs, target.softmax(dim=-1), reduction="sum")

    def sequences(self, outputs: torch.Tensor, lengths: np.ndarray, left: bool) -> list[np.ndarray]:
        """(C,) of each sequence."""
        return list(outputs.cpu().numpy())

    def assess(self, logits: list[np.ndarray], split: EncodedSplit, examples: Examples) -> Assessment:
        logits_NC = np.stack(_finite(logits))
        if self.task.is_regression:
            predictions, references = logits_NC[:, 0], split.labels_N
        else:  # by the task's order: F1 is that of the task's label 1 whatever the model calls its outputs
            of_task = np.array([self.task.labels.index(label) for label in self.labels])
            predictions, references = of_task[logits_NC.argmax(axis=1)], of_task[split.labels_N]
        scores = {name: round(100.0 * metrics.compute(name, predictions, references), DIGITS) for name in self.task.metrics}
        return Assessment(scores=scores, rows=self._rows(logits_NC, examples, split.labels_N))

    def predict(self, logits: list[np.ndarray], split: EncodedSplit, examples: Examples) -> list[dict[str, Any]]:
        return self._rows(np.stack(_finite(logits)), examples, None)

    def _rows(self, logits_NC: np.ndarray, examples: Examples, labels_N: np.ndarray | None) -> list[dict[str, Any]]:
        """id, label (where `labels_N` is given) and prediction by name, probability by label name; numbers for a score."""
        score, rows = self.task.is_regression, []
        for i, (identity, row) in enumerate(zip(examples.ids, logits_NC if score else probabilities(logits_NC), strict=True)):
            entry: dict[str, Any] = {"id": identity}
            if labels_N is not None:
                entry["label"] = float(labels_N[i]) if score else self.labels[labels_N[i]]
            entry["prediction"] = float(row[0]) if score else self.labels[row.argmax()]
            entry["scores"] = {name: round(float(p), 6) for name, p in zip(self.labels, row, strict=True)}
            rows.append(entry)
        return rows


@dataclass(frozen=True, kw_only=True)
class SpanHead:
    """A start and an end in the context. threshold: of the no-answer score, above which a question has no answer; None: not
    chosen yet, then it is the best for F1 on the split that is assessed, as the official scorer's best_f1_thresh.
    """

    task: QuestionAnswering
    config: QuestionConfig
    threshold: float | None

    def prepare(self, split: EncodedSplit) -> EncodedSplit:
        return split

    def outputs(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, L, 2): start and end; lowest at padding, which takes no part in anything.

        transformers lets padding compete as well, so that its loss depends on how far a batch is padded.
        """
        found = model(**model_inputs(batch))
        logits_BL2 = at_least_float32(torch.stack([found.start_logits, found.end_logits], dim=-1))
        return logits_BL2.masked_fill(batch["attention_mask"].unsqueeze(-1) == 0, torch.finfo(torch.float32).min)

    def loss(self, outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The mean of the cross-entropies of start and end over the window's positions."""
        return torch.nn.functional.cross_entropy(outputs, batch["labels"], reduction="sum") / 2

    def divergence(self, target: torch.Tensor, outputs: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The mean over start and end of the cross-entropy over the positions."""
        return torch.nn.functional.cross_entropy(outputs, target.softmax(dim=1), reduction="sum") / 2

    def sequences(self, outputs: torch.Tensor, lengths: np.ndarray, left: bool) -> list[np.ndarray]:
        """(L, 2) of each window."""
        rows = outputs.cpu().numpy()
        return [row[-length:] if left else row[:length] for row, length in zip(rows, lengths, strict=True)]

    def assess(self, logits: list[np.ndarray], split: EncodedWindows, examples: Examples) -> Assessment:
        answers = self._decode(logits, split, examples)
        gold = [tuple(text for text, _ in found) for found in examples.labels]
        threshold, best = self.threshold, {}
        if self.task.unanswerable:
            no_answer_N = np.array([answer.no_answer_score for answer in answers])
            has_answer_N = np.array([bool(texts) for texts in gold])
            for name in self.task.metrics:
                measure = getattr(squad, name)
                if_answered_N = np.array([measure(answer.best, texts) for answer, texts in zip(answers, gold, strict=True)])
                chosen, best[f"best_{name}"] = squad.best_threshold(no_answer_N, if_answered_N, has_answer_N)
                threshold = chosen if threshold is None else threshold
        said = self._texts(answers, threshold)
        scores = squad.scores(dict(zip(examples.ids, said, strict=True)), dict(zip(examples.ids, gold, strict=True))) | best
        rows = self._rows(answers, said, examples)
        for row, texts in zip(rows, gold, strict=True):
            row["label"] = list(texts)
        files = {
            "predictions.json": dict(zip(examples.ids, said, strict=True)),
            "nbest_predictions.json": {row["id"]: [_span_row(s) for s in a.n_best] for row, a in zip(rows, answers, strict=True)},
        }
        if self.task.unanswerable:
            no_answer = [spans.no_answer_probability(answer.no_answer_score) for answer in answers]
            files["na_prob.json"] = dict(zip(examples.ids, no_answer, strict=True))
        settings = {"no_answer_threshold": float(threshold)} if self.task.unanswerable else {}
        return Assessment(scores=scores, rows=rows, files=files, settings=settings)

    def predict(self, logits: list[np.ndarray], split: EncodedWindows, examples: Examples) -> list[dict[str, Any]]:
        answers = self._decode(logits, split, examples)
        return self._rows(answers, self._texts(answers, self.threshold or 0.0), examples)

    def _decode(self, logits: list[np.ndarray], split: EncodedWindows, examples: Examples) -> list[spans.Answers]:
        windows = spans.Windows(offsets_T2=split.offsets_T2, ends_F=split.ends_N, cls_F=split.cls_N, example_F=split.question_N)
        return spans.decode(
            np.concatenate(_finite(logits)),
            windows,
            [context for _, context in examples.texts],
            with_null=self.task.unanswerable,
            max_answer_length=self.config.max_answer_length,
            n_best_size=self.config.n_best_size,
        )

    def _texts(self, answers: list[spans.Answers], threshold: float | None) -> list[str]:
        """The answer of each question, "" for none."""
        answered = not self.task.unanswerable
        return [answer.best.strip() if answered or answer.no_answer_score <= threshold else "" for answer in answers]

    def _rows(self, answers: list[spans.Answers], said: list[str], examples: Examples) -> list[dict[str, Any]]:
        """id, prediction with its characters in the context (null where there is none), probabilities."""
        rows = []
        for identity, answer, text in zip(examples.ids, answers, said, strict=True):
            scores = {"answer": round(answer.n_best[0].probability, 6) if answer.n_best else 0.0}
            if self.task.unanswerable:
                scores["no_answer"] = round(spans.no_answer_probability(answer.no_answer_score), 6)
            best = _span_row(answer.n_best[0]) if text else {}
            place = {"start": best.get("start"), "end": best.get("end")}
            rows.append({"id": identity, "prediction": text, **place, "scores": scores})
        return rows


def _span_row(span: spans.Span) -> dict[str, Any]:
    """Without the space at the edge that a token of nothing else leaves."""
    text = span.text.strip()
    start = span.start + len(span.text) - len(span.text.lstrip())
    return {"text": text, "start": start, "end": start + len(text), "score": span.score, "probability": span.probability}


def model_inputs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: batch[name] for name in INPUTS if name in batch}


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """Half precision widened; float64 stays."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def probabilities(logits_NC: np.ndarray) -> np.ndarray:
    """Softmax over the labels, (N, C) float64."""
    shifted = np.exp(logits_NC.astype(np.float64) - logits_NC.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _finite(logits: list[np.ndarray]) -> list[np.ndarray]:
    if not all(np.isfinite(one).all() for one in logits):
        raise NotFiniteError("expected finite logits, got NaN or infinity; train with a lower --learning-rate")
    return logits
