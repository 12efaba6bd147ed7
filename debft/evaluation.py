"""The model over the eval splits: logits, scores in percent, predictions; every example exactly once.

Legend: N examples, C labels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from debft import metrics
from debft.data.batches import Collator, by_length, micro_batches
from debft.data.encoding import EncodedSplit
from debft.errors import NotFiniteError
from debft.progress import meter
from debft.tasks import Task


def predict_logits(
    accelerator: Accelerator, model: torch.nn.Module, split: EncodedSplit, *, collate: Collator, micro_batch_tokens: int,
    what: str, check: Callable[[], None] = lambda: None,
) -> np.ndarray:  # fmt: skip
    """Logits (N, C) float32 in the order of the split, on every process.

    `check` is called before each batch and may raise to leave early. The random generators are not touched.
    """
    plain = accelerator.unwrap_model(model)
    plain.eval()
    lengths = split.lengths()
    mine = by_length(np.arange(len(split)), lengths)[accelerator.process_index :: accelerator.num_processes]
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    with torch.inference_mode(), meter("evaluate", len(split), "examples", show=accelerator.is_main_process) as progress:
        for batch in micro_batches(mine, lengths, micro_batch_tokens):
            check()
            inputs = {name: tensor for name, tensor in collate(split, batch).items() if name != "labels"}
            parts.append((batch, plain(**inputs).logits.float().cpu().numpy()))
            progress.advance(len(batch) * accelerator.num_processes, what)
    parts = gather_object(parts)
    indices = np.concatenate([batch for batch, _ in parts])
    logits_NC = np.empty((len(split), parts[0][1].shape[1]), dtype=np.float32)
    logits_NC[indices] = np.concatenate([logits for _, logits in parts])
    assert len(indices) == len(split) == len(np.unique(indices)), "an example was scored twice or not at all"
    return logits_NC


def scores_of(
    task: Task, labels: tuple[str, ...], logits: dict[str, np.ndarray], splits: dict[str, EncodedSplit]
) -> dict[str, float]:
    """`<split>/<metric>` -> percent. `labels`: names in the order of the model's outputs and of the splits' labels.

    Raises NotFiniteError for logits that are not finite: their argmax means nothing.
    """
    found = {}
    for name, logits_NC in logits.items():
        if not np.isfinite(logits_NC).all():
            raise NotFiniteError(f"{name}: expected finite logits, got NaN or infinity; train with a lower --learning-rate")
        if task.is_regression:
            predictions, references = logits_NC[:, 0], splits[name].labels_N
        else:  # by the task's order: F1 is that of the task's label 1 whatever the model calls its outputs
            of_task = np.array([task.labels.index(label) for label in labels])
            predictions, references = of_task[logits_NC.argmax(axis=1)], of_task[splits[name].labels_N]
        for metric in task.metrics:
            score = metrics.compute(metric, predictions, references)
            found[f"{name}/{metric}"] = round(100.0 * score, 10)  # 30.35, not 30.349999999999998
    return found


def probabilities(logits_NC: np.ndarray) -> np.ndarray:
    """Softmax over the labels, (N, C) float64."""
    shifted = np.exp(logits_NC.astype(np.float64) - logits_NC.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def prediction_rows(
    task: Task, labels: tuple[str, ...], ids: list[str], logits_NC: np.ndarray, labels_N: np.ndarray | None = None
) -> list[dict[str, Any]]:
    """id, label (where `labels_N` is given) and prediction by name, probability by label name; numbers for a regression."""
    rows = []
    for i, (identity, row) in enumerate(zip(ids, logits_NC if task.is_regression else probabilities(logits_NC), strict=True)):
        entry: dict[str, Any] = {"id": identity}
        if labels_N is not None:
            entry["label"] = float(labels_N[i]) if task.is_regression else labels[labels_N[i]]
        entry["prediction"] = float(row[0]) if task.is_regression else labels[row.argmax()]
        entry["scores"] = {name: round(float(p), 6) for name, p in zip(labels, row, strict=True)}
        rows.append(entry)
    return rows
