"""The JSON files of a model's directory, config.json first, are read here with errors that name the file."""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from debft.errors import DebftError, InputError, first_line, shown, without_secrets
from debft.runs.json_records import json_of
from debft.runs.reading import read_file
from debft.runtime.memory import is_out_of_memory

if TYPE_CHECKING:
    from transformers import PretrainedConfig

POINTER = b"version https://git-lfs"
MOST_OUTPUTS = 10**6


def read_json(file: Path) -> Any:
    """Return the content of a JSON file. Raises InputError where it is none, DiskError where the disk fails twice."""
    try:
        text = read_file(file).decode()
        return json_of(text)
    # No UTF-8, no JSON, half a surrogate pair, a number of ten thousand digits, a list in a list in a list ...
    except ValueError as error:
        check_pointer(file)
        raise InputError(f"{file}: expected JSON, got {error}") from None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None


def read_object(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file, {} where there is no such file. Raises InputError for anything else."""
    content = read_json(file) if file.is_file() else {}
    if not isinstance(content, dict):
        raise InputError(f"{file}: expected a JSON object, got {shown(content)}")
    return content


def check_pointer(file: Path) -> None:
    """Raise InputError for what `git clone` leaves in place of a large file where Git LFS is not installed."""
    with file.open("rb") as stream:
        if stream.read(len(POINTER)) == POINTER:
            raise InputError(f"{file}: expected the file itself, got a pointer of Git LFS; run `git lfs pull` in the clone")


def read_config(path: Path) -> dict[str, Any]:
    """Return the content of config.json in the directory `path`.

    Raises InputError where it names no type of model, or has outputs or padding that cannot be used.
    """
    where = path / "config.json"
    config = read_json(where)
    if without_secrets(text := json.dumps(config, ensure_ascii=False)) != text:
        raise InputError(f"{where}: holds a token or a password, which the trained model would carry on; take it out")
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise InputError(f"{where}: expected a transformers configuration with a 'model_type', found none")
    names = config.get("id2label") or {}
    if not isinstance(names, dict) or not all(re.fullmatch("[0-9]{1,18}", key) for key in names):
        raise InputError(f"{where}: id2label: expected label names by number, got {shown(names)}")
    if sorted(map(int, names)) != list(range(len(names))) or len(set(map(repr, names.values()))) < len(names):
        raise InputError(f"{where}: id2label: expected a name of its own for each output from 0 on, got {shown(names)}")
    count, padding = config.get("num_labels"), config.get("pad_token_id")
    if count is not None and not (isinstance(count, int) and 0 <= count <= MOST_OUTPUTS):
        raise InputError(f"{where}: num_labels: expected a whole number up to {MOST_OUTPUTS}, got {shown(count)}")
    if padding is not None and not isinstance(padding, int):
        raise InputError(f"{where}: pad_token_id: expected the id of a token or null, got {shown(padding)}")
    return config


def load_config(path: Path) -> "PretrainedConfig":
    """Return transformers' configuration object. Raises InputError where transformers refuses the file."""
    # transformers takes seconds to import, and most commands read no more than the JSON.
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as USABLE

    kind = read_config(path)["model_type"]
    if kind not in USABLE:
        raise InputError(f"{path / 'config.json'}: model_type: expected one that transformers can classify with, got '{kind}'")
    with refusal_explained(path, "transformers refuses it"):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        values = config.to_dict()  # which fails for some values that were taken
        layers = getattr(config, "num_hidden_layers", 1)
    if not isinstance(layers, int) or layers < 1:
        raise InputError(f"{path / 'config.json'}: num_hidden_layers: expected a layer or more, got {shown(layers)}")
    if wrong := next((key for key, value in values.items() if isinstance(value, float) and math.isnan(value)), None):
        raise InputError(f"{path / 'config.json'}: {wrong}: expected a number, got NaN")
    return config


@contextmanager
def refusal_explained(path: Path, refusal: str) -> Iterator[None]:
    """Raise InputError about config.json in place of whatever is raised within the block, but for failures of the machine.

    The block holds a call of transformers alone. It checks few of the values: another one is an error of any kind where it is used.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (OSError, DebftError)) or is_out_of_memory(error):
            raise
        kind = "" if isinstance(error, (ValueError, TypeError)) else f"{type(error).__name__}: "
        raise InputError(f"{path / 'config.json'}: {refusal}: {kind}{first_line(error)}") from error
