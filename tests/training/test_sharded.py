"""A model of which each process holds a part trains as one that each holds whole, and leaves the same files.

The processes are real ones; what they exchange is torch's affair.
"""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from conftest import write_mnli
from processes import FORKING, Command, start_two
from safetensors.torch import load_file
from sharded import KINDS, trained
from test_finetune import lines, tiny_recipe, weights

from debft.errors import InputError, MachineError
from debft.models.shards import check_may_cut, shard_model
from debft.runs.directory import RunDirectory
from debft.training.run import finetune

CLOSE = 1e-6  # the order of sums: float32 has 6e-8 of a number near 1


def test_losses_and_weights_are_those_of_the_whole_model_and_each_process_holds_half(tmp_path):
    processes = start_two(code=f"from sharded import be_a_process\nbe_a_process({str(tmp_path)!r})")
    for process in processes:
        _, err = process.communicate()
        assert process.returncode == 0, err
    for kind in KINDS:
        losses, expected, (_, state) = trained(kind, shard=False)
        found = load_file(tmp_path / f"{kind}.safetensors")
        ranks = [json.loads((tmp_path / f"{kind}-{rank}.json").read_text()) for rank in range(2)]
        assert ranks[0]["losses"] == ranks[1]["losses"] == pytest.approx(losses, rel=CLOSE)
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=CLOSE, msg=f"{kind}: {name}")
        for one in ranks:
            assert one["held"][1] < 0.55 * state
        assert found.keys() == expected.keys()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(the options of a run, a directory with the run done plain, and by two processes that share the model out)."""
    root = tmp_path_factory.mktemp("sharded")
    recipe = tiny_recipe(
        write_mnli(root / "data"),
        **{
            "train.train_batch_size": 33,
            "train.max_steps": 6,
            "train.adam_epsilon": 1e-3,
            "train.eval_steps": 3,
            "train.checkpoint": "best",
            "runtime.save_steps": 2,
            "runtime.keep_checkpoints": 4,
        },
    )
    finetune(recipe, root / "plain")
    options = ("mnli", "--recipe", root / "plain" / "recipe.yaml", "--set", "runtime.shard=true")
    ended(start_two(*options, "--output", root / "sharded"))
    return options, root


def ended(processes):
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said[0]


def cut_back(run: Path, to: Path, step: int) -> RunDirectory:
    """A copy of a run as it was after a checkpoint."""
    shutil.copytree(run, to)
    for path in (to / "checkpoints").glob("step-*"):
        if int(path.name[5:]) > step:
            shutil.rmtree(path)
    (to / "result.json").unlink()
    return RunDirectory(to)


def largest_difference(one: Path, other: Path) -> float:
    a, b = weights(RunDirectory(one)), weights(RunDirectory(other))
    assert a.keys() == b.keys()
    return max(float((tensor - b[name]).abs().max()) for name, tensor in a.items())


def test_sharded_run_leaves_what_a_plain_one_leaves(runs):
    _, root = runs
    plain, sharded = RunDirectory(root / "plain"), RunDirectory(root / "sharded")
    assert largest_difference(plain.path, sharded.path) < CLOSE
    assert (plain.result().paths.sharded_over, sharded.result().paths.sharded_over) == (1, 2)
    assert sharded.result().scores == plain.result().scores
    assert sharded.result().model_files.keys() == plain.result().model_files.keys()
    assert (sharded.model / "config.json").read_text() == (plain.model / "config.json").read_text()
    for path in sorted(plain.checkpoints.glob("*/*.safetensors")):
        ours, theirs = load_file(sharded.checkpoints / path.relative_to(plain.checkpoints)), load_file(path)
        assert {name: tensor.shape for name, tensor in ours.items()} == {name: tensor.shape for name, tensor in theirs.items()}


def test_killed_sharded_run_goes_on_bit_for_bit(runs, tmp_path):
    options, root = runs
    where = tmp_path / "reached"
    processes = start_two(
        *options, "--output", tmp_path / "run", code=FORKING, TEST_POINT="step:5", TEST_REACHED=str(where), TEST_WAITS="60"
    )
    while not where.exists():
        assert processes[0].poll() is None, processes[0].texts()[1]
        time.sleep(0.05)
    for process in processes:
        process.kill()
        process.communicate()
    ended(start_two(*options, "--output", tmp_path / "run", "--resume"))
    assert largest_difference(tmp_path / "run", root / "sharded") == 0.0
    expected = [log["loss"] for log in lines(root / "sharded" / "steps.jsonl")]
    assert [log["loss"] for log in lines(tmp_path / "run" / "steps.jsonl")] == expected


def test_checkpoint_of_a_sharded_run_goes_on_in_one_process(runs, tmp_path):
    _, root = runs
    run = cut_back(root / "sharded", tmp_path / "run", 4)
    finetune(run.recipe(), run.path, resume=True)
    assert largest_difference(run.path, root / "plain") < CLOSE
    assert run.result().paths.sharded_over == 1
    assert len(run.result().sessions) == 2


@pytest.mark.parametrize("begun", ["plain", pytest.param("sharded", marks=pytest.mark.sweep)])
def test_any_checkpoint_goes_on_in_three_processes_that_share_the_model_out(runs, tmp_path, begun):
    _, root = runs
    run = cut_back(root / begun, tmp_path / "run", 4)
    more = ("--resume", "--set", "runtime.shard=true", "--num-processes", 3)
    ended([Command("mnli", "--output", run.path, *more, code=FORKING)])
    assert largest_difference(run.path, root / "plain") < CLOSE
    assert run.result().paths.sharded_over == 3


def test_model_without_layers_is_refused_by_its_kind():
    model = torch.nn.Linear(2, 2)
    model.config = type("Config", (), {"model_type": "xlnet"})()
    with pytest.raises(
        InputError, match=r"runtime.shard: expected a model whose layers .* transformers' xlnet is none; leave it out"
    ):
        shard_model(model, torch.device("cpu"), 2)


def test_memory_that_is_not_enough_says_what_to_type(monkeypatch):
    check_may_cut(None, "step 3", 2048, 1024, MemoryError("no room"))  # a process that holds the whole model cuts them itself
    monkeypatch.setattr("debft.models.shards.is_sharded", lambda model: True)
    with pytest.raises(MachineError) as error:
        check_may_cut(None, "step 3", 2048, 1024, MemoryError("no room"))
    assert str(error.value) == (
        "step 3: the memory is not enough for 2,048 tokens at once (no room), and with runtime.shard no process cuts them alone; "
        "the same command with --set runtime.micro_batch_tokens=1024 --resume goes on"
    )
    with pytest.raises(MachineError, match=r"enough for one sequence at a time \(no room\).* with --resume and more processes"):
        check_may_cut(None, "evaluation", 2048, 0, MemoryError("no room"))
