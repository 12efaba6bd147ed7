"""Two processes that agree: an error of one is the error of both, and process 0 alone knows the run directory."""

import json
import shutil

import pytest
from conftest import write_mnli
from processes import start_two
from sealing import seal_recipe
from test_finetune import lines, tiny_recipe, weights

from debft.errors import InputError, MachineError
from debft.runs.directory import RunDirectory
from debft.training.parallel import (
    broadcast_from_main,
    broadcast_tensors_from_main,
    check_same_on_all_ranks,
    raise_together,
    report_lost_rank,
)
from debft.training.run import finetune


def two(*arguments, **options) -> list[tuple[int, str, str]]:
    """(exit code, stdout, stderr) of two processes as torchrun starts them on two machines, each in a folder of its own."""
    processes = start_two(*arguments, **options)
    said = [process.communicate() for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]


EXCHANGES = """
import json, os, torch
from debft.training.parallel import report_lost_rank, broadcast_from_main, check_same_on_all_ranks, broadcast_tensors_from_main, raise_together, run_on_main
from debft.errors import DebftError, InputError, MachineError
rank = int(os.environ["RANK"])
def caught(do):
    try:
        return do()
    except DebftError as error:
        return [type(error).__name__, error.exit_code, list(error.problems)]
def fail(kind, ranks):
    if rank in ranks: raise kind(f"disk of {rank}: full")
    return "built"
print(json.dumps({
    "whole": caught(lambda: raise_together(lambda: rank)),
    "second": caught(lambda: raise_together(lambda: fail(MachineError, [1]))),
    "both": caught(lambda: raise_together(lambda: fail(InputError, [0, 1]))),
    "main": caught(lambda: run_on_main(lambda: rank)),
    "main fails": caught(lambda: run_on_main(lambda: fail(MachineError, [0, 1]))),
    "same": caught(lambda: check_same_on_all_ranks(lambda: {"code": "a"})),
    "different": caught(lambda: check_same_on_all_ranks(lambda: {"code": "a", "rows": f"r{rank}"})),
    "first": broadcast_from_main({"rank": rank}),
    "tensors": {k: t.tolist() for k, t in broadcast_tensors_from_main({"w": torch.arange(3.), "step": torch.tensor(7.)} if rank == 0 else {}).items()},
}))
"""


def test_error_fact_or_tensor_of_one_process_is_that_of_both():
    (code0, out0, err0), (code1, out1, err1) = two(code=EXCHANGES)
    assert (code0, code1) == (0, 0), err0 + err1
    first, second = json.loads(out0), json.loads(out1)
    assert (first["whole"], second["whole"]) == (0, 1)
    assert first["second"] == ["MachineError", 5, ["process 1: disk of 1: full"]]
    assert second["second"] == ["MachineError", 5, []]  # one process says it
    assert first["both"] == ["InputError", 2, ["disk of 0: full"]]
    assert (first["main"], second["main"]) == (0, None)
    assert (first["main fails"][2], second["main fails"][:2]) == (["disk of 0: full"], ["MachineError", 5])
    assert first["same"] is None
    assert first["different"][2] == [
        "process 1: expected the rows of process 0, r0, got r1; start every process from the same files, packages and options"
    ]
    assert first["first"] == second["first"] == {"rank": 0}
    assert first["tensors"] == second["tensors"] == {"w": [0.0, 1.0, 2.0], "step": 7.0}


def test_one_process_agrees_with_itself(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert raise_together(lambda: 3) == broadcast_from_main(3) == 3
    assert broadcast_tensors_from_main({}) == {}
    check_same_on_all_ranks(lambda: pytest.fail("nothing to compare"))
    with pytest.raises(InputError, match="plain"):
        raise_together(lambda: (_ for _ in ()).throw(InputError("plain")))


@pytest.mark.parametrize(("rank", "raised"), [("1", MachineError), (None, RuntimeError)])
def test_lost_process_is_a_failure_of_the_machine(monkeypatch, rank, raised):
    """The text is gloo's of torch 2.13; an error of one process alone stays what it is."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank) if rank else monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(raised, match=r"Connection closed by peer \[127.0.0.1\]:43912"), report_lost_rank(lambda: "it stays"):
        raise RuntimeError("[/pytorch/gloo/transport/tcp/pair.cc:537] Connection closed by peer [127.0.0.1]:43912")


TINY = (
    "mnli",
    "--recipe",
    "demo",
    "--train-batch-size",
    16,
    "--set",
    "runtime.micro_batch_tokens=200",
    "--num-train-epochs",
    2,
    "--save-steps",
    5,
    "--data",
    "data",
    "--output",
    "run",
)


@pytest.mark.sweep
def test_second_machine_without_the_checkpoint_goes_on_from_that_of_the_first(tmp_path):
    """Moments, weights and step come from process 0: the end is that of a run that one process did alone, to rounding."""
    first, second = tmp_path / "first", tmp_path / "second"
    write_mnli(first / "data")
    shutil.copytree(first / "data", second / "data")
    run = RunDirectory(first / "run")
    finetune(tiny_recipe(first / "data", **{"runtime.save_steps": 5, "runtime.keep_checkpoints": 3}), run.path)
    alone = weights(run)
    seal_recipe(run.path, str(first / "data"), "data")
    (run.path / "result.json").unlink()
    for step in (10, 14):
        shutil.rmtree(run.checkpoints / f"step-{step:06d}")
    results = two(*TINY, "--resume", folders=(first, second))
    assert [code for code, *_ in results] == [0, 0], results
    assert "resuming after step 5 of 14" in results[0][2]
    assert [log["step"] for log in lines(run.path / "steps.jsonl")] == list(range(1, 15))
    assert not (second / "run").exists()
    sessions = run.result().sessions
    assert [(one.from_step, one.environment["num_processes"]) for one in sessions] == [(0, 1), (5, 2)]
    for name, tensor in weights(run).items():  # as test_several_processes_equal_one: another order of sums
        assert tensor.sub(alone[name]).abs().max() < 1e-4, name


def test_rows_tokens_code_and_model_are_compared_before_training(tmp_path, tiny_data, monkeypatch):
    class Seen(Exception):
        pass

    def see(facts):
        raise Seen(facts())

    monkeypatch.setattr("debft.training.opening.check_same_on_all_ranks", see)
    with pytest.raises(Seen) as seen:
        finetune(tiny_recipe(tiny_data), tmp_path / "run")
    facts = seen.value.args[0]
    assert {"code of debft", "version of torch", "precision", "train", "sift", "configuration of the model"} <= set(facts)
    assert {"rows of train", "tokens of train", "rows of validation_matched", "tokens of validation_matched"} <= set(facts)
    assert not (tmp_path / "run").exists()
    write_mnli(tiny_data, train=99)
    with pytest.raises(Seen) as again:
        finetune(tiny_recipe(tiny_data), tmp_path / "run")
    changed = {name for name, fact in again.value.args[0].items() if fact != facts[name]}
    assert changed == {"rows of train", "tokens of train"}
