"""The demo model is a tiny DeBERTa-v2 with a tokenizer, both made here and seeded."""

import hashlib
import io
import json
import unicodedata
from functools import cache
from pathlib import Path

from debft.console import say
from debft.data.sources.demo import languages, pairs, questions
from debft.runs.cache import cache_directory
from debft.runs.files import LOCK
from debft.runs.lock import locked
from debft.runs.storage import disk_errors, make_directory, remove_partial, write_atomically

MODEL_NAME = "demo"
VOCABULARY = 900
WHOLE_WORD = -1.0  # the score of a piece that is a word: above that of any two pieces together


def model_directory() -> Path:
    """Return a directory with the demo model's `config.json` and `spm.model`, made on first use in the cache.

    The tokenizer is a real SentencePiece model with DeBERTa's special pieces, trained on the demo rows, so the demo
    takes the same way through the program as microsoft/deberta-v3 does.
    """
    config = json.dumps(_config(), indent=2, sort_keys=True)
    spm = _spm()
    key = hashlib.sha256(config.encode() + spm).hexdigest()[:12]
    directory = cache_directory() / f"demo-model-{key}" / MODEL_NAME
    contents = {"spm.model": spm, "config.json": config.encode()}
    if not _is_whole(directory, contents):
        with disk_errors(directory):
            make_directory(directory)
            with locked(directory.parent / LOCK, wait=True):
                remove_partial(directory)
                _write(directory, contents)
    return directory


def _is_whole(directory: Path, contents: dict[str, bytes]) -> bool:
    return all((directory / name).is_file() and (directory / name).read_bytes() == content for name, content in contents.items())


def _write(directory: Path, contents: dict[str, bytes]) -> None:
    """Write what is not there, or is damaged: another process may have made it in between."""
    for name, content in contents.items():
        path = directory / name
        if path.is_file() and path.read_bytes() == content:
            continue
        if path.is_file():
            say(f"cache: {path} is damaged; writing it again")
        write_atomically(path, content)


def _config() -> dict:
    """Return the config.json of the demo model."""
    return {
        "model_type": "deberta-v2",
        "vocab_size": VOCABULARY + 16,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "max_position_embeddings": 128,
        "position_buckets": 16,
        "relative_attention": True,
        "pos_att_type": "p2c|c2p",
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
        "type_vocab_size": 0,
        "layer_norm_eps": 1e-7,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pooler_dropout": 0.0,
        "pooler_hidden_act": "gelu",
        "pooler_hidden_size": 64,
        "pad_token_id": 0,
        "max_relative_positions": -1,
        "initializer_range": 0.1,
    }


def _words() -> list[str]:
    """Return every word of the demo rows as SentencePiece's character map writes it."""
    corpus = "\n".join(module.corpus() for module in (pairs, languages, questions))
    return sorted(set(unicodedata.normalize("NFKC", corpus).split()))


@cache
def _spm() -> bytes:
    """Train a model for the character map and single characters; the demo's words are pieces of their own.

    The trainer makes pieces only of what occurs in two different words.
    """
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    words = _words()
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words),
        model_writer=model,
        vocab_size=VOCABULARY,
        model_type="unigram",
        byte_fallback=True,
        pad_id=0,
        pad_piece="[PAD]",
        bos_id=1,
        bos_piece="[CLS]",
        eos_id=2,
        eos_piece="[SEP]",
        unk_id=3,
        unk_piece="[UNK]",
        hard_vocab_limit=False,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    known = {piece.piece: piece for piece in proto.pieces}
    for word in words:
        piece = known.get(f"▁{word}") or proto.pieces.add(piece=f"▁{word}")
        piece.score = WHOLE_WORD
    assert len(proto.pieces) < VOCABULARY
    return proto.SerializeToString(deterministic=True)
