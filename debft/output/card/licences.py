"""The licences of the data sets and checkpoints that debft names, where their authors state them; of all others nothing is said."""

import re
from dataclasses import dataclass

from debft.errors import InputError

UNKNOWN = "unknown"
_HUB = "https://huggingface.co"


@dataclass(frozen=True, kw_only=True)
class Licence:
    """A licence and where it is stated."""

    name: str
    source: str


_MULTINLI = Licence(
    name="OANC; its fiction: public domain, CC BY 3.0 and CC BY-SA 3.0", source="https://aclanthology.org/N18-1101 (section 2.1)"
)
_SQUAD = Licence(name="CC BY-SA 4.0", source="https://rajpurkar.github.io/SQuAD-explorer")
_DATA = {
    "mnli": {"MultiNLI": _MULTINLI},
    "qnli": {"QNLI, made of SQuAD": _SQUAD},
    "squad": {"SQuAD 1.1": _SQUAD},
    "squad2": {"SQuAD 2.0": _SQUAD},
    "xnli": {
        "XNLI": Licence(name="CC BY-NC 4.0", source="https://github.com/facebookresearch/XNLI"),
        "MultiNLI, which is trained on": _MULTINLI,
    },
}
_GLUE = Licence(name=UNKNOWN, source=f"{_HUB}/datasets/nyu-mll/glue (refers to the authors of each data set)")
_MODELS = {
    "microsoft/deberta-v3-xsmall": "MIT",
    "microsoft/deberta-v3-small": "MIT",
    "microsoft/deberta-v3-base": "MIT",
    "microsoft/deberta-v3-large": "MIT",
    "microsoft/mdeberta-v3-base": "MIT",
    "microsoft/deberta-v2-xxlarge": "MIT",
    "microsoft/deberta-base": "MIT",
    "FacebookAI/roberta-base": "MIT",
    "FacebookAI/xlm-roberta-base": "MIT",
    "xlnet/xlnet-base-cased": "MIT",
    "google/electra-base-discriminator": "Apache 2.0",
    "sentence-transformers/all-MiniLM-L6-v2": "Apache 2.0",
}


def check_licence(name: str | None) -> None:
    """Raise InputError where the hub would refuse the name of a licence: it takes identifiers alone."""
    if name is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", name):
        raise InputError(f"--license {name}: expected a licence as the hub names it, such as mit, apache-2.0, cc-by-4.0 or other")


def data_licences(task: str, dataset: str, *, demo: bool) -> dict[str, Licence]:
    """Return the licences of the rows of a task by data set. dataset: its id on the hub, "" for own data"""
    if demo:
        return {"demo rows of debft": Licence(name="MIT", source="debft's own")}
    if task in _DATA:
        return _DATA[task]
    if dataset == "nyu-mll/glue":
        return {dataset: _GLUE}
    return {dataset or "own data": Licence(name=UNKNOWN, source="nowhere that debft knows")}


def model_licence(base: str | None) -> Licence:
    """Return the licence of a checkpoint on the hub; None is a model of this machine."""
    name = _MODELS.get(base or "")
    return Licence(name=name, source=f"{_HUB}/{base}") if name else Licence(name=UNKNOWN, source="nowhere that debft knows")
