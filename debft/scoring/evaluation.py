"""The model over a split: what it says of every sequence, each exactly once."""

from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from debft.console import meter
from debft.data.batches import by_length, micro_batches
from debft.data.encoding import EncodedSplit
from debft.data.packing import Collator
from debft.scoring.heads import Assessment, Head
from debft.tasks import Task


def predict_logits(
    accelerator: Accelerator,
    model: torch.nn.Module,
    head: Head,
    split: EncodedSplit,
    *,
    collate: Collator,
    micro_batch_tokens: int,
    what: str,
    told: Callable[[], bool] = lambda: False,
    leave: Callable[[], None] = lambda: None,
) -> list[np.ndarray]:
    """`head.sequences` of every sequence in the order of the split, on every process. The random generators are not touched.

    told: asked before each batch, whether to stop with it
    leave: called once when no batch is left or this process was told to stop; may raise, in all the processes at once
    """
    plain = accelerator.unwrap_model(model)
    plain.eval()
    lengths = split.lengths()
    mine = by_length(np.arange(len(split)), lengths)[accelerator.process_index :: accelerator.num_processes]
    parts: list[tuple[np.ndarray, list[np.ndarray]]] = []
    with torch.inference_mode(), meter("evaluate", len(split), "examples", show=accelerator.is_main_process) as progress:
        for batch in micro_batches(mine, lengths, micro_batch_tokens):
            if told():
                break
            parts.append((batch, head.sequences(head.outputs(plain, collate(split, batch)), lengths[batch], collate.left)))
            progress.advance(len(batch) * accelerator.num_processes, what)
    leave()
    found = {int(index): one for batch, logits in gather_object(parts) for index, one in zip(batch, logits, strict=True)}
    assert len(found) == len(split), "an example was left out"
    return [found[index] for index in range(len(split))]


def scores_of(task: Task, assessed: dict[str, Assessment]) -> dict[str, float]:
    """`<split>/<metric>` -> percent; of several languages, `validation.fr/accuracy`, also the mean: `validation.avg/accuracy`."""
    scores = {f"{name}/{metric}": value for name, found in assessed.items() for metric, value in found.scores.items()}
    for part in dict.fromkeys(name.partition(".")[0] for name in assessed if "." in name):
        for metric in task.metrics:
            of_languages = [found.scores[metric] for name, found in assessed.items() if name.startswith(f"{part}.")]
            if len(of_languages) > 1:
                scores[f"{part}.avg/{metric}"] = round(sum(of_languages) / len(of_languages), 10)
    return scores
