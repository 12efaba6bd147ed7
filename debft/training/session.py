"""A session holds the parts of a run that stay the same while it goes; its state changes, and checkpoints carry it."""

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import torch
from accelerate import Accelerator

from debft.data.encoding import EncodedSplit
from debft.models.copies import WeightCopies
from debft.models.vocabulary import ActiveVocabulary
from debft.runs.directory import RunDirectory
from debft.runs.result import MemoryCut, PathsOfRun
from debft.runs.sessions import SessionOfRun
from debft.scoring.loaded import LoadedModel
from debft.training.background import Background
from debft.training.graphs import Graphs
from debft.training.loop import LossFn, StepLog, optimizer_steps
from debft.training.plan import Plan
from debft.training.trackers import Trackers


@dataclass
class TrainState:
    """The state changes with every step, and a checkpoint carries it.

    step: optimizer steps done.
    evaluated: the last step whose weights were evaluated.
    best_step: the step with the best score on the dev data, 0 before the first evaluation.
    best_score: that score in percent, or a loss times -1.
    waited: evaluations since then without a better score.
    num_examples: sequences trained on.
    num_tokens: tokens trained on, without padding.
    train_seconds: wall-clock time of the steps alone.
    eval_seconds: wall-clock time of the evaluations alone.
    optimisation: the options of the optimisation that the run began with, by their dotted keys.
    sessions: the sessions of the run so far; the last one is still going on, and its end is not set.
    overflows: how often fp16's gradient overflowed and a step was tried again with a lower loss scale.
    cuts: where the memory was not enough, and what goes through the model at once from there on.
    """

    step: int = 0
    evaluated: int = 0
    best_step: int = 0
    best_score: float | None = None
    waited: int = 0
    num_examples: int = 0
    num_tokens: int = 0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    optimisation: dict[str, Any] = field(default_factory=dict)
    sessions: list[SessionOfRun] = field(default_factory=list)
    overflows: int = 0
    cuts: list[MemoryCut] = field(default_factory=list)

    def ended_sessions(self) -> list[SessionOfRun]:
        """Return the sessions as if the last one ended here."""
        return [*self.sessions[:-1], *(replace(last, to_step=self.step) for last in self.sessions[-1:])]


@dataclass(frozen=True, kw_only=True)
class Session:
    """A run is open: each part was built once.

    plan: what is to be done.
    run: the run directory, which the main process writes.
    accelerator: the device and the other processes.
    precision: the precision in use, never `auto`.
    micro_batch_tokens: padded tokens of one forward pass of training.
    loaded: the model with its tokenizer and head.
    vocabulary: which embedding rows are trained; outside of the steps the model is used within `vocabulary.whole`.
    loss_fn: the loss that the steps minimise.
    logs: what it logs beside itself.
    splits: the encoded examples by the name of their split, labels in the order of the model's outputs; the training split has
        the token ids that `vocabulary` gives them.
    model: the module that the steps call: `loaded.model` on its device, in the precision of the run.
    optimizer: the optimizer of the model's weights.
    paths: which of several ways to compute the same are taken; result.json records them.
    graphs: what does the forward and backward passes of the steps where they are recorded as CUDA graphs.
    copies: of the weights, where the steps are in half precision.
    trackers: where the run is logged to beside its own files.
    saving: what writes the checkpoints between the steps; it is busy in the main process alone.
    started: when the session was opened.
    """

    plan: Plan
    run: RunDirectory
    accelerator: Accelerator
    precision: str
    micro_batch_tokens: int
    loaded: LoadedModel
    vocabulary: ActiveVocabulary
    loss_fn: LossFn
    logs: tuple[str, ...]
    splits: dict[str, EncodedSplit]
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    paths: PathsOfRun
    graphs: Graphs | None = None
    copies: WeightCopies | None = None
    trackers: Trackers = field(default_factory=Trackers)
    saving: Background = field(default_factory=Background)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def steps(self, **how: Any) -> Generator[StepLog, None, None]:
        """Return the optimizer steps of the run. how: what else `optimizer_steps` takes, such as `first_step`"""
        return optimizer_steps(
            self.accelerator,
            self.model,
            self.optimizer,
            self.splits[self.plan.task.train.name],
            self.plan.recipe.train,
            collate=self.loaded.collate,
            micro_batch_tokens=self.micro_batch_tokens,
            total_steps=self.plan.total_steps,
            loss_fn=self.loss_fn,
            logs=self.logs,
            graphs=self.graphs,
            copies=self.copies,
            **how,
        )

    @property
    def is_main(self) -> bool:
        """Return whether this process is the one that prints and writes."""
        return self.accelerator.is_main_process
