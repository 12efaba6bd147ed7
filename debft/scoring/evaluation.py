"""A model runs over a split, each sequence exactly once, and its assessments become the scores of a task."""

from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from debft.console import meter
from debft.data.batches import by_length, micro_batches
from debft.data.encoding import EncodedSplit
from debft.scoring.heads import Assessment
from debft.scoring.loaded import LoadedModel
from debft.tasks import Task

# An evaluation keeps no activations for a backward pass, so that its batches may hold more tokens than those of training.
EVALUATION_FACTOR = 4


def predict_logits(
    loaded: LoadedModel,
    accelerator: Accelerator,
    split: EncodedSplit,
    *,
    micro_batch_tokens: int,
    what: str,
    should_stop: Callable[[], bool] = lambda: False,
    leave: Callable[[], None] = lambda: None,
) -> list[np.ndarray]:
    """Return `head.sequences` of every sequence in the order of the split, on every process. No random numbers are drawn.

    micro_batch_tokens: padded tokens that a training batch may have
    what: the name of the split on the bar
    should_stop: asked before each batch
    leave: called once when no batch is left or this process should stop; may raise, in all the processes at once
    """
    head, collate = loaded.head, loaded.collate
    loaded.model.eval()
    lengths = split.lengths()
    own = by_length(np.arange(len(split)), lengths)[accelerator.process_index :: accelerator.num_processes]
    parts: list[tuple[np.ndarray, list[np.ndarray]]] = []
    with torch.inference_mode(), meter("evaluate", len(split), "examples", show=accelerator.is_main_process) as progress:
        for batch in micro_batches(own, lengths, EVALUATION_FACTOR * micro_batch_tokens, packed=collate.packed):
            if should_stop():
                break
            outputs = head.outputs(loaded.model, collate(split, batch))
            parts.append((batch, head.sequences(outputs, lengths[batch], collate.left)))
            progress.advance(len(batch) * accelerator.num_processes, what)
    leave()
    by_index = {int(index): one for batch, logits in gather_object(parts) for index, one in zip(batch, logits, strict=True)}
    assert len(by_index) == len(split), "an example was left out"
    return [by_index[index] for index in range(len(split))]


def scores_of(task: Task, assessed: dict[str, Assessment]) -> dict[str, float]:
    """Return percent by `<split>/<metric>`.

    Where the splits are in several languages, `validation.fr/accuracy`, their mean is added: `validation.avg/accuracy`.
    """
    scores = {f"{name}/{metric}": value for name, assessment in assessed.items() for metric, value in assessment.scores.items()}
    for part in dict.fromkeys(name.partition(".")[0] for name in assessed if "." in name):
        for metric in task.metrics:
            of_languages = [assessment.scores[metric] for name, assessment in assessed.items() if name.startswith(f"{part}.")]
            if len(of_languages) > 1:
                scores[f"{part}.avg/{metric}"] = round(sum(of_languages) / len(of_languages), 10)
    return scores
