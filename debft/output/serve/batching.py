"""Requests that arrive together share one forward pass, and no more of them wait than there is room for.

A batch is open as long as the one before it is computed: whoever asks meanwhile joins it. The model has a thread of its own, so
that the server answers other questions while it computes.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from debft.data.examples import Examples
from debft.errors import DebftError
from debft.output.serve.asking import Asked
from debft.scoring.predictor import Unwanted
from debft.scoring.zero_shot import Labels

Rows = list[dict[str, Any]]
Answers = dict[int, Rows | DebftError]
SECONDS_TO_GATHER = 0.005  # that a batch waits for others to join, where the model has nothing to do


class Label(Protocol):
    """This labels examples, in the thread of the model."""

    def __call__(self, examples: Examples, *, labels: Labels | None, unwanted: Callable[[], bool]) -> Rows:
        """Return a row for each example. May raise Unwanted.

        labels: those that are chosen among, where they are not the model's own
        unwanted: asked now and then whether nobody waits for the rows any more
        """


class BusyError(Exception):
    """Too many texts wait already."""


class EndingError(Exception):
    """The server ends, so that there will be no answer."""


@dataclass(eq=False)
class _Batch:
    """A batch holds the rows that are labelled together.

    labels: those that are chosen among, where they are not the model's own
    size: texts that have joined it
    parts: the rows of each request that waits for it
    joined: requests that have joined it
    done: the task that computes it, and gives the answers as `parts` has the rows
    """

    labels: Labels | None
    size: int = 0
    parts: dict[int, Examples] = field(default_factory=dict)
    joined: int = 0
    done: "asyncio.Task[Answers] | None" = None


@dataclass(kw_only=True)
class Batcher:
    """A batcher takes what requests ask and gives each its answer.

    label: labels rows
    most_rows: texts of one forward pass
    most_waiting: texts that may wait, those that are computed included
    waiting: texts that wait
    passes: batches so far
    """

    label: Label
    most_rows: int
    most_waiting: int
    waiting: int = 0
    passes: int = 0
    _closed: bool = False
    _tasks: "set[asyncio.Task[Answers]]" = field(default_factory=set)
    _open: dict[Labels | None, _Batch] = field(default_factory=dict)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=1, thread_name_prefix="model"))

    async def answer(self, asked: Asked) -> Rows:
        """Return the answers to a request. A long one is cut, so that others have their turn in between.

        Raises BusyError where there is no room for it, EndingError, and the DebftError of the model.
        """
        if self._closed:
            raise EndingError
        if self.waiting + asked.size > self.most_waiting:
            raise BusyError
        self.waiting += asked.size
        try:
            return await self._in_parts(asked)
        finally:
            self.waiting -= asked.size

    def close(self) -> None:
        """Give up what is being computed and what waits, as the server ends."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_parts(self, asked: Asked) -> Rows:
        each = max(1, self.most_rows // (len(asked.labels.names) if asked.labels else 1))
        rows: Rows = []
        for start in range(0, len(asked.examples), each):
            rows += await self._together(asked.examples.part(start, start + each), asked.labels)
        return rows

    async def _together(self, examples: Examples, labels: Labels | None) -> Rows:
        """Return the answers to some rows, computed together with those of other requests."""
        batch = self._joinable(labels, len(examples) * (len(labels.names) if labels else 1))
        place = batch.joined
        batch.joined, batch.parts[place] = place + 1, examples
        assert batch.done is not None
        try:
            answer = (await asyncio.shield(batch.done))[place]
        except asyncio.CancelledError:
            if self._closed:
                raise EndingError from None
            raise
        finally:
            del batch.parts[place]
        if isinstance(answer, DebftError):
            raise answer
        return answer

    def _joinable(self, labels: Labels | None, size: int) -> _Batch:
        """Return a batch with room for so many texts, which have taken it: the one that is open, or a new one."""
        batch = self._open.get(labels)
        if batch is None or batch.size + size > self.most_rows:
            batch = self._open[labels] = _Batch(labels=labels)
            batch.done = asyncio.get_running_loop().create_task(self._compute(batch))
            self._tasks.add(batch.done)
            batch.done.add_done_callback(self._tasks.discard)
        batch.size += size
        return batch

    async def _compute(self, batch: _Batch) -> Answers:
        """Compute a batch when its turn comes, and return the answers by place."""
        async with self._turn:
            await asyncio.sleep(SECONDS_TO_GATHER)
            if self._open.get(batch.labels) is batch:
                del self._open[batch.labels]
            parts = dict(batch.parts)
            if not parts:
                return {}
            self.passes += 1
            label = partial(self.label, labels=batch.labels, unwanted=lambda: self._closed or not batch.parts)
            try:
                return await asyncio.get_running_loop().run_in_executor(self._thread, _answers, label, parts)
            except Unwanted:
                return {}


def _answers(label: Callable[[Examples], Rows], parts: dict[int, Examples]) -> Answers:
    """Label all parts at once, and return the rows of each. Where that fails, each is labelled alone: one may be to blame."""
    try:
        rows = label(joined(list(parts.values())))
    except DebftError as error:
        if len(parts) == 1:
            return dict.fromkeys(parts, error)
        return {place: answer for place, part in parts.items() for answer in _answers(label, {place: part}).values()}
    answers: Answers = {}
    for place, part in parts.items():
        answers[place], rows = rows[: len(part)], rows[len(part) :]
    return answers


def joined(parts: list[Examples]) -> Examples:
    """Return the examples of all parts, one behind the other."""
    labels = [part.labels for part in parts]
    return replace(
        parts[0],
        texts=[texts for part in parts for texts in part.texts],
        ids=[identity for part in parts for identity in part.ids],
        labels=np.concatenate(labels) if isinstance(labels[0], np.ndarray) else [label for part in labels for label in part],
        lines=(),
    )
