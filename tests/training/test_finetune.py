"""Whole runs on tiny data: the run directory, resume, interruption, several processes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import RESULT_FIELDS, write_mnli, write_model_config
from interrupting import interrupted_after
from processes import FORKING, SECONDS, Command, start_two
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import debft.training.finish
import debft.training.run
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.data.load import load_table
from debft.errors import InputError
from debft.runs.directory import RunDirectory
from debft.runs.lock import HeldError, locked
from debft.tasks import TASKS
from debft.training.plan import make_plan
from debft.training.run import finetune


def tiny_recipe(data, **changes):
    settings = {
        "task": "mnli",
        "data": str(data),
        "train.num_train_epochs": 2,
        "train.train_batch_size": 16,
        "runtime.micro_batch_tokens": 200,
    }
    return load_recipe(recipe_path("demo"), settings | changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One finished run of 14 steps: 100 rows, 2 epochs, steps of 16."""
    root = tmp_path_factory.mktemp("finished")
    recipe = tiny_recipe(write_mnli(root / "data"), **{"runtime.save_steps": 5, "train.eval_steps": 6})
    return finetune(recipe, root / "run"), RunDirectory(root / "run"), recipe


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_run_directory_holds_what_the_contract_says(finished):
    result, run, recipe = finished
    assert {p.name for p in run.path.iterdir()} == {
        "recipe.yaml",
        "result.json",
        "analysis.json",
        "split.json",
        "steps.jsonl",
        "evaluations.jsonl",
        "predictions",
        "model",
        "checkpoints",
        ".lock",
    }
    assert run.recipe() == recipe
    assert run.result() == result
    assert [p.name for p in sorted(run.checkpoints.iterdir())] == ["step-000010", "step-000014"]


def test_result_has_every_field_of_the_contract(finished):
    content = json.loads((finished[1].path / "result.json").read_text())
    assert set(content) >= RESULT_FIELDS
    assert set(content["timing"]) == {"train_seconds", "eval_seconds", "examples_per_second", "tokens_per_second"}
    assert set(content["scores"]) == {"validation_matched/accuracy", "validation_mismatched/accuracy"}
    assert all(0 <= score <= 100 for score in content["scores"].values())
    assert (content["status"], content["steps"], content["num_train_examples"]) == ("complete", 14, 100)
    assert content["num_examples"] == {"validation_matched": 20, "validation_mismatched": 20}
    assert set(content["data"]["fingerprints"]) == {"train", "validation_matched", "validation_mismatched"}
    assert content["data"]["skipped_rows"] == {"train": 0, "validation_matched": 0, "validation_mismatched": 0}
    assert sum(content["label_counts"].values()) == 100
    assert content["started"] <= content["finished"]
    assert content["command"] is None  # nobody typed one
    assert set(content["intervals"]) <= set(content["scores"])
    assert content["published"] == []
    assert "random weights" in content["not_compared"]


def test_analysis_has_every_dev_row_and_the_texts_of_the_worst(finished):
    analysis, data = finished[1].analysis(), make_plan(finished[2])
    assert set(analysis.splits) == {"validation_matched", "validation_mismatched"}
    for name, split in analysis.splits.items():
        rows, examples = lines(finished[1].path / "predictions" / f"{name}.jsonl"), data.examples[name]
        assert sum(split.label_counts.values()) == sum(cell.rows for cell in split.confusion) == split.rows == 20
        right = sum(cell.rows for cell in split.confusion if cell.label == cell.prediction)
        assert 100 * right / 20 == pytest.approx(finished[0].scores[f"{name}/accuracy"])
        assert {row.id for row in split.worst} == {row["id"] for row in rows}
        place = examples.ids.index(split.worst[0].id)
        assert tuple(split.worst[0].texts.values()) == examples.texts[place]


def test_steps_file_has_one_line_per_optimizer_step(finished):
    logs = lines(finished[1].path / "steps.jsonl")
    assert [log["step"] for log in logs] == list(range(1, 15))
    assert set(logs[0]) >= {"step", "epoch", "loss", "learning_rate", "grad_norm", "num_tokens", "seconds"}
    assert [log["num_examples"] for log in logs] == [16] * 6 + [4] + [16] * 6 + [4]
    assert logs[-1]["epoch"] == 2.0
    assert sum(log["num_tokens"] for log in logs) == finished[0].num_tokens


def test_both_dev_sets_are_evaluated_during_and_after_training(finished):
    evaluations = lines(finished[1].path / "evaluations.jsonl")
    assert [e["step"] for e in evaluations] == [6, 12, 14]
    assert all(set(e["scores"]) == set(finished[0].scores) for e in evaluations)
    assert evaluations[-1]["scores"] == finished[0].scores


def test_predictions_have_every_example_once_and_give_the_score(finished, mnli):
    result, run, recipe = finished
    for split in mnli.evals:
        rows = lines(run.path / "predictions" / f"{split.name}.jsonl")
        assert [row["id"] for row in rows] == [str(i) for i in range(20)]
        assert [row["label"] for row in rows] == load_table(mnli, split, recipe.data).columns["label"]
        right = sum(row["label"] == row["prediction"] for row in rows)
        assert 100 * right / 20 == pytest.approx(result.scores[f"{split.name}/accuracy"])
        assert all(row["prediction"] == max(row["scores"], key=row["scores"].get) for row in rows)
        assert all(sum(row["scores"].values()) == pytest.approx(1, abs=1e-5) for row in rows)


def test_saved_model_gives_the_same_logits_with_plain_transformers(finished, mnli):
    """Through AutoTokenizer and AutoModel alone, one example at a time."""
    _, run, recipe = finished
    model = AutoModelForSequenceClassification.from_pretrained(run.model).eval()
    tokenizer = AutoTokenizer.from_pretrained(run.model)
    assert model.dtype == torch.float32
    columns = load_table(mnli, mnli.evals[0], recipe.data).columns
    rows = lines(run.path / "predictions" / "validation_matched.jsonl")
    for premise, hypothesis, row in zip(columns["premise"], columns["hypothesis"], rows, strict=True):
        logits = model(**tokenizer(premise, hypothesis, return_tensors="pt")).logits[0]
        scores = logits.softmax(-1).tolist()
        ours = [row["scores"][model.config.id2label[i]] for i in range(3)]
        assert scores == pytest.approx(ours, abs=1.5e-6)  # the file has six digits


def test_saved_model_gives_the_logits_of_the_model_in_memory_to_1e_6(tmp_path, tiny_data, monkeypatch):
    """The model in memory at the end of training against the one that plain transformers reads back."""
    from debft.scoring.evaluation import predict_splits

    sessions, save_model = [], debft.training.finish.save_model
    monkeypatch.setattr(
        debft.training.finish, "save_model", lambda session, *rest: (sessions.append(session), save_model(session, *rest))
    )
    finetune(tiny_recipe(tiny_data, **{"train.learning_rate": 0.01}), tmp_path / "run")
    (session,) = sessions
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model")
    assert plain is not session.loaded.model
    split, padded = session.splits["validation_matched"], replace(session.loaded.collate, packed=False)
    in_memory, read_back = (
        predict_splits(loaded, session.accelerator, {"x": split}, micro_batch_tokens=2_500)["x"]
        for loaded in (session.loaded, replace(session.loaded, model=plain, collate=padded))
    )
    np.testing.assert_allclose(read_back, in_memory, rtol=0, atol=1e-6)


def test_second_run_into_the_same_directory_is_refused(finished):
    _, run, recipe = finished
    with pytest.raises(InputError, match="holds a run already; --resume continues it"):
        finetune(recipe, run.path)


def test_complete_run_is_returned_without_reading_a_row_or_building_a_model(finished, monkeypatch):
    result, run, recipe = finished
    for name in ("debft.training.run.make_plan", "debft.training.opening.open_session"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("a complete run was begun again"))
    assert finetune(recipe, run.path, resume=True) == result


def test_directory_of_a_different_run_is_refused_even_with_resume(finished):
    _, run, recipe = finished
    from debft.config.recipe import with_train

    with pytest.raises(InputError, match=r"holds a different run: train\.learning_rate is 0\.002 there and 0\.1 here"):
        finetune(with_train(recipe, learning_rate=0.1), run.path, resume=True)


def test_directory_with_other_files_is_refused_and_left_alone(tmp_path, tiny_data):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="expected an empty directory or a run, got other files"):
        finetune(tiny_recipe(tiny_data), tmp_path / "out", resume=True)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def dropout_model(demo_model, directory):
    return str(write_model_config(directory, demo_model, hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2))


def weights(run):
    return load_file(run.path / "model" / "model.safetensors")


@pytest.mark.parametrize("stop_after", [pytest.param(3, marks=pytest.mark.sweep), pytest.param(6, marks=pytest.mark.sweep), 7])
def test_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, tiny_data, demo_model, stop_after):
    """With dropout, in the middle of an epoch and at its end; the best checkpoint included."""
    recipe = tiny_recipe(
        tiny_data, **{"model": dropout_model(demo_model, tmp_path / "m"), "train.checkpoint": "best", "train.eval_steps": 2}
    )
    through, broken = RunDirectory(tmp_path / "through"), RunDirectory(tmp_path / "broken")
    expected = finetune(recipe, through.path)
    with interrupted_after(stop_after, match=f"interrupted after step {stop_after} of 14; the same command with") as error:
        finetune(recipe, broken.path)
    assert error.value.exit_code == 143
    assert broken.result() is None
    result = finetune(recipe, broken.path, resume=True)
    assert result.scores == expected.scores
    assert all(torch.equal(weights(through)[name], tensor) for name, tensor in weights(broken).items())
    without_time = [[{**log, "seconds": 0} for log in lines(run.path / "steps.jsonl")] for run in (through, broken)]
    assert without_time[0] == without_time[1]
    assert lines(through.path / "evaluations.jsonl") == lines(broken.path / "evaluations.jsonl")
    assert (result.num_tokens, result.steps) == (expected.num_tokens, expected.steps)


def test_resume_on_other_rows_is_refused(tmp_path, tiny_data, monkeypatch):
    recipe = tiny_recipe(tiny_data, **{"runtime.save_steps": 5})
    finetune(recipe, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    path = tiny_data / "mnli" / "train.tsv"
    path.write_text(path.read_text().replace("fox", "owl"))
    with pytest.raises(InputError, match="was trained on other rows of train"):
        finetune(recipe, tmp_path / "run", resume=True)


def test_best_checkpoint_is_saved_and_reported(tmp_path, tiny_data, mnli):
    result = finetune(tiny_recipe(tiny_data, **{"train.checkpoint": "best", "train.eval_steps": 1}), tmp_path / "run")
    evaluations = lines(tmp_path / "run" / "evaluations.jsonl")
    best = max(evaluations, key=lambda e: (mnli.selection_score(e["scores"]), -e["step"]))
    assert result.scores == best["scores"]
    kept = load_file(tmp_path / "run" / "checkpoints" / f"best-{best['step']:06d}" / "model.safetensors")
    saved = weights(RunDirectory(tmp_path / "run"))
    assert all(torch.equal(kept[name], saved[name]) for name in saved)


def test_labels_go_through_a_model_with_its_own_order(tmp_path, tiny_data, demo_model):
    """The same data through a model whose outputs are contradiction, neutral, entailment."""
    names = {"0": "contradiction", "1": "neutral", "2": "entailment"}
    model = write_model_config(tmp_path / "m", demo_model, id2label=names, label2id={v: int(k) for k, v in names.items()})
    finetune(tiny_recipe(tiny_data, model=str(model), **{"train.num_train_epochs": 1}), tmp_path / "run")
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["id2label"] == names
    rows = lines(tmp_path / "run" / "predictions" / "validation_matched.jsonl")
    table = (tiny_data / "mnli" / "validation_matched.tsv").read_text().splitlines()[1:]
    assert [row["label"] for row in rows] == [line.split("\t")[2] for line in table]


def test_bad_data_leaves_nothing_behind(tmp_path, tiny_data):
    path = tiny_data / "mnli" / "validation_mismatched.tsv"
    path.write_text(path.read_text().replace("\tneutral\n", "\tmaybe\n", 1))
    with pytest.raises(InputError, match=r"validation_mismatched\.tsv:\d+: label: expected"):
        finetune(tiny_recipe(tiny_data), tmp_path / "deep" / "run")
    assert not (tmp_path / "deep").exists()


def test_tokenizer_of_another_model_is_an_input_error(tmp_path, tiny_data, demo_model):
    model = write_model_config(tmp_path / "m", demo_model, vocab_size=300)
    with pytest.raises(InputError, match=r"the tokenizer gives token \d+, config.json has vocab_size 300"):
        finetune(tiny_recipe(tiny_data, model=str(model)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def command_anew(*arguments):
    """In a Python that starts with it, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "debft", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background has it ignored
    )


TINY = ("--num-train-epochs", 2, "--train-batch-size", 16, "--set", "runtime.micro_batch_tokens=200", "--from-scratch")


# Each process ends with a line that says how often it has computed the scores of a split.
COUNTING = """
import sys
from debft.__main__ import main
from debft.scoring.heads import LabelHead
assess, called = LabelHead.assess, []
LabelHead.assess = lambda *arguments: (called.append(1), assess(*arguments))[1]
try:
    main()
finally:
    print("splits scored:", len(called), file=sys.stderr)
"""


@pytest.mark.parametrize(("started", "number"), [("as by torchrun", 2), pytest.param("by debft", 3, marks=pytest.mark.sweep)])
def test_several_processes_equal_one(tmp_path, tiny_data, started, number):
    """Same losses and weights as one process; of the last step, which has one row of the 100, some have none.

    Resumed on as many processes it has the same bits.
    """
    recipe = tiny_recipe(tiny_data, **{"train.train_batch_size": 33, "train.num_train_epochs": 1})  # the last step has one row
    finetune(recipe, tmp_path / "one")
    command = (
        "mnli",
        "--recipe",
        "demo",
        "--data",
        tiny_data,
        "--output",
        tmp_path / "two",
        "--json",
        "--num-train-epochs",
        1,
        "--train-batch-size",
        33,
        "--set",
        "runtime.micro_batch_tokens=200",
        "--save-steps",
        2,
    )
    processes = (
        start_two(*command, code=COUNTING) if started == "as by torchrun" else [Command(*command, "--num-processes", number)]
    )
    said = [process.communicate() for process in processes]
    out, err = said[0]
    assert not any(process.returncode for process in processes), err
    result = json.loads(out)
    assert result["environment"]["num_processes"] == number
    one, two = (lines(tmp_path / name / "steps.jsonl") for name in ("one", "two"))
    assert [log["loss"] for log in two] == pytest.approx([log["loss"] for log in one], rel=1e-5)
    assert [log["learning_rate"] for log in two] == [log["learning_rate"] for log in one]  # trap 4: warm-up per update
    for name, tensor in weights(RunDirectory(tmp_path / "one")).items():
        torch.testing.assert_close(weights(RunDirectory(tmp_path / "two"))[name], tensor, rtol=1e-4, atol=1e-6)
    assert result["scores"] == json.loads((tmp_path / "one" / "result.json").read_text())["scores"]
    if started == "as by torchrun":  # process 0 alone scores, once for each split and evaluation
        counts = [int(err.rpartition("splits scored: ")[2]) for _, err in said]
        assert counts[0] > 0 and counts[1] == 0
        return
    run = RunDirectory(tmp_path / "two")
    whole = weights(run)
    (run.path / "result.json").unlink()
    for path in (run.model, run.checkpoints / "step-000004"):
        shutil.rmtree(path)
    resumed = Command(*command, "--num-processes", number, "--resume")
    resumed.communicate()
    assert resumed.returncode == 0
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(run).items()), "in another order of sums"


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGHUP, 129, marks=pytest.mark.sweep), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_signal_ends_the_command_after_a_checkpoint(tmp_path, tiny_data, number, code):
    arguments = ("mnli", "--recipe", "demo", "--data", tiny_data, "--output", tmp_path / "run", "--num-train-epochs", 500)
    process = Command(*arguments)
    wait_for((tmp_path / "run" / "steps.jsonl").is_file)
    process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == code, err
    assert "--resume" in err
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


def wait_for(condition, seconds=SECONDS):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def free(lock):
    try:
        with locked(lock):
            return True
    except HeldError:
        return False


def long_run(tiny_data, directory, *more):
    usual = ["mnli", "--recipe", "demo", "--data", tiny_data, "--num-train-epochs", 500]
    return Command(*usual, "--output", directory, *more, code=FORKING)


def test_signal_to_one_of_two_processes_ends_both_after_a_checkpoint(tmp_path, tiny_data):
    first, second = start_two(
        "mnli", "--recipe", "demo", "--data", tiny_data, "--output", tmp_path / "run", "--num-train-epochs", 500
    )
    wait_for((tmp_path / "run" / "steps.jsonl").is_file)
    second.send_signal(signal.SIGTERM)
    said = first.communicate(), second.communicate()
    assert (first.returncode, second.returncode) == (143, 143), said
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


@pytest.mark.sweep
@pytest.mark.parametrize(("number", "code"), [(signal.SIGHUP, 129), (signal.SIGTERM, 143)])
def test_signal_to_several_processes_ends_all_after_a_checkpoint(tmp_path, tiny_data, number, code):
    """SIGHUP to the parent, as a terminal sends it; SIGTERM to parent and children at once, as a scheduler does."""
    process = long_run(tiny_data, tmp_path / "run", "--num-processes", 2)
    wait_for((tmp_path / "run" / "steps.jsonl").is_file)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    for pid in children.read_text().split() if number == signal.SIGTERM and children.is_file() else []:
        os.kill(int(pid), number)
    process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == code, err
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))


@pytest.mark.sweep
def test_children_end_with_a_checkpoint_when_their_parent_is_killed(tmp_path, tiny_data):
    process = long_run(tiny_data, tmp_path / "run", "--num-processes", 2)
    wait_for((tmp_path / "run" / "steps.jsonl").is_file)
    process.kill()
    wait_for(lambda: list((tmp_path / "run" / "checkpoints").glob("step-*")))
    wait_for(lambda: free(tmp_path / "run" / ".lock"))


def test_second_process_into_the_same_run_is_refused(tmp_path, tiny_data):
    process = long_run(tiny_data, tmp_path / "run")
    wait_for((tmp_path / "run" / "steps.jsonl").is_file)
    second = long_run(tiny_data, tmp_path / "run", "--resume")
    _, err = second.communicate(timeout=SECONDS)
    process.terminate()
    process.communicate(timeout=SECONDS)
    assert second.returncode == 2
    assert f"another process is training into it (pid {process.pid} on {socket.gethostname()} since " in err


def test_signal_while_the_result_is_written_does_not_lose_it(tmp_path, tiny_data, monkeypatch):
    save_model = debft.training.finish.save_model
    monkeypatch.setattr(
        debft.training.finish, "save_model", lambda *all_of_it: (signal.raise_signal(signal.SIGINT), save_model(*all_of_it))[1]
    )
    result = finetune(tiny_recipe(tiny_data), tmp_path / "run")
    assert RunDirectory(tmp_path / "run").result() == result


@pytest.mark.parametrize("number", [pytest.param(signal.SIGHUP, marks=pytest.mark.sweep), signal.SIGINT, signal.SIGTERM])
def test_signal_before_the_first_step_is_said(tmp_path, number):
    process = command_anew("mnli", "--data", "demo", "--output", tmp_path / "run")
    assert any(line.startswith("task ") for line in process.stderr)  # the plan; torch and the model come after it
    process.send_signal(number)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + number
    assert err.splitlines()[-1].startswith("interrupted")


def test_broken_line_in_a_log_is_taken_back_from_the_checkpoint(tmp_path, tiny_data, capsys):
    recipe = tiny_recipe(tiny_data, **{"runtime.save_steps": 5})
    expected = finetune(recipe, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    log = tmp_path / "run" / "steps.jsonl"
    log.write_text(log.read_text().replace('"step": 4,', "garbage"))
    result = finetune(recipe, tmp_path / "run", resume=True)
    assert result.scores == expected.scores
    assert "steps.jsonl: is not what it was at step 14; taken back from the checkpoint" in capsys.readouterr().err
    assert RunDirectory(tmp_path / "run").logs.training_scores(result)["train/num_tokens"] == expected.num_tokens


def test_same_directory_by_another_path_is_the_same_run(tmp_path, tiny_data):
    result = finetune(tiny_recipe(tiny_data), tmp_path / "run")
    assert finetune(tiny_recipe(f"{tiny_data}/"), tmp_path / "run", resume=True) == result


def test_complete_run_without_its_model_is_not_called_complete(tmp_path, tiny_data):
    finetune(tiny_recipe(tiny_data), tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    with pytest.raises(InputError, match="is complete but its model/ is gone"):
        finetune(tiny_recipe(tiny_data), tmp_path / "run", resume=True)


def test_loss_that_is_not_finite_ends_with_exit_code_3(tmp_path, tiny_data):
    process = Command(
        "mnli", "--recipe", "demo", "--data", tiny_data, "--output", tmp_path / "run", "--learning-rate", "1e30", *TINY
    )
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 3, err
    assert "expected a finite" in err.splitlines()[-1]
    assert not (tmp_path / "run" / "result.json").exists()


# Epochs after which a tiny model from scratch has more than this score, well above that of a constant answer.
LEARNED = {
    "cola": (1, "validation/matthews_correlation", 90),
    "sst2": (1, "validation/accuracy", 95),
    "mrpc": (3, "validation/f1", 75),
    "stsb": (3, "validation/spearmanr", 85),
    "qqp": (3, "validation/f1", 75),
    "qnli": (6, "validation/accuracy", 85),
    "rte": (3, "validation/accuracy", 75),
    "wnli": (3, "validation/accuracy", 75),
}
QUICK = ("cola",)  # pairs take three epochs; that they are learned at all is seen with the architectures and with own data


@pytest.mark.parametrize("task", LEARNED)
def test_every_task_leaves_its_scores_predictions_and_outputs(tmp_path, task):
    limits = {"train.max_steps": 2, "train.max_train_samples": 64, "train.max_eval_samples": 40, "train.warmup_steps": 0}
    result = finetune(load_recipe(recipe_path("demo"), {"task": task} | limits), tmp_path / "run")
    assert set(result.scores) == set(TASKS[task].score_names())
    rows = lines(tmp_path / "run" / "predictions" / "validation.jsonl")
    assert isinstance(rows[0]["prediction"], float if TASKS[task].is_regression else str)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "model")
    assert model.config.num_labels == max(1, len(TASKS[task].labels))


@pytest.mark.parametrize("task", [pytest.param(task, marks=() if task in QUICK else pytest.mark.sweep) for task in LEARNED])
def test_every_task_learns_its_demo_rows(tmp_path, task):
    """SQuAD and XNLI have tests of their own."""
    epochs, score, least = LEARNED[task]
    recipe = load_recipe(recipe_path("demo"), {"task": task, "train.num_train_epochs": epochs, "runtime.save_steps": None})
    assert finetune(recipe, tmp_path / "run").scores[score] > least


@pytest.mark.sweep
def test_demo_is_learned(tmp_path):
    """The README's main job, and the mismatched split is harder.

    A processor that rounds differently moves the score as another seed does: seeds end between 90 and 97 matched, and at 72.2
    mismatched with a standard deviation of 2.0. By chance it is 33.
    """
    result = finetune(load_recipe(recipe_path("demo"), {"task": "mnli"}), tmp_path / "run")
    assert result.scores["validation_matched/accuracy"] > 85
    assert 60 < result.scores["validation_mismatched/accuracy"] < result.scores["validation_matched/accuracy"] - 5
    assert result.data.source == "demo"
    assert result.published == []
