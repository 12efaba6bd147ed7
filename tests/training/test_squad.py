"""Extractive question answering: loss, threshold, files, and a run from data to answers."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForQuestionAnswering

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import QuestionConfig
from debft.data.load import load_table
from debft.data.packing import Collator
from debft.data.rows import check_rows
from debft.data.sources import demo
from debft.data.windows import encode_windows
from debft.errors import InputError, NotFiniteError
from debft.models.build import build_model
from debft.models.files import ModelFiles
from debft.models.tokens.tokenizer import build_tokenizer
from debft.scoring import inference, loading
from debft.scoring.heads import SpanHead
from debft.scoring.metrics import squad
from debft.tasks import TASKS
from debft.training.plan import make_plan
from debft.training.run import finetune

SQUAD2 = TASKS["squad2"]
HEAD = SpanHead(task=SQUAD2, config=QuestionConfig(), threshold=None)
NAMES = ("input_ids", "attention_mask", "token_type_ids")


@pytest.fixture(scope="module")
def files(demo_model):
    return ModelFiles(name="demo", path=demo_model)


@pytest.fixture(scope="module")
def windows(files):
    examples = check_rows(load_table(SQUAD2, SQUAD2.evals[0], "demo"), SQUAD2, limit=60)
    sizes = {"max_seq_length": 48, "doc_stride": 12, "max_question_length": 16}
    return examples, encode_windows(examples, build_tokenizer(files), **sizes, what="x", cached=False, show=False)


@pytest.fixture(scope="module")
def model(files):
    return build_model(files, SQUAD2, from_scratch=True, head_dropout=None, seed=1, quiet=True).eval()


def collator(left=False):
    return Collator(pad_id=0, names=NAMES, device=torch.device("cpu"), left=left)


def test_loss_equals_transformers_own_where_nothing_is_padded(windows, model):
    _, split = windows
    for index in range(12):
        batch = collator()(split, np.array([index]))
        start, end = batch["labels"].unbind(1)
        theirs = model(**{name: batch[name] for name in NAMES}, start_positions=start, end_positions=end).loss
        assert float(HEAD.loss(HEAD.outputs(model, batch), batch)) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize("left", [False, True])
def test_loss_does_not_depend_on_padding(windows, model, left):
    """One batch of windows of very different lengths, padded on either side, against each window alone."""
    _, split = windows
    indices = np.argsort(split.lengths())[[0, 1, 20, -2, -1]]
    assert np.ptp(split.lengths()[indices]) > 15

    def loss(batch):
        return HEAD.loss(HEAD.outputs(model, batch), batch).detach()

    together = loss(collator(left)(split, indices))
    alone = sum(loss(collator()(split, np.array([index]))) for index in indices)
    assert float(together) == pytest.approx(float(alone), rel=1e-5)


@pytest.mark.parametrize("left", [False, True])
def test_logits_of_a_window_leave_its_padding_out(windows, model, left):
    _, split = windows
    indices = np.argsort(split.lengths())[[0, -1]]
    collector = HEAD.collector(split, left=left, executor=None)
    with torch.inference_mode():
        collector.add(indices, HEAD.outputs(model, collator(left)(split, indices)).numpy())
        for index in indices:
            ours = collector.logits[int(index)]
            plain = model(input_ids=torch.from_numpy(split.example(index)[0].astype(np.int64))[None])
            theirs = torch.stack([plain.start_logits[0], plain.end_logits[0]], dim=1)
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


def assess(logits, split, examples, head=HEAD):
    """What the head makes of the logits of each window, (tokens, 2)."""
    collector = head.collector(split, left=False, executor=None)
    for window, one in enumerate(logits):
        collector.add(np.array([window]), one[None])
    return head.assess(collector.merged([collector.collected()]), split, examples)


def perfect_logits(split, answered=10.0, null=0.0):
    """The labels themselves as logits; `null` is the score of CLS in windows that hold the answer."""
    logits = []
    for i, length in enumerate(split.lengths()):
        one = np.full((length, 2), -5.0, dtype=np.float32)
        one[split.cls_W[i]] = null / 2
        one[split.labels_S[i, 0], 0] = one[split.labels_S[i, 1], 1] = answered / 2
        logits.append(one)
    return logits


def test_perfect_logits_give_perfect_scores_and_a_threshold_that_separates(windows):
    examples, split = windows
    assessment = assess(perfect_logits(split), split, examples)
    assert set(assessment.scores.values()) == {100.0}
    assert list(assessment.scores) == [
        "f1",
        "exact_match",
        "has_answer_f1",
        "has_answer_exact_match",
        "no_answer_f1",
        "no_answer_exact_match",
        "best_f1",
        "best_exact_match",
    ]
    said = assessment.files["predictions.json"]
    gold = dict(zip(examples.ids, ([text for text, _ in answers] for answers in examples.labels), strict=True))
    assert all(said[key] in texts if texts else said[key] == "" for key, texts in gold.items())
    assert list(said) == examples.ids == list(assessment.files["na_prob.json"])


def test_scores_are_those_of_the_written_predictions(windows, model):
    """Random logits: what predictions.json is scored with by the official metric is what the run says."""
    examples, split = windows
    rng = np.random.default_rng(0)
    assessment = assess([rng.normal(size=(n, 2)).astype(np.float32) for n in split.lengths()], split, examples)
    gold = {key: [text for text, _ in answers] for key, answers in zip(examples.ids, examples.labels, strict=True)}
    official = squad.scores(assessment.files["predictions.json"], gold)
    assert {name: assessment.scores[name] for name in official} == official
    assert assessment.scores["f1"] == pytest.approx(assessment.scores["best_f1"], abs=1e-9)  # the threshold is the best one for F1
    assert assessment.scores["best_exact_match"] >= assessment.scores["exact_match"]
    na_prob = assessment.files["na_prob.json"]
    assert 0 < min(na_prob.values()) < max(na_prob.values()) < 1


def test_model_that_has_a_threshold_uses_it_and_no_other(windows):
    examples, split = windows
    rng = np.random.default_rng(0)
    logits = [one + rng.normal(size=one.shape).astype(np.float32) for one in perfect_logits(split)]
    answered = assess(logits, split, examples, replace(HEAD, threshold=1e6))
    silent = assess(logits, split, examples, replace(HEAD, threshold=-1e6))
    assert all(answered.files["predictions.json"].values()) and not any(silent.files["predictions.json"].values())
    assert answered.scores["best_f1"] == silent.scores["best_f1"] > max(answered.scores["f1"], silent.scores["f1"])


def test_logits_that_are_not_finite_are_an_error(windows):
    examples, split = windows
    with pytest.raises(NotFiniteError, match="expected finite logits"):
        assess([np.full((n, 2), np.nan, dtype=np.float32) for n in split.lengths()], split, examples)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short demo run: too short to be good, long enough to answer."""
    overrides = {"train.max_steps": 60, "train.max_train_samples": 500, "train.max_eval_samples": 80}
    recipe = load_recipe(recipe_path("squad2/demo"), overrides)
    output = tmp_path_factory.mktemp("squad") / "run"
    return finetune(recipe, output), output


def test_run_leaves_the_official_files_and_the_threshold(trained):
    result, output = trained
    config = json.loads((output / "model" / "config.json").read_text())["debft"]
    assert {key: config[key] for key in ("task", "max_seq_length", "doc_stride", "max_question_length", "max_answer_length")} == {
        "task": "squad2",
        "max_seq_length": 64,
        "doc_stride": 24,
        "max_question_length": 16,
        "max_answer_length": 8,
    }
    said = json.loads((output / "predictions" / "predictions.json").read_text())
    na_prob = json.loads((output / "predictions" / "na_prob.json").read_text())
    n_best = json.loads((output / "predictions" / "nbest_predictions.json").read_text())
    rows = [json.loads(line) for line in (output / "predictions" / "validation.jsonl").read_text().splitlines()]
    assert set(said) == set(na_prob) == set(n_best) == {row["id"] for row in rows} and len(rows) == 80
    assert {row["id"]: row["prediction"] for row in rows} == said
    threshold = 1 / (1 + np.exp(-config["no_answer_threshold"]))
    assert all((na_prob[key] <= threshold + 1e-12) == bool(text) for key, text in said.items())
    assert {"validation/f1", "validation/exact_match", "validation/best_f1"} <= set(result.scores)
    assert result.num_examples == {"validation": 80}


def test_saved_model_opens_in_plain_transformers(trained):
    model, info = AutoModelForQuestionAnswering.from_pretrained(trained[1] / "model", output_loading_info=True)
    assert not info["missing_keys"] and model.config.num_labels == 2


def test_predict_gives_the_answers_of_the_run(trained, tmp_path):
    """From a file without answers, from the model directory alone."""
    table = demo.table(SQUAD2, SQUAD2.evals[0])
    lines = [json.dumps({key: table.columns[key][i] for key in ("id", "question", "context")}) for i in range(80)]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines) + "\n")
    predictor = loading.load_predictor(str(trained[1] / "model"), None, "auto")
    rows = list(inference.label(predictor, str(tmp_path / "questions.jsonl")))
    assert {row["id"]: row["prediction"] for row in rows} == json.loads(
        (trained[1] / "predictions" / "predictions.json").read_text()
    )
    for row, context in zip(rows, table.columns["context"], strict=False):
        assert row["prediction"] == (context[row["start"] : row["end"]] if row["prediction"] else "")


def test_evaluate_gives_the_scores_of_the_run(trained):
    evaluated = inference.evaluate(loading.load_predictor(str(trained[1]), None, "auto"), None, 80)
    assert evaluated["scores"] == pytest.approx(trained[0].scores)


@pytest.mark.sweep
def test_squad_1_1_has_no_threshold_and_always_answers(tmp_path):
    overrides = {"train.max_steps": 20, "train.max_train_samples": 100, "train.max_eval_samples": 30}
    result = finetune(load_recipe(recipe_path("squad/demo"), overrides), tmp_path / "run")
    said = json.loads((tmp_path / "run" / "predictions" / "predictions.json").read_text())
    assert all(said.values()) and set(result.scores) >= {"validation/f1", "validation/exact_match"}
    assert not any("no_answer" in name or "best" in name for name in result.scores)
    assert not (tmp_path / "run" / "predictions" / "na_prob.json").exists()
    assert "no_answer_threshold" not in json.loads((tmp_path / "run" / "model" / "config.json").read_text())["debft"]


@pytest.mark.sweep
def test_resumed_run_ends_with_the_same_scores(trained, tmp_path):
    from debft.runs.checkpoint import keep_newest

    overrides = {"train.max_steps": 60, "train.max_train_samples": 500, "train.max_eval_samples": 80, "runtime.save_steps": 25}
    recipe = load_recipe(recipe_path("squad2/demo"), overrides)
    first = finetune(recipe, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    keep_newest(tmp_path / "run" / "checkpoints", 1)
    assert finetune(recipe, tmp_path / "run", resume=True).scores == first.scores == trained[0].scores


def test_official_nested_json_and_the_hubs_rows_are_the_same_data(tmp_path):
    table = demo.table(SQUAD2, SQUAD2.evals[0])
    rows = [{key: table.columns[key][i] for key in ("id", "question", "context", "answers")} for i in range(12)]
    (tmp_path / "hub" / "squad2").mkdir(parents=True)
    (tmp_path / "own").mkdir()
    for split, file in (("train", "train-v2.0.json"), ("validation", "dev-v2.0.json")):
        (tmp_path / "hub" / "squad2" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        paragraphs = [
            {
                "context": row["context"],
                "qas": [
                    {
                        "id": row["id"],
                        "question": row["question"],
                        "is_impossible": not row["answers"]["text"],
                        "answers": [{"text": t, "answer_start": s} for t, s in zip(*row["answers"].values(), strict=True)],
                    }
                ],
            }
            for row in rows
        ]
        (tmp_path / "own" / file).write_text(json.dumps({"version": "v2.0", "data": [{"title": "x", "paragraphs": paragraphs}]}))
    prints = [make_plan(load_recipe(recipe_path("squad2/demo"), {"data": str(tmp_path / d)})).fingerprints for d in ("hub", "own")]
    assert prints[0] == prints[1]


@pytest.mark.sweep
def test_real_files_are_read_whole(shared):
    """Row counts of shared/data/README.md."""
    counts = {split.name: len(check_rows(load_table(SQUAD2, split, str(shared)), SQUAD2)) for split in SQUAD2.splits}
    assert counts == {"train": 8_247, "validation": 3_626}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("text.max_seq_length", 40, "expected at least 45 for windows that share 24 tokens"),
        ("train.head_dropout", 0.1, r"train\.head_dropout: is for classification, the task is squad2"),
        ("text.swap_texts", True, r"text\.swap_texts: is for classification, the task is squad2"),
    ],
)
def test_value_that_cannot_work_is_refused(key, value, message):
    with pytest.raises(InputError, match=message):
        make_plan(load_recipe(recipe_path("squad2/demo"), {key: value}))


def test_window_sizes_are_refused_for_other_tasks():
    with pytest.raises(InputError, match=r"questions\.doc_stride: is for question answering, the task is mnli; leave it out"):
        make_plan(load_recipe(recipe_path("demo"), {"task": "mnli", "questions.doc_stride": 64}))


@pytest.mark.sweep
def test_demo_is_learned(tmp_path):
    """About a minute: spans are found, and most unanswerable questions are left unanswered."""
    result = finetune(load_recipe(recipe_path("squad2/demo")), tmp_path / "run")
    assert result.scores["validation/f1"] > 85
    assert min(result.scores["validation/has_answer_f1"], result.scores["validation/no_answer_f1"]) > 75
    assert result.data.source == "demo" and result.published == []


def test_model_whose_windows_would_not_move_on_is_refused(trained, tmp_path):
    import shutil

    shutil.copytree(trained[1] / "model", tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    config["debft"]["doc_stride"] = 60
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        InputError, match=r"config\.json: debft\.max_seq_length: expected at least 81 for windows that share 60 tokens"
    ):
        loading.load_predictor(str(tmp_path / "m"), None, "auto")
