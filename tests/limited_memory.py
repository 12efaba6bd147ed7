"""A device with little memory, for any machine: the loss of a run fails where too many sequences go through the model at once."""

from functools import partial

import torch

from debft.data.packing import Collator
from debft.training.loop import optimizer_steps

GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
PLACE = "debft.training.session.optimizer_steps"  # what a Limited takes the place of


def limit_evaluations(patch, rows: int, error: BaseException = GPU) -> None:
    """Let evaluations and predictions have memory for `rows` sequences at once, and no more. patch: what has a `setattr`"""
    collated = Collator.__call__

    def within_limit(collator, split, indices):
        if torch.is_inference_mode_enabled() and len(indices) > rows:
            raise error
        return collated(collator, split, indices)

    patch.setattr(Collator, "__call__", within_limit)


class Limited:
    """`optimizer_steps` whose loss has memory for `rows` sequences at once, and no more.

    error: what is raised.
    after: so many passes succeed first, whatever their size.
    backward: whether the backward pass fails and not the forward pass.
    """

    def __init__(self, rows: int, error: BaseException = GPU, *, after: int = 0, backward: bool = False) -> None:
        self.rows, self.error, self.after, self.backward = rows, error, after, backward
        self.passes = self.failed = 0

    def __call__(self, *arguments, loss_fn, **options):
        return optimizer_steps(*arguments, loss_fn=partial(self.loss, loss_fn), **options)

    def loss(self, loss_fn, model, batch):
        self.passes += 1
        if self.passes <= self.after or len(batch["noise_seed"]) <= self.rows:
            return loss_fn(model, batch)
        self.failed += 1
        if not self.backward:
            raise self.error
        first = next(model.parameters())  # a backward pass comes to it last
        handle = first.register_hook(lambda _: self._fail(handle))
        return loss_fn(model, batch)

    def _fail(self, handle) -> None:
        handle.remove()
        raise self.error
