"""While the model goes over a split, a collector keeps of its outputs what the scores need.

Legend: B sequences of a batch, S sequences of the split, N its rows, C outputs for a whole sequence, L the padded length of
a batch.
"""

from collections import deque
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, Protocol

import numpy as np

from debft.data.encoding import EncodedSplit
from debft.data.windows import EncodedWindows
from debft.scoring import spans
from debft.scoring.spans import BestSpans, Windows

LARGEST_LOGIT = float(np.finfo(np.float32).max) / 8  # of a span: the sums and differences of two such are finite too
QUEUED = 4  # chunks of windows that may wait for the search: it holds their logits, and what the model adds is held up for more


class Collector(Protocol):
    """A collector takes the outputs of a split's sequences in any order; process 0 then puts those of all processes together."""

    def add(self, sequences_B: np.ndarray, outputs_B: np.ndarray) -> None:
        """Take the outputs of some sequences: `outputs_B` is an array of B rows, as the head's `outputs` returns them."""

    def collected(self) -> Any:
        """Return what this process has collected, once nothing is added any more; it is sent to process 0."""

    def merged(self, parts: list[Any]) -> Any:
        """Return what all processes have collected: what the head's `assess` takes."""


class LogitsCollector:
    """This collector keeps the (C,) outputs of every sequence."""

    def __init__(self, split: EncodedSplit) -> None:
        self.split = split
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, sequences_B: np.ndarray, outputs_B: np.ndarray) -> None:
        self.parts.append((sequences_B, outputs_B))

    def collected(self) -> list[np.ndarray]:
        """Return the numbers of the sequences and their outputs, two arrays; none where this process had no sequences."""
        return [np.concatenate(column) for column in zip(*self.parts, strict=True)]

    def merged(self, parts: list[list[np.ndarray]]) -> np.ndarray:
        """Return the outputs of each row of the split, (N, C)."""
        sequences_S, outputs_SC = (np.concatenate(column) for column in zip(*filter(None, parts), strict=True))
        assert np.array_equal(np.sort(sequences_S), np.arange(len(self.split))), "a sequence was left out"
        logits_SC = np.empty_like(outputs_SC)
        logits_SC[sequences_S] = outputs_SC
        logits_SC[~np.isfinite(logits_SC)] = np.nan  # which the highest of several windows is as well
        return self.split.pooled(logits_SC)


class SpanCollector:
    """This collector searches the best spans of a question as soon as the logits of all its windows are there, and drops these.

    left: the padding of a batch is in front of the text
    executor: where the search goes on while the model computes; None searches at once
    """

    def __init__(
        self, split: EncodedWindows, *, left: bool, max_answer_length: int, n_best_size: int, executor: Executor | None
    ) -> None:
        self.split, self.left, self.executor = split, left, executor
        self.search = partial(spans.search, max_answer_length=max_answer_length, n_best_size=n_best_size)
        self.lengths_S = split.lengths()
        self.missing_Q = np.bincount(split.question_W)  # windows whose logits are not there yet
        self.logits: dict[int, np.ndarray] = {}  # of the windows that were not searched yet
        self.ready: list[int] = []  # the windows among these whose question has all of its windows
        self.queue: deque[Future[BestSpans]] = deque()
        self.found: list[BestSpans] = []
        self.not_finite: list[int] = []  # the questions of windows whose logits are not finite

    def add(self, sequences_B: np.ndarray, outputs_B: np.ndarray) -> None:
        for window, row_L2 in zip(sequences_B.tolist(), outputs_B, strict=True):
            length, question = self.lengths_S[window], self.split.question_W[window]
            # A copy: what is left of a batch would keep all of it.
            self.logits[window] = (row_L2[-length:] if self.left else row_L2[:length]).copy()
            self.missing_Q[question] -= 1
            if not self.missing_Q[question]:
                self.ready += self._windows_of(question)
        if len(self.ready) >= spans.CHUNK:
            self._search_ready()

    def collected(self) -> tuple[list[int], BestSpans]:
        """Return the questions whose logits were not finite, and the best spans of the questions, if there are none such."""
        self._search_ready()
        self._wait(0)
        assert not self.logits, "a window was left out"
        return self.not_finite, spans.merged(self.found)

    def merged(self, parts: list[tuple[list[int], BestSpans]]) -> BestSpans | np.ndarray:
        """Return the best spans of all questions; where some have logits that are not finite, the numbers of these, int64."""
        if not_finite := [question for questions, _ in parts for question in questions]:
            return np.unique(not_finite)
        best = spans.merged([best for _, best in parts])
        assert np.array_equal(best.question_Q, np.flatnonzero(np.bincount(self.split.question_W))), "a question was left out"
        return best

    def _windows_of(self, question: int) -> range:
        return range(*np.searchsorted(self.split.question_W, [question, question + 1]).tolist())

    def _search_ready(self) -> None:
        """Search the questions that are ready, here or on the executor."""
        numbers, self.ready = sorted(self.ready), []
        logits = [self.logits.pop(window) for window in numbers]
        finite = [np.abs(one_L2).max() <= LARGEST_LOGIT for one_L2 in logits]
        self.not_finite += [
            int(self.split.question_W[one]) for one, is_finite in zip(numbers, finite, strict=True) if not is_finite
        ]
        if self.not_finite:  # nothing can be ranked
            numbers, logits = [], []
        logits_T2 = np.concatenate([np.empty((0, 2), dtype=np.float32), *logits])
        windows = self._windows(np.array(numbers, dtype=np.int64))
        if self.executor is None:
            self.found.append(self.search(logits_T2, windows))
        else:
            self.queue.append(self.executor.submit(self.search, logits_T2, windows))
            self._wait(QUEUED)

    def _wait(self, left: int) -> None:
        """Wait until at most `left` searches are queued, and raise what one of those that are done has raised."""
        while len(self.queue) > left:
            self.found.append(self.queue.popleft().result())

    def _windows(self, numbers_W: np.ndarray) -> Windows:
        """Return some windows of the split."""
        ends_W = self.split.ends_S[numbers_W]
        begins_W = ends_W - self.lengths_S[numbers_W]
        offsets = [self.split.offsets_T2[begin:end] for begin, end in zip(begins_W, ends_W, strict=True)]
        return Windows(
            offsets_T2=np.concatenate([np.empty((0, 2), dtype=np.int32), *offsets]),
            ends_W=np.cumsum(ends_W - begins_W),
            cls_W=self.split.cls_W[numbers_W],
            question_W=self.split.question_W[numbers_W],
        )
