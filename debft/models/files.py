"""The files of a model: where they are, which are needed, which are missing."""

from dataclasses import dataclass
from pathlib import Path

from debft.data.sources import demo
from debft.errors import InputError
from debft.models.json_files import read_config, read_json
from debft.models.layouts import LAYOUTS
from debft.models.names import MODELS, canonical_name, check_model_name
from debft.models.weights import (
    WEIGHT_FILES,
    check_not_quantized,
    check_weights,
    explain_no_weights,
    first_weight_file,
    weight_files,
)
from debft.runtime import hub

TOKENIZER_FILES = ("spm.model", "tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model")


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A model on this disk. `name` is the alias where there is one, `revision` the hub's commit or the package and its version,
    `packaged`: whether the files lie in an installed package.
    """

    name: str
    path: Path
    revision: str | None = None
    packaged: bool = False


def find_model(model: str, from_scratch: bool) -> ModelFiles:
    """The files of an alias, a hub id or a local directory; downloads what is not here yet.

    An alias wins over a directory of the same name, which is meant by `./NAME`; an installed package with its files over the hub.

    Raises InputError for an unknown name, an unreachable hub, a directory that lacks config, tokenizer or weights, or weights
    that cannot be used as they lie there.
    """
    check_model_name(model)
    path = Path(model)
    if model == demo.MODEL_NAME:
        found = ModelFiles(name=model, path=demo.model_directory())
    elif model not in MODELS and path.is_dir():
        found = ModelFiles(name=model, path=path)
    else:
        found = _find_alias_or_hub_id(model, from_scratch)
    if absent := lacking(found.path, weights=not from_scratch):
        where = found.path if found.revision is None or found.packaged else model
        without = explain_no_weights(found.path) or "; copy them there, or --from-scratch for random ones"
        raise InputError(
            f"--model {where}: expected {absent} in the directory, found none{without if absent.startswith('weights') else ''}"
        )
    config = read_config(found.path)
    if from_scratch:
        check_not_quantized(found.path, config)
    else:
        check_weights(found.path, config)
    return found


def _find_alias_or_hub_id(model: str, from_scratch: bool) -> ModelFiles:
    name = canonical_name(model)
    spec = MODELS.get(name)
    if spec and spec.package and (packaged := hub.packaged_directory(spec.package, WEIGHT_FILES)):
        path, version = packaged
        return ModelFiles(name=name, path=path, revision=f"{spec.package} {version}", packaged=True)
    path = hub.model_directory(spec.hub_id if spec else model, weights=not from_scratch, lacking=lacking)
    return ModelFiles(name=name, path=path, revision=path.name)


def tokenizer_files(path: Path) -> tuple[str, ...]:
    """The files that the tokens of this type of model may come from, the best first; those of any type without a config.json."""
    config = read_json(path / "config.json") if (path / "config.json").is_file() else {}
    kind = config.get("model_type") if isinstance(config, dict) else None
    return LAYOUTS[kind].files if isinstance(kind, str) and kind in LAYOUTS else TOKENIZER_FILES


def lacking(path: Path, *, weights: bool) -> str | None:
    """What the directory lacks to be used, in words; None for one that has it all."""
    if not (path / "config.json").is_file():
        return "a config.json"
    names = tokenizer_files(path)
    first = next((name for name in names if (path / name).is_file()), None)
    if first is None:
        return f"a tokenizer ({', '.join(names)})"
    if first == "vocab.json" and not (path / "merges.txt").is_file():
        return "the merges.txt beside vocab.json"
    if weights and first_weight_file(path) is None:
        return f"weights ({WEIGHT_FILES[0]} or {WEIGHT_FILES[2]})"
    if weights and (absent := [file.name for file in weight_files(path) if not file.is_file()]):
        return f"{absent[0]} (named in {first_weight_file(path).name})"
    return None
