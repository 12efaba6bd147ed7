"""Tokenizers that other programs saved are used as their files stand, for types of model outside FAMILIES as well."""

import json
from collections.abc import Collection
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from debft.console import say
from debft.errors import InputError, first_line
from debft.models.encoders import FAMILIES, EncoderFamily
from debft.models.json_files import read_config, read_object
from debft.models.tokens.added import special_names
from debft.models.tokens.tokenizer_json import around, parts_a_pair, read_tokenizer_json
from debft.models.tokens.vocabulary import set_template
from debft.runs.storage import failing_disk
from debft.runtime.launch.group import is_main_process
from debft.tasks import QuestionAnswering, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Texts on which tokenizers that were built of the same pieces differ.
PROBES = ("ＤｅＢＥＲＴａ", "ﬁne", "e\u0301", "他说，妈妈，我回来了。", "ก็ นี้", "👍🏽", "a[SEP]b", "½ ™", "The  Cat's")


def check_no_own_code(path: Path) -> None:
    """Raise InputError for a tokenizer that is Python code of its own, and for a model in FAMILIES that is."""
    for name, key in (("tokenizer_config.json", "AutoTokenizer"), ("config.json", "AutoTokenizer")):
        own = read_object(path / name).get("auto_map")
        if code := own.get(key) if isinstance(own, dict) else own:
            raise InputError(
                f"{path / name}: auto_map: the tokenizer is code of its own ({_first_name(code)}), which is not run; "
                "save it as a plain tokenizer.json, or take another model"
            )
    config = read_config(path)
    if (own := config.get("auto_map")) and config["model_type"] in FAMILIES:
        raise InputError(
            f"{path / 'config.json'}: auto_map: the model is code of its own ({_first_name(own)}), which is not run: "
            f"transformers' {config['model_type']} would be another model"
        )


def _first_name(code: Any) -> Any:
    """Return the first name of Python code in an auto_map or one of its values, whatever holds it."""
    while isinstance(code, (dict, list)) and (
        parts := [part for part in (code.values() if isinstance(code, dict) else code) if part]
    ):
        code = parts[0]
    return code


def tokenizer_of_json(file: Path, kind: str) -> tuple[Tokenizer, dict[str, Any]]:
    """Return (the Rust tokenizer, the options of transformers' wrapper) of the tokenizer.json of a type in FAMILIES."""
    family, names = FAMILIES[kind], special_names(file.parent)
    backend = read_tokenizer_json(file, {*family.special.values(), *names.values()})
    for name, token in family.special.items():  # which some of the hub's files leave to the class
        if name not in names and backend.token_to_id(token) is not None:
            names[name] = token
    _check_template(backend, file, kind, names)
    return backend, {**names, **family.options(), **_padding_side(file.parent, family)}


def tokenizer_of_transformers(file: Path, kind: str) -> tuple[Tokenizer, dict[str, Any]]:
    """Return the same for any other type; what its files leave out is taken from transformers' class for the type."""
    from transformers import AutoTokenizer

    names = set(special_names(file.parent).values())
    backend = read_tokenizer_json(file, names) if file.name == "tokenizer.json" else None
    try:
        with failing_disk(file.parent):
            whole = AutoTokenizer.from_pretrained(file.parent, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, AttributeError, ImportError, OSError, RuntimeError) as error:
        raise InputError(
            f"--model {file.parent}: the tokenizer cannot be read: {first_line(error)}; copy its files again"
        ) from None
    class_name = type(whole).__name__
    if getattr(whole, "backend_tokenizer", None) is None:
        raise InputError(
            f"--model {file.parent}: expected a tokenizer of the tokenizers library, got {class_name}, which is Python code: "
            f"a {kind} cannot be used here"
        )
    special = {name: str(token) for name, token in whole.special_tokens_map.items()}
    if file.name == "tokenizer.json":
        backend = read_tokenizer_json(file, special.values())
        _compare(backend, whole.backend_tokenizer, file, class_name)
    else:
        backend = _found_in_texts(whole.backend_tokenizer, special.values())
    if not around(backend, 1) and around(whole.backend_tokenizer, 1):
        backend.post_processor = whole.backend_tokenizer.post_processor
        _say_once(f"{file}: puts nothing around a text; it gets the special tokens of {class_name}")
    if not around(backend, 1) and {"cls_token", "sep_token"} <= special.keys():
        raise InputError(
            f"{file}: expected {special['cls_token']} and {special['sep_token']} around a text, it puts nothing there; "
            "give it a post_processor"
        )
    kept = {"model_input_names": whole.model_input_names, "padding_side": whole.padding_side, "split_special_tokens": True}
    return backend, {**special, **kept, "model_max_length": whole.model_max_length}


def check_special_tokens(tokenizer: "PreTrainedTokenizerFast", file: Path, task: Task | None) -> None:
    """Raise InputError where there is no token for padding, or not those that `task` needs."""
    if tokenizer.pad_token_id is None:
        raise InputError(
            f"{file}: expected a token for padding, found none; name one as pad_token in tokenizer_config.json, and its id as "
            "pad_token_id in config.json"
        )
    if task is None:
        return
    backend, two = tokenizer.backend_tokenizer, len(task.text_keys) == 2
    if two and not parts_a_pair(backend):
        raise InputError(f"{file}: expected a special token between two texts, it puts none there: not for {task.name}")
    if isinstance(task, QuestionAnswering) and tokenizer.cls_token_id not in {one for one, _ in around(backend, 2)}:
        raise InputError(f"{file}: expected a token like [CLS], which stands for no answer, found none: not for {task.name}")


def _check_template(backend: Tokenizer, file: Path, kind: str, names: dict[str, str]) -> None:
    """Put the type's special tokens around texts where the file puts none, and name those of the file where they differ.

    Raises InputError where the vocabulary has no such tokens.
    """
    family = FAMILIES[kind]
    tokens = {family.special[name]: names.get(name, family.special[name]) for name in ("cls_token", "sep_token")}
    ids = {usual: backend.token_to_id(of_file) for usual, of_file in tokens.items()}
    shown = ", ".join(tokens.values())
    if not around(backend, 1):
        if any(backend.token_to_id(token) is None for token in tokens):
            raise InputError(f"{file}: puts nothing around a text, and a {kind} has {shown} there, which it lacks")
        set_template(backend, family)
        _say_once(f"{file}: puts nothing around a text; {shown} are put there, as a {kind} has them")
        return
    for number, template in ((1, family.single), (2, family.pair)):
        parts = (part.split(":") for part in template.split() if not part.startswith("$"))
        expected = [(ids[token], int(one) if family.takes_types else 0) for token, one in parts]
        actual = [(one, one_type if family.takes_types else 0) for one, one_type in around(backend, number)]
        if actual != expected:
            special = " ".join(f"{backend.id_to_token(one)}:{one_type}" for one, one_type in actual)
            what = "a text" if number == 1 else "two texts"
            _say_once(f"{file}: puts {special} around {what}, a {kind} has {template}; the file is taken as it stands")


def _compare(as_stored: Tokenizer, rebuilt: Tokenizer, file: Path, class_name: str) -> None:
    """Say where the file as it stands gives other tokens than transformers' class, which builds a tokenizer of its pieces."""
    pairs = [[one.encode(text, add_special_tokens=False).ids for one in (as_stored, rebuilt)] for text in PROBES]
    if different := sum(stored_ids != rebuilt_ids for stored_ids, rebuilt_ids in pairs):
        _say_once(
            f"{file}: gives other tokens than {class_name} of transformers {version('transformers')} for {different} of "
            f"{len(PROBES)} texts; the file is taken as it stands"
        )


def _found_in_texts(backend: Tokenizer, special: Collection[str]) -> Tokenizer:
    """Return the tokenizer with the user's tokens found in any text, and `special` ones in none."""
    content = json.loads(backend.to_str())
    for token in content["added_tokens"]:
        token["special"] = token["content"] in special
    return Tokenizer.from_str(json.dumps(content))


def _padding_side(path: Path, family: EncoderFamily) -> dict[str, str]:
    """Return the side of padding that tokenizer_config.json asks for, {} where the family decides or none is named."""
    file = path / "tokenizer_config.json"
    side = read_object(file).get("padding_side")
    return {} if family.left or side not in ("left", "right") else {"padding_side": side}


@cache
def _say_once(line: str) -> None:
    """Print a line, but no second time: a tokenizer is built several times in a run."""
    if is_main_process():
        say(line)
