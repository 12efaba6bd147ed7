"""XNLI: train on one language, evaluate fifteen, choose by the training language alone."""

import json

import pytest
from conftest import write_tsv

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.data.load import load_table, present
from debft.data.rows import check_rows
from debft.data.sources import demo
from debft.errors import InputError
from debft.published.comparison import beside_published, why_not_compared
from debft.scoring import inference, loading
from debft.tasks import LANGUAGES, TASKS, TEXT, TextClassification, task_of
from debft.tasks.xnli import xnli
from debft.training.describe import remarks
from debft.training.plan import make_plan
from debft.training.run import finetune

PAIR = ["premise", "hypothesis", "label"]


def demo_recipe(**changes):
    return load_recipe(recipe_path("xnli/demo"), changes)


def write_split(directory, name, count=6):
    table = demo.table(xnli(), next(split for split in (xnli().train, *xnli().evals) if split.name == name))
    rows = list(zip(*(table.columns[key][:count] for key in PAIR), strict=True))
    write_tsv(directory / "xnli" / f"{name}.tsv", PAIR, rows)


def test_all_fifteen_languages_are_evaluated_on_validation_and_test():
    names = [split.name for split in TASKS["xnli"].evals]
    assert names == [f"{part}.{language}" for part in ("validation", "test") for language in LANGUAGES]
    assert len(LANGUAGES) == 15


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    output = tmp_path_factory.mktemp("xnli") / "run"
    changes = {"train.max_steps": 40, "train.eval_steps": 20, "train.checkpoint": "best", "train.max_eval_samples": 40}
    return finetune(demo_recipe(**changes), output), output


def test_result_has_every_language_and_the_average(trained):
    scores = trained[0].scores
    for part in ("validation", "test"):
        each = [scores[f"{part}.{language}/accuracy"] for language in LANGUAGES]
        assert scores[f"{part}.avg/accuracy"] == pytest.approx(sum(each) / 15)
    assert len(scores) == 32
    assert trained[0].num_examples == {split.name: 40 for split in TASKS["xnli"].evals}


def test_checkpoint_is_chosen_by_the_training_language_alone(trained):
    """The evaluations during training score English validation and nothing else: zero-shot stays zero-shot."""
    logged = [json.loads(line)["scores"] for line in (trained[1] / "evaluations.jsonl").read_text().splitlines()]
    assert len(logged) == 2
    assert all(set(scores) == {"validation.en/accuracy"} for scores in logged)
    assert trained[0].scores["validation.en/accuracy"] == max(scores["validation.en/accuracy"] for scores in logged)


def test_evaluate_gives_the_scores_of_the_run(trained):
    evaluated = inference.evaluate(loading.load_predictor(str(trained[1]), None, "auto"), None, 40)
    assert evaluated["scores"] == pytest.approx(trained[0].scores)


def test_language_narrows_and_keeps_the_order_of_the_tables():
    task = task_of("xnli", demo_recipe(**{"languages.eval_languages": "sw, de"}).languages)
    assert [split.name for split in task.evals] == ["validation.de", "validation.sw", "test.de", "test.sw"]


@pytest.mark.parametrize(("key", "value"), [("eval_languages", "fr,xx"), ("train_language", "xx"), ("eval_languages", "")])
def test_unknown_language_is_refused(key, value):
    with pytest.raises(InputError, match=rf"languages\.{key}: expected en, fr, .*, got '{value.rpartition(',')[2]}'"):
        make_plan(demo_recipe(**{f"languages.{key}": value}))


def test_best_checkpoint_needs_the_validation_rows_of_the_training_language():
    with pytest.raises(InputError, match=r"train\.checkpoint: best needs validation\.en to choose by; add en to --language"):
        make_plan(demo_recipe(**{"languages.eval_languages": "fr", "train.checkpoint": "best"}))


def test_any_language_can_be_trained_on(tmp_path):
    """Translated training rows: `train.fr` of the directory; the checkpoint is then chosen by French."""
    for name in ("train.fr", "validation.fr", "validation.en"):
        rows = [("un", "deux", "neutral"), ("a", "b", "entailment")]
        write_tsv(tmp_path / "xnli" / f"{name}.tsv", PAIR, rows)
    plan = make_plan(demo_recipe(data=str(tmp_path), **{"languages.train_language": "fr"}))
    assert list(plan.examples) == ["train.fr", "validation.en", "validation.fr"]
    assert [split.name for split in plan.task.selection_evals] == ["validation.fr"]


def test_data_without_test_is_evaluated_on_validation(shared):
    """What shared/data has: validation of all languages, English training rows in MNLI's files."""
    plan = make_plan(demo_recipe(data=str(shared)))
    assert [split.name for split in plan.task.evals] == [f"validation.{language}" for language in LANGUAGES]
    assert {len(plan.examples[split.name]) for split in plan.task.evals} == {2_490}
    assert plan.train.source.endswith("mnli/train.tsv") and len(plan.train) == 10_014


def test_data_without_any_evaluation_is_an_error(tmp_path):
    write_tsv(tmp_path / "xnli" / "train.en.tsv", PAIR, [("a", "b", "neutral"), ("a", "b", "entailment")])
    with pytest.raises(InputError, match=r"expected xnli/validation\.en\.tsv .* or xnli\.dev\.tsv"):
        make_plan(demo_recipe(data=str(tmp_path)))


def test_files_of_xnli_1_0_hold_all_languages(tmp_path):
    header = ["language", "gold_label", "sentence1", "sentence2"]
    rows = [(language, "neutral", f"{language} one", "two") for language in ("en", "fr", "de")] + [("fr", "entailment", "x", "y")]
    write_tsv(tmp_path / "XNLI-1.0" / "xnli.dev.tsv", header, rows)
    task = xnli()
    french = check_rows(load_table(task, task.evals[1], str(tmp_path)), task)
    assert french.texts == [("fr one", "two"), ("x", "y")] and french.labels.tolist() == [1, 0]


def write_dev(directory, languages=("de", "fr")):
    """XNLI's own files with rows of some languages alone, and German training rows."""
    header = ["language", "gold_label", "sentence1", "sentence2"]
    rows = [(language, label, f"{language} one", "two") for language in languages for label in ("neutral", "entailment")]
    write_tsv(directory / "XNLI-1.0" / "xnli.dev.tsv", header, rows)
    path = directory / "XNLI-MT-1.0" / "multinli" / "multinli.train.de.tsv"
    write_tsv(path, ["premise", "hypo", "label"], [("a", "b", "contradictory"), ("c", "d", "neutral")])
    return {"data": str(directory), "languages.train_language": "de", "train.max_steps": 1}


def test_languages_without_rows_are_left_out_and_named(tmp_path):
    plan = make_plan(demo_recipe(**write_dev(tmp_path)))
    assert [split.name for split in plan.task.evals] == ["validation.fr", "validation.de"]
    lacking = ", ".join(language for language in LANGUAGES if language not in ("de", "fr"))
    assert f"no rows of {lacking}: evaluated on fr, de" in remarks(plan)


def test_language_that_was_asked_for_and_has_no_rows_is_an_error(tmp_path):
    changes = write_dev(tmp_path)
    with pytest.raises(InputError) as error:
        make_plan(demo_recipe(**changes | {"languages.eval_languages": "de,sw,fr,ur"}))
    assert str(error.value) == f"--language: expected rows of sw, ur in {tmp_path}, got none; it has fr, de"
    with pytest.raises(InputError) as error:
        make_plan(demo_recipe(**changes | {"languages.eval_languages": "sw"}))
    assert str(error.value) == f"--language: expected rows of sw in {tmp_path}, got none; it has none of the others either"
    assert len(make_plan(demo_recipe(**changes | {"languages.eval_languages": "de,fr"})).task.evals) == 2


def test_average_over_the_languages_that_are_there_is_not_set_beside_that_of_all(tmp_path):
    recipe = load_recipe(recipe_path("xnli/mdeberta-v3-base"))
    task = present(TASKS["xnli"], write_dev(tmp_path)["data"])
    average, *_ = beside_published(recipe, task, {"test.avg/accuracy": 80.0})
    assert average.ours is None


def test_translated_training_rows_of_xnli_mt_name_contradiction_otherwise(tmp_path):
    path = tmp_path / "XNLI-MT-1.0" / "multinli" / "multinli.train.de.tsv"
    write_tsv(path, ["premise", "hypo", "label"], [("a", "b", "contradictory"), ("c", "d", "neutral")])
    task = xnli("de")
    rows = check_rows(load_table(task, task.train, str(tmp_path)), task)
    assert rows.texts == [("a", "b"), ("c", "d")] and rows.labels.tolist() == [2, 1]


ALL_ROWS = {split.name: split.num_rows for split in TASKS["xnli"].splits}


def test_published_row_stands_beside_the_scores_on_test():
    recipe = load_recipe(recipe_path("xnli/mdeberta-v3-base"))
    assert why_not_compared(recipe, TASKS["xnli"], ALL_ROWS) is None
    scores = {f"{part}.{language}/accuracy": 70.0 for part in ("validation", "test") for language in (*LANGUAGES, "avg")}
    rows = beside_published(recipe, TASKS["xnli"], scores)
    assert [row.score for row in rows] == [f"test.{language}/accuracy" for language in ("avg", *LANGUAGES)]
    assert (rows[0].cell, rows[0].difference, rows[-1].difference) == ("79.8+/-0.2", -9.8, -2.4)


def test_average_of_some_languages_is_not_set_beside_that_of_all():
    recipe = load_recipe(recipe_path("xnli/mdeberta-v3-base"), {"languages.eval_languages": "fr,de"})
    task = task_of("xnli", recipe.languages)
    assert why_not_compared(recipe, task, ALL_ROWS) is None
    average, *others = beside_published(recipe, task, {"test.avg/accuracy": 80.0, "test.fr/accuracy": 80.0})
    assert average.ours is None and average.difference is None
    assert [row.ours for row in others if row.score == "test.fr/accuracy"] == [80.0]


def test_other_training_language_is_not_the_published_recipe():
    recipe = load_recipe(recipe_path("xnli/mdeberta-v3-base"), {"languages.train_language": "fr"})
    reason = why_not_compared(recipe, task_of("xnli", recipe.languages), ALL_ROWS | {"train.fr": 392_702})
    assert reason == "not the published recipe: languages.train_language differs"


def test_languages_are_refused_for_other_tasks():
    with pytest.raises(InputError, match=r"languages\.eval_languages: is for XNLI, the task is mnli; leave it out"):
        make_plan(load_recipe(recipe_path("demo"), {"task": "mnli", "languages.eval_languages": "fr"}))


def test_xnli_is_a_classification_task_like_any_other():
    assert isinstance(TASKS["xnli"], TextClassification) and TASKS["xnli"] is not TEXT


@pytest.mark.sweep
def test_demo_is_learned_and_transfers_in_part(tmp_path):
    """English is learned; every other language lies above chance, 33, and below English: what all languages share transfers."""
    scores = finetune(demo_recipe(), tmp_path / "run").scores
    for part in ("validation", "test"):
        assert scores[f"{part}.en/accuracy"] > 90
        others = [scores[f"{part}.{language}/accuracy"] for language in LANGUAGES if language != "en"]
        assert min(others) > 45 and max(others) < 85


def test_evaluate_prints_every_language_and_the_mean(trained, capsys, monkeypatch):
    import sys

    from debft.cli.main import main

    monkeypatch.setattr(sys, "argv", ["debft", "evaluate", str(trained[1]), "--max-eval-samples", "5"])
    with pytest.raises(SystemExit) as end:
        main()
    out = capsys.readouterr().out
    assert end.value.code == 0 and "validation.avg/accuracy" in out and "test.ur/accuracy" in out
