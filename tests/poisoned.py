"""Numbers that are not finite, put where it is asked for at one step of a run."""

from functools import partial

import torch

import debft.training.sift
from debft.training.loop import optimizer_steps
from debft.training.prepared import ALL_PROCESSES, step_seed

NAN, INFINITY = float("nan"), float("inf")
PLACE = "debft.training.session.optimizer_steps"  # what a Poisoned takes the place of
KINDS = ("loss", "gradient", "weight", "optimizer", "sift")


class Poisoned:
    """`optimizer_steps` with a number that is not finite in the `kind` of step `step` (from 1).

    weight: in a weight before the step; optimizer: in the state of the optimizer before its update; sift: in the first draw of delta.
    """

    def __init__(self, kind: str, step: int, value: float = NAN) -> None:
        self.kind, self.step, self.value = kind, step, value

    def __call__(self, accelerator, model, optimizer, split, config, *, loss_fn, **options):
        self.seed, self.optimizer = step_seed(config.seed, self.step - 1, ALL_PROCESSES), optimizer
        return optimizer_steps(accelerator, model, optimizer, split, config, loss_fn=partial(self.loss, loss_fn), **options)

    def loss(self, loss_fn, model, batch):
        if batch["seeds"].step != self.seed:
            return loss_fn(model, batch)
        last = list(model.parameters())[-1]  # of the head
        if self.kind == "weight":
            last.data.view(-1)[0] = self.value
        if self.kind == "optimizer" and self.optimizer.state.get(last):
            self.optimizer.state[last]["exp_avg"].view(-1)[0] = self.value
        if self.kind == "sift":
            return self._with_bad_draws(loss_fn, model, batch)
        loss, parts = loss_fn(model, batch)
        if self.kind == "gradient":
            loss.register_hook(lambda gradient: gradient * self.value)
        return (loss * self.value if self.kind == "loss" else loss), parts

    def _with_bad_draws(self, loss_fn, model, batch):
        draws = debft.training.sift._first_draws
        debft.training.sift._first_draws = lambda *arguments: draws(*arguments) + torch.tensor(NAN)
        try:
            return loss_fn(model, batch)
        finally:
            debft.training.sift._first_draws = draws
