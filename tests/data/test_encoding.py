"""Token ids of pairs: truncation against transformers' own, the cache against itself."""

import errno
import os

import numpy as np
import pytest
from conftest import random_texts, table_of

from debft.data import encoding, encoding_cache
from debft.data.encoding import encode
from debft.data.rows import check_rows
from debft.data.truncation import longest_first, random_ends
from debft.models.files import ModelFiles
from debft.models.tokens.tokenizer import build_tokenizer
from debft.runs.environment import code_digest


@pytest.fixture(scope="module")
def tokenizer(demo_model):
    return build_tokenizer(ModelFiles(name="demo", path=demo_model))


@pytest.fixture
def examples(mnli):
    premises, hypotheses = random_texts(300, seed=1), random_texts(300, seed=2)
    return check_rows(table_of(premise=premises, hypothesis=hypotheses, label=[0] * 300), mnli)


def run(examples, tokenizer, **changes):
    options = {"max_seq_length": 32, "truncation": "longest_first", "seed": 0, "what": "test"} | changes
    return encode(examples, tokenizer, **options)


@pytest.mark.parametrize("max_seq_length", [8, 9, 32, 33, 100])
def test_features_equal_transformers_own_truncation(examples, tokenizer, max_seq_length):
    got = run(examples, tokenizer, max_seq_length=max_seq_length)
    expected = tokenizer([t[0] for t in examples.texts], [t[1] for t in examples.texts], truncation=True, max_length=max_seq_length)
    for i in range(len(examples)):
        ids, types = got.example(i)
        assert ids.tolist() == expected["input_ids"][i]
        assert types.tolist() == expected["token_type_ids"][i]


def test_real_pairs_equal_transformers_own_truncation(shared, mnli, tmp_path):
    from debft.data.load import load_table

    (tmp_path / "spm.model").write_bytes((shared / "tokenizer" / "deberta-v3" / "spm.model").read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "deberta-v2"}')
    tokenizer = build_tokenizer(ModelFiles(name="x", path=tmp_path))
    examples = check_rows(load_table(mnli, mnli.evals[0], str(shared)), mnli)
    got = run(examples, tokenizer, max_seq_length=48)
    expected = tokenizer([t[0] for t in examples.texts], [t[1] for t in examples.texts], truncation=True, max_length=48)[
        "input_ids"
    ]
    assert [got.example(i)[0].tolist() for i in range(len(examples))] == expected
    assert got.truncated > 100


def test_longest_first_hand_made_cases():
    assert longest_first([10, 4], 20) == [10, 4]
    assert longest_first([10, 4], 10) == [6, 4]
    assert longest_first([4, 10], 10) == [4, 6]
    assert longest_first([9, 9], 9) == [4, 5]
    assert longest_first([30], 10) == [10]


def test_random_ends_drops_from_the_longer_text_at_both_ends():
    dropped = [random_ends([30, 4], 20, np.random.default_rng(seed)) for seed in range(200)]
    assert all(sum(pair[0]) == 14 and pair[1] == (0, 0) for pair in dropped)
    fronts = [pair[0][0] for pair in dropped]
    assert 6 < np.mean(fronts) < 8  # a fair coin: mean 7, standard error 0.13
    assert len(set(fronts)) > 5


def test_random_ends_keeps_a_contiguous_piece_and_is_repeatable(examples, tokenizer):
    whole = run(examples, tokenizer, max_seq_length=200)
    cut = run(examples, tokenizer, truncation="random_ends")
    again = encoding._encode(examples, tokenizer, 32, "random_ends", 0, "test", False)
    assert np.array_equal(cut.ids_T, again["ids"])
    for i in range(len(examples)):
        texts, parts = (texts_of(split.example(i)[0].tolist()) for split in (whole, cut))
        assert len(cut.example(i)[0]) <= 32
        for text, part in zip(texts, parts, strict=True):
            assert any(text[k : k + len(part)] == part for k in range(len(text) + 1))


def texts_of(ids):
    """The two texts between [CLS] and the two [SEP]."""
    middle, end = (i for i, token in enumerate(ids) if token == 2)
    return ids[1:middle], ids[middle + 1 : end]


def test_seed_moves_random_ends_and_not_longest_first(examples, tokenizer):
    assert not np.array_equal(
        run(examples, tokenizer, truncation="random_ends", seed=1).ids_T,
        run(examples, tokenizer, truncation="random_ends", seed=2).ids_T,
    )
    assert np.array_equal(run(examples, tokenizer, seed=1).ids_T, run(examples, tokenizer, seed=2).ids_T)


def test_special_token_in_a_text_is_text(mnli, tokenizer):
    examples = check_rows(table_of(premise=["the fox [SEP] slept"], hypothesis=["[CLS]"], label=[0]), mnli)
    assert run(examples, tokenizer).ids_T.tolist().count(2) == 2


def test_second_time_comes_from_the_cache(examples, tokenizer, monkeypatch):
    first = run(examples, tokenizer, max_seq_length=31)
    monkeypatch.setattr(encoding, "_encode", lambda *_: pytest.fail("encoded twice"))
    assert np.array_equal(run(examples, tokenizer, max_seq_length=31).ids_T, first.ids_T)


@pytest.mark.parametrize("what", ["code", *encoding_cache.ENCODERS])
def test_other_code_or_version_encodes_anew(examples, tokenizer, what, monkeypatch):
    run(examples, tokenizer, max_seq_length=29)
    versions = encoding_cache.moving_versions()
    monkeypatch.setattr(encoding_cache, "code_digest", lambda: "other" if what == "code" else code_digest())
    monkeypatch.setattr(encoding_cache, "moving_versions", lambda: versions | {what: "0.0"})
    encode_again, calls = encoding._encode, []
    monkeypatch.setattr(encoding, "_encode", lambda *given: calls.append(1) or encode_again(*given))
    run(examples, tokenizer, max_seq_length=29)
    assert calls == [1]


@pytest.mark.parametrize(
    "changes",
    [{"max_seq_length": 27}, {"truncation": "random_ends"}, {"swap_texts": True}, {"truncation": "random_ends", "seed": 5}],
    ids=str,
)
def test_other_setting_encodes_anew(examples, tokenizer, changes, monkeypatch):
    run(examples, tokenizer, max_seq_length=28)
    run(examples, tokenizer, max_seq_length=28, truncation="random_ends", seed=4)
    expected = run(examples, tokenizer, **{"max_seq_length": 28, "cached": False} | changes)
    got = run(examples, tokenizer, **{"max_seq_length": 28} | changes)
    assert np.array_equal(got.ids_T, expected.ids_T) and np.array_equal(got.ends_S, expected.ends_S)


def test_token_that_was_added_encodes_anew(mnli, demo_model):
    tokenizer = build_tokenizer(ModelFiles(name="demo", path=demo_model))
    examples = check_rows(table_of(premise=["the owl-fox"], hypothesis=["slept"], label=[0]), mnli)
    before = run(examples, tokenizer).ids_T
    tokenizer.backend_tokenizer.add_tokens(["owl-fox"])
    assert not np.array_equal(run(examples, tokenizer).ids_T, before)


def test_tokenizer_is_written_down_once_for_all_splits(examples, mnli, demo_model):
    encoding_cache._digest_of_tokenizer.cache_clear()
    tokenizer = build_tokenizer(ModelFiles(name="demo", path=demo_model))
    for part in (examples, examples.part(0, 100), examples.part(100, 200)):
        run(part, tokenizer)
    assert encoding_cache._digest_of_tokenizer.cache_info().misses == 1


@pytest.mark.parametrize("truncation", ["longest_first", "random_ends"])
@pytest.mark.parametrize("max_seq_length", [8, 33, 200])
def test_word_by_word_gives_the_same_features(examples, tokenizer, truncation, max_seq_length, monkeypatch):
    monkeypatch.setattr(encoding, "CHUNK", 70)  # some words are met before, some are not
    options = {"truncation": truncation, "max_seq_length": max_seq_length, "cached": False}
    expected, got = run(examples, tokenizer, **options), run(examples, tokenizer, by_word=lambda: True, **options)
    for name in ("ids_T", "types_T", "ends_S"):
        assert getattr(got, name).dtype == getattr(expected, name).dtype
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
    assert got.truncated == expected.truncated


def test_tokenizer_is_not_looked_at_for_examples_that_are_in_the_cache(examples, tokenizer):
    asked = []
    for _ in range(2):
        run(examples, tokenizer, max_seq_length=26, by_word=lambda: asked.append(1) or True)
    assert asked == [1]


def test_features_of_one_row_at_a_time_are_those_of_the_split(examples, tokenizer):
    whole = run(examples, tokenizer, max_seq_length=20, truncation="random_ends")
    for i in range(0, len(examples), 7):
        alone = run(examples.part(i, i + 1), tokenizer, max_seq_length=20, truncation="random_ends", cached=False)
        assert [part.tolist() for part in alone.example(0)] == [part.tolist() for part in whole.example(i)]


def test_changed_text_is_encoded_anew(mnli, tokenizer):
    one = check_rows(table_of(premise=["the fox"], hypothesis=["slept"], label=[0]), mnli)
    two = check_rows(table_of(premise=["the owl"], hypothesis=["slept"], label=[0]), mnli)
    assert not np.array_equal(run(one, tokenizer).ids_T, run(two, tokenizer).ids_T)


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damaged_cache_is_noticed_said_and_made_again(examples, tokenizer, damage, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DEBFT_CACHE", str(tmp_path / "cache"))
    first = run(examples, tokenizer)
    (path,) = (tmp_path / "cache" / "encoded").glob("*.safetensors")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-5] ^= 1
    path.write_bytes(content if damage == "flip" else content[:-5])
    assert np.array_equal(run(examples, tokenizer).ids_T, first.ids_T)
    assert "is damaged; encoding again" in capsys.readouterr().err


def test_cache_with_another_type_of_the_same_bytes_is_damaged(examples, tokenizer, capsys, tmp_path, monkeypatch):
    """A flipped bit of the header makes other numbers of the same bytes: signed ones of unsigned ones."""
    monkeypatch.setenv("DEBFT_CACHE", str(tmp_path / "cache"))
    first = run(examples, tokenizer)
    (path,) = (tmp_path / "cache" / "encoded").glob("*.safetensors")
    content = path.read_bytes()
    changed = content.replace(b'"dtype":"I32"', b'"dtype":"F32"')
    assert changed != content
    path.write_bytes(changed)
    again = run(examples, tokenizer)
    assert np.array_equal(again.ids_T, first.ids_T) and again.ids_T.dtype == first.ids_T.dtype
    assert "is damaged; encoding again" in capsys.readouterr().err


def test_cache_of_other_texts_under_this_name_is_damaged(examples, tokenizer, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DEBFT_CACHE", str(tmp_path / "cache"))
    first = run(examples, tokenizer)
    (path,) = (tmp_path / "cache" / "encoded").glob("*.safetensors")
    run(examples.part(0, 1), tokenizer)
    (other,) = set((tmp_path / "cache" / "encoded").glob("*.safetensors")) - {path}
    path.write_bytes(other.read_bytes())
    assert np.array_equal(run(examples, tokenizer).ids_T, first.ids_T)
    assert "is damaged; encoding again" in capsys.readouterr().err


@pytest.mark.parametrize("blocked", ["folder", "file"])
def test_cache_that_cannot_be_written_is_said_once_and_done_without(examples, tokenizer, tmp_path, monkeypatch, capsys, blocked):
    """A file where the folder should be, or a disk that takes no bytes."""
    encoding_cache._say_not_kept.cache_clear()
    monkeypatch.setenv("DEBFT_CACHE", str(tmp_path))
    if blocked == "folder":
        (tmp_path / "encoded").write_text("")
    else:
        monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    expected = run(examples, tokenizer, cached=False).ids_T
    for _ in range(2):
        assert np.array_equal(run(examples, tokenizer).ids_T, expected)
    output = capsys.readouterr().err
    assert output.count("cannot be written") == 1 and str(tmp_path / "encoded") in output
    assert not list(tmp_path.rglob("*.partial"))


def test_swapped_texts_equal_transformers_on_the_swapped_pair(examples, tokenizer):
    got = run(examples, tokenizer, swap_texts=True)
    expected = tokenizer([t[1] for t in examples.texts], [t[0] for t in examples.texts], truncation=True, max_length=32)
    assert [got.example(i)[0].tolist() for i in range(len(examples))] == expected["input_ids"]
