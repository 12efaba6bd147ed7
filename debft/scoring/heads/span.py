"""A question is answered by a span of its context, which has a start and an end, or by none.

Legend: B windows in a batch, L its padded length, N questions.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from debft.config.recipe import QuestionConfig
from debft.data.encoding import EncodedSplit
from debft.data.examples import Examples
from debft.data.packing import Batch
from debft.data.windows import EncodedWindows
from debft.models.settings import NO_ANSWER_THRESHOLD
from debft.scoring import spans
from debft.scoring.collecting import SpanCollector
from debft.scoring.heads.head import Assessment, LogitsNotFiniteError, at_least_float32, model_inputs
from debft.scoring.metrics import squad
from debft.scoring.spans import BestSpans, DecodedAnswer
from debft.tasks import QuestionAnswering


@dataclass(frozen=True, kw_only=True)
class SpanHead:
    """This head turns start and end logits into answers.

    threshold: a question whose no-answer score is above it has no answer. None: not chosen yet; then the split that is assessed
    gives it, the best for F1, as the official scorer's best_f1_thresh.
    """

    task: QuestionAnswering
    config: QuestionConfig
    threshold: float | None = None

    def prepare(self, split: EncodedSplit) -> EncodedSplit:
        return split

    def outputs(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Return (B, L, 2), start and end; the lowest number at padding, which takes no part in anything.

        transformers lets padding compete as well, so that its loss depends on how far a batch is padded.
        """
        output = model(**model_inputs(batch))
        logits_BL2 = at_least_float32(torch.stack([output.start_logits, output.end_logits], dim=-1))
        if "lengths" in batch:  # packed: the model has put that number there
            return logits_BL2
        return logits_BL2.masked_fill(batch["attention_mask"].unsqueeze(-1) == 0, torch.finfo(torch.float32).min)

    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean of the cross-entropies of start and end over the window's positions, summed over the windows."""
        return torch.nn.functional.cross_entropy(outputs, batch["labels"], reduction="sum") / 2

    def divergence(self, target: torch.Tensor, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean over start and end of the cross-entropy over the positions, summed over the windows."""
        return torch.nn.functional.cross_entropy(outputs, target.softmax(dim=1), reduction="sum") / 2

    def collector(self, split: EncodedSplit, *, left: bool, executor: Executor | None) -> SpanCollector:
        assert isinstance(split, EncodedWindows), "questions are encoded as windows"
        config = self.config
        return SpanCollector(
            split, left=left, max_answer_length=config.max_answer_length, n_best_size=config.n_best_size, executor=executor
        )

    def with_chosen(self, settings: Mapping[str, Any]) -> "SpanHead":
        return replace(self, threshold=settings.get(NO_ANSWER_THRESHOLD, 0.0))

    def assess(self, outcome: BestSpans | np.ndarray, split: EncodedSplit, examples: Examples) -> Assessment:
        """Score the answers by the official metrics, and write them as the official scorer reads them."""
        answers = self._answers(outcome, examples)
        gold = [tuple(text for text, _ in pairs) for pairs in examples.gold_answers]
        threshold = self.threshold
        best: dict[str, float] = {}
        settings: dict[str, float] = {}
        if self.task.unanswerable:
            chosen, best = choose_threshold(answers, gold, self.task.metrics)
            threshold = chosen if threshold is None else threshold
            settings = {NO_ANSWER_THRESHOLD: float(threshold)}
        texts = self._texts(answers, threshold or 0.0)
        by_id = dict(zip(examples.ids, texts, strict=True))
        rows = self._rows(answers, texts, examples)
        for row, gold_texts in zip(rows, gold, strict=True):
            row["label"] = list(gold_texts)
        return Assessment(
            scores=squad.scores(by_id, dict(zip(examples.ids, gold, strict=True))) | best,
            rows=rows,
            files=official_files(by_id, answers, unanswerable=self.task.unanswerable),
            settings=settings,
        )

    def predict(self, outcome: BestSpans | np.ndarray, examples: Examples) -> list[dict[str, Any]]:
        answers = self._answers(outcome, examples)
        return self._rows(answers, self._texts(answers, self.threshold or 0.0), examples)

    def _answers(self, outcome: BestSpans | np.ndarray, examples: Examples) -> list[DecodedAnswer]:
        """Return the answer of each question. outcome: the best spans, or the numbers of questions whose logits are not finite."""
        if isinstance(outcome, np.ndarray):
            raise LogitsNotFiniteError([examples.ids[question] for question in outcome.tolist()], len(examples))
        return spans.answers(outcome, [context for _, context in examples.texts], with_null=self.task.unanswerable)

    def _texts(self, answers: list[DecodedAnswer], threshold: float) -> list[str]:
        """Return the text that answers each question, '' where none does."""
        always = not self.task.unanswerable
        return [answer.best.strip() if always or answer.no_answer_score <= threshold else "" for answer in answers]

    def _rows(self, answers: list[DecodedAnswer], texts: list[str], examples: Examples) -> list[dict[str, Any]]:
        """Return id, prediction with its characters in the context (null where there is none), probabilities."""
        rows = []
        for identity, answer, text in zip(examples.ids, answers, texts, strict=True):
            scores = {"answer": round(answer.probabilities[0], 6) if answer.probabilities else 0.0}
            if self.task.unanswerable:
                scores["no_answer"] = round(spans.no_answer_probability(answer.no_answer_score), 6)
            best = _span_row(answer.n_best[0]) if text else {}
            place = {"start": best.get("start"), "end": best.get("end")}
            rows.append({"id": identity, "prediction": text, **place, "scores": scores})
        return rows


def choose_threshold(
    answers: list[DecodedAnswer], gold: list[tuple[str, ...]], metrics: Sequence[str]
) -> tuple[float, dict[str, float]]:
    """Return the no-answer threshold that is best for the first of `metrics`, and for each the score at its own best threshold.

    gold: the texts of each question's gold answers, () for an unanswerable one
    The scores are percent, named `best_f1` as the official scorer names them.
    """
    no_answer_score_N = np.array([answer.no_answer_score for answer in answers])
    has_answer_N = np.array([bool(texts) for texts in gold])
    thresholds, best = [], {}
    for name in metrics:
        score = getattr(squad, name)
        if_answered_N = np.array([score(answer.best, texts) for answer, texts in zip(answers, gold, strict=True)])
        threshold, best[f"best_{name}"] = squad.best_threshold(no_answer_score_N, if_answered_N, has_answer_N)
        thresholds.append(threshold)
    return thresholds[0], best


def official_files(texts: dict[str, str], answers: list[DecodedAnswer], *, unanswerable: bool) -> dict[str, Any]:
    """Return the files that the official scorer and run_qa of transformers write, by name. texts: the answers, by question id."""
    n_best = {identity: [_span_row(span) for span in a.n_best] for identity, a in zip(texts, answers, strict=True)}
    files: dict[str, Any] = {"predictions.json": texts, "nbest_predictions.json": n_best}
    if unanswerable:
        no_answer = [spans.no_answer_probability(answer.no_answer_score) for answer in answers]
        files["na_prob.json"] = dict(zip(texts, no_answer, strict=True))
    return files


def _span_row(span: spans.Span) -> dict[str, Any]:
    """Return a span as JSON, without the space at its edge that a token of nothing else leaves."""
    text, start, end, score, probability = span
    if (stripped := text.strip()) != text:
        start += len(text) - len(text.lstrip())
        end = start + len(stripped)
    return {"text": stripped, "start": start, "end": end, "score": score, "probability": probability}
