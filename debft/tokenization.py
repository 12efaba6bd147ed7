"""A checkpoint's `spm.model` as a Rust tokenizer that gives exactly SentencePiece's ids.

transformers 5 builds DebertaV2Tokenizer without the model's character map and without byte fallback, which changes
0.3 % of English and 56 % of Chinese sentences. The `tokenizers` library's own `Precompiled` normalizer applies the
map, but by grapheme and by the shortest match where SentencePiece takes the longest, so it loses combining marks
and mixed-width Hangul. Here every character is set apart first, mapped by itself, and then only those
sequences are composed that SentencePiece's map has as a rule, which are the full canonical decompositions.

One text in 1,114,112 differs on purpose: the noncharacter U+10FFFE sets the characters apart and is removed.
"""

import re
import unicodedata
from collections import defaultdict
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from debft.errors import InputError

_APART = "\U0010fffe"
_JAMO_LEADING, _JAMO_VOWEL, _JAMO_TRAILING = r"\x{1100}-\x{1112}", r"\x{1161}-\x{1175}", r"\x{11a8}-\x{11c2}"
_SPECIAL = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}


def tokenizer_from_spm(path: Path) -> Tokenizer:
    """The Rust tokenizer of a DeBERTa-v2/v3 `spm.model`, with `[MASK]` behind the pieces.

    Raises InputError where the file is no SentencePiece unigram model or lacks DeBERTa's special pieces.
    """
    proto = _read(path)
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    backend = Tokenizer(models.Unigram(pieces, unk_id=proto.trainer_spec.unk_id, byte_fallback=proto.trainer_spec.byte_fallback))
    backend.normalizer = _normalizer(proto.normalizer_spec)
    backend.pre_tokenizer = _pre_tokenizer(proto, path)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(t, special=True) for t in [*_SPECIAL.values(), "[MASK]"]])
    cls_id, sep_id = backend.token_to_id("[CLS]"), backend.token_to_id("[SEP]")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", cls_id), ("[SEP]", sep_id)],
    )
    backend.encode_special_tokens = True
    return backend


def special_tokens() -> dict[str, str]:
    """The keyword arguments of a transformers tokenizer around `tokenizer_from_spm`."""
    return {**_SPECIAL, "mask_token": "[MASK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}


def _read(path: Path):
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError:
        raise InputError(f"{path}: expected a SentencePiece model, got something else; copy spm.model again") from None
    unigram = proto.trainer_spec.model_type == proto.trainer_spec.UNIGRAM
    present = {piece.piece for piece in proto.pieces}
    absent = [token for token in _SPECIAL.values() if token not in present]
    if not unigram or absent:
        wrong = f"no piece {absent[0]}" if absent else "another model type"
        raise InputError(f"{path}: expected a SentencePiece unigram model with {', '.join(_SPECIAL.values())}, got {wrong}")
    return proto


def _normalizer(spec) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = []
    if spec.precompiled_charsmap:
        joinable, marks = _compositions()
        steps += [
            # A normalizer cannot insert at position 0, hence the Prepend and the two \A.
            normalizers.Prepend(_APART),
            normalizers.Replace(Regex(rf"(?<!\A{_APART})(?!\A)(?=[^\x20-\x7e]|[\x20-\x7e][{marks}])"), _APART),
            normalizers.Precompiled(spec.precompiled_charsmap),
            normalizers.Replace(Regex(joinable), ""),
            normalizers.NFC(),
            normalizers.Replace(_APART, ""),
        ]
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"^ +| +$"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    return normalizers.Sequence(steps)


def _pre_tokenizer(proto, path: Path) -> pre_tokenizers.PreTokenizer:
    """`▁` for spaces, and a cut inside text that reads like a control piece.

    SentencePiece never yields `[SEP]` for text, the Rust model would; no piece crosses the place of the cut.
    """
    controls = [p.piece for p in proto.pieces if p.type in (p.CONTROL, p.UNKNOWN)]
    ordinary = [p.piece for p in proto.pieces if p.type == p.NORMAL]
    cuts = []
    for control in controls:
        at = next((i for i in range(len(control) - 1, 0, -1) if not any(control[i - 1 : i + 1] in o for o in ordinary)), None)
        if at is None:
            raise InputError(f"{path}: the text {control} cannot be told from the control piece {control}")
        cuts.append(f"{re.escape(control[:at])}(?={re.escape(control[at:])})")
    metaspace = pre_tokenizers.Metaspace(
        replacement="▁", prepend_scheme="always" if proto.normalizer_spec.add_dummy_prefix else "never", split=False
    )
    return pre_tokenizers.Sequence([metaspace, pre_tokenizers.Split(Regex("|".join(cuts)), behavior="merged_with_previous")])


@cache
def _compositions() -> tuple[str, str]:
    """(regex of the separators to drop so that NFC composes, character class of what can follow a base character).

    A rule of SentencePiece's NFKC maps is a full canonical decomposition (2 to 4 characters), each character taken
    as its own mapping; precomposed beginnings are no rules. A character whose mapping is longer than one
    composes with nothing, which the look-around sees: there the separator is not next to it.
    """
    sequences = set()
    for code in _characters():
        decomposed = unicodedata.normalize("NFD", chr(code))
        if len(decomposed) > 1 and unicodedata.normalize("NFC", decomposed) == chr(code) and not 0xAC00 <= code < 0xD7A4:
            sequences.add(decomposed)
    seconds = {s[1] for s in sequences}
    marks = _class(chr(c) for c in _characters() if unicodedata.normalize("NFKC", chr(c)) in seconds)
    bases_of_tail = defaultdict(set)
    for sequence in sequences:
        bases_of_tail[sequence[1:]].add(sequence[0])
    alone = rf"(?=[\x00-\x7f{_APART}]|\z)"
    firsts = _class(s[0] for s in sequences) + _JAMO_LEADING
    pair_seconds = _class(s[1] for s in sequences if len(s) == 2) + _JAMO_VOWEL
    drops = [
        rf"(?<={_APART}[{firsts}]){_APART}(?=[{pair_seconds}]{alone})",
        rf"(?<={_APART}[{_JAMO_LEADING}]{_APART}[{_JAMO_VOWEL}]){_APART}(?=[{_JAMO_TRAILING}]{alone})",
    ]
    for tail, bases in sorted(bases_of_tail.items()):
        if len(tail) > 1:
            before = "".join(_APART + mark for mark in tail[:-1])
            drops.append(rf"(?<={_APART}[{_class(bases)}]{before}){_APART}(?={tail[-1]}{alone})")
    return "|".join(drops), marks


def _characters() -> list[int]:
    return [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def _class(characters) -> str:
    """The inside of a regex character class."""
    return "".join(rf"\x{{{ord(c):x}}}" for c in sorted(set(characters)))
