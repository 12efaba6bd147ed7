"""The first signal asks, the second one ends; a request of another process does not count as the first."""

import signal
import subprocess
import sys

import pytest

from debft.signals import stop_requested


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_only_asks_and_handlers_come_back(number):
    before = signal.getsignal(number)
    with stop_requested(show=False) as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop.number == number
    assert signal.getsignal(number) is before


def test_first_signal_after_the_others_agreed_to_stop_does_not_end_the_process():
    """Else the process that saves the checkpoint would die while it does."""
    with stop_requested(show=False) as stop:
        stop.number = signal.SIGTERM
        signal.raise_signal(signal.SIGTERM)
        assert stop


def test_second_signal_ends_the_process():
    code = "import signal; from debft.signals import stop_requested\nwith stop_requested(False): [signal.raise_signal(15) for _ in range(2)]"
    assert subprocess.run([sys.executable, "-c", code]).returncode == -15


def test_signal_that_arrives_during_the_exchange_is_not_lost():
    """It was not sent along, so this step goes on; the next exchange carries it."""
    from types import SimpleNamespace

    import torch

    from debft.finetune import _stop_agreed

    with stop_requested(show=False) as stop:

        def gather(told):
            signal.raise_signal(signal.SIGTERM)
            return torch.tensor([int(told[0]), 0])

        accelerator = SimpleNamespace(num_processes=2, device="cpu", gather=gather)
        assert not _stop_agreed(SimpleNamespace(accelerator=accelerator), stop)
        accelerator.gather = lambda told: torch.tensor([int(told[0]), 0])
        assert _stop_agreed(SimpleNamespace(accelerator=accelerator), stop)
        assert stop.number == signal.SIGTERM
