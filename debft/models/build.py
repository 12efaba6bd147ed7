"""A model is built with the head of its task, from its files or of random weights, and always in float32."""

import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel

from debft.console import say, say_field
from debft.errors import InputError, first_line, one_of
from debft.models.files import ModelFiles
from debft.models.finite import in_words, not_finite
from debft.models.first_deberta import fit_for_half_precision
from debft.models.json_files import load_config, refusal_explained
from debft.models.outputs import are_numbers, model_labels, model_names
from debft.models.weights import stored_dtypes
from debft.runs.checkpoint import load_checkpoint
from debft.runs.storage import failing_disk
from debft.runtime.launch.group import is_main_process
from debft.tasks import QuestionAnswering, Task

# Where each architecture keeps the dropout before its classifier. Source: the transformers modeling files.
HEAD_DROPOUT = {
    "deberta-v2": "cls_dropout",
    "deberta": "cls_dropout",
    "roberta": "classifier_dropout",
    "xlm-roberta": "classifier_dropout",
    "electra": "classifier_dropout",
    "bert": "classifier_dropout",
    "xlnet": "summary_last_dropout",
}
OPTIONS = {
    "dtype": torch.float32,
    "attn_implementation": "eager",
    "trust_remote_code": False,
}  # for transformers' `from_pretrained` and `from_config`
CANNOT_BUILD = "transformers cannot build this model"


def build_model(
    files: ModelFiles,
    task: Task,
    *,
    from_scratch: bool,
    head_dropout: float | None,
    seed: int,
    quiet: bool = False,
    new_head: bool = True,
) -> PreTrainedModel:
    """Build the model with the task's head, every weight float32 whatever the file holds.

    Raises InputError where the file lacks weights of the encoder: they would be random without a word; and, without
    `new_head`, where it lacks those of the head.
    """
    auto = AutoModelForQuestionAnswering if isinstance(task, QuestionAnswering) else AutoModelForSequenceClassification
    labels, config = model_labels(files, task), load_config(files.path)
    _set_head(config, task, labels, head_dropout)
    torch.manual_seed(seed)
    if from_scratch:
        if not quiet:
            say_field("weights", f"random, float32{_order(labels, task)}")
        return fit_for_half_precision(_random_model(files, auto, config))
    if files.checkpoint is not None:
        model = _random_model(files, auto, config)
        info = _take_weights(model, files.checkpoint)
    else:
        with refusal_explained(files.path, CANNOT_BUILD), _weights_explained(files):
            model, info = auto.from_pretrained(
                files.path, config=config, output_loading_info=True, ignore_mismatched_sizes=True, **OPTIONS
            )
    new = _weights_not_in_file(files, model, info)
    if others := _labels_of_another_task(files, labels):
        if not new_head:
            raise InputError(f"{files.path}: expected a head for {', '.join(labels)}, it has one for {', '.join(others)}")
        new = sorted({*new, *_renew_head(model, _random_model(files, auto, config))})
    if new and not new_head:
        raise InputError(f"{files.path}: expected a model fine-tuned for {task.name}, its head lacks {new[0]}; fine-tune it first")
    if not quiet:
        head = f"new, random ({', '.join(new)})" if new else "as in the checkpoint"
        stored = f"of {files.checkpoint}, F32" if files.checkpoint else ", ".join(stored_dtypes(files.path)) or "pytorch_model.bin"
        say_field("weights", f"{stored} -> float32; head {head}{_order(labels, task)}")
    _check_finite(files, model)
    return fit_for_half_precision(in_own_memory(model))


def _random_model(files: ModelFiles, auto: Any, config: PretrainedConfig) -> PreTrainedModel:
    """Return a model of random weights, by one of transformers' automatic classes."""
    with refusal_explained(files.path, CANNOT_BUILD):
        return auto.from_config(config, **OPTIONS)


def _take_weights(model: PreTrainedModel, path: Path) -> dict[str, Any]:
    """Give the model the weights of a checkpoint that fit, and return what transformers says of loading: names that do not."""
    own, saved = model.state_dict(), load_checkpoint(path).weights
    fitting = {name: tensor for name, tensor in saved.items() if name in own and own[name].shape == tensor.shape}
    model.load_state_dict(fitting, strict=False)
    return {
        "missing_keys": [name for name in own if name not in saved],
        "mismatched_keys": [(name,) for name in own if name in saved and name not in fitting],
        "unexpected_keys": [name for name in saved if name not in own],
    }


def _check_finite(files: ModelFiles, model: PreTrainedModel) -> None:
    """Raise InputError for weights that are not finite: some would end a run, others would be saved with the trained model."""
    weights = model.state_dict()
    if counts := not_finite(weights):
        where = files.checkpoint or files.path
        raise InputError(f"{where}: expected finite weights, {in_words(weights, counts)}; copy the files again, or take others")


def _order(labels: tuple[str, ...], task: Task) -> str:
    """Say in which order the model gives its labels, where that is not the task's."""
    return "" if labels == getattr(task, "labels", labels) else f"; its labels in the order {', '.join(labels)}"


@contextmanager
def _weights_explained(files: ModelFiles) -> Iterator[None]:
    """Raise InputError in place of what transformers raises for weights that it cannot read."""
    try:
        with failing_disk(files.path):
            yield
    except (SafetensorError, pickle.UnpicklingError, EOFError, OSError) as error:
        raise InputError(f"--model {files.path}: the weights cannot be read: {first_line(error)}; copy the file again") from None


def _weights_not_in_file(files: ModelFiles, model: PreTrainedModel, info: dict[str, Any]) -> list[str]:
    """Return the names of the weights that transformers made up; `info` is what it says about loading.

    Raises InputError where weights of the encoder are among them, and warns of weights in the file that the model has no place for.
    """
    new = sorted({*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])})
    lost = [key for key in new if key.startswith(model.base_model_prefix + ".") and ".pooler." not in key]
    if lost:
        raise InputError(f"{files.path}: expected the weights of the encoder, {len(lost)} are missing, {lost[0]} first")
    _warn_of_unused(files, model, info["unexpected_keys"])
    return new


def _set_head(config: PretrainedConfig, task: Task, labels: tuple[str, ...], head_dropout: float | None) -> None:
    """Set labels, kind of problem and dropout of the head in transformers' configuration."""
    if head_dropout is not None and config.model_type not in HEAD_DROPOUT:
        known = one_of(HEAD_DROPOUT)
        raise InputError(f"train.head_dropout: expected a model of type {known}, got {config.model_type}; set it to null")
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: i for i, label in enumerate(labels)}
    if isinstance(task, QuestionAnswering):
        config.problem_type = None
    elif task.multilabel:
        config.problem_type = "multi_label_classification"
    else:
        config.problem_type = "regression" if task.is_regression else "single_label_classification"
    if head_dropout is not None:
        setattr(config, HEAD_DROPOUT[config.model_type], head_dropout)


def _labels_of_another_task(files: ModelFiles, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the checkpoint's label names where they are real names and not the task's: its head is of no use then."""
    names = model_names(files)
    given = not are_numbers(names)
    same = sorted(name.lower() for name in names) == sorted(label.lower() for label in labels)
    return names if given and not same else ()


def _renew_head(model: PreTrainedModel, fresh: PreTrainedModel) -> list[str]:
    """Put the random weights of `fresh` behind the encoder and its pooler, and return their names."""
    new = [key for key, _ in model.named_parameters() if not key.startswith((model.base_model_prefix + ".", "pooler."))]
    source = dict(fresh.named_parameters())
    with torch.no_grad():
        for key in new:
            model.get_parameter(key).copy_(source[key])
    return new


def _warn_of_unused(files: ModelFiles, model: PreTrainedModel, unexpected: Iterable[str]) -> None:
    """Warn of weights of the encoder that the configuration has no place for; heads, poolers and counted positions are no loss."""
    unused = sorted(key for key in unexpected if key.startswith(f"{model.base_model_prefix}."))
    unused = [key for key in unused if not any(part in key for part in (".pooler.", "position_ids", "token_type_ids"))]
    if unused and is_main_process():
        what = f"{len(unused)} weights of the encoder have no place in config.json's model, {unused[0]} first"
        say(f"warning: {files.path}: {what}; they are not used")


def in_own_memory(model: PreTrainedModel) -> PreTrainedModel:
    """Copy each tensor of the model into memory that torch has allocated, which begins at a multiple of 64 bytes.

    A tensor of a safetensors file is mapped from where it lies in the file. On some CPUs a matrix product rounds otherwise
    there, so that a run that is read back would not score as it did.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.clone()
    return model
