"""SIGINT and SIGTERM end a run at the next safe point; a second one ends it at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from debft.progress import say


class StopRequest:
    """`number` is the signal that arrived at this process or another one of the run, 0 before."""

    number = 0
    arrived_here = False

    def __bool__(self) -> bool:
        return self.number != 0


@contextmanager
def stop_requested(show: bool) -> Iterator[StopRequest]:
    """Within the block the first signal only sets the request."""
    request = StopRequest()

    def note(number: int, _frame) -> None:
        if request.arrived_here:  # not `if request`: the others' signal may have been agreed on before ours arrives
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        request.arrived_here = True
        request.number = number
        if show:
            say(f"{signal.Signals(number).name}: stopping after this step, with a checkpoint; once more to stop at once")

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
