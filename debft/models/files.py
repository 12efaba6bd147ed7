"""A model is found by its name, and its directory is checked for the files that it needs."""

from dataclasses import dataclass
from pathlib import Path

from debft.data.sources import demo
from debft.errors import InputError
from debft.models.encoders import FAMILIES
from debft.models.json_files import read_config, read_json
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
    """The files of a model lie in a directory of this disk.

    name: the alias where there is one, else what the user typed.
    path: the directory.
    revision: the hub's commit, or the package and its version; None for a directory of the user's.
    packaged: whether the directory belongs to an installed package.
    """

    name: str
    path: Path
    revision: str | None = None
    packaged: bool = False


def find_model(model: str, from_scratch: bool) -> ModelFiles:
    """Find the files of an alias, a hub id or a local directory, and download what is not here yet.

    An alias wins over a directory of the same name, which is meant by `./NAME`; an installed package with its files over the hub.

    Raises InputError for an unknown name, an unreachable hub, a directory that lacks config, tokenizer or weights, or weights
    that cannot be used as they lie there.
    """
    check_model_name(model)
    path = Path(model)
    if model == demo.MODEL_NAME:
        files = ModelFiles(name=model, path=demo.model_directory())
    elif model not in MODELS and path.is_dir():
        files = ModelFiles(name=model, path=path)
    else:
        files = _find_alias_or_hub_id(model, from_scratch)
    if absent := lacking(files.path, weights=not from_scratch):
        where = files.path if files.revision is None or files.packaged else model
        without = explain_no_weights(files.path) or "; copy them there, or --from-scratch for random ones"
        raise InputError(
            f"--model {where}: expected {absent} in the directory, found none{without if absent.startswith('weights') else ''}"
        )
    config = read_config(files.path)
    if from_scratch:
        check_not_quantized(files.path, config)
    else:
        check_weights(files.path, config)
    return files


def _find_alias_or_hub_id(model: str, from_scratch: bool) -> ModelFiles:
    """Return the files of an installed package, else those that the hub or its cache has."""
    name = canonical_name(model)
    spec = MODELS.get(name)
    if spec and spec.package and (packaged := hub.packaged_directory(spec.package, WEIGHT_FILES)):
        path, version = packaged
        return ModelFiles(name=name, path=path, revision=f"{spec.package} {version}", packaged=True)
    path = hub.model_directory(spec.hub_id if spec else model, weights=not from_scratch, lacking=lacking)
    return ModelFiles(name=name, path=path, revision=path.name)


def tokenizer_files(path: Path) -> tuple[str, ...]:
    """Return the names of the files that this type of model may have its tokens in, the best first.

    Without a config.json the type is not known, and the files of all types are named.
    """
    config = read_json(path / "config.json") if (path / "config.json").is_file() else {}
    kind = config.get("model_type") if isinstance(config, dict) else None
    return FAMILIES[kind].files if isinstance(kind, str) and kind in FAMILIES else TOKENIZER_FILES


def lacking(path: Path, *, weights: bool) -> str | None:
    """Return in words what the directory lacks to be used, None for one that has it all."""
    if not (path / "config.json").is_file():
        return "a config.json"
    names = tokenizer_files(path)
    first = next((name for name in names if (path / name).is_file()), None)
    if first is None:
        return f"a tokenizer ({', '.join(names)})"
    if first == "vocab.json" and not (path / "merges.txt").is_file():
        return "the merges.txt beside vocab.json"
    weight_file = first_weight_file(path)
    if weights and weight_file is None:
        return f"weights ({WEIGHT_FILES[0]} or {WEIGHT_FILES[2]})"
    if weight_file is not None and weights and (absent := [file.name for file in weight_files(path) if not file.is_file()]):
        return f"{absent[0]} (named in {weight_file.name})"
    return None
