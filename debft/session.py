"""What a run needs while it goes: the built parts, the state that a checkpoint carries, saving and restoring it."""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from debft import checkpoint
from debft.data import encode_split
from debft.data.batches import Collator
from debft.data.encoding import EncodedSplit
from debft.devices import build_accelerator, micro_batch_tokens
from debft.errors import InputError
from debft.heads import Head, head_of, plain_loss
from debft.models import SETTINGS, build_model, build_tokenizer, check_vocabulary, model_labels, token_file, use_settings
from debft.optimization import build_optimizer
from debft.plan import MOST_SHOWN, Plan
from debft.precision import precision_for
from debft.progress import say
from debft.results import RunDirectory
from debft.sift import SiftLoss, perturbed_module

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from debft.train import LossFn


@dataclass
class TrainState:
    """step: optimizer steps done; evaluated: the last step that was; seconds: of training and evaluation alone."""

    step: int = 0
    evaluated: int = 0
    best_step: int = 0
    best_score: float | None = None
    num_examples: int = 0
    num_tokens: int = 0
    train_seconds: float = 0.0
    eval_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Session:
    """The parts of one run, built once."""

    plan: Plan
    run: RunDirectory
    accelerator: "Accelerator"
    precision: str
    micro_batch_tokens: int
    tokenizer: "PreTrainedTokenizerFast"
    head: Head
    loss_fn: "LossFn"
    splits: dict[str, EncodedSplit]
    collate: Collator
    model: "PreTrainedModel"
    optimizer: "torch.optim.Optimizer"

    @property
    def speaks(self) -> bool:
        """Whether this process is the one that prints and writes."""
        return self.accelerator.is_main_process

    @property
    def plain_model(self) -> "PreTrainedModel":
        """The model without the wrapper for several processes."""
        return self.accelerator.unwrap_model(self.model)


def open_session(plan: Plan, run: RunDirectory, *, resume: bool) -> tuple[Session, TrainState]:
    """Build everything, restore the newest checkpoint where `resume` finds one, and claim the run directory."""
    config, files = plan.recipe.train, plan.files
    precision, remark = precision_for(plan.recipe)
    accelerator, precision = build_accelerator(replace(plan.recipe.runtime, precision=precision))
    tokenizer = build_tokenizer(files)
    head = head_of(plan.task, config, model_labels(files, plan.task))
    splits = _encode(plan, accelerator, tokenizer, head)
    if accelerator.is_main_process:
        _describe(plan, splits, accelerator, f"{precision} ({remark})" if remark else precision)
    model = build_model(
        files,
        plan.task,
        from_scratch=config.from_scratch,
        head_dropout=config.head_dropout,
        seed=config.seed,
        quiet=not accelerator.is_main_process,
    )
    if plan.recipe.sift.weight:
        perturbed_module(model)  # raises where there is none
    optimizer = build_optimizer(model, config)
    state = _restore(plan, run, accelerator, model, optimizer) if resume else TrainState()
    if accelerator.is_main_process and not run.exists():
        run.create(plan.recipe)
    model, optimizer = accelerator.prepare(model, optimizer)
    collate = Collator(
        pad_id=tokenizer.pad_token_id,
        names=tuple(tokenizer.model_input_names),
        device=accelerator.device,
        left=tokenizer.padding_side == "left",
    )
    loss_fn = plain_loss(head)
    if plan.recipe.sift.weight:
        loss_fn = SiftLoss(head=head, config=plan.recipe.sift, plain=accelerator.unwrap_model(model), half=precision == "fp16")
    tokens = micro_batch_tokens(plan.recipe.runtime, accelerator.device)
    session = Session(
        plan=plan, run=run, accelerator=accelerator, precision=precision, micro_batch_tokens=tokens, tokenizer=tokenizer,
        head=head, loss_fn=loss_fn, splits=splits, collate=collate, model=model, optimizer=optimizer,
    )  # fmt: skip
    return session, state


def _describe(plan: Plan, splits: dict[str, EncodedSplit], accelerator: "Accelerator", precision: str) -> None:
    """Where and how the plan is about to run."""
    config = plan.recipe.train
    say(
        f"{accelerator.device} x {accelerator.num_processes}   {precision}   {config.train_batch_size} sequences per step   "
        f"{plan.total_steps:,} steps   tokens {token_file(plan.files)}"
    )
    for name, split in splits.items():
        median, p95, longest = np.percentile(split.lengths(), (50, 95, 100)).astype(int)
        if len(splits) <= MOST_SHOWN or name == plan.task.train.name or split.remarks():
            say("   ".join([f"{name}   tokens: median {median}, 95 % up to {p95}, longest {longest}", *split.remarks()]))


def save_model(session: Session, chosen: dict[str, float]) -> None:
    """A plain transformers directory: opens with debft uninstalled, and AutoTokenizer gives the same tokens.

    Its config.json carries under `debft` what it takes to use the model; `chosen`: what was chosen on the dev data.
    """
    model = session.accelerator.unwrap_model(session.model, keep_fp32_wrapper=False)
    setattr(model.config, SETTINGS, use_settings(session.plan.task, session.plan.recipe.train) | chosen)
    model.save_pretrained(session.run.model)
    session.tokenizer.save_pretrained(session.run.model)


def save(session: Session, state: TrainState) -> None:
    """A checkpoint of this step; every process waits until it is on disk."""
    session.accelerator.wait_for_everyone()
    if session.speaks:
        content = {**asdict(state), "fingerprints": session.plan.fingerprints}
        if session.accelerator.scaler is not None:
            content["loss_scale"] = session.accelerator.scaler.state_dict()
        directory = session.run.checkpoints
        checkpoint.save_checkpoint(directory, f"step-{state.step:06d}", state.step, session.plain_model, session.optimizer, content)
        checkpoint.keep_newest(directory, session.plan.recipe.runtime.keep_checkpoints)
    session.accelerator.wait_for_everyone()


def save_best(session: Session, state: TrainState, scores: dict[str, float]) -> None:
    """The weights alone, in place of the best before."""
    if session.speaks:
        directory = session.run.checkpoints
        checkpoint.save_checkpoint(directory, f"best-{state.step:06d}", state.step, session.plain_model, None, {"scores": scores})
        checkpoint.keep_newest(directory, 1, prefix="best-")


def load_best(session: Session, state: TrainState) -> None:
    """Put the best weights into the model. Raises InputError where they are gone or damaged."""
    session.accelerator.wait_for_everyone()
    found = checkpoint.load_newest(session.run.checkpoints, prefix="best-")
    if found is None or found.step != state.best_step:
        raise InputError(
            f"{session.run.checkpoints}: the best checkpoint, of step {state.best_step}, is gone or damaged; train again"
        )
    session.plain_model.load_state_dict(found.weights)


def _encode(plan: Plan, accelerator, tokenizer, head: Head) -> dict[str, EncodedSplit]:
    splits = {}
    for name, examples in plan.examples.items():
        show = accelerator.is_main_process
        split = encode_split(plan.task, examples, tokenizer, plan.recipe.train, what=name, show=show)
        check_vocabulary(plan.files, int(split.ids_T.max()))
        splits[name] = head.prepare(split)
    return splits


def _restore(plan: Plan, run: RunDirectory, accelerator, model, optimizer) -> TrainState:
    """The state of the newest valid checkpoint, a fresh one where there is none."""
    found = checkpoint.load_newest(run.checkpoints)
    state = TrainState()
    if found is not None:
        content = dict(found.state)
        before = content.pop("fingerprints")
        changed = [name for name in plan.fingerprints if before.get(name) != plan.fingerprints[name]]
        if changed:
            raise InputError(f"--output {run.path}: was trained on other rows of {', '.join(changed)}; choose another --output")
        loss_scale = content.pop("loss_scale", None)
        if loss_scale is not None and accelerator.scaler is not None:
            accelerator.scaler.load_state_dict(loss_scale)
        model.load_state_dict(found.weights)
        checkpoint.restore_optimizer(model, optimizer, found.moments)
        state = TrainState(step=found.step, **content)
    if accelerator.is_main_process and run.exists():
        run.rewind(state.step, state.evaluated)
        say(f"resuming after step {state.step:,} of {plan.total_steps:,}")
    return state
