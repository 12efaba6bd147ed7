"""Users and other programs add tokens to a vocabulary; they are collected from every file that may name them.

transformers keeps them in `added_tokens.json`, in the `added_tokens_decoder` and the lists of `tokenizer_config.json`, in
`special_tokens_map.json` and in `tokenizer.json`; one that is not added falls apart into pieces.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from debft.errors import InputError, shown
from debft.models.json_files import read_json

FLAGS = ("lstrip", "rstrip", "single_word", "normalized")
SPECIAL_NAMES = ("cls_token", "sep_token", "pad_token", "unk_token", "mask_token", "bos_token", "eos_token")
LISTS = ("additional_special_tokens", "extra_special_tokens")


@dataclass(frozen=True, kw_only=True)
class StatedToken:
    """A token is named by one of the model's files.

    content: its text.
    id: its number in the vocabulary, None where the file gives none.
    special: whether the file calls it a special token.
    flags: the arguments of `tokenizers.AddedToken`.
    file: the file that names it.
    """

    content: str
    id: int | None
    special: bool
    flags: dict[str, bool]
    file: Path


def stated_tokens(path: Path) -> list[StatedToken]:
    """Return every token that the files of a model add or name as special, sorted by id; those without an id come last.

    Raises InputError where two files do not agree.
    """
    by_content: dict[str, StatedToken] = {}
    by_id: dict[int, StatedToken] = {}
    for token in (*_from_decoder(path), *_from_tokenizer_json(path), *_from_added_tokens(path), *_from_lists(path)):
        known = by_content.setdefault(token.content, token)
        if token.id is None:
            continue
        if known.id is None:
            by_content[token.content] = known = replace(known, id=token.id)
        other = by_id.setdefault(token.id, token)
        if known.id != token.id or other.content != token.content:
            other = known if known.id != token.id else other
            raise InputError(
                f"{token.file}: token {token.content} has id {token.id}, but {other.file.name} has {other.content} at {other.id}; "
                "copy the tokenizer's files again, all from the same place"
            )
    return sorted(by_content.values(), key=lambda token: (token.id is None, token.id or 0))


def special_names(path: Path) -> dict[str, str]:
    """Return what the files call `cls_token`, `sep_token` and so on, without those that they leave out."""
    settings = _object(path / "tokenizer_config.json") | _object(path / "special_tokens_map.json")
    return {name: token for name in SPECIAL_NAMES if (token := _content(settings.get(name)))}


def add_stated(backend: Tokenizer, tokens: list[StatedToken], special: Collection[str], *, own: Collection[str] = ()) -> None:
    """Add `tokens` to the vocabulary, each at the id that its file gives it.

    Tokens of the user are found in any text, `special` ones (`[SEP]`) in none; the special ones in `own`, a SentencePiece
    model's pieces, are left to it. Raises InputError where a token cannot have its id.
    """
    for token in tokens:
        known_id, free_id = backend.token_to_id(token.content), backend.get_vocab_size(with_added_tokens=True)
        expected = free_id if known_id is None else known_id
        if token.id not in (None, expected):
            why = f"the vocabulary goes on at {free_id}" if known_id is None else f"the vocabulary has it at {known_id}"
            raise InputError(f"{token.file}: token {token.content}: expected id {expected}, got {token.id}: {why}; copy both again")
        if token.content in special:
            backend.add_special_tokens([AddedToken(token.content, special=True)])
        elif not (token.special and token.content in own):
            backend.add_tokens([AddedToken(token.content, special=False, **token.flags)])


def _from_decoder(path: Path) -> Iterator[StatedToken]:
    """Yield the tokens that tokenizer_config.json gives by id."""
    file = path / "tokenizer_config.json"
    for number, entry in _object(file, "added_tokens_decoder").items():
        if not re.fullmatch("[0-9]{1,18}", number) or not isinstance(entry, dict) or not _content(entry):
            raise InputError(f"{file}: added_tokens_decoder: expected tokens by id, got {shown(number)}: {shown(entry)}")
        yield _stated(entry, int(number), file)


def _from_tokenizer_json(path: Path) -> Iterator[StatedToken]:
    """Yield the tokens that tokenizer.json adds."""
    file = path / "tokenizer.json"
    entries = _object(file).get("added_tokens") or []
    if not isinstance(entries, list):
        raise InputError(f"{file}: added_tokens: expected a list, got {shown(entries)}")
    for entry in entries:
        if not isinstance(entry, dict) or not _content(entry) or not _is_id(entry.get("id")):
            raise InputError(f"{file}: added_tokens: expected tokens with their ids, got {shown(entry)}")
        yield _stated(entry, entry["id"], file)


def _from_added_tokens(path: Path) -> Iterator[StatedToken]:
    """Yield the tokens of added_tokens.json, the form before transformers 4.34, which has no flags.

    transformers looks for the special ones in the text as it stands, for the others in the normalized text.
    """
    file = path / "added_tokens.json"
    special = {*special_names(path).values(), *(token.content for token in _from_lists(path))}
    for content, number in _object(file).items():
        if not _is_id(number):
            raise InputError(f"{file}: {content}: expected an id, got {shown(number)}")
        yield _stated({"content": content, "special": content in special, "normalized": content not in special}, number, file)


def _from_lists(path: Path) -> Iterator[StatedToken]:
    """Yield the tokens that two files list as special, without their ids."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        for key in LISTS:
            entries = _object(path / name).get(key) or []
            if not isinstance(entries, (list, dict)):
                raise InputError(f"{path / name}: {key}: expected a list of tokens, got {shown(entries)}")
            for entry in entries.values() if isinstance(entries, dict) else entries:
                content = _content(entry)
                if content is None and entry not in (None, ""):
                    raise InputError(
                        f"{path / name}: {key}: expected the text of a token, or an object with it, got {shown(entry)}"
                    )
                if content:
                    known = entry if isinstance(entry, dict) else {}
                    yield _stated(known | {"content": content, "special": True}, None, path / name)


def _stated(entry: dict[str, Any], number: int | None, file: Path) -> StatedToken:
    """Return the token of an entry with its flags."""
    flags = {name: bool(entry.get(name, False)) for name in FLAGS}
    return StatedToken(content=entry["content"], id=number, special=bool(entry.get("special")), flags=flags, file=file)


def _content(entry: Any) -> str | None:
    """Return the text of a token, which files give as it is or with its flags."""
    content = entry.get("content") if isinstance(entry, dict) else entry
    return content if isinstance(content, str) and content else None


def _is_id(number: Any) -> bool:
    """Return whether a value is the number of a token."""
    return isinstance(number, int) and not isinstance(number, bool)


def _object(file: Path, key: str | None = None) -> dict[str, Any]:
    """Return the JSON object in a file, or under one of its keys; {} where there is none. Raises InputError for anything else."""
    content = read_json(file) if file.is_file() else {}
    value = content.get(key) or {} if key and isinstance(content, dict) else content
    if not isinstance(value, dict):
        raise InputError(f"{file}: expected a JSON object{f' at {key}' if key else ''}, got {shown(value)}")
    return value
