"""A step for which the memory is not enough is done again in smaller parts: the losses stay, the cut stays, every process has it."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import write_mnli, write_model_config
from limited_memory import GPU, PLACE, Limited, limit_evaluations
from processes import start_two
from test_finetune import lines, tiny_recipe, weights

from debft.data.batches import halved, micro_batches, tokens_of
from debft.errors import TooLittleMemoryError
from debft.runs.directory import RunDirectory
from debft.runs.result import MemoryCut
from debft.runtime.memory import is_out_of_memory
from debft.scoring import inference
from debft.scoring.loading import load_predictor
from debft.training import stopped
from debft.training.plan import make_plan
from debft.training.run import finetune

CPU = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"
)
OTHER_CPU = RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.")
SAME = 1e-5  # of losses near 1: the same numbers, summed in another order


@pytest.fixture(scope="module")
def inputs(demo_model, tmp_path_factory):
    """Rows and a model with dropout, whose masks would differ if they were drawn anew."""
    root = tmp_path_factory.mktemp("inputs")
    rates = dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.2)
    write_model_config(root / "m", demo_model, hidden_size=32, intermediate_size=48, pooler_hidden_size=32, **rates)
    return write_mnli(root / "data", train=48), root / "m"


def recipe_of(inputs, **changes):
    data, model = inputs
    usual = {"model": str(model), "train.max_steps": 6, "runtime.micro_batch_tokens": 400, "runtime.save_steps": 2}
    return tiny_recipe(data, **usual | {"train.eval_steps": None} | changes)


@pytest.fixture(scope="module")
def whole(inputs, tmp_path_factory):
    """The losses and the weights of a run that had all the memory."""
    run = tmp_path_factory.mktemp("whole") / "run"
    finetune(recipe_of(inputs), run)
    return losses(run), weights(RunDirectory(run))


def losses(run):
    return [line["loss"] for line in lines(run / "steps.jsonl")]


@pytest.fixture
def limited(monkeypatch):
    def limit(*arguments, **options):
        device = Limited(*arguments, **options)
        monkeypatch.setattr(PLACE, device)
        return device

    return limit


@pytest.mark.parametrize("error", [GPU, CPU, OTHER_CPU, MemoryError()], ids=["gpu", "cpu", "windows", "python"])
def test_step_is_done_again_in_smaller_parts_with_the_same_masks(inputs, whole, limited, tmp_path, capsys, error):
    limited(5, error, after=4)
    result = finetune(recipe_of(inputs), tmp_path / "run")
    assert losses(tmp_path / "run") == pytest.approx(whole[0], abs=SAME)
    cut, *others = result.memory_cuts
    assert (cut.during, cut.before) == ("training", 400) and cut.step > 1
    assert [one.before for one in others] == [one.after for one in result.memory_cuts[:-1]]
    assert f"step {cut.step}: the memory is not enough for 400 tokens at once" in capsys.readouterr().err


def test_gradient_of_a_backward_pass_that_failed_half_way_is_not_counted(inputs, whole, limited, tmp_path):
    limited(5, backward=True)
    finetune(recipe_of(inputs), tmp_path / "run")
    assert losses(tmp_path / "run") == pytest.approx(whole[0], abs=SAME)
    for name, tensor in weights(RunDirectory(tmp_path / "run")).items():
        assert torch.allclose(tensor, whole[1][name], atol=1e-5), name


def test_cut_is_kept_for_the_run_and_by_its_checkpoints(inputs, limited, tmp_path):
    """It goes on where there is more memory, and is the same run bit for bit."""
    run = tmp_path / "run"
    limited(5)
    finetune(recipe_of(inputs), run)
    before = losses(run)
    (run / "result.json").unlink()
    for path in (run / "model", run / "checkpoints" / "step-000006"):
        shutil.rmtree(path)
    limited(100)  # nothing fails any more
    result = finetune(recipe_of(inputs), run, resume=True)
    assert losses(run) == before
    assert {cut.step for cut in result.memory_cuts} == {1}
    state = json.loads((run / "checkpoints" / "step-000004" / "state.json").read_text())
    assert [MemoryCut(**cut) for cut in state["cuts"]] == result.memory_cuts


def test_single_sequence_that_is_too_much_ends_the_run_with_a_checkpoint(inputs, limited, tmp_path):
    limited(0, after=3)
    with pytest.raises(TooLittleMemoryError) as raised:
        finetune(recipe_of(inputs, **{"runtime.save_steps": None}), tmp_path / "run")
    (line,) = raised.value.problems
    done = len(losses(tmp_path / "run"))
    assert (raised.value.exit_code, done) == (5, 3)
    assert f"step {done + 1}: the memory is not enough for one sequence at a time (CUDA out of memory" in line
    assert f"step-{done:06d} is whole" in line and "--resume goes on on a device with more memory" in line
    limited(100)
    assert finetune(recipe_of(inputs), tmp_path / "run", resume=True).steps == 6


def test_checkpoint_without_the_memory_ends_a_process_whose_others_are_saving_it_as_well(tmp_path, monkeypatch):
    """It would ask them for another thing than they ask of it. A process alone goes on to what was saved before."""

    def save(session, state):
        raise MemoryError("no room to save")

    monkeypatch.setattr(stopped, "save", save)
    plan, run, state = SimpleNamespace(total_steps=9), RunDirectory(tmp_path), SimpleNamespace(step=3)
    alone, two = (SimpleNamespace(plan=plan, run=run, accelerator=SimpleNamespace(num_processes=number)) for number in (1, 2))
    assert stopped._saved(alone, state) == ""
    with pytest.raises(MemoryError, match="no room to save"):
        stopped._saved(two, state)


def test_error_that_says_nothing_of_memory_is_not_swallowed(inputs, limited, tmp_path):
    limited(5, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1"):
        finetune(recipe_of(inputs), tmp_path / "run")


def test_what_torch_says_of_memory_is_told_from_other_errors():
    assert all(map(is_out_of_memory, (GPU, CPU, OTHER_CPU, MemoryError(), RuntimeError("CUDA error: out of memory"))))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


@pytest.mark.parametrize("packed", [True, False])
def test_every_halving_cuts_the_largest_batch_and_ends_at_one_sequence(packed):
    rng = np.random.default_rng(0)
    for _ in range(200):
        lengths = np.sort(rng.integers(1, 60, rng.integers(1, 30)))[::-1]
        tokens, everything, sizes = int(rng.integers(1, 5000)), np.arange(len(lengths)), []
        while tokens:
            batches = micro_batches(everything, lengths, tokens, packed=packed)
            assert np.concatenate(batches).tolist() == everything.tolist()
            sizes.append(max([tokens_of(one, lengths, packed=packed) for one in batches if len(one) > 1], default=0))
            tokens = halved(tokens, batches, lengths, packed=packed)
        assert sizes == sorted(set(sizes), reverse=True) and sizes[-1] == 0


def test_evaluation_is_cut_as_well_and_scores_the_same(inputs, tmp_path, monkeypatch, capsys):
    recipe = recipe_of(inputs, **{"train.eval_steps": 2})
    expected = finetune(recipe, tmp_path / "whole")
    limit_evaluations(monkeypatch, 3)
    result = finetune(recipe, tmp_path / "cut")
    assert result.scores == expected.scores
    assert {(cut.during, cut.step) for cut in result.memory_cuts} == {("evaluation", 2)}
    assert capsys.readouterr().err.count("the memory is not enough to evaluate") == 1
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    predictor = load_predictor(str(tmp_path / "cut"), None, "auto")
    assert inference.evaluate(predictor, None)["scores"] == expected.scores and predictor.cuts
    limit_evaluations(monkeypatch, 0)
    rows = make_plan(recipe).examples["validation_matched"]
    for use in (lambda: inference.evaluate(predictor, None), lambda: list(inference.label_rows(predictor, rows))):
        with pytest.raises(TooLittleMemoryError, match=r"one sequence of \d+ tokens \(CUDA out of memory"):
            use()


def test_evaluation_whose_single_sequence_is_too_much_ends_with_the_checkpoint_of_the_last_step(inputs, tmp_path, monkeypatch):
    limit_evaluations(monkeypatch, 0)
    with pytest.raises(TooLittleMemoryError, match=r"one sequence of \d+ tokens .*step-000006 is whole"):
        finetune(recipe_of(inputs), tmp_path / "run")


TESTS = str(Path(__file__).parents[1])
TWO = """
import os, pytest
from limited_memory import PLACE, Limited, limit_evaluations
if os.environ["RANK"] == "1":
    {limit}
from debft.__main__ import main
main()
"""


def said_by_two(typed, output, limit, code):
    """What two processes say, of which the second has little memory; both end with that code."""
    pair = start_two(*typed, "--output", output, code=TWO.format(limit=limit), PYTHONPATH=TESTS)
    said = [one.communicate()[1] for one in pair]
    assert [one.returncode for one in pair] == [code, code], said
    assert "Traceback" not in said[0] + said[1]
    return said


@pytest.mark.sweep
def test_second_process_without_the_memory_cuts_both_and_the_losses_stay(inputs, tmp_path):
    """One process does its part again, of whose gradients it has sent some, and the other waits; from the next step on both have
    the same limit."""
    data, model = inputs
    typed = ("mnli", "--recipe", "demo", "--model", model, "--data", data, "--train-batch-size", 16, "--max-steps", 6)
    typed += ("--set", "runtime.micro_batch_tokens=200", "--save-steps", 2)
    finetune(recipe_of(inputs, **{"runtime.micro_batch_tokens": 200}), tmp_path / "alone")
    for rows, code in ((3, 0), (0, 5)):
        limit = f"pytest.MonkeyPatch().setattr(PLACE, Limited({rows}, after=2, backward=True))"
        said = said_by_two(typed, tmp_path / str(rows), limit, code)
    assert losses(tmp_path / "3") == pytest.approx(losses(tmp_path / "alone"), abs=SAME)
    result = RunDirectory(tmp_path / "3").result()
    assert [cut.before for cut in result.memory_cuts][:1] == [200] and {cut.step for cut in result.memory_cuts} == {3}
    assert "in another process; " in said[0] and "step-000002 is whole" in said[0]


@pytest.mark.sweep
def test_second_process_without_the_memory_for_an_evaluation_cuts_both_and_the_scores_stay(inputs, tmp_path):
    data, model = inputs
    typed = ("mnli", "--recipe", "demo", "--model", model, "--data", data, "--train-batch-size", 16, "--max-steps", 4)
    typed += ("--set", "runtime.micro_batch_tokens=200", "--eval-steps", 2)
    said_by_two(typed, tmp_path / "whole", "pass", 0)
    for rows, code in ((2, 0), (0, 5)):
        said = said_by_two(typed, tmp_path / str(rows), f"limit_evaluations(pytest.MonkeyPatch(), {rows})", code)
    whole, cut = (RunDirectory(tmp_path / name).result() for name in ("whole", "2"))
    assert cut.scores == whole.scores and cut.model_files == whole.model_files
    assert {(one.during, one.step) for one in cut.memory_cuts} == {("evaluation", 2)}
    assert "the memory is not enough for one sequence of" in said[0] and "step-000002 is whole" in said[0]
