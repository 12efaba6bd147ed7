"""A model runs once over all splits, each sequence exactly once, and its assessments become the scores of a task.

Legend: S sequences of all splits, B of them in a batch; K splits.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from debft.console import say
from debft.data.batches import by_length, halved, micro_batches, share
from debft.data.encoding import EncodedSplit
from debft.data.windows import EncodedWindows
from debft.errors import TooLittleMemoryError, first_line
from debft.models.shards import check_may_cut, is_sharded
from debft.runs.result import MemoryCut, tokens_after
from debft.runtime.memory import give_back_memory, is_out_of_memory
from debft.runtime.progress import meter
from debft.scoring.heads import Assessment
from debft.scoring.loaded import LoadedModel
from debft.tasks import Task

FACTOR = 4  # of the tokens of a training batch: an evaluation keeps no activations for a backward pass
PARTS = 8  # of the batches of a process: after each of them the processes agree on whether they go on
BEHIND = 2  # batches whose outputs may still be on their way from a GPU while the next one is put together


def predict_splits(
    loaded: LoadedModel,
    accelerator: Accelerator,
    splits: Mapping[str, EncodedSplit],
    *,
    micro_batch_tokens: int,
    cuts: list[MemoryCut] | None = None,
    step: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
    leave: Callable[[], None] = lambda: None,
    show: bool = True,
) -> dict[str, Any]:
    """Return what the head's `assess` and `predict` take of each split in process 0, {} in the others.

    No random numbers are drawn.

    A batch holds sequences of about the same length from any of the splits.

    micro_batch_tokens: tokens that a training batch may have, with their padding where batches are padded
    cuts: where the memory was not enough so far; a batch for which it is not is done again in smaller parts, and added
    step: optimizer steps done so far, which a new cut is named by
    should_stop: asked before each batch
    leave: called PARTS times by every process, as soon as its part is done or it should stop; may raise, in all of them at once
    show: whether a bar is shown

    Raises TooLittleMemoryError in every process where the memory of one is not enough for a sequence alone.
    """
    loaded.model.eval()
    whole, begins_K = _joined(list(splits.values())), np.cumsum([0, *map(len, splits.values())])[:-1]
    together = is_sharded(loaded.model)
    cuts = [] if cuts is None else cuts
    asked = evaluation_tokens(micro_batch_tokens, loaded.collate.packed, accelerator.device)
    tokens = tokens_after(cuts, "evaluation", asked)
    fitting = _Fitting(loaded=loaded, whole=whole, tokens=tokens, factor=asked // micro_batch_tokens)
    batches, fillers = _batches(splits, whole, accelerator, tokens, packed=loaded.collate.packed, together=together)
    show = show and accelerator.is_main_process
    note = next(iter(splits)) if len(splits) == 1 else f"{len(splits)} splits"
    with _thread(accelerator.device) as executor:
        collectors = [loaded.head.collector(split, left=loaded.collate.left, executor=executor) for split in splits.values()]
        with (
            torch.no_grad() if together else torch.inference_mode(),
            meter("evaluate", len(whole), "examples", show=show) as progress,
        ):
            stopped = lambda: bool(fitting.problem) or should_stop()  # noqa: E731
            until = _together(batches, fillers, fitting, should_stop, leave) if together else _until(batches, stopped, leave)
            for batch, outputs_B in _arriving(fitting.outputs(until)):
                split_B = np.searchsorted(begins_K, batch, side="right") - 1
                for k in np.unique(split_B):
                    collectors[k].add(batch[split_B == k] - begins_K[k], outputs_B[split_B == k])
                progress.advance(len(batch) * accelerator.num_processes, note)
        collected = [] if fitting.problem else [collector.collected() for collector in collectors]
    _agree(gather_object([(fitting.tokens, fitting.problem)]), tokens, cuts, step, show=accelerator.is_main_process)
    parts = _sent_to_main(collected, accelerator)
    return {name: collectors[k].merged([part[k] for part in parts]) for k, name in enumerate(splits) if parts}


def _sent_to_main(collected: list[Any], accelerator: Accelerator) -> list[list[Any]]:
    """Return what every process has collected, by rank, in process 0, which computes the scores; none in the others."""
    if accelerator.num_processes == 1:
        return [collected]
    parts: list[Any] = [None] * accelerator.num_processes
    torch.distributed.gather_object(collected, parts if accelerator.is_main_process else None)
    return parts if accelerator.is_main_process else []


def _agree(parts: list[tuple[int, str]], before: int, cuts: list[MemoryCut], step: int, *, show: bool) -> None:
    """Take over the lowest limit of all processes. parts: of each its limit, and what it lacks the memory for"""
    if problem := next((problem for _, problem in parts if problem), None):
        raise TooLittleMemoryError(*([problem] if show else []))
    after = min(tokens for tokens, _ in parts)
    if after < before:
        cuts.append(MemoryCut(during="evaluation", step=step, before=before, after=after))
        if show:
            say(f"the memory is not enough to evaluate {before:,} tokens at once; it was done with {after:,}, as is what follows")


def evaluation_tokens(micro_batch_tokens: int, packed: bool, device: torch.device) -> int:
    """Return the tokens that a batch of an evaluation may have. micro_batch_tokens: those of a training batch.

    Without padding a CPU is fastest where a batch stays in its caches: of DeBERTa-v3-xsmall's layers, 9,600 tokens/s in batches
    of 2,048, 9,200 of 4,096, 8,700 of 8,192 and 7,800 of 16,384 tokens (one core of an AMD EPYC, 600 pairs of MNLI, float32).
    """
    return micro_batch_tokens if packed and device.type == "cpu" else FACTOR * micro_batch_tokens


def _joined(splits: list[EncodedSplit]) -> EncodedSplit:
    """Return a split with the sequences of all."""
    if len(splits) == 1:
        return splits[0]
    begins = np.cumsum([0, *(len(split.ids_T) for split in splits[:-1])])
    return EncodedSplit(
        ids_T=np.concatenate([split.ids_T for split in splits]),
        types_T=np.concatenate([split.types_T for split in splits]),
        ends_S=np.concatenate([begin + split.ends_S for begin, split in zip(begins, splits, strict=True)]),
        labels_S=np.concatenate([split.labels_S for split in splits]),
        truncated=sum(split.truncated for split in splits),
    )


def _batches(
    splits: Mapping[str, EncodedSplit], whole: EncodedSplit, accelerator: Accelerator, tokens: int, *, packed: bool, together: bool
) -> tuple[list[np.ndarray], int]:
    """Return the batches that this process takes, and how many others take more than it at most, 0 unless all go `together`."""
    lengths_S = whole.lengths()

    def batches_of(rank: int) -> list[np.ndarray]:
        own = by_length(_share(splits, lengths_S, rank, accelerator.num_processes), lengths_S)
        return micro_batches(own, lengths_S, tokens, packed=packed)

    own = batches_of(accelerator.process_index)
    most = max(len(batches_of(rank)) for rank in range(accelerator.num_processes)) if together else len(own)
    return own, most - len(own)


def _share(splits: Mapping[str, EncodedSplit], lengths_S: np.ndarray, rank: int, world: int) -> np.ndarray:
    """Return the sequences that process `rank` takes. All windows of a question are among them, or none."""
    parts: list[np.ndarray] = []
    num_examples = 0
    for split in splits.values():
        numbers = split.question_W if isinstance(split, EncodedWindows) else np.arange(len(split))
        parts.append(num_examples + numbers)
        num_examples += int(numbers.max(initial=-1)) + 1
    example_S = np.concatenate(parts)
    tokens = np.zeros(num_examples, dtype=np.int64)
    np.add.at(tokens, example_S, lengths_S)
    is_own = np.zeros(num_examples, dtype=bool)
    is_own[share(np.arange(num_examples), tokens, rank, world)] = True
    return np.flatnonzero(is_own[example_S])


@contextmanager
def _thread(device: torch.device) -> Iterator[Executor | None]:
    """Give a thread that works on outputs while a GPU computes; None on a CPU, where it would take a core from the model."""
    if device.type == "cpu":
        yield None
        return
    with ThreadPoolExecutor(max_workers=1) as executor:
        yield executor


def _until(batches: list[np.ndarray], should_stop: Callable[[], bool], leave: Callable[[], None]) -> Iterator[np.ndarray]:
    """Give the batches, and call `leave` after each of PARTS parts of them or as soon as it should be stopped."""
    edges = [len(batches) * part // PARTS for part in range(PARTS + 1)]
    for begin, end in pairwise(edges):
        for batch in batches[begin:end]:
            if should_stop():
                break
            yield batch
        leave()


def _together(
    batches: list[np.ndarray], fillers: int, fitting: "_Fitting", should_stop: Callable[[], bool], leave: Callable[[], None]
) -> Iterator[np.ndarray]:
    """Give the batches and compute fillers behind them, with `leave` after each: no process does less than the others before it."""
    for batch in batches:
        should_stop()  # which shows that this process lives; it stops with the others
        yield batch
        leave()
    for _ in range(fillers):
        should_stop()
        fitting.fill()
        leave()


@dataclass(kw_only=True)
class _Fitting:
    """Batches become outputs in parts for which the memory is enough.

    whole: the sequences of all splits.
    tokens: the limit of a part; it falls where the memory is not enough.
    factor: what it is of the tokens of a training batch.
    problem: says that it is not enough for one sequence; "" where it is.
    reason: how torch said that there is no memory.
    """

    loaded: LoadedModel
    whole: EncodedSplit
    tokens: int
    factor: int
    problem: str = ""
    reason: str = ""

    def outputs(self, batches: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """Give the parts of each batch with the model's outputs on its device, up to the first problem."""
        lengths, packed = self.whole.lengths(), self.loaded.collate.packed
        for batch in batches:
            left = [] if self.problem else micro_batches(batch, lengths, self.tokens, packed=packed)
            while left:
                outputs = self._try(left[0])
                if outputs is not None:
                    yield left.pop(0), outputs
                    continue
                give_back_memory()
                if not (fewer := halved(self.tokens, left[:1], lengths, packed=packed)):
                    self.problem = f"the memory is not enough for one sequence of {lengths[left[0]][0]:,} tokens ({self.reason})"
                    break
                self.tokens, left = fewer, micro_batches(np.concatenate(left), lengths, fewer, packed=packed)

    def fill(self) -> None:
        """Compute the shortest sequence, for nothing but the others: the processes of a sharded model wait for each other."""
        self._try(np.array([self.whole.lengths().argmin()]))

    def _try(self, part: np.ndarray) -> torch.Tensor | None:
        """Return the outputs of the model, None where the memory is not enough."""
        try:
            return self.loaded.head.outputs(self.loaded.model, self.loaded.collate(self.whole, part))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            fewer = halved(self.tokens, [part], self.whole.lengths(), packed=self.loaded.collate.packed)
            asked = max(1, fewer // self.factor) if fewer else 0  # of a training batch, which the recipe asks for
            check_may_cut(self.loaded.model, "evaluation", self.tokens, asked, error)
            self.reason = first_line(error)
            return None


def _arriving(made: Iterable[tuple[np.ndarray, torch.Tensor]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give each batch with its outputs as an array, the last of a GPU when BEHIND more batches are on their way to it."""
    on_their_way: deque[tuple[np.ndarray, torch.Tensor, torch.cuda.Event | None]] = deque()
    for batch, outputs in made:
        copied = torch.cuda.Event() if outputs.device.type == "cuda" else None
        outputs = outputs.to("cpu", non_blocking=copied is not None)  # from a GPU into pinned memory
        if copied is not None:
            copied.record()
        on_their_way.append((batch, outputs, copied))
        if len(on_their_way) > BEHIND:
            yield _arrived(*on_their_way.popleft())
    while on_their_way:
        yield _arrived(*on_their_way.popleft())


def _arrived(batch: np.ndarray, outputs: torch.Tensor, copied: "torch.cuda.Event | None") -> tuple[np.ndarray, np.ndarray]:
    """Wait for the copy of a batch's outputs."""
    if copied is not None:
        copied.synchronize()
    return batch, outputs.numpy()


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
