"""The page of one run, from the files of its directory, as text and in a real browser. Every number in this module is invented."""

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hatchling.builders.wheel import WheelBuilder

from debft.config.recipe import Recipe, to_dict, with_train
from debft.data.examples import Examples
from debft.errors import InputError
from debft.library.page import write_page
from debft.output.pages import drawing
from debft.output.pages.run_content import run_content
from debft.output.pages.run_page import run_page, write_run_page
from debft.output.pages.split_content import MOST_CLASSES, MOST_LABELS
from debft.runs.analysis import Analysis
from debft.runs.directory import RunDirectory
from debft.runs.result import ComparedScore, EarlyStop, HeldOut, Lengths, RowsOfRun, RowWarning, RunResult, Timing
from debft.runs.sessions import SessionOfRun
from debft.scoring.analysis import analysis_of, class_scores
from debft.tasks import TASKS

HOSTILE = "<script>alert(1)</script> \"'><img src=x onerror=alert(1)> {{ 7 * 7 }} " + "w" * 300


def result_of(task="text", **changes):
    fields = {
        "task": task,
        "model": "demo",
        "status": "complete",
        "scores": {"validation/accuracy": 75.0, "validation/macro_f1": 74.5},
        "intervals": {"validation/accuracy": [62.5, 86.25]},
        "published": [],
        "not_compared": "demo data is never compared with a published number",
        "num_examples": {"validation": 40},
        "num_train_examples": 300,
        "num_tokens": 12345,
        "steps": 30,
        "peak_memory_bytes": 3 * 2**30,
        "recipe": to_dict(with_train(Recipe(task=task, model="demo"), learning_rate=1e-4)),
        "timing": Timing(train_seconds=75.0, eval_seconds=5.0, examples_per_second=9480.0, tokens_per_second=1.0),
        "data": RowsOfRun(source="directory", fingerprints={"train": "1a2b", "validation": "3c4d"}),
        "environment": {"debft": "x", "device": "cpu"},
        "label_counts": {"a": 200, "b": 100},
        "command": "debft text --data reviews",
    }
    return RunResult(**fields | changes)


def analysed(task="text", text="the fox", labels=("a", "b")):
    """Forty rows, of which every fourth is wrong."""
    rows, gold = [], []
    for i in range(40):
        label, other = labels[i % len(labels)], labels[(i + 1) % len(labels)]
        guess = other if i % 4 == 0 else label
        scores = {one: 0.8 if one == guess else 0.2 / (len(labels) - 1) for one in labels}
        rows.append({"id": f"row-{i}", "label": label, "prediction": guess, "scores": scores})
        gold.append(())
    if task == "squad2":
        texts = ("red house", "", "tree", "house")
        gold = [() if i % 4 == 2 else (("red house", 0),) for i in range(40)]
        answer = [{"prediction": texts[i % 4], "start": 0, "end": len(texts[i % 4])} for i in range(40)]
        rows = [
            {"id": f"row-{i}", "label": [t for t, _ in gold[i]], **one, "scores": {"answer": 0.6, "no_answer": 0.3}}
            for i, one in enumerate(answer)
        ]
    elif task == "stsb":
        rows = [{"id": f"row-{i}", "label": i / 8, "prediction": i / 8 + 0.5 - i / 40, "scores": {"score": 1.0}} for i in range(40)]
    texts = [tuple(f"{text} {i}" for _ in TASKS[task].text_keys) for i in range(40)]
    examples = Examples(texts=texts, labels=gold, ids=[row["id"] for row in rows], empty_texts=0, source="rows.tsv")
    return analysis_of(TASKS[task], rows, examples, lambda texts: [(140 if i == 0 else 7, i == 0) for i in range(len(texts))])


def made(folder, result, splits):
    """A run directory with the files that the page is made of."""
    run = RunDirectory(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for step in range(1, 31):
        row = {"step": step, "loss": 1 / step, "learning_rate": 1e-5 * step, "grad_norm": 1.0 + step % 3, "num_tokens": 9}
        run.logs.append("steps.jsonl", row)
    for step in (10, 20, 30):
        run.logs.append(
            "evaluations.jsonl", {"step": step, "scores": {name: value - 30 + step for name, value in result.scores.items()}}
        )
    if splits is not None:
        run.write_analysis(Analysis(splits=splits))
    run.write_result(result)
    return run


def page(tmp_path, result=None, splits=None):
    run = made(tmp_path / "run", result or result_of(), splits or {"validation": analysed()})
    write_run_page(run)
    return (run.path / "report.html").read_text(encoding="utf-8")


def words(html):
    """The text of the page without its marks."""
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"<(style|svg).*?</\1>", " ", html, flags=re.DOTALL)).split())


def test_page_says_what_is_odd_about_the_run_and_its_rows(tmp_path):
    odd = RowWarning(kind="leak", split="validation", count=2, of=40, what="2 of 40 rows are training rows", examples=["a.csv:3"])
    data = RowsOfRun(source="file", fingerprints={}, warnings=[odd])
    early = EarlyStop(step=20, of=60, best_step=10, reason="nothing better came")
    parts = (("fp32", 0, 5), ("bf16", 5, 20))
    sessions = [SessionOfRun(environment={"precision": name}, from_step=first, to_step=last) for name, first, last in parts]
    changes = {"warnings": ["one label for every row"], "stopped_early": early, "data": data, "sessions": sessions}
    assert (
        "one label for every row ended after step 20 of 60: nothing better came resumed after step 5 with precision bf16, not fp32 "
        "2 of 40 rows are training rows: a.csv:3; ..."
    ) in words(page(tmp_path, result_of(**changes)))


def test_page_shows_scores_with_their_interval_and_rows(tmp_path):
    text = words(page(tmp_path))
    assert "validation accuracy 75.00 [62.50, 86.25] 40" in text
    assert "validation macro F1 74.50 – 40" in text
    assert "Not compared with a published number: demo data is never" in words(page(tmp_path / "mnli", result_of("mnli")))


def test_page_shows_classes_confusion_and_calibration(tmp_path):
    text = words(page(tmp_path))
    assert re.search(r"a \d+\.\d \d+\.\d \d+\.\d 20 \d+", text)
    assert "A line is a true label, a column a predicted one." in text
    assert "Expected calibration error 5.00 points" in text  # all at 80 percent, three of four right


def test_page_shows_the_worst_rows_with_their_texts_and_cuts(tmp_path):
    text = words(page(tmp_path))
    assert "true a predicted b (0.80) text the fox 0 row-0: loss 1.61, 140 tokens, longer than what the model reads at once" in text


def test_page_shows_what_the_recipe_has_otherwise(tmp_path):
    text = words(page(tmp_path))
    assert "key this run default train.learning_rate 0.0001 2e-05" in text
    assert "debft text --data reviews" in text
    assert "fox" in text


def test_page_shows_answers_by_kind(tmp_path):
    result = result_of("squad2", scores={"validation/f1": 25.0, "validation/exact_match": 25.0})
    text = words(page(tmp_path, result, {"validation": analysed("squad2")}))
    for kind in ("boundary: overlaps a gold answer", "missed answer", "answered, though there is no answer"):
        assert re.search(rf"{kind}[^(]*: 10 \(25.0 %\)", text), kind
    assert "predicted no answer (0.30)" in text


def test_page_shows_residuals(tmp_path):
    result = result_of("stsb", scores={"validation/pearson": 90.0})
    assert "Predicted minus true score: mean 0.0125" in words(page(tmp_path, result, {"validation": analysed("stsb")}))


def test_page_shows_languages_and_their_mean(tmp_path):
    scores = {f"{part}.{language}/accuracy": 70.0 for part in ("validation", "test") for language in ("en", "fr", "avg")}
    examples = {f"{part}.{language}": 40 for part in ("validation", "test") for language in ("en", "fr")}
    result = result_of("xnli", scores=scores, num_examples=examples, intervals={"test.fr/accuracy": [60.0, 80.0]})
    text = words(page(tmp_path, result, {name: analysed("xnli") for name in examples}))
    assert "language validation test 95 % interval en 70.00 70.00 – fr 70.00 70.00 [60.00, 80.00]" in text
    assert "XNLI test avg 70.00 – 40" in text


def test_page_shows_the_published_number_and_the_verdict(tmp_path):
    row = ComparedScore(
        score="validation/accuracy", ours=75.0, value=76.2, difference=-1.2, verdict="undecided (1 seed)", table="glue", row="x"
    )
    text = words(page(tmp_path, result_of(published=[row], not_compared=None)))
    assert "validation accuracy 75.00 [62.50, 86.25] 40 76.2 −1.2 undecided (1 seed)" in text


def test_page_shows_our_own_frozen_number_where_there_is_no_published_one(tmp_path, monkeypatch):
    frozen = {"validation/accuracy": SimpleNamespace(value=76.0, sd=0.5, table="demo")}
    monkeypatch.setattr("debft.output.pages.run_content.frozen_beside", lambda result: frozen)
    text = words(page(tmp_path))
    assert "frozen difference verdict validation accuracy 75.00 [62.50, 86.25] 40 76.0 −1.0 as usual" in text
    assert "which is no published number" in text


def test_page_of_a_run_without_analysis_says_so(tmp_path):
    run = made(tmp_path / "run", result_of(), None)
    assert "did not write analysis.json" in words(run_page(run, run.result()))


def test_confusion_matrix_of_many_labels_shows_the_frequent_ones_and_says_how_many_are_left():
    labels = tuple(f"label-{i}" for i in range(30))
    content = run_content(result_of(), Analysis(splits={"validation": analysed(labels=labels)}))
    matrix = content.splits[0].matrix
    assert (len(matrix.labels), matrix.left_out) == (MOST_LABELS, 30 - MOST_LABELS)


def test_page_needs_no_network(tmp_path):
    html = page(tmp_path)
    assert not re.search(r"<(script|link rel=.stylesheet|img)|src=|@import|url\((?!#)", html)
    outside = {address for address in re.findall(r"https?://[^\"'<\s]+", html) if "w3.org" not in address}
    assert outside == set()


def test_hostile_text_is_printed_and_not_run(tmp_path):
    splits = {"validation": analysed(text=HOSTILE, labels=(HOSTILE, "b"))}
    html = page(tmp_path, replace(result_of(), model=HOSTILE, label_counts={HOSTILE: 1}, command=HOSTILE), splits)
    assert "<script>" not in html
    assert "<img" not in html
    assert "&lt;script&gt;" in html
    assert "{{ 7 * 7 }}" in html


def test_page_that_cannot_be_written_is_said_and_loses_nothing(tmp_path, capsys):
    run = made(tmp_path / "run", result_of(), {"validation": analysed()})
    (run.path / "analysis.json").write_text("not JSON")
    write_page(run)
    assert "report.html: not written: " in capsys.readouterr().err
    assert run.result() == result_of()


def test_page_of_a_complete_run_is_not_drawn_again(tmp_path):
    run = made(tmp_path / "run", result_of(), {"validation": analysed()})
    (run.path / "report.html").write_text("mine")
    write_page(run)
    assert (run.path / "report.html").read_text() == "mine"


def test_page_that_is_older_than_the_result_is_drawn_anew(tmp_path):
    run = made(tmp_path / "run", result_of(), {"validation": analysed()})
    (run.path / "report.html").write_text("old")
    os.utime(run.path / "report.html", (1, 1))
    write_page(run)
    assert "validation accuracy" in (run.path / "report.html").read_text(encoding="utf-8")


def test_page_of_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a complete run"):
        write_run_page(RunDirectory(tmp_path))


def test_wheel_carries_the_template_of_the_page():
    carried = {file.distribution_path for file in WheelBuilder(str(Path(__file__).parents[2])).recurse_included_files()}
    assert "debft/output/pages/run.html.j2" in carried


# JavaScript of this module: elements that reach over the right edge outside a box that scrolls; text outside its figure.
TOO_WIDE = """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && !e.closest('svg')
  && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 200))"""
CUT_OFF = """[...document.querySelectorAll('svg text')].filter(t => {
  const inner = t.getBoundingClientRect(), outer = t.ownerSVGElement.getBoundingClientRect();
  return inner.width && (inner.left < outer.left - 1 || inner.right > outer.right + 1 || inner.top < outer.top - 1
    || inner.bottom > outer.bottom + 1);
}).map(t => t.textContent)"""
SCROLLS = """[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)
  .map(e => e.getAttribute('aria-label'))"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("kind", ["text", "hostile", "squad2", "stsb"])
def test_browser_shows_the_whole_page_with_nothing_cut_off(browser, tmp_path, kind, width):
    task = "text" if kind == "hostile" else kind
    splits = {"validation": analysed(text=HOSTILE, labels=(HOSTILE, "b")) if kind == "hostile" else analysed(task)}
    page(tmp_path, result_of(task, model=HOSTILE if kind == "hostile" else "demo"), splits)
    address = (tmp_path / "run" / "report.html").as_uri()
    browser.open(address, width, 900)
    browser.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert browser.evaluate("document.documentElement.scrollWidth") == width == browser.evaluate("innerWidth")
    assert browser.evaluate(TOO_WIDE) == []
    assert browser.evaluate(CUT_OFF) == []
    assert browser.evaluate(SCROLLS) == []
    assert browser.requests == [address]


def test_browser_shows_the_page_dark_where_the_reader_prefers_it(browser, tmp_path):
    page(tmp_path)
    colours = {}
    for dark in (False, True):
        browser.open((tmp_path / "run" / "report.html").as_uri(), 390, 844, dark=dark)
        colours[dark] = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert colours == {False: "rgb(246, 248, 250)", True: "rgb(13, 17, 23)"}


def test_records_that_a_run_logged_are_all_on_the_curves(tmp_path):
    html = page(tmp_path)
    for label in (
        "Training loss from 1 to 0.0333 in 30 steps",
        "Learning rate from 1e-05 to 0.0003",
        "validation accuracy from 55.00",
    ):
        assert f'aria-label="{label}' in html
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "complete"


def test_page_shows_lengths_cuts_and_what_was_held_out(tmp_path):
    data = RowsOfRun(
        source="file",
        fingerprints={},
        held_out=HeldOut(of=340, fingerprint="5e6f", seed=42, shares={"validation": 0.1}),
        lengths={"train": Lengths(median=40, p95=60, longest=64, cut=17, uncut=1075)},
    )
    recipe = to_dict(replace(Recipe(task="text", model="demo"), data="reviews.csv"))
    text = words(page(tmp_path, result_of(data=data, recipe=recipe)))
    assert "source file reviews.csv" in text
    assert "held out validation 10% of 340 rows with the fingerprint 5e6f, by the seed 42" in text
    assert "lengths of train median 40 tokens, 95 % up to 60, longest 64; 17 cut, the longest from 1,075 tokens" in text


def test_page_of_own_data_does_not_speak_of_published_numbers(tmp_path):
    assert "published" not in words(page(tmp_path, result_of(not_compared="nobody published a number for data of your own")))


def test_page_of_very_many_labels_shows_those_that_the_model_is_worst_at(tmp_path):
    labels = tuple(f"label-{i:03}" for i in range(MOST_CLASSES + 5))
    rows = [{"id": str(i), "label": one, "prediction": one, "scores": {one: 1.0}} for i, one in enumerate(labels[:-2])]
    rows[-1]["prediction"] = labels[0]
    classes = class_scores(rows, labels)
    split = replace(analysed(labels=labels), classes=classes)
    part = run_content(result_of(), Analysis(splits={"validation": split})).splits[0]
    shown = [line[0] for line in (*part.classes, *part.more_classes)]
    assert (len(part.classes), len(shown)) == (MOST_LABELS, MOST_CLASSES)
    assert shown[:2] == [labels[-3], labels[0]]  # never found, and found with one false alarm
    assert not set(labels[-2:]) & set(shown)  # no row has them
    text = words(page(tmp_path, splits={"validation": split}))
    assert f"The {MOST_LABELS} labels with the lowest F1 of {len(labels)}." in text
    assert f"The next {MOST_CLASSES - MOST_LABELS} " in text and "analysis.json has the other 5." in text


def test_page_of_few_labels_has_them_in_their_order_and_all(tmp_path):
    part = run_content(result_of(), Analysis(splits={"validation": analysed(labels=("c", "a", "b"))})).splits[0]
    assert ([line[0] for line in part.classes], part.more_classes) == (["c", "a", "b"], [])


def test_page_of_many_labels_counts_the_training_rows_of_the_frequent_ones(tmp_path):
    counts = {f"label-{i}": 1 + i for i in range(300)}
    text = words(page(tmp_path, result_of(label_counts=counts)))
    assert "training rows by label label-299 300, label-298 299, " in text
    assert "276 more labels in result.json" in text and "label-275 " not in text


def with_settings(run, **settings):
    run.model.mkdir()
    (run.model / "config.json").write_text(json.dumps({"model_type": "deberta-v2", "debft": settings}))
    return words(run_page(run, run.result()))


def test_page_shows_the_threshold_of_each_label(tmp_path):
    text = with_settings(made(tmp_path / "run", result_of(), {"validation": analysed()}), label_thresholds={"a": 0.125, "b": 0.5})
    assert "label precision recall F1 rows predicted threshold" in text
    assert re.search(r"a \d+\.\d \d+\.\d \d+\.\d 20 \d+ 0.125 ", text)
    assert "A label is predicted from its own threshold on" in text


def test_page_shows_the_threshold_of_no_answer(tmp_path):
    run = made(tmp_path / "run", result_of("squad2"), {"validation": analysed("squad2")})
    assert "has no answer where that is better by more than -1.25 than the best" in with_settings(run, no_answer_threshold=-1.25)
    assert "threshold" not in words(page(tmp_path / "mnli", result_of("mnli")))


def test_page_of_three_hundred_labels_is_no_longer_on_a_phone_than_a_few_screens(browser, tmp_path):
    """A screen is 844 px high; before the rare labels were folded it took thirty of them."""
    labels = tuple(f"label-{i:03}" for i in range(300))
    page(tmp_path, result_of(label_counts=dict.fromkeys(labels, 7)), {"validation": analysed(labels=labels)})
    browser.open((tmp_path / "run" / "report.html").as_uri(), 390, 844)
    assert browser.evaluate("document.documentElement.scrollHeight") < 10 * 844


def test_page_does_not_call_wrong_what_has_a_high_loss_alone(tmp_path):
    """Of forty rows ten are wrong, and all are shown."""
    assert "The 40 rows with the highest loss, the worst first" in words(page(tmp_path))


def test_page_without_matplotlib_says_in_words_what_would_be_drawn(tmp_path, monkeypatch):
    drawn = page(tmp_path / "drawn")
    monkeypatch.setattr("debft.output.pages.drawing.can_draw", lambda: False)
    said = page(tmp_path / "said")
    assert "<svg" not in said and said.count("debft[report]") == drawn.count("<svg") > 0


def test_missing_matplotlib_is_said_once(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    drawing.can_draw.cache_clear()
    assert not drawing.can_draw() and not drawing.can_draw()
    drawing.can_draw.cache_clear()
    assert capsys.readouterr().err.count("pip install 'debft[report]'") == 1
