"""Token ids of many texts: word by word they are those of the whole texts, whatever the characters."""

import unicodedata

import numpy as np
import pytest
from architectures import deberta_spm, xlm_roberta_spm, xlnet_spm
from conftest import random_texts
from hypothesis import given, settings
from hypothesis import strategies as st

from debft.data import tokens
from debft.data.tokens import WordByWord, ranges, whole_texts
from debft.models.tokens.vocabulary import tokenizer_from_spm
from debft.models.tokens.words import reads_word_by_word

MODELS = {"deberta-v2": deberta_spm, "xlm-roberta": xlm_roberta_spm, "xlnet": xlnet_spm}
# What a normalizer may join, part, drop or turn into a space, beside plain words.
PIECES = [
    "fox",
    "the",
    " ",
    "  ",
    "\u00a0",
    "\n",
    "\t",
    "e",
    "\u0301",
    "\u0323",
    "\u200b",
    "\u200d",
    "ﬁ",
    "´",
    "½",
    "▁",
    "가",
    "ᄀ",
]
PIECES += ["ᅡ", "ᆨ", "か", "゙", "👍🏽", "他说", "ก็", "[SEP]", "``", "''", "\U0010fffe", "\x00", "\x1f", "ß", "Σ", "9,", "한", "한"]
texts_of_pieces = st.lists(st.sampled_from(PIECES) | st.characters(exclude_categories=["Cs"]), max_size=12).map("".join)


@pytest.fixture(scope="module", params=MODELS)
def backend(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "spm.model"
    path.write_bytes(MODELS[request.param]())
    built = tokenizer_from_spm(path, request.param)
    built.encode_special_tokens = True
    assert reads_word_by_word(built)
    return built


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@settings(max_examples=30)
@given(texts=st.lists(texts_of_pieces, min_size=1, max_size=8))
def test_word_by_word_equals_whole_texts_of_any_characters(backend, texts):
    assert_same(WordByWord(backend)(texts), whole_texts(backend, texts))


def test_words_that_were_met_before_are_not_encoded_again(backend, monkeypatch):
    encoded = []
    monkeypatch.setattr(tokens, "whole_texts", lambda backend, texts: encoded.append(len(texts)) or whole_texts(backend, texts))
    encode, texts = WordByWord(backend), random_texts(200)
    first = encode(texts)
    assert_same(encode(texts[::-1]), whole_texts(backend, texts[::-1]))
    assert_same(first, whole_texts(backend, texts))
    assert encoded == [len({word for text in texts for word in text.split(" ")})]


def test_words_are_forgotten_when_they_fill_the_memory(backend, monkeypatch):
    monkeypatch.setattr(tokens, "MOST_CHARACTERS", 100)
    encode, texts = WordByWord(backend), random_texts(60)
    for start in range(0, 60, 10):
        assert_same(encode(texts[start : start + 10]), whole_texts(backend, texts[start : start + 10]))
        assert encode.characters <= 100


def test_threads_give_the_ids_of_one_thread(backend, monkeypatch):
    texts = [*random_texts(200), "他说，妈妈，我回来了。", "Ein Café in Zürich", ""] * 3
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    one_thread = whole_texts(backend, texts)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    assert_same(whole_texts(backend, texts), one_thread)


@pytest.fixture(scope="module")
def published(shared):
    return tokenizer_from_spm(shared / "tokenizer" / "deberta-v3" / "spm.model")


@pytest.mark.parametrize("language", ["de", "hi", "th", "zh"])
def test_real_texts_word_by_word_equal_whole_texts(shared, published, language):
    lines = (shared / "xnli" / f"validation.{language}.tsv").read_text(encoding="utf-8").split("\n")[1:200]
    texts = [text for line in lines for text in line.split("\t")[:2]]
    assert_same(WordByWord(published)(texts), whole_texts(published, texts))


def may_act_beyond_itself(code: int) -> bool:
    """Marks, spaces, signs, controls and what is made of several characters; and one in a hundred of all the others."""
    c = chr(code)
    kind = unicodedata.category(c)
    return kind != "Cs" and (bool(unicodedata.decomposition(c)) or kind in "Mn Mc Me Zs Zl Zp Cc Cf Sk Lm" or code % 100 == 0)


@pytest.mark.sweep
def test_character_at_the_edge_of_a_word_is_read_as_in_the_text(published):
    texts = [f"a{c} {c}b {c} e {c}" for c in map(chr, filter(may_act_beyond_itself, range(0x110000)))]
    assert len(texts) > 10_000
    encode = WordByWord(published)
    for start in range(0, len(texts), 5000):
        assert_same(encode(texts[start : start + 5000]), whole_texts(published, texts[start : start + 5000]))


def test_ranges_hand_made_case():
    assert ranges(np.array([5, 0, 9]), np.array([2, 0, 3])).tolist() == [5, 6, 9, 10, 11]
