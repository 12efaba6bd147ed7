"""A device with little memory, for any machine: the loss of a run fails where too many sequences go through the model at once."""

import torch

from debft.scoring.heads import plain_loss

GPU = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Limited:
    """Takes the place of `plain_loss`: a loss for which the memory is enough for `rows` sequences at once, and no more.

    error: what is raised.
    after: so many passes succeed first, whatever their size.
    backward: whether the backward pass fails and not the forward pass.
    """

    def __init__(self, rows: int, error: BaseException = GPU, *, after: int = 0, backward: bool = False) -> None:
        self.rows, self.error, self.after, self.backward = rows, error, after, backward
        self.passes = 0

    def __call__(self, head):
        self.plain = plain_loss(head)
        return self.loss

    def loss(self, model, batch):
        self.passes += 1
        if self.passes <= self.after or len(batch["labels"]) <= self.rows:
            return self.plain(model, batch)
        if not self.backward:
            raise self.error
        first = next(model.parameters())  # a backward pass comes to it last
        handle = first.register_hook(lambda _: self._fail(handle))
        return self.plain(model, batch)

    def _fail(self, handle) -> None:
        handle.remove()
        raise self.error
