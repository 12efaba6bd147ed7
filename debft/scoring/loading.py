"""A run directory or a fine-tuned model is loaded, to be used as it was trained."""

from dataclasses import replace

from debft.console import say
from debft.errors import InputError
from debft.models.attention.backends import attention_for
from debft.models.json_files import read_config
from debft.runtime.accelerator import build_accelerator
from debft.runtime.devices import check_precision, micro_batch_tokens
from debft.scoring.loaded import load_model
from debft.scoring.predictor import Predictor
from debft.scoring.used_model import UsedModel, find_used_model


def load_predictor(run_or_model: str, task_name: str | None, precision: str, attention: str = "auto") -> Predictor:
    """Find and load a run directory or a fine-tuned model, as `find_used_model` and `load_used` do."""
    return load_used(find_used_model(run_or_model, task_name, attention), precision, attention)


def load_used(used: UsedModel, precision: str, attention: str = "auto") -> Predictor:
    """Load a model that was found.

    precision: `auto` computes as the model was trained, where its config.json names a precision that this machine has
    attention: what computes the attention, as a recipe's `runtime.attention`
    Raises InputError where the model has no head for its task.
    """
    runtime = used.recipe.runtime
    accelerator, _ = build_accelerator(_precision(precision, runtime.precision))
    backend, _ = attention_for(attention, read_config(used.files.path), accelerator.device.type)
    loaded = load_model(used.files, used.task, used.recipe, accelerator.device, attention=backend, chosen=used.settings)
    return Predictor(
        loaded=replace(loaded, model=accelerator.prepare_model(loaded.model, evaluation_mode=True)),
        trained_on=used.trained_on,
        recipe=used.recipe,
        accelerator=accelerator,
        micro_batch_tokens=micro_batch_tokens(runtime.micro_batch_tokens, accelerator.device),
    )


def _precision(asked: str, trained: str) -> str:
    """Return the precision asked for; for `auto` that of the training, or, where this machine lacks that, what it has."""
    if asked != "auto":
        return asked
    try:
        return check_precision(trained)
    except InputError:
        say(f"the model was trained in {trained}, which this machine lacks: {check_precision('auto')} is used")
        return "auto"
