"""A checkpoint's own vocabulary becomes a Rust tokenizer that gives exactly the ids the model was trained with.

transformers 5 builds DebertaV2Tokenizer without the model's character map and without byte fallback, which changes
0.3 % of English and 56 % of Chinese sentences; it puts two `[SEP]` between the texts of a DeBERTa v1 pair, and leaves out
XLNet's token types. The `tokenizers` library's own `Precompiled` normalizer applies the character
map, but by grapheme and by the shortest match where SentencePiece takes the longest, so it loses combining marks
and mixed-width Hangul. Here every character is set apart first, mapped by itself, and then only those
sequences are composed that SentencePiece's map has as a rule, which are the full canonical decompositions.

One text in 1,114,112 differs on purpose: the noncharacter U+10FFFE sets the characters apart and is removed.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError
from sentencepiece.sentencepiece_model_pb2 import ModelProto, NormalizerSpec
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from debft.errors import InputError, shown
from debft.models.encoders import FAMILIES, GENERIC_CLASSES, EncoderFamily
from debft.models.json_files import read_object
from debft.models.tokens.added import add_stated, special_names, stated_tokens
from debft.runs.storage import failing_disk

_Piece = ModelProto.SentencePiece
_Default = TypeVar("_Default", bool, None)
APART = "\U0010fffe"
_JAMO_LEADING, _JAMO_VOWEL, _JAMO_TRAILING = r"\x{1100}-\x{1112}", r"\x{1161}-\x{1175}", r"\x{11a8}-\x{11c2}"


def tokenizer_from_vocabulary(path: Path, kind: str) -> Tokenizer:
    """Build the Rust tokenizer of a vocabulary file of a model of type `kind`: SentencePiece, `vocab.json` or `vocab.txt`.

    Raises InputError where the file is none, or lacks the special tokens of the type.
    """
    if path.suffix == ".model":
        return tokenizer_from_spm(path, kind)
    backend = _byte_level_bpe(path) if path.suffix == ".json" else _word_pieces(path)
    family = FAMILIES[kind]
    _check_settings(path, family)
    if absent := [token for token in family.needed() if backend.token_to_id(token) is None]:
        raise InputError(f"{path}: expected a vocabulary with {absent[0]}, found none")
    return _finish(backend, family, path.parent)


def tokenizer_from_spm(path: Path, kind: str = "deberta-v2") -> Tokenizer:
    """Build the Rust tokenizer of a SentencePiece file of a model of type `kind`; a mask that is no piece comes behind them.

    Raises InputError where the file is no SentencePiece unigram model or lacks the special pieces of the type.
    """
    proto, stored = _read(path, kind)
    _check_settings(path, FAMILIES[kind])
    pieces = [(name, score) for name, score, _ in stored]
    controls = [name for name, _, piece_type in stored if piece_type in (_Piece.CONTROL, _Piece.UNKNOWN)]
    unknown = proto.trainer_spec.unk_id
    lower = [normalizers.Lowercase()] if _switch(path, "do_lower_case", False) else []
    steps = lower + normalizer_steps(proto.normalizer_spec)
    if kind == "xlm-roberta":  # fairseq's dictionary puts four of its own in place of the first three
        pieces = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")] + pieces[3:]
        controls, unknown = [*controls, "<pad>"], 3
    if not 0 <= unknown < len(pieces):
        raise InputError(
            f"{path}: unk_id: expected the number of one of its {len(pieces)} pieces, got {unknown}; copy {path.name} again"
        )
    if kind == "xlnet":
        pieces = [(_without_digit_comma(piece), score) for piece, score in pieces]
        steps = xlnet_steps(keep_accents=_switch(path, "keep_accents", False)) + steps
    backend = Tokenizer(models.Unigram(pieces, unk_id=unknown, byte_fallback=proto.trainer_spec.byte_fallback))
    backend.normalizer = normalizers.Sequence(steps)
    ordinary = [name for name, _, piece_type in stored if piece_type == _Piece.NORMAL]
    backend.pre_tokenizer = _pre_tokenizer(proto.normalizer_spec, controls, ordinary)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _finish(backend, FAMILIES[kind], path.parent, own={name for name, _, _ in stored})


def _byte_level_bpe(path: Path) -> Tokenizer:
    """Build a tokenizer of GPT-2's `vocab.json` and the `merges.txt` beside it."""
    merges = path.parent / "merges.txt"
    ids = read_object(path)
    if strange := next((one for one in ids.items() if type(one[1]) is not int or not 0 <= one[1] < 2**32), None):
        raise InputError(f"{path}: expected pieces with their ids, got {shown(strange[0])}: {shown(strange[1])}; copy it again")
    try:
        with failing_disk(merges):
            lines = merges.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a byte-level BPE vocabulary beside {merges.name}, got {error}") from None
    pieces = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    if unmerged := next((pair for pair in pieces if len(pair) != 2 or not {*pair, "".join(pair)} <= ids.keys()), None):
        raise InputError(f"{merges}: expected two pieces of {path.name} in each line, got '{' '.join(unmerged)}'; copy both again")
    backend = Tokenizer(models.BPE(vocab=ids, merges=[(left, right) for left, right in pieces]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=_switch(path, "add_prefix_space", False))
    backend.decoder = decoders.ByteLevel()
    return backend


def _word_pieces(path: Path) -> Tokenizer:
    """Build a tokenizer of BERT's `vocab.txt`, which lowercases unless `tokenizer_config.json` says otherwise.

    Raises InputError where that would lose the capitals of a cased vocabulary.
    """
    try:
        pieces = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a piece in each line, got {error}; copy {path.name} again") from None
    ids = {piece: i for i, piece in enumerate(pieces)}
    lowercase = _switch(path, "do_lower_case", True)
    if lowercase and (capital := next((piece for piece in ids if piece.isalpha() and piece != piece.lower()), None)):
        raise InputError(f'{path}: has the piece {capital}, so tokenizer_config.json beside it must say "do_lower_case": false')
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(
        lowercase=lowercase,
        strip_accents=_switch(path, "strip_accents", None),
        handle_chinese_chars=_switch(path, "tokenize_chinese_chars", True),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    return backend


def _switch(path: Path, key: str, default: _Default) -> bool | _Default:
    """Return a switch of `tokenizer_config.json` beside a vocabulary, or its default where it is not given there."""
    file = path.parent / "tokenizer_config.json"
    value = read_object(file).get(key, default)
    if value is None and not default:
        return default
    if not isinstance(value, bool):
        raise InputError(f"{file}: {key}: expected true or false, got {shown(value)}")
    return value


def _check_settings(path: Path, family: EncoderFamily) -> None:
    """Raise InputError where the files beside a vocabulary ask for other tokens than those that are built from it here."""
    for file, key in ((path.parent / "tokenizer_config.json", "tokenizer_class"), (path.parent / "config.json", "tokenizer_class")):
        name = read_object(file).get(key)
        if name is not None and str(name).removesuffix("Fast") not in (*family.classes, *GENERIC_CLASSES):
            raise InputError(
                f"{file}: {key}: expected {family.classes[0]} for {path.name}, got {name}, which makes other tokens of it; "
                "save the tokenizer as tokenizer.json, with transformers' save_pretrained of a fast one"
            )
    for name, token in special_names(path.parent).items():
        if name not in ("bos_token", "eos_token") and token != family.special[name]:
            raise InputError(f"{path.parent}: {name}: expected {family.special[name]} beside {path.name}, got {token}")


def _finish(backend: Tokenizer, family: EncoderFamily, directory: Path, own: Collection[str] = ()) -> Tokenizer:
    """Add special tokens, those that the files in `directory` name, and templates. A vocabulary may lack the mask."""
    special, mask = dict.fromkeys(family.special.values()), family.special["mask_token"]
    backend.add_special_tokens([AddedToken(token, special=True) for token in family.needed()])
    stated, first = stated_tokens(directory), backend.get_vocab_size()
    if all(token.content != mask for token in stated) and all(token.id != first for token in stated):
        backend.add_special_tokens([AddedToken(mask, special=True)])
    add_stated(backend, [token for token in stated if token.content not in family.needed()], special, own=own)
    backend.add_special_tokens([AddedToken(mask, special=True)])
    set_template(backend, family)
    backend.encode_special_tokens = True
    return backend


def set_template(backend: Tokenizer, family: EncoderFamily) -> None:
    """Put around a text, and around two, what this type of model has there."""
    backend.post_processor = processors.TemplateProcessing(
        single=family.single,
        pair=family.pair,
        special_tokens=[(t, backend.token_to_id(t)) for t in (family.special["cls_token"], family.special["sep_token"])],
    )


def _read(path: Path, kind: str) -> tuple[ModelProto, list[tuple[str, float, int]]]:
    """Read a SentencePiece file, and return it with the name, score and type of each piece, which are slow to ask it for.

    Raises InputError where it is no unigram model with the special pieces of the type.
    """
    proto = ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError:
        raise InputError(f"{path}: expected a SentencePiece model, got something else; copy {path.name} again") from None
    unigram = proto.trainer_spec.model_type == proto.trainer_spec.UNIGRAM
    stored = [(piece.piece, piece.score, piece.type) for piece in proto.pieces]
    present = {name for name, _, _ in stored}
    needed = [token for token in FAMILIES[kind].needed() if kind != "xlm-roberta" or token != "<pad>"]  # that one is fairseq's
    absent = [token for token in needed if token not in present]
    if not unigram or absent:
        wrong = f"no piece {absent[0]}" if absent else "another model type"
        raise InputError(f"{path}: expected a SentencePiece unigram model with {', '.join(dict.fromkeys(needed))}, got {wrong}")
    return proto, stored


def normalizer_steps(spec: NormalizerSpec) -> list[normalizers.Normalizer]:
    """Return the steps that normalize a text as SentencePiece does with its character map and its handling of spaces."""
    steps: list[normalizers.Normalizer] = []
    if spec.precompiled_charsmap:
        joinable, marks = _compositions()
        steps += [
            # A normalizer cannot insert at position 0, hence the Prepend and the two \A.
            normalizers.Prepend(APART),
            normalizers.Replace(Regex(rf"(?<!\A{APART})(?!\A)(?=[^\x20-\x7e]|[\x20-\x7e][{marks}])"), APART),
            normalizers.Precompiled(spec.precompiled_charsmap),
            normalizers.Replace(Regex(joinable), ""),
            normalizers.NFC(),
            normalizers.Replace(APART, ""),
        ]
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    return steps


def xlnet_steps(*, keep_accents: bool) -> list[normalizers.Normalizer]:
    """Return what XLNet does to a text before SentencePiece. Source: zihangdai/xlnet prepro_utils.py preprocess_text."""
    spaces, combining = _spaces_and_marks()
    steps: list[normalizers.Normalizer] = [normalizers.Replace(Regex(f"[{spaces}]"), " "), normalizers.Replace(Regex("``|''"), '"')]
    return steps if keep_accents else [*steps, normalizers.NFKD(), normalizers.Replace(Regex(f"[{combining}]"), "")]


@cache
def _spaces_and_marks() -> tuple[str, str]:
    """Return the insides of two character classes: what Python takes for a space, and for a combining mark."""
    characters = [chr(code) for code in _characters()]
    return _class(c for c in characters if c.isspace()), _class(c for c in characters if unicodedata.combining(c))


def _without_digit_comma(piece: str) -> str:
    """Give `9,` a name that no text has, so that the text becomes `9` and `,`: XLNet was never trained on the piece.

    Source: zihangdai/xlnet prepro_utils.py encode_pieces, which cuts the piece again after the fact.
    """
    return f"{APART}{piece}" if piece[-1:] == "," and piece[-2:-1].isdigit() else piece


def _pre_tokenizer(spec: NormalizerSpec, controls: list[str], ordinary: list[str]) -> pre_tokenizers.PreTokenizer:
    """Write `▁` for spaces, and cut a text inside what reads like a control piece.

    SentencePiece never yields `[SEP]` for text, the Rust model would. The cut is where no ordinary piece crosses it, if there is
    such a place.
    """
    cuts, in_pieces = [], "\n".join(ordinary)
    for control in controls:
        at = next((i for i in range(len(control) - 1, 0, -1) if control[i - 1 : i + 1] not in in_pieces), 1)
        cuts.append(f"{re.escape(control[:at])}(?={re.escape(control[at:])})")
    metaspace = pre_tokenizers.Metaspace(
        replacement="▁", prepend_scheme="always" if spec.add_dummy_prefix else "never", split=False
    )
    return pre_tokenizers.Sequence([metaspace, pre_tokenizers.Split(Regex("|".join(cuts)), behavior="merged_with_previous")])


@cache
def _compositions() -> tuple[str, str]:
    """Return (regex of the separators to drop so that NFC composes, character class of what can follow a base character).

    A rule of SentencePiece's NFKC maps is a full canonical decomposition (2 to 4 characters), each character taken
    as its own mapping; precomposed beginnings are no rules. A character whose mapping is longer than one
    composes with nothing, which the look-around sees: there the separator is not next to it.
    """
    decomposable = list(filter(unicodedata.decomposition, map(chr, range(0x110000))))  # without Hangul, which goes by rule
    sequences = {d for c in decomposable if len(d := unicodedata.normalize("NFD", c)) > 1 and unicodedata.normalize("NFC", d) == c}
    seconds = {s[1] for s in sequences}
    marks = _class(c for c in seconds.union(decomposable) if unicodedata.normalize("NFKC", c) in seconds)
    bases_of_tail = defaultdict(set)
    for sequence in sequences:
        bases_of_tail[sequence[1:]].add(sequence[0])
    alone = rf"(?=[\x00-\x7f{APART}]|\z)"
    firsts = _class(s[0] for s in sequences) + _JAMO_LEADING
    pair_seconds = _class(s[1] for s in sequences if len(s) == 2) + _JAMO_VOWEL
    drops = [
        rf"(?<={APART}[{firsts}]){APART}(?=[{pair_seconds}]{alone})",
        rf"(?<={APART}[{_JAMO_LEADING}]{APART}[{_JAMO_VOWEL}]){APART}(?=[{_JAMO_TRAILING}]{alone})",
    ]
    for tail, bases in sorted(bases_of_tail.items()):
        if len(tail) > 1:
            before = "".join(APART + mark for mark in tail[:-1])
            drops.append(rf"(?<={APART}[{_class(bases)}]{before}){APART}(?={tail[-1]}{alone})")
    return "|".join(drops), marks


def _characters() -> list[int]:
    """Return the code points of all characters."""
    return [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def _class(characters: Iterable[str]) -> str:
    """Return the inside of a regex character class."""
    return "".join(rf"\x{{{ord(c):x}}}" for c in sorted(set(characters)))
