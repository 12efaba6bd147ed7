"""Link 'tokens' of the chain: our Rust tokenizer against SentencePiece itself, on real text and on text made to break it."""

import json
import random

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from debft.data.sources.files import read_table
from debft.errors import InputError
from debft.models.files import ModelFiles
from debft.models.tokens.tokenizer import build_tokenizer
from debft.models.tokens.vocabulary import tokenizer_from_spm

NASTY = [
    "",
    " ",
    "   ",
    "\t\n ",
    "\x00\x01\x02",
    "a\x00b",
    "\x01a",
    "a\x01",
    "a\u200bb",
    "\ufeffabc",
    "ﬁ ﬂ ﬃ",
    "ﬁ\u0301",
    "ＡＢＣ１２３",
    "Ａ\u0301",
    "e\u0301",
    "e\u0301\u0302",
    "a\u0323\u0302",
    "a\u0302\u0323",
    "q\u0323\u0307",
    "\u1ea1\u0302",
    "한국어",
    "ᄒ",
    "\u1112\u1161\u11ab",
    "\uac00\u11a8",
    "㉠\x13ㅏ",
    "ㄱㅏㄱ",
    "ｶﾞ ﾊﾟ",
    "👩‍👩‍👧‍👦 👍🏽",
    "🇩🇪",
    "[SEP] [CLS] [MASK] [PAD] [UNK]",
    "a[SEP]b",
    "[[SEP]]",
    "<s>",
    "▁▁ a ▁",
    " \u3000 a\u00a0b ",
    "ก็ นี้ น้ำ",
    "हिन्दी क़",
    "a\r\nb",
    "\u2028x\u2029",
    "x\u0085y",
    "½ ① ㎏ ™",
    "Ǆ ſ ﷺ",
    "\u0344",
    "o\u0344",
    "\u1e9b\u0323",
    "\U0001d400",
    "\u2126 \u212b",
    "\ufffd",
    "a\u0301" * 50,
    "\u00adsoft",
    "\u2060w",
    "zalgo Z̵̡͕͈a̶̛͓l̸̙̕",
    "\x7f",
    "\x1f",
    "）̶",
    "Ελληνικά ᾄ ᾂ",
    "ệ Ǻ ǖ",
    "a" * 100_000,
    "ab c " * 20_000,
    "你" * 100_000,
    "e\u0301" * 50_000,
]
# Where rules of the character map meet: bases, marks, jamo, compatibility forms, controls.
BLOCKS = [
    (0x20, 0x7F),
    (0xA0, 0x250),
    (0x300, 0x370),
    (0x370, 0x530),
    (0x590, 0x700),
    (0x900, 0xA00),
    (0xD00, 0xE80),
    (0x1100, 0x1200),
    (0x1E00, 0x2070),
    (0x2070, 0x2500),
    (0x3000, 0x3400),
    (0x4E00, 0x4F00),
    (0xAC00, 0xAD00),
    (0xF900, 0xFE00),
    (0xFE00, 0x10000),
    (0x1F300, 0x1F700),
    (0x1D100, 0x1D500),
    (0x00, 0x20),
]
THICK = [
    0x300,
    0x301,
    0x302,
    0x308,
    0x313,
    0x323,
    0x340,
    0x344,
    0x345,
    0x41,
    0x61,
    0x3B1,
    0x6F,
    0x20,
    0x1100,
    0x1161,
    0x11A8,
    0x3131,
    0xFF76,
    0xFF9E,
]


@pytest.fixture(scope="module")
def spm_path(shared):
    return shared / "tokenizer" / "deberta-v3" / "spm.model"


@pytest.fixture(scope="module")
def oracle(spm_path):
    return sentencepiece.SentencePieceProcessor(model_file=str(spm_path))


@pytest.fixture(scope="module")
def ours(spm_path):
    return tokenizer_from_spm(spm_path)


def ids(tokenizer, texts):
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


def real_texts(shared):
    for path in sorted((shared / "mnli").glob("*.tsv")) + sorted((shared / "xnli").glob("*.tsv")):
        columns = read_table(path).columns
        yield path.name, [*columns["premise"], *columns["hypothesis"]]
    for path in sorted((shared / "squad2").glob("*.json")):
        paragraphs = [p for article in json.loads(path.read_text(encoding="utf-8"))["data"] for p in article["paragraphs"]]
        yield path.name, [p["context"] for p in paragraphs] + [q["question"] for p in paragraphs for q in p["qas"]]


@pytest.mark.parametrize("most", [200, pytest.param(None, marks=pytest.mark.sweep)])
def test_ids_equal_sentencepiece_on_real_text(shared, ours, oracle, most):
    """Take texts of every file, all of them where there is no `most`."""
    differences = {
        name: sum(a != b for a, b in zip(ids(ours, texts[:most]), oracle.encode(texts[:most]), strict=True))
        for name, texts in real_texts(shared)
    }
    assert len(differences) == 3 + 15 + 2
    assert set(differences.values()) == {0}, differences


@pytest.mark.parametrize("text", NASTY, ids=lambda text: repr(text[:12]))
def test_ids_equal_sentencepiece_on_nasty_text(ours, oracle, text):
    assert ids(ours, [text])[0] == oracle.encode(text)


@pytest.mark.parametrize("plane", [0, *(pytest.param(plane, marks=pytest.mark.sweep) for plane in range(1, 17))])
def test_ids_equal_sentencepiece_on_every_character(ours, oracle, plane):
    characters = [chr(c) for c in range(0x10000 * plane, 0x10000 * (plane + 1)) if not 0xD800 <= c < 0xE000 and c != 0x10FFFE]
    wrong = [
        f"U+{ord(c):04X}" for c, a, b in zip(characters, ids(ours, characters), oracle.encode(characters), strict=True) if a != b
    ]
    assert wrong == []


@pytest.mark.parametrize("count", [6_000, pytest.param(60_000, marks=pytest.mark.sweep)])
def test_ids_equal_sentencepiece_on_random_mixtures(ours, oracle, count):
    rng = random.Random(20_26)
    pools = [range(*block) for block in BLOCKS] + [THICK, THICK]
    texts = [
        "".join(chr(rng.choice(rng.choice(chosen))) for _ in range(rng.randint(1, 14)))
        for chosen in (rng.choices(pools, k=rng.randint(1, 3)) for _ in range(count))
    ]
    wrong = [text for text, a, b in zip(texts, ids(ours, texts), oracle.encode(texts), strict=True) if a != b]
    assert wrong == []


@settings(max_examples=500, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\U0010fffe")))
def test_ids_equal_sentencepiece_on_any_text(ours, oracle, text):
    assert ids(ours, [text])[0] == oracle.encode(text)


def test_text_that_reads_like_a_special_token_stays_text(ours, oracle):
    assert 2 not in ids(ours, ["a [SEP] b"])[0]
    assert ids(ours, ["a [SEP] b"])[0] == oracle.encode("a [SEP] b")


@pytest.fixture(scope="module")
def real_model_directory(spm_path, tmp_path_factory):
    directory = tmp_path_factory.mktemp("deberta-v3")
    (directory / "spm.model").write_bytes(spm_path.read_bytes())
    (directory / "config.json").write_text('{"model_type": "deberta-v2", "max_position_embeddings": 512, "vocab_size": 128100}')
    return directory


def test_saved_directory_gives_the_same_tokens_with_plain_autotokenizer(real_model_directory, shared, tmp_path):
    tokenizer = build_tokenizer(ModelFiles(name="x", path=real_model_directory))
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_bytes((real_model_directory / "config.json").read_bytes())
    plain = AutoTokenizer.from_pretrained(tmp_path)
    texts = [text for name, lines in real_texts(shared) if name.split(".")[1] in ("tsv", "zh", "th") for text in lines[:500]]
    assert len(texts) == 500 * 5  # MNLI's three files and two languages of XNLI
    texts += [text for text in NASTY if len(text) < 1000]
    assert plain(texts)["input_ids"] == tokenizer(texts)["input_ids"]
    pair = plain("a premise", "a hypothesis")
    assert pair["input_ids"] == tokenizer("a premise", "a hypothesis")["input_ids"]
    assert pair["token_type_ids"] == tokenizer("a premise", "a hypothesis")["token_type_ids"]


def test_special_tokens_and_vocabulary_are_those_of_deberta_v3(real_model_directory):
    tokenizer = build_tokenizer(ModelFiles(name="x", path=real_model_directory))
    named = (
        tokenizer.pad_token_id,
        tokenizer.cls_token_id,
        tokenizer.sep_token_id,
        tokenizer.unk_token_id,
        tokenizer.mask_token_id,
    )
    assert named == (0, 1, 2, 3, 128_000)
    assert len(tokenizer) == 128_001
    assert tokenizer.model_max_length == 512  # transformers alone says 1e30
    assert tokenizer("a", "b")["input_ids"][0] == 1


def test_plain_transformers_would_spring_the_trap(real_model_directory, oracle):
    """If this fails, the installed transformers no longer damages the tokens: simplify."""
    text = "他说，妈妈，我回来了。"
    damaged = AutoTokenizer.from_pretrained(real_model_directory).encode(text, add_special_tokens=False)
    assert damaged != oracle.encode(text)


def test_decoding_gives_the_text_back(ours):
    text = "He said: 我回来了 👍🏽"
    assert ours.decode(ours.encode(text).ids) == text


def test_file_that_is_no_sentencepiece_model_is_an_input_error(tmp_path):
    path = tmp_path / "spm.model"
    path.write_bytes(b"\xff\xfe not a model")
    with pytest.raises(InputError, match=r"spm\.model: expected a SentencePiece"):
        tokenizer_from_spm(path)


def test_model_without_deberta_pieces_is_an_input_error(tmp_path):
    import io

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d e f g"]), model_writer=out, vocab_size=20, hard_vocab_limit=False, minloglevel=2
    )
    path = tmp_path / "spm.model"
    path.write_bytes(out.getvalue())
    with pytest.raises(InputError, match=r"got no piece \[PAD\]"):
        tokenizer_from_spm(path)
