"""Which tokenizers read a text word by word; tests/data/test_tokens.py compares the ids."""

import json

import pytest
from architectures import ARCHITECTURES, deberta_spm, with_pieces
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers

from debft.models.files import ModelFiles
from debft.models.tokens.tokenizer import build_tokenizer
from debft.models.tokens.tokenizer_json import save_tokenizer
from debft.models.tokens.vocabulary import tokenizer_from_spm
from debft.models.tokens.words import reads_word_by_word


def built(tmp_path, model: bytes | None = None, **settings) -> Tokenizer:
    (tmp_path / "spm.model").write_bytes(model or deberta_spm())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer_from_spm(tmp_path / "spm.model")


def test_every_architecture_with_a_sentencepiece_model_reads_word_by_word_and_no_other(tmp_path):
    reads = {}
    for architecture in ARCHITECTURES:
        path = architecture.write(tmp_path / architecture.name)
        tokenizer = build_tokenizer(ModelFiles(name="m", path=path))
        reads[architecture.name] = reads_word_by_word(tokenizer.backend_tokenizer)
        has_model = any(name.endswith(".model") for name in architecture.files())
        assert reads[architecture.name] == has_model, architecture.name
    assert set(reads.values()) == {True, False}


def test_saved_tokenizer_reads_word_by_word_again(tmp_path):
    built(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    save_tokenizer(build_tokenizer(ModelFiles(name="m", path=tmp_path)), tmp_path / "saved")
    assert reads_word_by_word(Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json")))


def test_lower_case_reads_word_by_word(tmp_path):
    assert reads_word_by_word(built(tmp_path, do_lower_case=True))


@pytest.mark.parametrize("what", ["piece behind a space", "no piece for a space", "spaces that stay"])
def test_vocabulary_that_looks_beyond_a_space_does_not(tmp_path, what):
    model = deberta_spm(remove_extra_whitespaces=False) if what == "spaces that stay" else deberta_spm()
    if what == "piece behind a space":
        model = with_pieces(model, ["of▁the"])
    if what == "no piece for a space":
        from sentencepiece.sentencepiece_model_pb2 import ModelProto

        proto = ModelProto.FromString(model)
        next(piece for piece in proto.pieces if piece.piece == "▁").piece = "▁▁"
        model = proto.SerializeToString()
    assert not reads_word_by_word(built(tmp_path, model))


@pytest.mark.parametrize(
    "change",
    [
        lambda backend: backend.add_tokens([AddedToken("the fox", special=False)]),
        lambda backend: setattr(backend, "normalizer", normalizers.NFC()),
        lambda backend: setattr(
            backend, "normalizer", normalizers.Sequence([normalizers.Replace(Regex("a b"), "c"), backend.normalizer])
        ),
        lambda backend: setattr(backend, "pre_tokenizer", pre_tokenizers.Metaspace(prepend_scheme="first")),
        lambda backend: setattr(
            backend,
            "pre_tokenizer",
            pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Metaspace(prepend_scheme="always", split=False),
                    pre_tokenizers.Split(Regex("a▁(?=b)"), behavior="merged_with_previous"),
                ]
            ),
        ),
    ],
    ids=["token of the user", "other normalizer", "another step", "other start", "other cut"],
)
def test_tokenizer_that_was_changed_does_not(tmp_path, change):
    backend = built(tmp_path)
    assert reads_word_by_word(backend)
    change(backend)
    assert not reads_word_by_word(backend)
