"""A run is told to stop at a step of the test's choice, as Ctrl-C or a scheduler tells it."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest

import debft.training.train
from debft.errors import Interrupted


@contextmanager
def interrupted_after(step: int, number: int = signal.SIGTERM, match: str | None = None) -> Iterator[pytest.ExceptionInfo]:
    """Within the block a run gets the signal once it has logged this step, and has to end by Interrupted, whose text is to match."""
    record = debft.training.train.record

    def record_and_raise_signal(session, state, log, progress):
        record(session, state, log, progress)
        if log.step == step:
            signal.raise_signal(number)

    with patch.object(debft.training.train, "record", record_and_raise_signal), pytest.raises(Interrupted, match=match) as error:
        yield error
