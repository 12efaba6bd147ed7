"""Files of a tokenizer with values that it cannot use: each is one line that names the file."""

import json
from pathlib import Path

import pytest
from architectures import ARCHITECTURES
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from debft.errors import InputError
from debft.models.files import ModelFiles
from debft.models.tokens.tokenizer import build_tokenizer

BY_NAME = {architecture.name: architecture for architecture in ARCHITECTURES}


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_tokenizer(ModelFiles(name="m", path=path))


def vocabulary_alone(name: str, path: Path, **settings) -> Path:
    BY_NAME[name].write(path)
    (path / "tokenizer.json").unlink(missing_ok=True)
    file = path / "tokenizer_config.json"
    file.write_text(json.dumps((json.loads(file.read_text()) if file.is_file() else {}) | settings))
    return path


@pytest.mark.parametrize("file", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("key", ["additional_special_tokens", "extra_special_tokens"])
@pytest.mark.parametrize("value", [5, True, 1.5, "ab", [5], {"a": ["x"]}, [{"id": 3}], ["\ud800"]], ids=ascii)
def test_list_of_tokens_that_is_none_is_one_line(tmp_path, file, key, value):
    path = vocabulary_alone("bert", tmp_path / "m")
    (path / file).write_text(json.dumps({"do_lower_case": False, key: value}))
    refused(path, rf"{file}: (expected JSON, got .*surrogate|{key}: expected a list of tokens|{key}: expected the text of a token)")


def test_list_of_tokens_may_leave_one_out(tmp_path):
    path = vocabulary_alone("bert", tmp_path / "m", extra_special_tokens={"a": None, "b": "", "c": "<sum>"})
    assert "<sum>" in build_tokenizer(ModelFiles(name="m", path=path)).get_vocab()


@pytest.mark.parametrize("added", [5, [5], [{"content": "<sum>"}], [{"id": 3}], [{"content": "<sum>", "id": "3"}]], ids=str)
def test_added_tokens_beside_a_vocabulary_that_are_none_are_one_line(tmp_path, added):
    path = vocabulary_alone("deberta-v3", tmp_path / "m")
    (path / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    refused(path, r"tokenizer\.json: added_tokens: expected ")


@pytest.mark.parametrize("key", ["²", "٣", "1" * 5000], ids=lambda key: key[:3])
def test_id_of_an_added_token_that_is_no_number_is_one_line(tmp_path, key):
    path = vocabulary_alone("bert", tmp_path / "m", added_tokens_decoder={key: {"content": "<sum>"}})
    refused(path, r"tokenizer_config\.json: added_tokens_decoder: expected tokens by id, got ")


@pytest.mark.parametrize(
    "changes",
    [
        {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {},
            }
        },
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
        {"model": json.loads("[" * 900 + "]" * 900)},
    ],
    ids=["template", "length", "depth"],
)
def test_tokenizer_json_that_fails_when_it_is_used_is_one_line(tmp_path, changes):
    path = BY_NAME["bert"].write(tmp_path / "m")
    content = json.dumps(json.loads((path / "tokenizer.json").read_text()) | changes)
    (path / "tokenizer.json").write_text(content.replace("[" * 900, "[" * 3000).replace("]" * 900, "]" * 3000))
    refused(path, r"the tokenizer cannot be read: tokenizer\.json: .*; copy its files again")


@pytest.mark.parametrize("value", ["x", 5, [1]], ids=str)
@pytest.mark.parametrize(
    ("name", "key"),
    [
        *[("bert", key) for key in ("do_lower_case", "strip_accents", "tokenize_chinese_chars")],
        ("roberta", "add_prefix_space"),
        ("deberta-v3", "do_lower_case"),
        ("xlnet", "keep_accents"),
    ],
)
def test_switch_of_a_vocabulary_that_is_none_is_one_line(tmp_path, name, key, value):
    refused(vocabulary_alone(name, tmp_path / "m", **{key: value}), rf"tokenizer_config\.json: {key}: expected true or false, got ")


@pytest.mark.parametrize(
    ("name", "key"), [("bert", "strip_accents"), ("roberta", "add_prefix_space"), ("deberta-v3", "do_lower_case")]
)
def test_switch_that_is_null_is_the_default(tmp_path, name, key):
    by_default = build_tokenizer(ModelFiles(name="m", path=vocabulary_alone(name, tmp_path / "a")))
    with_null = build_tokenizer(ModelFiles(name="m", path=vocabulary_alone(name, tmp_path / "b", **{key: None})))
    assert with_null.encode("The Café") == by_default.encode("The Café")


def test_vocabulary_that_is_no_utf8_is_one_line(tmp_path):
    path = vocabulary_alone("bert", tmp_path / "m")
    (path / "vocab.txt").write_bytes(b"\xff\xfe")
    refused(path, r"vocab\.txt: expected a piece in each line, got 'utf-8' codec")


@pytest.mark.parametrize(("piece", "number"), [*[("x", one) for one in ("x", -1, 1.5, 10**30, None, [1], True)], ("\ud800", 5)])
def test_piece_without_an_id_is_one_line(tmp_path, piece, number):
    path = vocabulary_alone("roberta", tmp_path / "m")
    ids = json.loads((path / "vocab.json").read_text())
    (path / "vocab.json").write_text(json.dumps(ids | {piece: number}))
    refused(path, r"vocab\.json: expected (pieces with their ids, got 'x'|JSON, got .*surrogate)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda proto: setattr(proto.normalizer_spec, "precompiled_charsmap", b"abcd"), "the tokenizer cannot be read: "),
        (lambda proto: setattr(proto.normalizer_spec, "precompiled_charsmap", damaged(proto)), "the tokenizer cannot be read: "),
        (lambda proto: setattr(proto.trainer_spec, "unk_id", -5), "unk_id: expected the number of one of its "),
        (lambda proto: setattr(proto.trainer_spec, "unk_id", 10**6), "unk_id: expected the number of one of its "),
    ],
    ids=["short map", "damaged map", "before the pieces", "behind the pieces"],
)
def test_damaged_sentencepiece_file_is_one_line(tmp_path, change, message):
    path = vocabulary_alone("deberta-v3", tmp_path / "m")
    proto = ModelProto.FromString((path / "spm.model").read_bytes())
    change(proto)
    (path / "spm.model").write_bytes(proto.SerializeToString())
    refused(path, rf"{message}.*; copy")


def damaged(proto: ModelProto) -> bytes:
    """Return the character map with the size of its table kept and the table filled with what leads beyond it."""
    whole = proto.normalizer_spec.precompiled_charsmap
    size = int.from_bytes(whole[:4], "little")
    return whole[:4] + b"\xfe" * size + whole[4 + size :]
