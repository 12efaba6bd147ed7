"""What a run needs while it goes: the built parts, the state that a checkpoint carries, saving and restoring it."""

import hashlib
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from debft.config.recipe import SCORE_SECTIONS
from debft.console import say
from debft.data.encoding import EncodedSplit
from debft.data.load import encode_split
from debft.data.packing import Collator
from debft.errors import InputError
from debft.models.build import SETTINGS, build_model, build_tokenizer, check_vocabulary, model_labels, token_file, use_settings
from debft.models.tokens.tokenizer_json import save_tokenizer
from debft.runs import checkpoint
from debft.runs.directory import RunDirectory, files_of
from debft.runs.environment import code_digest, moving_versions
from debft.runs.result import WrittenFile
from debft.runs.storage import DiskError, whole_directory
from debft.runtime.accelerator import build_accelerator
from debft.runtime.devices import device_name, micro_batch_tokens
from debft.scoring.heads import Head, head_of, plain_loss
from debft.scoring.probe import check_takes_texts
from debft.training.optimization import build_optimizer
from debft.training.parallel import of_first, same_in_all, tensors_of_first, together
from debft.training.plan import MOST_SHOWN, Plan
from debft.training.precision import precision_for
from debft.training.sift import SiftLoss, perturbed_module

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from debft.training.loop import LossFn


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
    """Build everything, restore the newest checkpoint where `resume` finds one, and claim the run directory.

    With several processes: what one of them lacks, or has in another form, ends all of them with one line.
    """
    config = plan.recipe.train
    accelerator, precision, tokenizer, head, splits, model = together(lambda: _build(plan))
    same_in_all(lambda: _facts(plan, precision, splits, model))
    optimizer = build_optimizer(model, config)
    found = together(lambda: _find_checkpoint(plan, run) if resume and accelerator.is_main_process else None)
    state = _restore(found, accelerator, model, optimizer)
    together(lambda: _claim(plan, run, state, found, resume) if accelerator.is_main_process else None)
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
    tokens = micro_batch_tokens(plan.recipe.runtime.micro_batch_tokens, accelerator.device)
    session = Session(
        plan=plan,
        run=run,
        accelerator=accelerator,
        precision=precision,
        micro_batch_tokens=tokens,
        tokenizer=tokenizer,
        head=head,
        loss_fn=loss_fn,
        splits=splits,
        collate=collate,
        model=model,
        optimizer=optimizer,
    )
    return session, state


def _build(plan: Plan) -> tuple[Any, ...]:
    """(accelerator, precision, tokenizer, head, encoded splits, model): what each process builds from its own files."""
    config, files = plan.recipe.train, plan.files
    precision, remark = precision_for(plan.recipe)
    accelerator, precision = build_accelerator(precision)
    tokenizer = build_tokenizer(files, plan.task)
    head = head_of(plan.task, plan.recipe.questions, model_labels(files, plan.task))
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
    check_takes_texts(model, tokenizer, files, plan.task, plan.recipe.text.max_seq_length)
    if plan.recipe.sift.weight:
        perturbed_module(model)  # raises where there is none
    return accelerator, precision, tokenizer, head, splits, model


def _facts(plan: Plan, precision: str, splits: dict[str, EncodedSplit], model: "PreTrainedModel") -> dict[str, str]:
    """What must be the same in every process: the weights themselves are sent to all by process 0."""
    recipe = asdict(plan.recipe)
    shapes = [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
    config = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
    return {
        "code of debft": code_digest(),
        **{f"version of {name}": installed for name, installed in moving_versions().items()},
        "precision": precision,
        "deterministic kernels": str(plan.recipe.runtime.deterministic),
        **{section: _digest(recipe[section]) for section in SCORE_SECTIONS},
        **{f"rows of {name}": fingerprint for name, fingerprint in plan.fingerprints.items()},
        **{f"tokens of {name}": _digest(split.ids_T.tobytes(), split.ends_S.tobytes()) for name, split in splits.items()},
        "configuration of the model": _digest(config, shapes),
    }


def _digest(*contents: Any) -> str:
    """12 hex digits: different for different contents."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(content if isinstance(content, bytes) else repr(content).encode())
    return digest.hexdigest()[:12]


def _describe(plan: Plan, splits: dict[str, EncodedSplit], accelerator: "Accelerator", precision: str) -> None:
    """Where and how the plan is about to run."""
    config, kernels = plan.recipe.train, "deterministic kernels   " if plan.recipe.runtime.deterministic else ""
    say(
        f"{device_name(accelerator.device)} x {accelerator.num_processes}   {precision}   {kernels}"
        f"{config.train_batch_size} sequences per step   {plan.total_steps:,} steps   tokens {token_file(plan.files)}"
    )
    for name, split in splits.items():
        median, p95, longest = np.percentile(split.lengths(), (50, 95, 100)).astype(int)
        if len(splits) <= MOST_SHOWN or name == plan.task.train.name or split.remarks():
            say("   ".join([f"{name}   tokens: median {median}, 95 % up to {p95}, longest {longest}", *split.remarks()]))


def save_model(session: Session, chosen: dict[str, float]) -> dict[str, WrittenFile]:
    """A plain transformers directory: opens with debft uninstalled, and AutoTokenizer gives the same tokens. Whole or absent.

    Returns bytes and sha256 of its files by name.
    Its config.json carries under `debft` what it takes to use the model; `chosen`: what was chosen on the dev data.
    """
    model = session.accelerator.unwrap_model(session.model, keep_fp32_wrapper=False)
    recipe = session.plan.recipe
    recipe = replace(recipe, runtime=replace(recipe.runtime, precision=session.precision))
    setattr(model.config, SETTINGS, use_settings(session.plan.task, recipe) | chosen)
    with whole_directory(session.run.model) as folder:
        model.save_pretrained(folder)
        save_tokenizer(session.tokenizer, folder)
        return files_of(folder)


def save(session: Session, state: TrainState) -> None:
    """A checkpoint of this step; every process waits until it is on disk.

    The order holds at every moment: the newest whole checkpoint has its log and its best checkpoint. Raises DiskError, with the
    previous checkpoint whole; that of the last step is only missed, since the model may still find room.
    """
    session.accelerator.wait_for_everyone()
    together(lambda: _save_unless_last(session, state) if session.speaks else None)


def _save_unless_last(session: Session, state: TrainState) -> None:
    try:
        _save(session, state)
    except DiskError as error:
        if state.step < session.plan.total_steps:
            raise
        say(f"{error.refusal}: the last step has no checkpoint; going on to the evaluation without it")


def _save(session: Session, state: TrainState) -> None:
    content = {**asdict(state), "fingerprints": session.plan.fingerprints}
    if session.accelerator.scaler is not None:
        content["loss_scale"] = session.accelerator.scaler.state_dict()
    run, directory, name = session.run, session.run.checkpoints, f"step-{state.step:06d}"
    run.sync_logs()
    checkpoint.save_checkpoint(directory, name, state.step, session.plain_model, session.optimizer, content, run.logs)
    checkpoint.keep_newest(directory, session.plan.recipe.runtime.keep_checkpoints, last=state.step)
    checkpoint.keep_best(directory, state.best_step)


def save_best(session: Session, state: TrainState, scores: dict[str, float]) -> None:
    """The weights alone. The best before goes as soon as no saved state names it."""
    together(lambda: _save_best(session, state, scores) if session.speaks else None)


def _save_best(session: Session, state: TrainState, scores: dict[str, float]) -> None:
    directory, name = session.run.checkpoints, _best_name(state)
    checkpoint.save_checkpoint(directory, name, state.step, session.plain_model, None, {"scores": scores})
    checkpoint.keep_best(directory, state.best_step)


def load_best(session: Session, state: TrainState) -> None:
    """Put the best weights into the model. Raises InputError where they are gone or damaged."""
    best = session.run.checkpoints / _best_name(state)
    found = together(lambda: checkpoint.load_checkpoint(best) if session.speaks else None)
    session.plain_model.load_state_dict(tensors_of_first(found.weights if found else {}))


def _best_name(state: TrainState) -> str:
    return f"best-{state.best_step:06d}"


def _encode(plan: Plan, accelerator, tokenizer, head: Head) -> dict[str, EncodedSplit]:
    splits = {}
    for name, examples in plan.examples.items():
        show = accelerator.is_main_process
        split = encode_split(plan.task, examples, tokenizer, plan.recipe, what=name, show=show)
        check_vocabulary(plan.files, int(split.ids_T.max()))
        splits[name] = head.prepare(split)
    return splits


def _find_checkpoint(plan: Plan, run: RunDirectory) -> checkpoint.Checkpoint | None:
    """The newest whole one, None where there never was one. Raises InputError where it was trained on other rows."""
    found = checkpoint.load_newest(run.checkpoints)
    if found is not None:
        before = found.state["fingerprints"]
        changed = [name for name in plan.fingerprints if before.get(name) != plan.fingerprints[name]]
        if changed:
            what = f"other rows of {', '.join(changed)} (texts, labels or their names)"
            raise InputError(f"--output {run.path}: was trained on {what}; choose another --output")
    return found


def _restore(found: checkpoint.Checkpoint | None, accelerator, model, optimizer) -> TrainState:
    """The state of the checkpoint that process 0 found, in every process; a fresh one where it found none."""
    shared = of_first(found and (found.step, found.state))
    if shared is None:
        return TrainState()
    step, content = shared
    loss_scale = content.get("loss_scale")
    if loss_scale is not None and accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(loss_scale)
    model.load_state_dict(tensors_of_first(found.weights if found else {}))
    checkpoint.restore_optimizer(model, optimizer, tensors_of_first(found.moments if found else {}))
    known = {field.name for field in fields(TrainState)}
    return TrainState(step=step, **{key: value for key, value in content.items() if key in known})


def _claim(plan: Plan, run: RunDirectory, state: TrainState, found: checkpoint.Checkpoint | None, resume: bool) -> None:
    """Make the run directory, or drop from its logs what the checkpoint does not know."""
    if not run.exists():
        run.create(plan.recipe)
    elif resume:
        run.rewind(state.step, state.evaluated, found.logs if found else {})
        _check_log(run, state)
        checkpoint.keep_best(run.checkpoints, state.best_step)
        say(f"resuming after step {state.step:,} of {plan.total_steps:,}")


def _check_log(run: RunDirectory, state: TrainState) -> None:
    """Raises InputError where lines are lost: the run would come to its end and never be counted."""
    if (found := sum(row.get("num_tokens", 0) for row in run.logged("steps.jsonl"))) != state.num_tokens:
        raise InputError(
            f"{run.path / 'steps.jsonl'}: expected {state.num_tokens:,} tokens up to step {state.step:,}, as the checkpoint has, "
            f"got {found:,}: lines are lost; choose another --output"
        )
