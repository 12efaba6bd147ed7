"""Runs with the active vocabulary against the plain run, which trains every row of the embedding table."""

import json

import pytest
import torch
from conftest import write_mnli, write_model_config
from interrupting import interrupted_after
from processes import start_two
from safetensors.torch import load_file

import debft.models.vocabulary
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.data.sources import demo
from debft.errors import InputError
from debft.models.files import ModelFiles
from debft.models.tokens.tokenizer import build_tokenizer
from debft.training.optimization import decay_factor
from debft.training.run import finetune

TABLE = "deberta.embeddings.word_embeddings.weight"
DIALECTS = ["card", "repo"]
STOP = 17
SHORT_QUESTIONS = {
    "questions.doc_stride": 24,
    "questions.max_question_length": 16,
    "questions.max_answer_length": 8,
    "train.max_train_samples": 40,
    "train.max_eval_samples": 20,
}


def recipe_of(data, dialect="card", **changes):
    """50 steps with decay, saved at 17, 34 and 50; the rows of the dev sets have tokens that training never sees."""
    settings = {
        "task": "mnli",
        "data": str(data),
        "dialect": dialect,
        "train.max_steps": 50,
        "train.train_batch_size": 8,
        "train.learning_rate": 1e-3,
        "train.weight_decay": 0.5,
        "train.eval_steps": 20,
        "runtime.save_steps": STOP,
        "runtime.keep_checkpoints": 9,
        "runtime.micro_batch_tokens": 1000,
    }
    return load_recipe(recipe_path("demo"), settings | changes)


@pytest.fixture
def plain(monkeypatch):
    """Train every row."""
    monkeypatch.setattr(debft.models.vocabulary, "MOST_ACTIVE", 0.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The mismatched rows are in other words than the training rows."""
    data = write_mnli(tmp_path_factory.mktemp("data"))
    path = data / "mnli" / "validation_mismatched.tsv"
    header, *rows = [line.split("\t") for line in path.read_text().splitlines()]
    words = [str.maketrans("abcdefghijklm", "nopqrstuvwxyz"), str.maketrans("aeiou", "12345")]
    changed = [[*(text.translate(words[n % 2]) for text in row[:2]), row[2]] for n, row in enumerate(rows)]
    path.write_text("\n".join("\t".join(row) for row in [header, *changed]) + "\n")
    return data


@pytest.fixture(scope="module")
def pairs(data, tmp_path_factory):
    """The directories of (the plain run, the active one) of each dialect."""
    root, runs = tmp_path_factory.mktemp("runs"), {}
    for dialect in DIALECTS:
        runs[dialect] = root / f"{dialect}-plain", root / f"{dialect}-active"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(debft.models.vocabulary, "MOST_ACTIVE", 0.0)
            finetune(recipe_of(data, dialect), runs[dialect][0])
        finetune(recipe_of(data, dialect), runs[dialect][1])
    return runs


def read(run, step, kind="model"):
    return load_file(run / "checkpoints" / f"step-{step:06d}" / f"{kind}.safetensors")


def recorded_rows(run):
    return json.loads((run / "result.json").read_text())["paths"]["active_vocabulary"]


def saved_rows(run, step):
    return json.loads((run / "checkpoints" / f"step-{step:06d}" / "state.json").read_text())["active_vocabulary"]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_same_weights(ours, theirs, tolerance=1e-6):
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=tolerance, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("step", [17, 34, 50])
def test_whole_table_and_all_weights_equal_the_plain_run_whenever_saved(pairs, dialect, step):
    plain, active = pairs[dialect]
    assert saved_rows(plain, step) is None and saved_rows(active, step)["rows"] < 100 < saved_rows(active, step)["of"]
    assert_same_weights(read(active, step), read(plain, step))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_optimizer_state_of_the_active_rows_equals_the_plain_runs_and_the_others_have_none(pairs, dialect):
    plain, active = (read(run, 50, "optimizer") for run in pairs[dialect])
    assert plain.keys() == active.keys()
    for moment in ("exp_avg", "exp_avg_sq"):
        key = f"{TABLE}/{moment}"
        trained = torch.zeros(len(plain[key]), dtype=torch.bool)
        trained[: len(active[key])] = True
        rows = plain[key].abs().sum(1) > 0
        assert rows.sum() <= len(active[key]) < len(rows) / 2
        whole = active.pop(key)
        assert_same_weights({key: whole[whole.abs().sum(1) > 0]}, {key: plain.pop(key)[rows]})
    assert_same_weights(active, plain)


def test_row_that_training_never_sees_has_decayed_by_the_closed_form(pairs, data):
    """Rounded once, the float64 product over the 50 rates of the schedule, times the weight that the run began with."""
    config = recipe_of(data).train
    plain = read(pairs["card"][0], 50, "optimizer")[f"{TABLE}/exp_avg"]
    never = plain.abs().sum(1) == 0
    never[:4] = False  # the special tokens are active, seen or not
    first, last = (read(pairs["card"][1], step)[TABLE][never].double() for step in (17, 50))
    torch.testing.assert_close(last, first * decay_factor(config, 50, 17, 50), rtol=1.5e-7, atol=0)
    assert decay_factor(config, 50, 17, 50) < 0.995


@pytest.mark.parametrize("dialect", DIALECTS)
def test_rows_that_are_not_trained_decay_by_the_rate_of_the_embeddings(data, tmp_path, monkeypatch, dialect):
    """Each layer has a rate of its own: a decay by that of the head would be four times as strong."""
    recipe = recipe_of(data, dialect, **{"train.layerwise_lr_decay": 0.7, "train.max_steps": 12, "runtime.save_steps": 6})
    finetune(recipe, tmp_path / "active")
    monkeypatch.setattr(debft.models.vocabulary, "MOST_ACTIVE", 0.0)
    finetune(recipe, tmp_path / "plain")
    assert saved_rows(tmp_path / "active", 12) and not saved_rows(tmp_path / "plain", 12)
    for step in (6, 12):
        assert_same_weights(read(tmp_path / "active", step), read(tmp_path / "plain", step))


def test_result_records_the_rows_that_were_trained(pairs):
    plain, active = pairs["card"]
    assert recorded_rows(plain) is None
    assert recorded_rows(active) == {key: saved_rows(active, 50)[key] for key in ("rows", "of")}


def test_dev_rows_have_tokens_that_training_never_sees(data):
    tokenizer, tokens = build_tokenizer(ModelFiles(name="demo", path=demo.model_directory())), {}
    for name in ("train", "validation_mismatched"):
        texts = [text for line in (data / "mnli" / f"{name}.tsv").read_text().splitlines()[1:] for text in line.split("\t")[:2]]
        tokens[name] = {token for text in texts for token in tokenizer.encode(text, add_special_tokens=False)}
    assert len(tokens["validation_mismatched"] - tokens["train"]) > 10


@pytest.mark.parametrize("dialect", DIALECTS)
def test_evaluations_and_predictions_equal_the_plain_runs_with_tokens_that_training_never_saw(pairs, dialect):
    plain, active = pairs[dialect]
    names = ("validation_matched", "validation_mismatched")
    assert [e["scores"] for e in lines(active / "evaluations.jsonl")] == [e["scores"] for e in lines(plain / "evaluations.jsonl")]
    for name in names:
        ours, theirs = (lines(run / "predictions" / f"{name}.jsonl") for run in (active, plain))
        assert [row["prediction"] for row in ours] == [row["prediction"] for row in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one["scores"] == pytest.approx(other["scores"], abs=2e-6)  # the file has six digits
    assert_same_weights(load_file(active / "model" / "model.safetensors"), load_file(plain / "model" / "model.safetensors"))


def test_losses_and_gradient_norms_equal_the_plain_runs(pairs):
    plain, active = (lines(run / "steps.jsonl") for run in pairs["card"])
    for key in ("loss", "grad_norm"):
        assert [row[key] for row in active] == pytest.approx([row[key] for row in plain], rel=1e-5)


def test_best_checkpoint_has_the_whole_table(pairs):
    active = pairs["repo"][1]
    best = max((active / "checkpoints").glob("best-*"))
    assert_same_weights(load_file(best / "model.safetensors"), load_file(active / "model" / "model.safetensors"), tolerance=0)


@pytest.mark.parametrize("dialect", ["card", pytest.param("repo", marks=pytest.mark.sweep)])
def test_interrupted_run_ends_with_the_bits_of_the_uninterrupted_one(pairs, data, tmp_path, dialect):
    """With decay, at a step where the other run looked at nothing: step 23."""
    recipe = recipe_of(data, dialect)
    with interrupted_after(23):
        finetune(recipe, tmp_path / "run")
    assert saved_rows(tmp_path / "run", 23)["rows"] < 100
    finetune(recipe, tmp_path / "run", resume=True)
    assert_same_weights(read(tmp_path / "run", 50), read(pairs[dialect][1], 50), tolerance=0)


def test_run_that_trained_all_rows_goes_on_with_the_active_ones(pairs, data, tmp_path, plain, monkeypatch):
    recipe = recipe_of(data)
    with interrupted_after(STOP):
        finetune(recipe, tmp_path / "run")
    monkeypatch.undo()
    finetune(recipe, tmp_path / "run", resume=True)
    assert saved_rows(tmp_path / "run", 34)["rows"] < 100
    assert_same_weights(read(tmp_path / "run", 50), read(pairs["card"][0], 50))


def test_checkpoint_of_other_rows_is_refused_with_what_to_do(data, tmp_path, monkeypatch):
    recipe = recipe_of(data, **{"train.max_steps": 20})
    with interrupted_after(STOP):
        finetune(recipe, tmp_path / "run")
    monkeypatch.setattr(debft.models.vocabulary, "_last_special", lambda *_: 99)
    with pytest.raises(InputError, match=r"--output .*: expected optimizer state of the 1\d\d embedding rows .* give another"):
        finetune(recipe, tmp_path / "run", resume=True)


@pytest.mark.parametrize("changes", [{"sift.weight": 1.0}, {"task": "squad2"}], ids=["sift", "windows"])
def test_sift_and_windows_equal_the_plain_run(data, tmp_path, monkeypatch, changes, demo_model):
    settings = {"train.max_steps": 6, "train.eval_steps": None, "train.warmup_steps": 0, "runtime.save_steps": None, **changes}
    if "task" in changes:
        data, settings = "demo", settings | SHORT_QUESTIONS
    model = write_model_config(tmp_path / "m", demo_model, hidden_dropout_prob=0.1)
    recipe = recipe_of(data, model=str(model), **settings)
    finetune(recipe, tmp_path / "active")
    monkeypatch.setattr(debft.models.vocabulary, "MOST_ACTIVE", 0.0)
    finetune(recipe, tmp_path / "plain")
    ours, theirs = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("active", "plain"))
    assert_same_weights(ours, theirs)
    assert len(ours[TABLE]) == 916


def test_run_without_decay_keeps_the_rows_that_training_never_sees(data, tmp_path):
    recipe = recipe_of(data, **{"train.weight_decay": 0.0, "train.max_steps": 4, "runtime.save_steps": 2, "train.warmup_steps": 0})
    finetune(recipe, tmp_path / "run")
    two, four = (read(tmp_path / "run", step)[TABLE] for step in (2, 4))
    assert 0 < (two != four).any(1).sum() < 100


@pytest.mark.sweep
def test_two_processes_equal_one_with_decay(pairs, data, tmp_path):
    from debft.runs.directory import RunDirectory

    recipe = recipe_of(data)
    RunDirectory(tmp_path / "asked").create(recipe)
    processes = start_two("mnli", "--recipe", tmp_path / "asked" / "recipe.yaml", "--output", tmp_path / "two")
    said = [process.communicate() for process in processes]
    assert not any(process.returncode for process in processes), said
    for step in (17, 50):
        # Two processes add up a gradient in another order; Adam makes as much of the difference as of a gradient near zero.
        assert_same_weights(read(tmp_path / "two", step), read(pairs["card"][1], step), tolerance=1e-4)
