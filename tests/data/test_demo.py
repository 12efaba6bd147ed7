"""The built-in data: deterministic, true to its own rule, harder where it says so."""

import json
import re
import unicodedata

import numpy as np
import pytest
import sentencepiece

from debft.data.rows import check_rows
from debft.data.sources import demo
from debft.data.sources.demo import languages, questions
from debft.published.load import load_published
from debft.tasks import TASKS, TextClassification


@pytest.fixture(params=["train", "validation_matched", "validation_mismatched"])
def split(request, mnli):
    return next(split for split in mnli.splits if split.name == request.param)


def rows(table):
    return list(zip(table.columns["premise"], table.columns["hypothesis"], table.columns["label"], strict=True))


def true_label(premise: str, hypothesis: str) -> str:
    """The rule, read off the text by other means than the generator's."""
    premise, hypothesis = (unicodedata.normalize("NFKC", text) for text in (premise, hypothesis))
    clauses = premise.removesuffix(" .").split(" and ")
    words = hypothesis.removesuffix(" .").split()
    animal = next(word for word in words if word in demo.ANIMALS)
    clause = next(clause for clause in clauses if animal in clause.split())
    denied = "not" in words or "never" in words
    slot, value = next((slot, word) for slot, values in demo.SLOTS.items() for word in words if word in values)
    fact = next((word for word in clause.split() if word in demo.SLOTS[slot]), None)
    if fact is None:
        return "neutral"
    return "entailment" if (fact == value) != denied else "contradiction"


def test_every_label_follows_from_its_text(mnli, split):
    assert all(true_label(premise, hypothesis) == label for premise, hypothesis, label in rows(demo.table(mnli, split)))


def test_rows_are_the_same_every_time_and_labels_balanced(mnli, split):
    table = demo.table(mnli, split)
    assert rows(table) == rows(demo.table(mnli, split))
    assert len(table) == (6000 if split is mnli.train else 600)
    assert {label: table.columns["label"].count(label) for label in mnli.labels} == dict.fromkeys(mnli.labels, len(table) // 3)


def test_rows_of_a_split_do_not_move_when_another_has_more_rows(mnli, monkeypatch):
    """Rows that one generator drew for all splits, one after the other, would."""
    dev = [rows(demo.table(mnli, split)) for split in mnli.evals]
    monkeypatch.setattr(demo.pairs, "TRAIN_ROWS", 30)
    assert len(demo.table(mnli, mnli.train)) == 30
    assert [rows(demo.table(mnli, split)) for split in mnli.evals] == dev


@pytest.mark.parametrize("task", ["mnli", "squad2", "xnli"])
def test_rows_are_those_that_the_frozen_table_was_measured_on(task):
    """The same on every machine and in every process: the fingerprints were taken elsewhere."""
    entry, frozen = TASKS[task], load_published("demo").fingerprints[task]
    for split in entry.splits:
        assert check_rows(demo.table(entry, split), entry).fingerprint() == frozen[split.name], split.name


def test_mismatched_split_is_harder(mnli):
    def share_of_two(split):
        premises = demo.table(mnli, split).columns["premise"]
        return sum("and" in premise.split() for premise in premises) / len(premises)

    matched, mismatched = (share_of_two(split) for split in mnli.evals)
    assert mismatched > matched + 0.3


def test_labels_cannot_be_read_off_the_hypothesis_alone(mnli):
    """Without a denial, the best guess from the hypothesis, by chance 1/3, is right less than 60 times in 100."""
    by_hypothesis = {}
    for _, hypothesis, label in rows(demo.table(mnli, mnli.train)):
        if not re.search(r"\b(not|never)\b", hypothesis):
            by_hypothesis.setdefault(hypothesis, []).append(label)
    right = sum(max(map(labels.count, set(labels))) for labels in by_hypothesis.values())
    assert right / sum(map(len, by_hypothesis.values())) < 0.6


def test_model_directory_is_made_once_and_is_a_deberta_v2_with_its_own_spm_model(demo_model):
    made = {path.name: path.stat().st_mtime_ns for path in demo_model.iterdir()}
    assert demo.model_directory() == demo_model
    assert {path.name: path.stat().st_mtime_ns for path in demo_model.iterdir()} == made
    assert set(made) == {"config.json", "spm.model"}
    assert json.loads((demo_model / "config.json").read_text())["model_type"] == "deberta-v2"


CLASSIFICATION = [task for task in TASKS.values() if isinstance(task, TextClassification)]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_has_rows_that_pass_its_own_checks(task):
    for split in (*task.splits, *task.test):
        examples = check_rows(demo.table(task, split), task, train=split is task.train)
        rows = languages.EVAL_ROWS if task.name == "xnli" else demo.DEV_ROWS
        assert len(examples) == (demo.TRAIN_ROWS if split is task.train else rows)


@pytest.mark.parametrize("task", CLASSIFICATION, ids=lambda task: task.name)
def test_labels_are_balanced(task):
    for split in task.splits:
        examples = check_rows(demo.table(task, split), task)
        counts = np.unique(examples.labels, return_counts=True)[1]
        assert len(counts) == (5 if task.is_regression else len(task.labels))
        assert counts.max() - counts.min() < (0.1 * len(examples) if task.is_regression else 1)


SCRIPTS = {
    "el": "GREEK",
    "bg": "CYRILLIC",
    "ru": "CYRILLIC",
    "ar": "ARABIC",
    "ur": "ARABIC",
    "th": "THAI",
    "zh": "CJK",
    "hi": "DEVANAGARI",
}


@pytest.mark.parametrize("language", languages.LANGUAGES)
def test_xnli_language_is_written_in_its_own_script(language):
    texts = [text for row in languages.rows(f"validation.{language}") for text in row[:2]]
    letters = {c for text in texts for word in text.split() if word not in languages.NAMES for c in word if c.isalpha()}
    assert {unicodedata.name(c).split()[0] for c in letters} == {SCRIPTS.get(language, "LATIN")}


@pytest.mark.parametrize("split", [pytest.param("train", marks=pytest.mark.sweep), "validation", "test"])
def test_xnli_rows_are_parallel_and_labels_balanced(split):
    rows = {language: languages.rows(f"{split}.{language}") for language in languages.LANGUAGES}

    def content(text):
        return [word for word in text.split() if word in (*languages.NAMES, *languages.AGES, languages.UNKNOWN)]

    count = 6000 if split == "train" else 300
    assert len(rows) == 15
    for language, here in rows.items():
        assert len(here) == count
        assert [row[2] for row in here] == [row[2] for row in rows["en"]]
        assert [[content(text) for text in row[:2]] for row in here] == [[content(text) for text in row[:2]] for row in rows["en"]]
        assert {label: [row[2] for row in here].count(label) for label in languages.NLI} == dict.fromkeys(languages.NLI, count // 3)
        assert len({row[:2] for row in here}) == len({row[:2] for row in rows["en"]}), language  # no two words fall together


def test_xnli_rows_are_the_same_every_time_and_those_of_a_split_its_own():
    assert languages.rows("validation.th") == languages.rows("validation.th")
    assert languages.rows("validation.th") != languages.rows("test.th")


def test_xnli_labels_follow_from_the_text():
    """The rule, read off the English text by other means than the generator's."""
    opposites = {"happy": "sad", "clean": "dirty", "garden": "kitchen"}
    opposites |= {value: key for key, value in opposites.items()}
    for premise, hypothesis, label in languages.rows("test.en"):
        noted, claim = premise.split(), hypothesis.split()
        value = next(word for word in claim if word in (*opposites, *languages.AGES))
        others = {opposites[value]} if value in opposites else {*languages.AGES} - {value}
        assert noted[0] == claim[0]
        if not {value, *others} & {*noted}:
            expected = "neutral"
        else:
            expected = "entailment" if (value in noted) != ("not" in claim) else "contradiction"
        assert expected == label, (premise, hypothesis)


def test_xnli_labels_cannot_be_read_off_one_text_or_the_length():
    rows = [row for row in languages.rows("train.en") if "not" not in row[1].split()]
    for known in (lambda row: row[1].split()[1:], lambda row: row[0].split()[1:], lambda row: [len(row[0].split())]):
        by_known = {}
        for row in rows:
            by_known.setdefault(tuple(known(row)), []).append(row[2])
        right = sum(max(map(labels.count, set(labels))) for labels in by_known.values())
        assert right / len(rows) < 0.6


@pytest.fixture(scope="module", params=["train", "dev"])
def squad(request):
    return questions.rows(request.param, 600)


def squad_rows(columns):
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_squad_answers_are_at_their_offsets(squad):
    for row in squad_rows(squad):
        for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True):
            assert row["context"][start : start + len(text)] == text


def test_squad_answer_is_the_only_one_and_unanswerable_questions_have_none(squad):
    """The rule, read off the text by other means than the generator's."""
    for row in squad_rows(squad):
        assert found_answer(row["context"], row["question"]) == (row["answers"]["text"] or [None])[0], row


def found_answer(context: str, question: str) -> str | None:
    about, asked = question.split()[0], question.split()
    for clause in context.split(" . "):
        words = clause.removesuffix(" .").split()
        animal = next((word for word in words if word in questions.ANIMALS), None)
        if animal is None or not {animal, *questions.PLACES} & {*asked}:
            continue
        colour, place, time = (
            next((word for word in words if word in known), None)
            for known in (questions.COLOURS, questions.PLACES, questions.TIMES)
        )
        if about == "who":
            if place in asked:
                return f"{colour} {animal}" if colour else animal
        elif animal in asked:
            return {"where": place and f"the {place}", "when": time and f"the {time}", "which": colour}[about]
    return None


def test_squad_share_of_unanswerable_long_and_two_answer_rows(squad):
    rows = squad_rows(squad)
    assert sum(not row["answers"]["text"] for row in rows) == len(rows) // 3
    assert 0.02 < sum(len(row["context"].split()) > questions.LONG_TOKENS for row in rows) / len(rows) < 0.08
    several = sum(len(set(row["answers"]["text"])) > 1 for row in rows)
    assert several == 0 if rows[0]["id"].startswith("demo-train") else 10 < several < 100
    assert any(" " in text for row in rows for text in row["answers"]["text"])


def test_squad_rows_are_the_same_every_time_with_ids_of_their_own():
    few, many = questions.rows("train", 10), questions.rows("train", 100)
    assert few == {name: column[:10] for name, column in many.items()}
    assert many["id"][1] == "demo-train-000001"
    assert len({*many["id"], *questions.rows("dev", 100)["id"]}) == 200


def test_squad_without_unanswerable_questions():
    assert all(answers["text"] for answers in questions.rows("dev", 60, unanswerable=False)["answers"])


def test_every_word_of_the_demo_is_one_known_token(demo_model):
    tokens = sentencepiece.SentencePieceProcessor(model_file=str(demo_model / "spm.model"))
    xnli = [text for language in languages.LANGUAGES for row in languages.rows(f"validation.{language}") for text in row[:2]]
    squad = questions.rows("dev", 600)
    tables = [(task, demo.table(task, task.evals[-1])) for task in TASKS.values()]
    glue = [text for task, table in tables for key in task.text_keys for text in table.columns[key]]
    for text in {*xnli, *squad["context"], *squad["question"], *glue}:
        pieces = tokens.encode(text, out_type=str)
        assert len(pieces) == len(text.split())
        assert all(piece.startswith("▁") for piece in pieces)  # not a byte
        assert tokens.unk_id() not in tokens.encode(text)


def test_half_of_the_mismatched_rows_have_no_break_spaces_that_the_character_map_reads_as_spaces(mnli, demo_model):
    """Against SentencePiece itself; a tokenizer without the map gives other pieces."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(demo_model / "spm.model"))
    premises = demo.table(mnli, mnli.evals[1]).columns["premise"]
    assert [" " in premise for premise in premises] == [i % 2 == 0 for i in range(len(premises))]
    for premise in premises[1::2][:20]:
        assert processor.encode(premise) == processor.encode(premise.replace("\N{NO-BREAK SPACE}", " "))


def test_demo_model_that_power_took_half_of_is_made_again_and_nothing_half_written_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("DEBFT_CACHE", str(tmp_path))
    directory = demo.model_directory()
    whole = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert set(whole) == {"config.json", "spm.model"}
    (directory / "config.json").rename(directory / ".config.json.0123456789abcdef.partial")
    demo.model_directory()
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == whole
