"""A run that comes to numbers that are not finite stops before they do harm, says where, and can go on."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from poisoned import PLACE, Poisoned
from safetensors.torch import load_file, save_file
from test_finetune import lines, tiny_recipe, weights

import debft.training.train
from debft.data.batches import step_examples
from debft.errors import InputError, NotFiniteError
from debft.library.resolving import recipe_to_run
from debft.models.build import build_model
from debft.models.files import ModelFiles
from debft.runs.directory import RunDirectory
from debft.runs.sessions import changes_in_words
from debft.tasks import TASKS
from debft.training.plan import make_plan
from debft.training.run import finetune

RATE, LOWER = 1e-3, 5e-4


def recipe_of(inputs, **changes):
    data, model = inputs
    usual = {"model": str(model), "train.max_steps": 6, "runtime.save_steps": 2, "train.learning_rate": RATE}
    return tiny_recipe(data, **usual | {"train.eval_steps": None, "runtime.micro_batch_tokens": 200} | changes)


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    run = RunDirectory(tmp_path_factory.mktemp("whole") / "run")
    finetune(recipe_of(inputs), run.path)
    return run


def stopped(inputs, path, kind="loss", step=4, **changes):
    """The lines that a run stops with."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(NotFiniteError) as raised:
        patch.setattr(PLACE, Poisoned(kind, step))
        finetune(recipe_of(inputs, **changes), path)
    assert raised.value.exit_code == 3
    return raised.value.problems


@pytest.fixture(scope="module")
def after_three(inputs, tmp_path_factory):
    """A run that stopped at its fourth step, and the lines that it stopped with."""
    path = tmp_path_factory.mktemp("after") / "run"
    return RunDirectory(path), stopped(inputs, path)


def test_stop_names_step_rows_and_the_finite_checkpoint(inputs, after_three, whole):
    run, (line,) = after_three
    content = json.loads((run.path / "not-finite.json").read_text())
    indices = step_examples(3, 42, 48, 16)
    assert line.startswith("step 4: expected a finite loss, got nan; the step did not touch the weights; its rows are ")
    assert sorted(int(row["id"]) for row in content["rows"]) == sorted(indices.tolist())
    assert sum(row["tokens"] for row in content["rows"]) == lines(whole.path / "steps.jsonl")[3]["num_tokens"]
    assert f"{content['rows'][0]['id']} ({content['rows'][0]['tokens']} tokens)" in line and "13 more" in line
    assert (content["step"], content["what"], content["value"], content["checkpoint"]) == (4, "loss", "nan", "step-000003")
    assert f"step-000003 is whole and finite: the same command with --output {run.path} --resume goes on" in line
    assert f"--learning-rate {LOWER:g}" in line and f"--init-from {run.path}@3" in line


@pytest.mark.parametrize("at", [3, 6])
def test_evaluation_whose_logits_overflow_stops_with_rows_and_a_way_on(inputs, whole, tmp_path, monkeypatch, at):
    """The weights stay finite, and their products do not."""
    record = debft.training.train.record

    def then_large(session, state, log, progress):
        record(session, state, log, progress)
        if log.step == at:
            session.loaded.model.get_parameter("deberta.encoder.layer.0.intermediate.dense.weight").data.fill_(1e38)

    run, recipe = RunDirectory(tmp_path / "run"), recipe_of(inputs, **{"train.eval_steps": 3})
    with monkeypatch.context() as patch, pytest.raises(NotFiniteError) as raised:
        patch.setattr(debft.training.train, "record", then_large)
        finetune(recipe, run.path)
    (line,) = raised.value.problems
    ids = [str(row["id"]) for row in lines(whole.path / "predictions" / "validation_matched.jsonl")]
    assert raised.value.exit_code == 3 and not (run.path / "result.json").exists()
    assert f"the evaluation after step {at}: validation_matched: {len(ids)} of {len(ids)} rows ('{ids[0]}', " in line
    content = json.loads((run.path / "not-finite.json").read_text())
    assert (content["step"], [row["id"] for row in content["rows"]]) == (at, ids)
    if at == 6:  # the weights that give no scores are those of the checkpoint
        assert f"--output {run.path} --overwrite begins again with a change such as --learning-rate {LOWER:g}" in line
        return
    assert f"step-000002 is whole and finite: the same command with --output {run.path} --resume goes on" in line
    finetune(recipe, run.path, resume=True)
    again = weights(run)
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights(whole).items())


def test_weights_that_are_kept_are_those_before_the_step(after_three, whole, inputs, tmp_path):
    """The very run goes on where its machine erred once: with the same bits as one that met nothing."""
    shutil.copytree(after_three[0].path, tmp_path / "run")
    finetune(recipe_of(inputs), tmp_path / "run", resume=True)
    again = weights(RunDirectory(tmp_path / "run"))
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights(whole).items())


@pytest.fixture(scope="module")
def changed(inputs, after_three, tmp_path_factory):
    """That run, resumed with a lower rate; its directory and result."""

    path = tmp_path_factory.mktemp("changed") / "run"
    shutil.copytree(after_three[0].path, path)
    recipe, run = recipe_to_run(
        "mnli", {"train.learning_rate": LOWER}, recipe=None, sift=None, assignments=(), output=str(path), goes_on=True
    )
    return run, finetune(recipe, run.path, resume=True)


def test_run_that_stopped_goes_on_with_another_rate_which_is_recorded(changed, whole):
    run, result = changed
    first, second = result.sessions
    assert (first.from_step, first.to_step, first.changed) == (0, 3, {})
    assert (second.from_step, second.to_step, second.changed) == (3, 6, {"train.learning_rate": LOWER})
    rates, usual = ([line["learning_rate"] for line in lines(one.path / "steps.jsonl")] for one in (run, whole))
    assert rates == pytest.approx(usual[:3] + [rate / 2 for rate in usual[3:]])
    assert (run.recipe().train.learning_rate, result.recipe["train"]["learning_rate"]) == (LOWER, RATE)
    assert RunDirectory(run.path).result() == result


def test_changed_run_says_that_it_is_not_the_recipe(changed):
    words = f"resumed after step 3 with train.learning_rate {LOWER}, not as begun"
    assert changes_in_words(changed[1].sessions) == [words]


def test_complete_run_takes_no_change(changed):
    with pytest.raises(InputError, match=r"--learning-rate: the run in .* has 0.0005, got 0.01"):
        recipe_to_run(
            "mnli", {"train.learning_rate": 0.01}, recipe=None, sift=None, assignments=(), output=str(changed[0].path), goes_on=True
        )


@pytest.mark.parametrize("key", ["train.seed", "train.train_batch_size", "train.max_steps"])
def test_stopped_run_takes_no_change_that_makes_it_another_run(after_three, key):
    with pytest.raises(InputError, match="the run in"):
        recipe_to_run("mnli", {key: 7}, recipe=None, sift=None, assignments=(), output=str(after_three[0].path), goes_on=True)


def test_new_run_starts_from_the_checkpoint_of_a_step(after_three, inputs, tmp_path):
    run, _ = after_three
    still = {"train.learning_rate": 1e-30, "train.max_steps": 1, "train.warmup_steps": 0}
    recipe = recipe_of(inputs, init_from=f"{run.path}@3", **still)
    result = finetune(recipe, tmp_path / "run")
    manifest = json.loads((run.checkpoints / "step-000003" / "manifest.json").read_text())
    assert result.weights == {"model.safetensors": manifest["model.safetensors"]}
    saved = load_file(run.checkpoints / "step-000003" / "model.safetensors")
    assert all(torch.equal(tensor, saved[name]) for name, tensor in weights(RunDirectory(tmp_path / "run")).items())


def test_step_without_a_checkpoint_is_refused_with_those_that_are_there(after_three, inputs):
    run, _ = after_three
    with pytest.raises(InputError, match=r"expected a step with a checkpoint, got 7; there are checkpoints of 2, 3$"):
        make_plan(recipe_of(inputs, init_from=f"{run.path}@7"))
    with pytest.raises(InputError, match=r"expected a complete run directory, found none; --init-from .*@3 starts from its newest"):
        make_plan(recipe_of(inputs, init_from=str(run.path)))


def test_checkpoint_keeps_its_head_for_its_own_labels_alone(after_three):
    run, _ = after_three
    folder, labels = run.checkpoints / "step-000003", ("entailment", "neutral", "contradiction")
    files = ModelFiles(name="m", path=Path(run.recipe().model), checkpoint=folder, labels=labels)
    same, other = (
        build_model(files, TASKS[name], from_scratch=False, head_dropout=None, seed=0, quiet=True).state_dict()["classifier.weight"]
        for name in ("mnli", "rte")
    )
    assert torch.equal(same, load_file(folder / "model.safetensors")["classifier.weight"])
    assert other.shape[0] == 2


@pytest.mark.parametrize("name", ["deberta.embeddings.word_embeddings.weight", "classifier.bias"])
def test_weights_that_are_not_finite_are_refused_when_they_are_read(whole, name, tmp_path):
    """A row of the embeddings that no text has would be saved with the trained model."""
    shutil.copytree(whole.model, tmp_path / "m")
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    tensors[name].view(-1)[-2:] = float("inf")
    save_file(tensors, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    files = ModelFiles(name="m", path=tmp_path / "m")
    with pytest.raises(InputError, match=f"{name} has 2 of {tensors[name].numel():,} numbers that are not finite"):
        build_model(files, TASKS["mnli"], from_scratch=False, head_dropout=None, seed=0, quiet=True)


def test_weights_that_no_step_reads_are_never_saved_once_they_are_not_finite(inputs, tmp_path, monkeypatch):
    record = debft.training.train.record

    def break_a_row(session, state, log, progress):
        record(session, state, log, progress)
        if log.step == 3:
            session.vocabulary.cut.base_VE[-1, 0] = float("nan")  # of a token that no training row has

    monkeypatch.setattr(debft.training.train, "record", break_a_row)
    with pytest.raises(NotFiniteError) as raised:
        finetune(recipe_of(inputs), tmp_path / "run")
    assert "step 4: expected a finite state, but deberta.embeddings.word_embeddings.weight has 1 of" in str(raised.value)
    assert "step-000002 is whole and finite" in str(raised.value)
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["step-000002"]


def test_evaluation_of_weights_that_are_not_finite_stops_as_a_step_does(inputs, tmp_path):
    """An update with a state of the optimizer that is not finite spoils weights, and the evaluation behind it meets them first."""
    (line,) = stopped(inputs, tmp_path / "run", kind="optimizer", step=3, **{"train.eval_steps": 3})
    assert line.startswith("step 3: expected a finite state, but ")
    assert f"{tmp_path / 'run'}@2 starts another run" in line
    content = json.loads((tmp_path / "run" / "not-finite.json").read_text())
    assert (content["step"], content["checkpoint"]) == (3, "step-000002") and content["tensors_not_finite"]


def test_checkpoint_that_is_not_finite_is_refused_when_it_is_read(inputs, after_three, tmp_path):
    """As one of a debft that did not look."""
    shutil.copytree(after_three[0].path, tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints" / "step-000003"
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.bias"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["model.safetensors"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"step-000003: expected finite numbers, classifier.bias has 1 of 3 .*; remove it"):
        finetune(recipe_of(inputs), tmp_path / "run", resume=True)


def test_stop_at_the_first_step_says_that_nothing_was_saved(inputs, tmp_path):
    (line,) = stopped(inputs, tmp_path / "run", step=1)
    assert "; no step was saved: the same command with" in line and "begins again with a change" in line
    assert json.loads((tmp_path / "run" / "not-finite.json").read_text())["checkpoint"] is None
