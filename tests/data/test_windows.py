"""Windows of a context: the same features as transformers' own sliding windows, and answers at the right tokens."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest

from debft.config.recipe import Recipe, TextConfig
from debft.data.examples import Examples
from debft.data.load import encode_split, load_table
from debft.data.rows import check_rows
from debft.data.sources.files import read_table
from debft.data.windows import encode_windows, trimmed_offsets
from debft.models.files import ModelFiles
from debft.models.tokens.tokenizer import build_tokenizer
from debft.tasks import TASKS

SIZES = {"max_seq_length": 48, "doc_stride": 12, "max_question_length": 16}


@pytest.fixture(scope="module")
def tokenizer(demo_model):
    return build_tokenizer(ModelFiles(name="demo", path=demo_model))


@pytest.fixture(scope="module")
def demo_questions():
    task = TASKS["squad2"]
    return check_rows(load_table(task, task.evals[0], "demo"), task)


def questions(texts, answers=None) -> Examples:
    return Examples(
        texts=texts, labels=answers or [()] * len(texts), ids=[str(i) for i in range(len(texts))], empty_texts=0, source="rows"
    )


def encoded(examples, tokenizer, **changes):
    return encode_windows(examples, tokenizer, **SIZES | changes, what="x", cached=False, show=False)


def own_windows(tokenizer, question, context, max_seq_length=48, stride=12, **_):
    """transformers' features of a pair: ids and token types of every window."""
    encoded = tokenizer(
        question, context, truncation="only_second", max_length=max_seq_length, stride=stride, return_overflowing_tokens=True
    )
    return list(zip(encoded["input_ids"], encoded["token_type_ids"], strict=True))


def test_windows_equal_transformers_own(tokenizer, demo_questions):
    windows = encoded(demo_questions, tokenizer)
    got = [tuple(part.tolist() for part in windows.example(i)) for i in range(len(windows))]
    expected = [window for texts in demo_questions.texts for window in own_windows(tokenizer, *texts)]
    assert got == expected
    assert len(windows) > len(demo_questions) and windows.truncated > 0  # some contexts do take several


@pytest.mark.parametrize(("length", "stride", "per_question"), [pytest.param(384, 128, 2, marks=pytest.mark.sweep), (128, 32, 3)])
def test_windows_equal_transformers_own_on_squad(shared, tmp_path, length, stride, per_question):
    """The questions with the longest contexts and the real SentencePiece model, at run_qa's sizes, 384 and 128, and at smaller ones."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deberta-v2", "max_position_embeddings": 512}))
    (tmp_path / "spm.model").symlink_to(shared / "tokenizer" / "deberta-v3" / "spm.model")
    tokenizer = build_tokenizer(ModelFiles(name="x", path=tmp_path))
    texts = check_rows(read_table(shared / "squad2" / "official-dev" / "dev-v2.0.json"), TASKS["squad2"]).texts
    examples = questions(sorted(texts, key=lambda pair: len(pair[1]))[-200:])
    windows = encode_windows(
        examples, tokenizer, max_seq_length=length, doc_stride=stride, max_question_length=64, what="x", cached=False, show=False
    )
    expected = [window for pair in examples.texts for window in own_windows(tokenizer, *pair, max_seq_length=length, stride=stride)]
    assert [tuple(part.tolist() for part in windows.example(i)) for i in range(len(windows))] == expected
    assert len(windows) >= per_question * len(examples)


def test_answers_lie_at_their_tokens_in_every_real_question(shared, tmp_path):
    """The characters under the label's tokens hold the gold answer; they are it where tokens end with it."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deberta-v2", "max_position_embeddings": 512}))
    (tmp_path / "spm.model").symlink_to(shared / "tokenizer" / "deberta-v3" / "spm.model")
    tokenizer = build_tokenizer(ModelFiles(name="x", path=tmp_path))
    task = TASKS["squad2"]
    examples = check_rows(load_table(task, task.evals[0], str(shared)), task)
    windows = encode_split(
        task, examples, tokenizer, Recipe(text=TextConfig(max_seq_length=384)), what="x", cached=False, show=False
    )
    begins = np.append(0, windows.ends_S)[:-1]
    exact = answered = 0
    seen = set()
    for window, (first, last) in enumerate(windows.labels_S):
        question = windows.question_W[window]
        if first == windows.cls_W[window]:
            assert last == first
            continue
        offsets = windows.offsets_T2[begins[window] : windows.ends_S[window]]
        context, (text, start) = examples.texts[question][1], examples.labels[question][0]
        cut = context[offsets[first, 0] : offsets[last, 1]]
        assert text in cut and offsets[first, 0] <= start, (cut, text)
        assert cut == cut.strip()
        exact += cut == text
        answered += 1
        seen.add(question)
    assert seen == {i for i, gold in enumerate(examples.labels) if gold}  # each answer lies whole in some window here
    assert exact / answered > 0.99


@pytest.mark.parametrize("length", [1, 3, 20, 30, 31, 60, 200])
def test_every_context_token_is_in_a_window_and_neighbours_share_the_stride(tokenizer, length):
    context = " ".join(["fox", "owl", "the", "garden", "slept"][i % 5] for i in range(length))
    windows = encoded(questions([("where was the fox ?", context)]), tokenizer)
    begins = np.append(0, windows.ends_S)[:-1]
    spans = []
    for begin, end in zip(begins, windows.ends_S, strict=True):
        offsets = windows.offsets_T2[begin:end]
        spans.append([tuple(pair) for pair in offsets[offsets[:, 0] >= 0].tolist()])
        assert end - begin <= 48
    assert len({pair for span in spans for pair in span}) == length
    for one, other in itertools.pairwise(spans):
        assert one[-12:] == other[:12]


def test_impossible_windows_point_at_cls(tokenizer):
    """The answer is in the last window alone; the others, and unanswerable questions, are labelled with CLS."""
    context = " ".join(["the fox slept ."] * 20) + " the owl worked ."
    answer = ("owl", context.index("owl"))
    windows = encoded(questions([("who worked ?", context), ("who sang ?", "the fox slept .")], [(answer,), ()]), tokenizer)
    places = windows.labels_S.tolist()
    assert places[:-2] == [[0, 0]] * (len(places) - 2) and len(places) > 3
    assert places[-2][0] == places[-2][1] > 0 and places[-1] == [0, 0]


def test_over_long_question_is_cut_and_counted(tokenizer):
    windows = encoded(questions([("fox " * 40, "the owl slept ."), ("where ?", "the fox slept .")]), tokenizer)
    assert windows.cut_questions == 1
    assert windows.remarks() == ["1 questions were cut"]
    assert len(windows.example(0)[0]) == 3 + 16 + len(tokenizer("the owl slept .", add_special_tokens=False)["input_ids"])


def test_answer_that_ends_inside_a_token_takes_the_whole_token(tokenizer):
    windows = encoded(questions([("where ?", "the fox slept .")], [(("ox sle", 5),)]), tokenizer)
    first, last = windows.labels_S[0]
    offsets = windows.offsets_T2
    assert "the fox slept ."[offsets[first, 0] : offsets[last, 1]] == "fox slept"


@pytest.mark.parametrize(("text", "learned"), [("  the fox", "the fox"), ("slept .  ", "slept ."), (" fox\tslept", "fox\tslept")])
def test_characters_that_no_token_covers_do_not_hide_an_answer(tokenizer, text, learned):
    context = "  the fox\tslept .  "
    windows = encoded(questions([("where ?", context)], [((text, context.index(text)),)]), tokenizer)
    first, last = windows.labels_S[0]
    assert context[windows.offsets_T2[first, 0] : windows.offsets_T2[last, 1]] == learned


def test_answer_is_labelled_in_every_window_that_has_all_of_it_and_in_no_other(tokenizer):
    """A part of an answer at the edge of a window is no answer there."""
    context = " ".join(f"the {animal} slept in the garden ." for animal in ["fox", "owl", "cat", "dog"] * 6)
    begins = [i for i in range(len(context)) if context.startswith("in the garden", i)]
    rows = [("where ?", context)] * len(begins)
    windows = encoded(questions(rows, [(("in the garden", begin),) for begin in begins]), tokenizer)
    edges = np.append(0, windows.ends_S)
    labelled = 0
    for window, (first, last) in enumerate(windows.labels_S):
        offsets = windows.offsets_T2[edges[window] : edges[window + 1]]
        inside = offsets[offsets[:, 1] > offsets[:, 0]]
        begin = begins[windows.question_W[window]]
        whole = inside[0, 0] <= begin and begin + len("in the garden") <= inside[-1, 1]
        assert whole == (first != windows.cls_W[window])
        labelled += whole
        assert not whole or context[offsets[first, 0] : offsets[last, 1]] == "in the garden"
    assert len(begins) < labelled < len(windows)


def test_offsets_leave_out_the_space_in_front(tokenizer):
    windows = encoded(questions([("where ?", "  the   fox\tslept  .  ")]), tokenizer)
    inside = [(a, b) for a, b in windows.offsets_T2.tolist() if a >= 0 and b > a]
    assert ["  the   fox\tslept  .  "[a:b] for a, b in inside] == ["the", "fox", "slept", "."]


def test_context_without_tokens_is_one_window(tokenizer):
    windows = encoded(questions([("where ?", " ")]), tokenizer)
    assert len(windows) == 1 and windows.labels_S.tolist() == [[0, 0]]


def test_windows_come_from_the_cache_unchanged(tokenizer, demo_questions):
    first = encode_windows(demo_questions, tokenizer, **SIZES, what="x", show=False)
    again = encode_windows(demo_questions, tokenizer, **SIZES, what="x", show=False)
    for name in ("ids_T", "types_T", "ends_S", "labels_S", "offsets_T2", "question_W", "cls_W"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.truncated, first.cut_questions) == (again.truncated, again.cut_questions)


def test_answer_keeps_the_marks_that_the_tokenizer_composed(shared, tmp_path):
    """Decomposed letters, Hangul jamo and Thai: the last token of a word covers all of its characters."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deberta-v2", "max_position_embeddings": 512}))
    (tmp_path / "spm.model").symlink_to(shared / "tokenizer" / "deberta-v3" / "spm.model")
    tokenizer = build_tokenizer(ModelFiles(name="x", path=tmp_path))
    for word in ("cafe\u0301", "\u1112\u1161\u11ab", "ที่", "हिन्दी"):
        context = f"the {word} was open"
        windows = encoded(questions([("what ?", context)], [((word, 4),)]), tokenizer)
        first, last = windows.labels_S[0]
        assert context[windows.offsets_T2[first, 0] : windows.offsets_T2[last, 1]] == word


def test_questions_word_by_word_give_the_same_windows(demo_questions, tokenizer):
    short = {"max_question_length": 4}
    expected, got = (encoded(demo_questions, tokenizer, by_word=lambda by=by: by, **short) for by in (False, True))
    for name in ("ids_T", "types_T", "ends_S", "labels_S", "offsets_T2", "question_W", "cls_W"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
    assert got.cut_questions == expected.cut_questions > 0


@pytest.mark.parametrize("text", ["  a\u00a0 b ", "e\u0301\u0323x \u1112\u1161\u11ab ", "\n", "", "ab", "a\u0301"])
def test_offsets_are_trimmed_as_character_by_character(text):
    """Every span of the text, trimmed by plain loops."""
    spans = [(start, end) for start in range(len(text) + 1) for end in range(start, len(text) + 1)]
    expected = []
    for start, end in spans:
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        while start < end < len(text) and text[end] in "\u0301\u0323\u1161\u11ab":
            end += 1
        expected.append((start, end))
    got = trimmed_offsets(SimpleNamespace(offsets=spans), text)
    assert got.dtype == np.int32 and [tuple(pair) for pair in got.tolist()] == expected
