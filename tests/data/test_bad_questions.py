"""Bad questions, one file each: the exact line without --skip-bad-rows, and exactly what is left out with it."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from conftest import dotted

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.data.load import load_table
from debft.data.rows import check_rows, check_texts
from debft.data.sources.files import read_table
from debft.errors import InputError
from debft.tasks import TASKS
from debft.training.plan import make_plan

NO_KEY = object()
CONTEXT = "Paris lies on the Seine. Paris is old."
LENGTH = f"a context of {len(CONTEXT)} characters"


def answers(text="Paris", start=0):
    return {"text": [text], "answer_start": [start]}


def good_rows():
    return [
        {"id": f"q{i}", "question": f"Which city, {i}?", "context": CONTEXT, "answers": answers(*gold)}
        for i, gold in enumerate([("Paris", 0), ("the Seine", 14), ("Paris", 25), ("old", 34)])
    ]


# column, value, what is said of it
VALUES = {
    "answer not in the context": (
        "answers",
        answers("Rome"),
        "answers: expected 'Rome' at character 0 of the context, got 'Pari'; it is not in the context",
    ),
    "answer in another case": (
        "answers",
        answers("paris"),
        "answers: expected 'paris' at character 0 of the context, got 'Paris'; it is not in the context",
    ),
    "start one too late": (
        "answers",
        answers("Paris", 1),
        "answers: expected 'Paris' at character 1 of the context, got 'aris '; it is at 0",
    ),
    "start one too early": (
        "answers",
        answers("the Seine", 13),
        "answers: expected 'the Seine' at character 13 of the context, got ' the Sein'; it is at 14",
    ),
    "start near the second place": (
        "answers",
        answers("Paris", 24),
        "answers: expected 'Paris' at character 24 of the context, got ' Pari'; it is at 25",
    ),
    "start near the first place": (
        "answers",
        answers("Paris", 12),
        "answers: expected 'Paris' at character 12 of the context, got 'n the'; it is at 0",
    ),
    "start in bytes": (
        "answers",
        answers("old", 36),
        "answers: expected 'old' at character 36 of the context, got 'd.'; it is at 34",
    ),
    "negative start": (
        "answers",
        answers("Paris", -1),
        f"answers: expected 'Paris' at character -1 of the context, got {LENGTH}; it is at 0",
    ),
    "negative start that python counts from the end": (
        "answers",
        answers("old", -4),
        f"answers: expected 'old' at character -4 of the context, got {LENGTH}; it is at 34",
    ),
    "start at the end": (
        "answers",
        answers("Paris", 38),
        f"answers: expected 'Paris' at character 38 of the context, got {LENGTH}; it is at 25",
    ),
    "start far beyond the end": (
        "answers",
        answers("Rome", 10**12),
        f"answers: expected 'Rome' at character {10**12} of the context, got {LENGTH}; it is not in the context",
    ),
    "start as text": ("answers", answers("Paris", "0"), "answers: answer_start: expected a whole number, got '0'"),
    "start of null": ("answers", answers("Paris", None), "answers: answer_start: expected a whole number, got None"),
    "start as a fraction": ("answers", answers("Paris", 0.5), "answers: answer_start: expected a whole number, got 0.5"),
    "start as true": ("answers", answers("Paris", False), "answers: answer_start: expected a whole number, got False"),
    "second answer wrong": (
        "answers",
        {"text": ["Paris", "Seine"], "answer_start": [0, 17]},
        "answers: expected 'Seine' at character 17 of the context, got ' Sein'; it is at 18",
    ),
    "more texts than starts": (
        "answers",
        {"text": ["Paris", "old"], "answer_start": [0]},
        "answers: expected as many texts as answer_starts, got 2 and 1",
    ),
    "more starts than texts": (
        "answers",
        {"text": [], "answer_start": [0]},
        "answers: expected as many texts as answer_starts, got 0 and 1",
    ),
    "answers missing": (
        "answers",
        NO_KEY,
        "answers: expected {'text': [...], 'answer_start': [...]}, got nothing, the key is missing",
    ),
    "answers of null": ("answers", None, "answers: expected {'text': [...], 'answer_start': [...]}, got None"),
    "answers as text": ("answers", "Paris", "answers: expected {'text': [...], 'answer_start': [...]}, got 'Paris'"),
    "answers as a list": (
        "answers",
        [{"text": "Paris", "answer_start": 0}],
        "answers: expected {'text': [...], 'answer_start': [...]}, got [{'answer_start': 0, 'text': 'Paris'}]",
    ),
    "answers without lists": (
        "answers",
        {"text": "Paris", "answer_start": 0},
        "answers: expected {'text': [...], 'answer_start': [...]}, got {'answer_start': 0, 'text': 'Paris'}",
    ),
    "answers without starts": (
        "answers",
        {"text": ["Paris"]},
        "answers: expected {'text': [...], 'answer_start': [...]}, got {'text': ['Paris']}",
    ),
    "answers of an empty object": ("answers", {}, "answers: expected {'text': [...], 'answer_start': [...]}, got {}"),
    "empty answer": ("answers", answers(""), "answers: expected text, got ''; an unanswerable question has no answers"),
    "blank answer": ("answers", answers(" ", 5), "answers: expected text, got ' '; an unanswerable question has no answers"),
    "answer of null": ("answers", answers(None), "answers: expected text, got None; an unanswerable question has no answers"),
    "answer as a number": ("answers", answers(7), "answers: expected text, got 7; an unanswerable question has no answers"),
    "half of a surrogate pair as answer": (
        "answers",
        answers("\ud800"),
        r"answers: expected '\ud800' at character 0 of the context, got 'P'; it is not in the context",
    ),
    "answer at a number of four hundred digits": (
        "answers",
        answers(start=10**400),
        f"answers: expected 'Paris' at character 1{'0' * 17}...{'0' * 19} of the context, got a context of 38 characters; it is at 25",
    ),
    "empty question": ("question", "", "question: expected text, got ''"),
    "blank question": ("question", " \n", r"question: expected text, got ' \n'"),
    "question of null": ("question", None, "question: expected text, got None"),
    "question missing": ("question", NO_KEY, "question: expected text, got nothing, the key is missing"),
    "empty context": ("context", "", "context: expected text, got ''"),
    "blank context": ("context", "\t", r"context: expected text, got '\t'"),
    "context of null": ("context", None, "context: expected text, got None"),
    "context as a list": ("context", [CONTEXT], "context: expected text, got ['Paris lies on the Seine. Paris is old.']"),
    "half of a surrogate pair in the context": (
        "context",
        CONTEXT + "\udc00",
        "context: expected text, got half of a surrogate pair; the file was not written as UTF-8",
    ),
    "half of a surrogate pair in the question": (
        "question",
        "\ud800?",
        "question: expected text, got half of a surrogate pair; the file was not written as UTF-8",
    ),
    "id twice": ("id", "q1", "id: expected each id once, got 'q1' again, first in line 2"),
    "id of null": ("id", None, "id: expected an id, got None"),
    "empty id": ("id", "", "id: expected an id, got ''"),
    "id missing": ("id", NO_KEY, "id: expected an id, got nothing, the key is missing"),
}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) if path.suffix == ".jsonl" else json.dumps(rows))


def read(root, task="squad2", *, skip=False):
    entry = TASKS[task]
    return check_rows(load_table(entry, entry.train, str(root)), entry, train=True, skip=skip)


def message_of(root, file, task="squad2", *, skip=False):
    with pytest.raises(InputError) as error:
        read(root, task, skip=skip)
    return str(error.value).replace(str(root / file), "FILE")


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
@pytest.mark.parametrize("task", ["squad2", "squad"])
@pytest.mark.parametrize("name", VALUES)
def test_bad_value_is_one_exact_line_or_one_question_less(tmp_path, name, task, suffix):
    column, value, what = VALUES[name]
    rows = good_rows()
    rows[2][column] = value
    rows[2] = {key: value for key, value in rows[2].items() if value is not NO_KEY}
    file = f"{task}/train{suffix}"
    write(tmp_path / file, rows)
    assert message_of(tmp_path, file, task) == f"FILE:3: {what}"
    kept = read(tmp_path, task, skip=True)
    assert str(kept.skipped) == f"1 of 4 rows skipped: line 3 ({what})"
    assert kept.ids == ["q0", "q1", "q3"]
    assert kept.labels == [(("Paris", 0),), (("the Seine", 14),), (("old", 34),)]


@pytest.mark.parametrize(
    ("text", "start", "kept"),
    [
        (" Paris", 0, ("Paris", 1)),
        ("old. ", 35, ("old.", 35)),
        ("\u00a0the Seine.\n", 14, ("the Seine.", 15)),
        ("Paris\nis", 26, ("Paris\nis", 26)),
    ],
)
def test_answer_is_kept_without_the_spaces_at_its_edges(tmp_path, text, start, kept):
    rows = good_rows()[:1]
    rows[0] |= {"context": " Paris lies on\u00a0the Seine.\nParis\nis old. ", "answers": answers(text, start)}
    write(tmp_path / "squad2" / "train.jsonl", rows)
    assert read(tmp_path).labels == [(kept,)]


@pytest.mark.parametrize("forms", [("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9")])
def test_answer_in_another_unicode_form_says_so(tmp_path, forms):
    rows = good_rows()[:1]
    rows[0] |= {"context": f"the {forms[0]} was open", "answers": answers(forms[1], 4)}
    write(tmp_path / "squad2" / "train.jsonl", rows)
    message = message_of(tmp_path, "squad2/train.jsonl")
    assert message.endswith("; it is not in the context, which has it in another Unicode form (NFC or NFD)")
    rows[0]["context"] = f"the {forms[1]} was open"
    write(tmp_path / "squad2" / "train.jsonl", rows)
    assert read(tmp_path).labels == [((forms[1], 4),)]


def test_unanswerable_question_is_for_squad2_alone(tmp_path):
    rows = good_rows()
    rows[1]["answers"] = {"text": [], "answer_start": []}
    for task in ("squad2", "squad"):
        write(tmp_path / task / "train.jsonl", rows)
    assert read(tmp_path).labels[1] == ()
    what = "answers: expected at least one, got none; squad has no unanswerable questions, debft squad2 does"
    assert message_of(tmp_path, "squad/train.jsonl", "squad") == f"FILE:2: {what}"
    assert str(read(tmp_path, "squad", skip=True).skipped) == f"1 of 4 rows skipped: line 2 ({what})"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "answers: expected {'text': [...], 'answer_start': [...]}, got None"),
        (
            {"text": ["Paris"], "answer_start": [1]},
            "answers: expected 'Paris' at character 1 of the context, got 'aris '; it is at 0",
        ),
        (
            {"text": ["Paris"], "answer_start": None},
            "answers: expected {'text': [...], 'answer_start': [...]}, got {'answer_start': None, 'text': ['Paris']}",
        ),
        ({"text": [None], "answer_start": [0]}, "answers: expected text, got None; an unanswerable question has no answers"),
    ],
)
def test_bad_answers_in_parquet_are_one_exact_line_or_one_question_less(tmp_path, value, what):
    rows = good_rows()
    rows[2]["answers"] = value
    (tmp_path / "squad2").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "squad2" / "train.parquet")
    assert message_of(tmp_path, "squad2/train.parquet") == f"FILE:3: {what}"
    assert str(read(tmp_path, skip=True).skipped) == f"1 of 4 rows skipped: line 3 ({what})"


def test_answers_of_a_text_file_say_what_is_read_instead(tmp_path):
    (tmp_path / "squad2").mkdir()
    (tmp_path / "squad2" / "train.tsv").write_text("question\tcontext\tanswers\nWhere?\tIn Rome.\tRome\n")
    assert message_of(tmp_path, "squad2/train.tsv") == (
        "FILE:2: answers: expected {'text': [...], 'answer_start': [...]}, got 'Rome'"
    )


def test_questions_without_an_id_are_numbered(tmp_path):
    rows = [{key: value for key, value in row.items() if key != "id"} for row in good_rows()]
    write(tmp_path / "squad2" / "train.jsonl", rows)
    assert read(tmp_path).ids == ["0", "1", "2", "3"]
    (tmp_path / "squad2" / "train.jsonl").unlink()
    write(tmp_path / "train-v2.0.json", nested([[{k: v for k, v in row.items() if k != "id"} for row in questions()]]))
    assert read(tmp_path).ids == ["0", "1", "2"]


def test_first_bad_questions_of_many_are_named(tmp_path):
    rows = good_rows()
    for row in rows[1:]:
        row["question"] = ""
    write(tmp_path / "squad2" / "train.jsonl", rows)
    what = "question: expected text, got ''"
    assert message_of(tmp_path, "squad2/train.jsonl") == f"FILE:2: {what} (and 2 more: line 3, 4)"
    assert str(read(tmp_path, skip=True).skipped) == f"3 of 4 rows skipped: line 2 ({what}), line 3 ({what}), line 4 ({what})"


# SQuAD's own files
def questions(prefix="a", **last):
    """Three questions on CONTEXT, the last one changed."""
    rows = [
        {
            "id": f"{prefix}{i}",
            "question": f"Which city, {i}?",
            "is_impossible": False,
            "answers": [{"text": "Paris", "answer_start": start}],
        }
        for i, start in enumerate((0, 25, 0))
    ]
    rows[2] = {key: value for key, value in (rows[2] | last).items() if value is not NO_KEY}
    return rows


def nested(articles):
    """One paragraph for each list of questions, each in an article of its own."""
    data = [{"title": f"t{i}", "paragraphs": [{"context": CONTEXT, "qas": qas}]} for i, qas in enumerate(articles)]
    return {"version": "v2.0", "data": data}


FIRST = "question a2 in data[0].paragraphs[0]"
NAMELESS = "data[0].paragraphs[0].qas[2]"
OFFICIAL = "expected a list, as in SQuAD's own files, got"
UNDER_DATA = "FILE: data: expected a list of objects, one per row, or SQuAD's articles, got"

# what replaces the third question, its place, what is said of it
NESTED = {
    "answer not in the context": (
        questions(answers=[{"text": "Rome", "answer_start": 3}]),
        FIRST,
        "answers: expected 'Rome' at character 3 of the context, got 'is l'; it is not in the context",
    ),
    "start one too late": (
        questions(answers=[{"text": "Paris", "answer_start": 1}]),
        FIRST,
        "answers: expected 'Paris' at character 1 of the context, got 'aris '; it is at 0",
    ),
    "start missing": (questions(answers=[{"text": "Paris"}]), FIRST, "answers: answer_start: expected a whole number, got None"),
    "text missing": (
        questions(answers=[{"answer_start": 0}]),
        FIRST,
        "answers: expected text, got None; an unanswerable question has no answers",
    ),
    "answers missing": (
        questions(answers=NO_KEY),
        FIRST,
        "answers: expected {'text': [...], 'answer_start': [...]}, got nothing, the key is missing",
    ),
    "answers of null": (questions(answers=None), FIRST, "answers: expected a list of objects with text and answer_start, got None"),
    "answers as an object": (
        questions(answers={"text": ["Paris"], "answer_start": [0]}),
        FIRST,
        "answers: expected a list of objects with text and answer_start, got {'answer_start': [0], 'text': ['Paris']}",
    ),
    "answers as texts": (
        questions(answers=["Paris"]),
        FIRST,
        "answers: expected a list of objects with text and answer_start, got ['Paris']",
    ),
    "question missing": (questions(question=NO_KEY), FIRST, "question: expected text, got nothing, the key is missing"),
    "question of null": (questions(question=None), FIRST, "question: expected text, got None"),
    "blank question": (questions(question=" "), FIRST, "question: expected text, got ' '"),
    "half of a surrogate pair": (
        questions(question="\ud800"),
        FIRST,
        "question: expected text, got half of a surrogate pair; the file was not written as UTF-8",
    ),
    "id missing": (questions(id=NO_KEY), NAMELESS, "id: expected an id, got nothing, the key is missing"),
    "id of null": (questions(id=None), NAMELESS, "id: expected an id, got None"),
    "empty id": (questions(id=""), NAMELESS, "id: expected an id, got ''"),
    "id of half a surrogate pair": (questions(id="\ud800"), NAMELESS, r"id: expected an id, got '\ud800'"),
    "id twice": (
        questions(id="a0"),
        "question a0 in data[0].paragraphs[0]",
        "id: expected each id once, got 'a0' again, first in question a0 in data[0].paragraphs[0]",
    ),
    "no object": ([*questions()[:2], 7], NAMELESS, "expected an object with id, question and answers, got 7"),
    "a list": ([*questions()[:2], ["a2"]], NAMELESS, "expected an object with id, question and answers, got ['a2']"),
    "is_impossible as text": (questions(is_impossible="false"), FIRST, "is_impossible: expected true or false, got 'false'"),
    "is_impossible of null": (questions(is_impossible=None), FIRST, "is_impossible: expected true or false, got None"),
}


@pytest.mark.parametrize("name", NESTED)
def test_bad_question_in_squads_own_json_is_named_by_its_id_and_place(tmp_path, name):
    first, place, what = NESTED[name]
    write(tmp_path / "train-v2.0.json", nested([first, questions("b")]))
    assert message_of(tmp_path, "train-v2.0.json") == f"FILE: {place}: {what}"
    kept = read(tmp_path, skip=True)
    assert str(kept.skipped) == f"1 of 6 rows skipped: {place} ({what})"
    assert kept.ids == ["a0", "a1", "b0", "b1", "b2"]
    assert kept.labels[:2] == [(("Paris", 0),), (("Paris", 25),)]


def test_id_that_comes_again_in_another_article_names_both(tmp_path):
    write(tmp_path / "train-v2.0.json", nested([questions(), questions("b", id="a1")]))
    what = "id: expected each id once, got 'a1' again, first in question a1 in data[0].paragraphs[0]"
    assert message_of(tmp_path, "train-v2.0.json") == f"FILE: question a1 in data[1].paragraphs[0]: {what}"
    assert str(read(tmp_path, skip=True).skipped) == f"1 of 6 rows skipped: question a1 in data[1].paragraphs[0] ({what})"


def test_several_bad_questions_are_each_named(tmp_path):
    bad = [questions(prefix, question="") for prefix in "abcde"]
    write(tmp_path / "train-v2.0.json", nested(bad))
    place = [f"question {prefix}2 in data[{i}].paragraphs[0]" for i, prefix in enumerate("abcde")]
    what = "question: expected text, got ''"
    assert message_of(tmp_path, "train-v2.0.json") == (
        f"FILE: {place[0]}: {what} (and 4 more: {place[1]}, {place[2]}, {place[3]}, ...)"
    )
    reasons = ", ".join(f"{one} ({what})" for one in place[:3])
    assert str(read(tmp_path, skip=True).skipped) == f"5 of 15 rows skipped: {reasons}, ..."


@pytest.mark.parametrize(
    ("context", "got"), [(None, "got None"), (NO_KEY, "got nothing, the key is missing"), (" ", "got ' '"), (7, "got 7")]
)
def test_paragraph_without_a_context_costs_its_questions(tmp_path, context, got):
    content = nested([questions(), questions("b")])
    content["data"][0]["paragraphs"][0] = {"qas": questions()} | ({} if context is NO_KEY else {"context": context})
    write(tmp_path / "train-v2.0.json", content)
    place = [f"question a{i} in data[0].paragraphs[0]" for i in range(3)]
    assert message_of(tmp_path, "train-v2.0.json") == (
        f"FILE: {place[0]}: context: expected text, {got} (and 2 more: {place[1]}, {place[2]})"
    )
    kept = read(tmp_path, skip=True)
    assert (len(kept.skipped), kept.skipped.num_rows, kept.ids) == (3, 6, ["b0", "b1", "b2"])


def test_answers_of_an_impossible_question_and_plausible_answers_do_not_count(tmp_path):
    plausible = [{"text": "nowhere", "answer_start": 999}]
    rows = [
        *questions(is_impossible=True),
        *questions("b", is_impossible=True, answers=[], plausible_answers=plausible),
        *questions("c", is_impossible=True, answers=NO_KEY),
        *questions("d", is_impossible=False, plausible_answers=plausible),
        *questions("e", is_impossible=NO_KEY),
        *questions("f", answers=[]),
    ]
    write(tmp_path / "train-v2.0.json", nested([rows]))
    kept = read(tmp_path)
    assert [kept.labels[i] for i in range(2, 18, 3)] == [(), (), (), (("Paris", 0),), (("Paris", 0),), ()]


def test_squad_1_1_file_with_an_unanswerable_question_names_it(tmp_path):
    write(tmp_path / "train-v1.1.json", nested([questions(answers=[])]))
    assert message_of(tmp_path, "train-v1.1.json", "squad") == (
        f"FILE: {FIRST}: answers: expected at least one, got none; squad has no unanswerable questions, debft squad2 does"
    )
    assert read(tmp_path, "squad", skip=True).ids == ["a0", "a1"]


# content of train-v2.0.json, the line; the same with and without skipping
FILES = {
    "no data": (
        {"version": "v2.0"},
        "FILE: expected a JSON list of objects, one per row, or SQuAD's {'data': [...]}, got {'version': 'v2.0'}",
    ),
    "text alone": ("data", "FILE: expected a JSON list of objects, one per row, or SQuAD's {'data': [...]}, got 'data'"),
    "null": (None, "FILE: expected a JSON list of objects, one per row, or SQuAD's {'data': [...]}, got None"),
    "data of null": ({"data": None}, f"{UNDER_DATA} None"),
    "data as an object": ({"data": {"title": "t"}}, f"{UNDER_DATA} {{'title': 't'}}"),
    "no article": ({"data": []}, "FILE: expected rows, got none"),
    "article of text": ({"data": ["t"]}, f"{UNDER_DATA} ['t']"),
    "no paragraphs": (
        {"data": [{"title": "t"}]},
        "FILE: expected the columns question, context, answers, got title; 'question' is missing",
    ),
    "second article has no paragraphs": (
        {"data": [{"paragraphs": []}, {"title": "t"}]},
        f"FILE: data[1].paragraphs: {OFFICIAL} nothing, the key is missing",
    ),
    "second article is text": (
        {"data": [{"paragraphs": []}, "t"]},
        "FILE: data[1]: expected an object with paragraphs, as in SQuAD's own files, got 't'",
    ),
    "paragraphs as an object": ({"data": [{"paragraphs": {}}]}, f"FILE: data[0].paragraphs: {OFFICIAL} {{}}"),
    "paragraph of null": (
        {"data": [{"paragraphs": [None]}]},
        "FILE: data[0].paragraphs[0]: expected an object with qas, as in SQuAD's own files, got None",
    ),
    "no questions": (
        {"data": [{"paragraphs": [{"context": "c"}]}]},
        f"FILE: data[0].paragraphs[0].qas: {OFFICIAL} nothing, the key is missing",
    ),
    "questions as text": (
        {"data": [{"paragraphs": [{"context": "c", "qas": "q"}]}]},
        f"FILE: data[0].paragraphs[0].qas: {OFFICIAL} 'q'",
    ),
    "empty questions": ({"data": [{"paragraphs": [{"context": "c", "qas": []}]}]}, "FILE: expected rows, got none"),
    "second article is wrong": (
        {"data": [nested([questions()])["data"][0], {"paragraphs": 1}]},
        f"FILE: data[1].paragraphs: {OFFICIAL} 1",
    ),
    "list of articles": (
        [{"title": "t", "paragraphs": []}],
        "FILE: expected the columns question, context, answers, got title, paragraphs; 'question' is missing",
    ),
    "no answers anywhere": (
        nested([[{k: v for k, v in row.items() if k != "answers"} for row in questions()]]),
        "FILE: expected the columns question, context, answers, got title, context, id, question; 'answers' is missing",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_file_is_one_exact_line_also_when_rows_are_skipped(tmp_path, name):
    content, message = FILES[name]
    write(tmp_path / "train-v2.0.json", content)
    for skip in (False, True):
        assert message_of(tmp_path, "train-v2.0.json", skip=skip) == message


RAW = {
    "cut off": (
        '{"data": [{"title"',
        "FILE:1: expected JSON, got Expecting ':' delimiter: line 1 column 19 (char 18); is the file cut off?",
    ),
    "cut off in a later line": (
        '{\n"data": [\n{"title": "t',
        "FILE:3: expected JSON, got Unterminated string starting at: line 3 column 11 (char 22); is the file cut off?",
    ),
    "empty": ("", "FILE:1: expected JSON, got Expecting value: line 1 column 1 (char 0); is the file cut off?"),
    "latin-1": (
        '{"data":\n"caf\xe9"}',
        "FILE:2: expected UTF-8 text, got byte 0xe9, which is 'é' in cp1252; convert the file to UTF-8, or give --encoding cp1252 (an option of text, evaluate and predict)",
    ),
}


@pytest.mark.parametrize("name", RAW)
def test_unreadable_json_is_one_exact_line(tmp_path, name):
    text, message = RAW[name]
    (tmp_path / "train-v2.0.json").write_text(text, encoding="latin-1")
    for skip in (False, True):
        assert message_of(tmp_path, "train-v2.0.json", skip=skip) == message


def test_no_question_left_is_one_line(tmp_path):
    write(tmp_path / "train-v2.0.json", nested([[1]]))
    what = "expected an object with id, question and answers, got 1"
    assert message_of(tmp_path, "train-v2.0.json") == f"FILE: data[0].paragraphs[0].qas[0]: {what}"
    assert message_of(tmp_path, "train-v2.0.json", skip=True) == (
        f"FILE: expected rows, got none; 1 of 1 rows skipped: data[0].paragraphs[0].qas[0] ({what})"
    )


def test_squad_2_file_is_not_found_for_squad_1_1(tmp_path):
    write(tmp_path / "train-v2.0.json", nested([questions()]))
    assert message_of(tmp_path, "nothing", "squad") == (
        f"--data {tmp_path}: expected squad/train.tsv (or .csv, .jsonl, .json, .parquet)"
        " or train-v1.1.json or squad/train-v1.1.json, found none"
    )


# predicting
def test_questions_without_answers_are_read_to_be_answered(tmp_path):
    rows = [{k: v for k, v in row.items() if k not in ("answers", "is_impossible")} for row in questions()]
    write(tmp_path / "new.json", nested([rows]))
    examples = check_texts(read_table(tmp_path / "new.json"), TASKS["squad2"])
    assert (examples.ids, examples.texts[0]) == (["a0", "a1", "a2"], ("Which city, 0?", CONTEXT))


def test_blank_question_is_refused_to_be_answered(tmp_path):
    write(tmp_path / "new.jsonl", [{"question": " ", "context": CONTEXT}])
    with pytest.raises(InputError) as error:
        check_texts(read_table(tmp_path / "new.jsonl"), TASKS["squad2"])
    assert str(error.value) == f"{tmp_path}/new.jsonl:1: question: expected text, got ' '"


# the whole plan
def plan_of(data, **changes):
    return make_plan(load_recipe(recipe_path("squad2/demo"), {"data": str(data)} | dotted(changes)))


def write_one(root, context, text, start):
    paragraph = {
        "context": context,
        "qas": [{"id": "a1", "question": "Which?", "answers": [{"text": text, "answer_start": start}]}],
    }
    for file in ("train-v2.0.json", "dev-v2.0.json"):
        write(root / file, {"data": [{"title": "t", "paragraphs": [paragraph]}]})


def test_answer_that_no_window_holds_whole_ends_the_command(tmp_path):
    """It would be learned as no answer in every window."""
    context = " ".join(["the fox slept in the garden ."] * 20)
    text = context[len("the fox slept in the garden . ") * 6 :][: len("the fox slept in the garden . ") * 12 - 1]
    write_one(tmp_path, context, text, context.index(text))
    with pytest.raises(InputError) as error:
        plan_of(tmp_path, max_steps=1, doc_stride=4)
    message = str(error.value)
    assert message.startswith(
        f"{tmp_path}/train-v2.0.json: question a1: answers: expected an answer that lies whole in a window, got one of "
    )
    needed = int(message.partition("questions.doc_stride=")[2].split()[0])
    assert plan_of(tmp_path, max_steps=1, max_seq_length=128, doc_stride=needed)


def test_answer_that_the_tokenizer_leaves_out_ends_the_command(tmp_path):
    write_one(tmp_path, "the fox \u200b slept .", "\u200b", 8)
    with pytest.raises(InputError) as error:
        plan_of(tmp_path, max_steps=1)
    assert str(error.value) == (
        rf"{tmp_path}/train-v2.0.json: question a1: answers: expected an answer that the model can read, got '\u200b', of which no "
        "token is made"
    )


@pytest.fixture
def spoilt(tmp_path):
    """40 and 9 questions, of which 2 and 1 are bad."""
    train = [questions(str(i)) for i in range(12)] + [questions("x", question=None), [*questions("y")[:2], {"id": "cut"}]]
    write(tmp_path / "train-v2.0.json", nested(train))
    write(tmp_path / "dev-v2.0.json", nested([questions("d"), questions("e", answers=[{"text": "Rome", "answer_start": 0}])]))
    return tmp_path


def test_bad_questions_end_the_command_unless_they_are_skipped(spoilt):
    with pytest.raises(InputError) as error:
        plan_of(spoilt)
    assert str(error.value) == (
        f"{spoilt}/train-v2.0.json: question x2 in data[12].paragraphs[0]: question: expected text, got None"
        " (and 1 more: question cut in data[13].paragraphs[0])"
    )


def test_skipped_questions_are_counted_and_do_not_take_part(spoilt):
    plan = plan_of(spoilt, skip_bad_rows=True)
    assert plan.skipped_rows == {"train": 2, "validation": 1}
    assert [len(examples) for examples in plan.examples.values()] == [40, 5]
    assert plan.examples["validation"].ids == ["d0", "d1", "d2", "e0", "e1"]
    first = plan_of(spoilt, skip_bad_rows=True, max_train_samples=39)
    assert (len(first.train), first.train.ids[-1], first.skipped_rows["train"]) == (39, "y0", 2)


def test_real_questions_are_all_good(shared):
    """Nothing that people train on is called bad. Counts of shared/data/README.md."""
    squad2 = TASKS["squad2"]
    for file, count in (("train-v2.0.json", 8_247), ("dev-v2.0.json", 3_626), ("official-dev/dev-v2.0.json", 11_873)):
        kept = check_rows(read_table(shared / "squad2" / file), squad2, train=True, skip=True)
        assert (len(kept), len(kept.skipped), len(set(kept.ids))) == (count, 0, count)
