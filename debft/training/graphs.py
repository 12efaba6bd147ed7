"""On a GPU the forward and backward pass of a batch is recorded once for each size and then replayed as a whole.

A small model is so quick there that the host, which starts its thousands of kernels one by one, is what takes the time; a CUDA
graph starts them together. A batch is filled up to one of few sizes whether a graph is there or not, so that a step has the same
bits before and after its size was recorded, and in a run that is resumed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from debft.data.packing import Batch
from debft.models.attention.static import StaticBatch, size_of, static_batch

MOST_GRAPHS = 96  # each keeps its inputs, and what the driver needs for a few thousand kernels
Pass = Callable[[], dict[str, torch.Tensor]]


@dataclass(kw_only=True)
class Recorded:
    """A size of batches.

    batch: the memory of its inputs.
    factor: what the summed loss is multiplied with before the backward pass, a scalar on the device.
    replay: does the pass over what `batch` holds; None until it is recorded.
    """

    batch: StaticBatch
    factor: torch.Tensor
    replay: Pass | None = None


class Graphs:
    """The graphs of a model in training. They add their gradients to those of the weights, which stay in the same memory.

    model: what the loss calls, as the accelerator has prepared it.
    plain: the same model, unwrapped.
    loss_fn: one that does one forward pass and draws nothing of its own.
    record: makes of a pass one that replays it.
    """

    def __init__(self, model: torch.nn.Module, plain: Any, loss_fn: Callable, record: Callable[[Pass], Pass]) -> None:
        self.model, self.plain, self.loss_fn, self.record = model, plain, loss_fn, record
        self.weights = [weight for weight in plain.parameters() if weight.requires_grad]
        self.sizes: dict[tuple, Recorded] = {}
        self.places, self.most = self._places(), MOST_GRAPHS

    def backward(self, batch: Batch, factor: float) -> dict[str, torch.Tensor]:
        """Add the gradient of `factor` times the summed loss to that of the weights; return `loss` and what the loss logs."""
        if self.places != (places := self._places()):  # the weights were put elsewhere: what was recorded reads the old place
            self.sizes, self.places = {}, places
        size = size_of(batch["lengths"])
        key = (size, *((name, batch[name].shape[1:], batch[name].dtype) for name in ("labels", "weights") if name in batch))
        first = key not in self.sizes
        if first:
            self.sizes[key] = self._sized(batch)
        found = self.sizes[key]
        heads = self.plain.config.num_attention_heads
        found.batch.fill(batch, heads)
        found.factor.fill_(factor)
        if first:  # the masks that it asks for are drawn behind a first look
            self._look(found)
            found.batch.fill(batch, heads)
        elif found.replay is None and sum(one.replay is not None for one in self.sizes.values()) < self.most:
            found.replay = self.record(lambda: self._pass(found))
        return found.replay() if found.replay else self._pass(found)

    def give_up(self) -> None:
        """Forget what was recorded, and record nothing any more: the memory is not enough. The passes give the same bits."""
        self.sizes, self.most = {}, 0

    def zero(self) -> None:
        """Set the gradients to zero in their place."""
        if gradients := [weight.grad for weight in self.weights if weight.grad is not None]:  # none: no pass was done yet
            torch._foreach_zero_(gradients)

    def _sized(self, batch: Batch) -> Recorded:
        layers = self.plain.config.num_hidden_layers
        dtype = self.plain.deberta.embeddings.LayerNorm.weight.dtype
        made = static_batch(batch, dtype=dtype, num_layers=layers)
        return Recorded(batch=made, factor=torch.ones((), device=batch["input_ids"].device))

    def _look(self, found: Recorded) -> None:
        """Run the pass forward; the first of all also gives every weight that a gradient reaches a place for it."""
        reached = any(weight.grad is not None for weight in self.weights)
        with torch.set_grad_enabled(not reached):
            loss, _ = self.loss_fn(self.model, found.batch.tensors)
        if not reached:
            gradients = torch.autograd.grad(loss, self.weights, allow_unused=True)
            for weight, gradient in zip(self.weights, gradients, strict=True):
                weight.grad = None if gradient is None else torch.zeros_like(weight)

    def _pass(self, found: Recorded) -> dict[str, torch.Tensor]:
        loss, parts = self.loss_fn(self.model, found.batch.tensors)
        reached = [weight for weight in self.weights if weight.grad is not None]
        gradients = torch.autograd.grad(loss * found.factor, reached)
        torch._foreach_add_([weight.grad for weight in reached], list(gradients))
        return {"loss": loss.detach(), **parts}

    def _places(self) -> list[int]:
        return [weight.data_ptr() for weight in self.weights]


class Recorder:
    """Records CUDA graphs, one after another on one stream and in one memory: none runs while another does."""

    def __init__(self) -> None:
        self.stream, self.pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()

    def __call__(self, run: Pass) -> Pass:
        """Record a pass and return what replays it. The next replay writes its results over those of the last."""
        graph = torch.cuda.CUDAGraph()
        # Other threads go on meanwhile: one of them prepares the next step.
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            results = run()

        def replay() -> dict[str, torch.Tensor]:
            graph.replay()
            return results

        return replay
