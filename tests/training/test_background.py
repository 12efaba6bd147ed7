"""Checkpoints between the steps are written by a thread, and are those that a run which waits for them writes."""

import errno
import json
import os
import threading
from types import SimpleNamespace

import pytest
import torch
from processes import SECONDS as SECONDS_OF_RUN
from processes import start_two
from test_finetune import tiny_recipe

import debft.runs.checkpoint
import debft.training.background
import debft.training.checkpoints
import debft.training.train
from debft.errors import MachineError, NotFiniteError
from debft.runs.checkpoint import checkpoints
from debft.runs.directory import RunDirectory
from debft.runs.storage import DiskError
from debft.training.background import Background, HostCopy, host_copy
from debft.training.run import finetune

SECONDS = 60.0  # after which a thread that waits for another one gives up, and the test fails


def recipe_of(inputs, **changes):
    """Five steps, a checkpoint at the second and at the fourth, no evaluation between them."""
    data, model = inputs
    usual = {"model": str(model), "train.max_steps": 5, "runtime.save_steps": 2, "train.eval_steps": None}
    return tiny_recipe(data, **usual | {"runtime.keep_checkpoints": 3, "runtime.micro_batch_tokens": 200} | changes)


def instead(patch, before):
    """Call `before(name)` ahead of every checkpoint that is written."""
    write = debft.runs.checkpoint.write_checkpoint

    def write_after(directory, name, snapshot):
        before(name)
        return write(directory, name, snapshot)

    patch.setattr(debft.runs.checkpoint, "write_checkpoint", write_after)


def after_each_step(patch, do):
    """Call `do(session, step)` behind every step."""
    record = debft.training.train.record

    def record_and_do(session, state, log, progress):
        record(session, state, log, progress)
        do(session, log.step)

    patch.setattr(debft.training.train, "record", record_and_do)


@pytest.fixture(scope="module")
def overlapping(inputs, tmp_path_factory):
    """A run whose every checkpoint is written once the step behind it is done, and the names of the threads that wrote."""
    done, writers = {step: threading.Event() for step in range(1, 6)}, {}

    def wait_for_the_next_step(name):
        step = int(name[-6:])
        writers[step] = threading.current_thread().name
        assert step == 5 or done[step + 1].wait(SECONDS)

    with pytest.MonkeyPatch.context() as patch:
        instead(patch, wait_for_the_next_step)
        after_each_step(patch, lambda session, step: done[step].set())
        run = RunDirectory(tmp_path_factory.mktemp("overlapping") / "run")
        finetune(recipe_of(inputs), run.path)
    return run, writers


@pytest.fixture(scope="module")
def waiting(inputs, tmp_path_factory):
    """The run that has no memory for a copy, and what it said of that."""
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(debft.training.background, "available_memory_bytes", lambda: 1000)
        patch.setattr(debft.training.background, "say", said.append)
        run = RunDirectory(tmp_path_factory.mktemp("waiting") / "run")
        finetune(recipe_of(inputs), run.path)
    return run, said


def test_checkpoints_between_the_steps_are_written_by_a_thread_and_the_last_one_is_waited_for(overlapping):
    main = threading.main_thread().name
    assert overlapping[1] == {2: "checkpoint", 4: "checkpoint", 5: main}


@pytest.mark.parametrize("step", [2, 4])
@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors"])
def test_checkpoint_that_is_written_behind_the_next_step_has_the_bytes_of_one_that_is_waited_for(overlapping, waiting, step, file):
    there, here = (run.checkpoints / f"step-{step:06d}" / file for run in (waiting[0], overlapping[0]))
    assert there.read_bytes() == here.read_bytes()


@pytest.mark.parametrize("step", [2, 4])
def test_checkpoint_that_is_written_behind_the_next_step_has_the_lines_and_counts_of_its_own(overlapping, waiting, step):
    folders = [run.checkpoints / f"step-{step:06d}" for run in (waiting[0], overlapping[0])]
    for folder in folders:
        logged = [json.loads(line)["step"] for line in (folder / "steps.jsonl").read_text().splitlines()]
        assert logged == list(range(1, step + 1))
    there, here = (json.loads((folder / "state.json").read_text()) for folder in folders)
    differing = {key for key in there if there[key] != here[key]}
    assert here["step"] == step and differing <= {"run", "train_seconds", "sessions"}


def test_exit_leaves_no_thread_and_nothing_half_written(overlapping):
    assert not [thread for thread in threading.enumerate() if thread.name == "checkpoint"]
    assert not list(overlapping[0].path.rglob("*.partial"))


def test_too_little_memory_for_a_copy_is_said_once(waiting):
    (line,) = waiting[1]
    assert line.startswith("warning: too little memory is free for a copy of weights and optimizer state, ")
    assert line.endswith("training waits while a checkpoint is written")


def test_first_checkpoint_that_is_refused_ends_the_run_behind_the_next_step(inputs, tmp_path, monkeypatch):
    """As there is no other one. The step behind it waits here until the disk has refused, which a run does not."""
    refused = threading.Event()

    def refuse(name):
        raise DiskError(f"{name}: cannot be written: No space left on device")

    def wait(session, step):
        if step == 3:
            session.saving._thread.join(SECONDS)
            refused.set()

    instead(monkeypatch, refuse)
    after_each_step(monkeypatch, wait)
    with pytest.raises(MachineError, match="step-000002: cannot be written: No space left on device; make room"):
        finetune(recipe_of(inputs), tmp_path / "run")
    assert refused.is_set() and len((tmp_path / "run" / "steps.jsonl").read_text().splitlines()) == 3


def test_write_in_flight_is_waited_for_where_the_run_ends_by_another_error(inputs, tmp_path, monkeypatch):
    began, ending = threading.Event(), threading.Event()

    def wait(name):
        began.set()
        assert ending.wait(SECONDS)

    def fail(session, step):
        if step == 3:
            assert began.wait(SECONDS)
            threading.Timer(0.2, ending.set).start()  # by then the error is on its way
            raise OSError(errno.EIO, os.strerror(errno.EIO), "steps.jsonl")

    instead(monkeypatch, wait)
    after_each_step(monkeypatch, fail)
    with pytest.raises(MachineError, match=r"steps\.jsonl"):
        finetune(recipe_of(inputs), tmp_path / "run")
    assert [path.name for path in checkpoints(tmp_path / "run" / "checkpoints")] == ["step-000002"]


def test_evaluation_waits_for_the_write_in_flight(inputs, tmp_path, monkeypatch):
    """It may remove the best weights that the checkpoint names."""
    began, order = threading.Event(), []

    def wait(name):
        began.set()
        threading.Event().wait(0.3)
        order.append(name)

    evaluate = debft.training.evaluations.predict_splits

    def note(*arguments, **options):
        order.append("evaluation")
        return evaluate(*arguments, **options)

    instead(monkeypatch, wait)
    monkeypatch.setattr(debft.training.evaluations, "predict_splits", note)
    finetune(recipe_of(inputs, **{"train.eval_steps": 3, "train.max_steps": 4}), tmp_path / "run")
    assert order[:2] == ["step-000002", "evaluation"]


REFUSED = """
import debft.runs.checkpoint
from debft.__main__ import main
from debft.runs.storage import DiskError

def refuse(directory, name, snapshot):
    raise DiskError(f"{directory}: cannot be written: No space left on device")

debft.runs.checkpoint.write_checkpoint = refuse
main()
"""


@pytest.mark.sweep
def test_first_checkpoint_that_is_refused_ends_both_processes_of_a_run_in_one_line(inputs, tmp_path):
    """Process 1 hears of it with the figures of a step. Where process 0 is slow it is the last step's, whose own is refused too."""
    data, model = inputs
    typed = ("mnli", "--data", data, "--model", model, "--from-scratch", "--recipe", "demo", "--max-steps", 400, "--save-steps", 2)
    pair = start_two(*typed, "--output", tmp_path / "run", "--train-batch-size", 4, code=REFUSED)
    said = [process.communicate(SECONDS_OF_RUN)[1] for process in pair]
    assert [process.returncode for process in pair] == [5, 5], said
    assert said[0].splitlines()[-1].startswith(f"{tmp_path / 'run' / 'checkpoints'}: cannot be written: No space left")
    assert "cannot be written" not in said[1] and "Traceback" not in said[0] + said[1]
    assert len((tmp_path / "run" / "steps.jsonl").read_text().splitlines()) < 400


def disk_error():
    raise DiskError("runs/x: cannot be written: No space left on device")


def test_work_waits_for_the_work_before_it():
    background, done, go = Background(), [], threading.Event()
    background.begin(lambda: (go.wait(SECONDS), done.append(1)))
    threading.Timer(0.1, go.set).start()
    background.begin(lambda: done.append(2) if done == [1] else None)
    background.finish()
    assert done == [1, 2]


@pytest.mark.parametrize("error", [DiskError("x: full"), NotFiniteError("step 3: inf"), ValueError("a bug")])
def test_error_of_the_work_is_raised_once_by_who_waits_for_it(error):
    def fail():
        raise error

    background = Background()
    background.begin(fail)
    background._thread.join()
    assert background.failed()
    with pytest.raises(type(error)) as raised:
        background.finish()
    assert raised.value is error and not background.failed()
    background.finish()


def test_refusal_is_said_where_the_run_ends_for_another_reason(capsys):
    background = Background()
    background.begin(disk_error)
    background.close()
    assert capsys.readouterr().err == "warning: runs/x: cannot be written: No space left on device\n"


def test_bug_in_the_work_is_raised_where_the_run_ends():
    background = Background()
    background.begin(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        background.close()


def tensors():
    torch.manual_seed(0)
    kinds = {"float": torch.randn(3, 5), "scalar": torch.tensor(3.0), "none": torch.empty(0, 4), "whole": torch.arange(7)}
    return kinds | {"bool": torch.tensor([True, False]), "half": torch.randn(9).bfloat16(), "turned": torch.randn(2, 3).t()}


def test_copy_is_of_the_tensors_as_they_were():
    parts = [tensors(), {"more": torch.ones(2, requires_grad=True)}]
    copy = HostCopy(parts)
    with torch.no_grad():
        for part in parts:
            for tensor in part.values():
                tensor.zero_()
    first, second = copy.parts()
    assert {name: tensor.tolist() for name, tensor in first.items()} == {name: t.tolist() for name, t in tensors().items()}
    assert {name: tensor.dtype for name, tensor in first.items()} == {name: tensor.dtype for name, tensor in tensors().items()}
    assert torch.equal(second["more"], torch.ones(2))


@pytest.mark.parametrize(("available", "is_made"), [(None, True), (2 * 4096, True), (2 * 4096 - 1, False)])
def test_copy_takes_at_most_half_of_the_memory_that_is_free(monkeypatch, available, is_made):
    monkeypatch.setattr(debft.training.background, "available_memory_bytes", lambda: available)
    assert (host_copy([{"a": torch.zeros(768)}], beside=1024) is not None) == is_made


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error: out of memory")])
def test_copy_that_finds_no_memory_is_not_made(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(debft.training.background, "torch", SimpleNamespace(empty=fail, uint8=torch.uint8))
    assert host_copy([{"a": torch.zeros(3)}]) is None


@pytest.mark.gpu
def test_copy_from_a_gpu_is_of_the_tensors_as_they_were_when_it_was_enqueued():
    weight = torch.zeros(2**24, device="cuda")
    for number in range(1, 20):
        weight.fill_(number)
        copy = HostCopy([{"weight": weight}])
        weight.fill_(-1)
        assert torch.equal(copy.parts()[0]["weight"], torch.full((2**24,), float(number)))
