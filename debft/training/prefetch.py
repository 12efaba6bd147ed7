"""What a step needs is made on a thread while the step before it computes."""

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Made = TypeVar("Made")


def made_ahead(make: Callable[[int], Made], steps: range, device: torch.device) -> Generator[Made, None, None]:
    """Yield `make(step)` of each step in turn; the next one is being made while one is in use.

    `make` must draw no random numbers of torch's own generators, which the steps seed. An error that it raises is raised here, at
    its step. The thread ends with the generator, after the step that it is making.
    device: where `make` puts its tensors; a thread has a GPU of its own choice otherwise.
    """

    def choose_device() -> None:
        if device.type == "cuda":
            torch.cuda.set_device(device if device.index is not None else 0)

    with ThreadPoolExecutor(1, "prefetch", choose_device) as thread:  # which starts with the first step
        ahead = [thread.submit(make, step) for step in steps[:1]]
        for step in steps:
            made = ahead.pop().result()
            if step + 1 in steps:
                ahead.append(thread.submit(make, step + 1))
            yield made
