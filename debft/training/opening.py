"""A session is opened: everything is built, compared between the processes, and set to the newest checkpoint."""

import hashlib
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs

from debft.config.recipe import SCORE_SECTIONS, Recipe, TrainConfig
from debft.console import say, say_field
from debft.data.arrays import pieces
from debft.data.encoding import EncodedSplit
from debft.errors import InputError
from debft.models.activations import checkpoint_activations, checkpoints_activations
from debft.models.attention.backends import attention_for
from debft.models.copies import WeightCopies
from debft.models.json_files import read_config
from debft.models.shards import shard_model
from debft.models.vocabulary import ActiveVocabulary, embedding_name, use_active_vocabulary
from debft.runs.directory import RunDirectory
from debft.runs.environment import code_digest, environment, moving_versions
from debft.runs.result import PathsOfRun
from debft.runtime.accelerator import build_accelerator
from debft.runtime.devices import gpu_name, micro_batch_tokens
from debft.runtime.launch.group import is_main_process
from debft.runtime.progress import activity
from debft.scoring.heads import LabelHead, MultiLabelHead, plain_loss
from debft.scoring.loaded import LoadedModel, load_model
from debft.tasks import TextClassification
from debft.training.describe import describe_device, describe_lengths, with_remark
from debft.training.disk import check_disk
from debft.training.graphs import Graphs, Recorder
from debft.training.layer_rates import rate_factors
from debft.training.loop import LossFn
from debft.training.optimization import build_optimizer, decay_factor
from debft.training.parallel import broadcast_tensors_from_main, check_same_on_all_ranks, raise_together, run_on_main
from debft.training.place import Start
from debft.training.plan import Plan
from debft.training.precision import precision_for
from debft.training.resuming import begin_session, claim_run, find_checkpoint, restore
from debft.training.session import Session, TrainState
from debft.training.sharding import take_weights
from debft.training.sift import LOGS, SiftLoss, perturbed_module


def open_session(plan: Plan, run: RunDirectory, *, start: Start = "new", claim: bool = True) -> tuple[Session, TrainState]:
    """Build everything, restore the newest checkpoint where the run is to go on and there is one, and claim the run directory.

    claim: whether the run directory is made, or set to the checkpoint; a probe leaves it alone
    With several processes: what one of them lacks, or has in another form, ends all of them with one line.
    """
    accelerator, precision, loaded, splits = raise_together(lambda: _build(plan))
    check_same_on_all_ranks(lambda: _facts(plan, precision, splits, loaded))
    processes = accelerator.num_processes
    sharded = plan.recipe.runtime.shard and processes > 1
    vocabulary = _cut_vocabulary(plan, loaded, splits)
    take_weights(loaded.model.state_dict(), loaded.model.state_dict())
    if sharded:
        raise_together(lambda: shard_model(loaded.model, accelerator.device, processes))
        # A copy of a weight in half precision is not kept behind its product: those of all layers would lie there at once.
        accelerator.autocast_handler = AutocastKwargs(cache_enabled=False)
    optimizer = build_optimizer(loaded.model, plan.recipe.train)
    saved = run_on_main(lambda: find_checkpoint(plan, run, vocabulary) if start == "resume" else None)
    state = restore(saved, accelerator, loaded.model, optimizer, vocabulary)
    if claim:
        run_on_main(lambda: check_disk(plan, run, loaded, vocabulary, state.step, len(splits[plan.task.train.name])))
        run_on_main(lambda: claim_run(plan, run, state, saved, start))
        run_on_main(lambda: begin_session(plan, run, state, _environment(plan, accelerator, precision)))
    # Not wrapped for several processes: the steps exchange the gradients themselves, see exchange.py.
    model, optimizer = accelerator.prepare_model(loaded.model, evaluation_mode=True), accelerator.prepare_optimizer(optimizer)
    assert accelerator.unwrap_model(model) is loaded.model, "the wrapped model is another one"
    loss_fn: LossFn = plain_loss(loaded.head)
    logs: tuple[str, ...] = ()
    if plan.recipe.sift.weight:
        loss_fn = SiftLoss(head=loaded.head, config=plan.recipe.sift, plain=loaded.model, half=precision == "fp16")
        logs = LOGS
    with_graphs = takes_graphs(plan.recipe, precision, loaded.attention, processes)
    graphs = Graphs(model, loaded.model, loss_fn, Recorder()) if with_graphs else None
    session = Session(
        plan=plan,
        run=run,
        accelerator=accelerator,
        precision=precision,
        micro_batch_tokens=micro_batch_tokens(plan.recipe.runtime.micro_batch_tokens, accelerator.device),
        loaded=loaded,
        vocabulary=vocabulary,
        loss_fn=loss_fn,
        logs=logs,
        splits=splits,
        model=model,
        optimizer=optimizer,
        paths=replace(_paths(loaded, vocabulary), cuda_graphs=with_graphs, sharded_over=processes if sharded else 1),
        graphs=graphs,
        copies=None if precision == "fp32" or sharded else WeightCopies(loaded.model, precision),
    )
    return session, state


def _build(plan: Plan) -> tuple[Any, ...]:
    """Return (accelerator, precision, loaded model, encoded splits), which each process builds from its own files."""
    precision, remark = precision_for(plan.recipe)
    if plan.recipe.runtime.shard and precision == "fp16":
        raise InputError("--precision: expected fp32 or bf16 with runtime.shard, got fp16, whose loss scale needs all gradients")
    accelerator, precision = build_accelerator(precision)
    attention, lacking = attention_for(plan.recipe.runtime.attention, read_config(plan.files.path), accelerator.device.type)
    is_main = accelerator.is_main_process
    if is_main:
        describe_device(plan, accelerator, with_remark(precision, remark), with_remark(attention, lacking))
        _ = plan.weights  # before anything is computed from them
    with activity("loading the model", show=is_main):
        loaded = load_model(
            plan.files, plan.task, plan.recipe, accelerator.device, attention=attention, new_head=True, quiet=not is_main
        )
    if plan.recipe.runtime.checkpoint_activations:
        checkpoint_activations(loaded.model)
    if plan.recipe.sift.weight:
        perturbed_module(loaded.model)  # raises where there is none
    encoded = {name: loaded.encode(examples, plan.recipe, name, show=is_main) for name, examples in plan.examples.items()}
    plan.let_go_of_texts()
    if plan.class_weights:
        head = loaded.head
        assert isinstance(head, LabelHead | MultiLabelHead), "weights are of labels"
        loaded = replace(loaded, head=head.weighted(plan.class_weights))
    splits = {name: loaded.head.prepare(split) for name, split in encoded.items()}
    if is_main:
        describe_lengths(plan, splits)
    return accelerator, precision, loaded, splits


def _cut_vocabulary(plan: Plan, loaded: LoadedModel, splits: dict[str, EncodedSplit]) -> ActiveVocabulary:
    """Cut the model's embedding table to what the training split needs, and number that split's tokens anew.

    Process 0 sends its table to all, as it does the other weights: the rows that are not trained come from it, too.
    """
    name, config = plan.task.train.name, plan.recipe.train
    decay = partial(decay_factor, config, plan.total_steps, factor=_rate_factor_of_embedding(loaded, config))
    vocabulary = use_active_vocabulary(loaded.model, splits[name].ids_T, loaded.collate.pad_id, decay)
    splits[name] = vocabulary.renumbered(splits[name])
    if (cut := vocabulary.cut) is not None:
        cut.base_VE = broadcast_tensors_from_main({"table": cut.base_VE})["table"]
    if is_main_process() and (line := vocabulary.line()):
        say_field("vocabulary", line)
    return vocabulary


def _rate_factor_of_embedding(loaded: LoadedModel, config: TrainConfig) -> float:
    """Return the factor of the learning rate of the embeddings: the rows that are not trained decay by that rate."""
    if config.layerwise_lr_decay == 1.0 or (name := embedding_name(loaded.model)) is None:
        return 1.0
    return rate_factors(loaded.model, config.layerwise_lr_decay)[name]


def _paths(loaded: LoadedModel, vocabulary: ActiveVocabulary) -> PathsOfRun:
    """Return which of several ways to compute the same the run takes."""
    packed = loaded.collate.packed
    return PathsOfRun(
        attention=loaded.attention,
        packed=packed,
        cls_only_last_layer=packed and isinstance(loaded.task, TextClassification),
        active_vocabulary=vocabulary.trained(),
        checkpointed_activations=checkpoints_activations(loaded.model),
    )


def takes_graphs(recipe: Recipe, precision: str, attention: str, num_processes: int) -> bool:
    """Return whether the steps are replayed from CUDA graphs: one process, the kernels' attention, one plain forward pass.

    Where only the number of processes is against it, a line says so: without graphs a GPU waits for most of a short step.
    """
    runtime = recipe.runtime
    plain = not recipe.sift.weight and not runtime.checkpoint_activations and precision != "fp16"
    if not (runtime.cuda_graphs and plain and attention == "triton"):
        return False
    if num_processes > 1 and not runtime.shard and is_main_process():
        say("no CUDA graphs with several processes: by our estimate steps of few tokens are faster in one")
    return num_processes == 1


def _environment(plan: Plan, accelerator: Accelerator, precision: str) -> dict[str, Any]:
    """Return what this session runs with, as result.json records it."""
    device = accelerator.device
    name = device.type if device.type == "cpu" else str(device)  # several processes call the same one cpu:0
    return environment(name, gpu_name(device), precision, accelerator.num_processes, plan.files.revision)


def _facts(plan: Plan, precision: str, splits: dict[str, Any], loaded: LoadedModel) -> dict[str, str]:
    """Return by name what must be the same in every process; the weights themselves are sent to all by process 0."""
    recipe = asdict(plan.recipe)
    shapes = [(name, tuple(tensor.shape)) for name, tensor in loaded.model.state_dict().items()]
    config = {key: value for key, value in loaded.model.config.to_dict().items() if key != "_name_or_path"}
    return {
        "code of debft": code_digest(),
        **{f"version of {name}": installed for name, installed in moving_versions().items()},
        "precision": precision,
        "attention": loaded.attention,
        "deterministic kernels": str(plan.recipe.runtime.deterministic),
        **{section: _digest(recipe[section]) for section in SCORE_SECTIONS},
        **{f"rows of {name}": fingerprint for name, fingerprint in plan.fingerprints.items()},
        **{f"tokens of {name}": _digest(split.ids_T, split.ends_S) for name, split in splits.items()},
        "configuration of the model": _digest(config, shapes),
    }


def _digest(*contents: Any) -> str:
    """Return 12 hex digits, which differ where the contents do."""
    digest = hashlib.sha256()
    for content in contents:
        if isinstance(content, np.ndarray):
            for part in pieces(content):
                digest.update(part.data)
        else:
            digest.update(repr(content).encode())
    return digest.hexdigest()[:12]
