"""No run is lost on a disk: a full one, a power cut, damaged files, another process, another version."""

import errno
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import write_mnli
from json_schemas import wrong
from safetensors.torch import load_file

import debft.training.disk
import debft.training.evaluations
import debft.training.run
import debft.training.train
from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import with_train
from debft.config.schema import schema
from debft.errors import InputError, MachineError
from debft.runs.directory import RunDirectory
from debft.runs.holding import hold
from debft.runs.result import FORMAT_VERSION, RunResult
from debft.runs.seal import sealed, sealed_lines
from debft.scoring.used_model import recipe_of
from debft.training.place import check_output
from debft.training.plan import make_plan
from debft.training.run import finetune


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Four steps, a checkpoint and an evaluation at the second, the best of the evaluations reported."""
    settings = {
        "task": "mnli",
        "data": str(write_mnli(tmp_path_factory.mktemp("rows"), train=64, dev=8)),
        "train.max_steps": 4,
        "train.train_batch_size": 16,
        "train.eval_steps": 2,
        "train.checkpoint": "best",
        "runtime.save_steps": 2,
    }
    return load_recipe(recipe_path("demo"), settings)


@pytest.fixture(scope="module")
def needs():
    """What the runs so far said that they need on the disk."""
    return []


@pytest.fixture(scope="module")
def through(recipe, tmp_path_factory, needs):
    """The uninterrupted run. Not to be changed; see `copy`."""
    run = RunDirectory(tmp_path_factory.mktemp("through") / "run")
    disk_need = debft.training.disk.disk_need
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(debft.training.disk, "disk_need", lambda *about: needs.append(disk_need(*about)) or needs[-1])
        finetune(recipe, run.path)
    return run


@pytest.fixture
def copy(through, tmp_path):
    shutil.copytree(through.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def unfinished(run):
    """The run as it was when its last step was done."""
    (run.path / "result.json").unlink()
    shutil.rmtree(run.path / "predictions")
    shutil.rmtree(run.model)
    return run


def check_same(run, through):
    """The same weights, scores and logs, save for the seconds: one process on one machine gives the same bits."""
    result, expected = run.result(), through.result()
    there, here = (load_file(one.model / "model.safetensors") for one in (through, run))
    assert all(torch.equal(there[name], here[name]) for name in there)
    assert result.scores == expected.scores
    assert run.logs.training_scores(result) == through.logs.training_scores(expected)


def files(run):
    return {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}


CALLS = ("mkdir", "rename", "replace", "fsync", "write")


def refuse(monkeypatch, output, matches, number=errno.ENOSPC):
    """From the first call on whose path or file below `output` matches, the disk takes nothing more."""
    refused = []

    def guarded(real):
        def call(first, *rest, **options):
            path = Path(f"/proc/self/fd/{first}").readlink() if isinstance(first, int) else os.fspath(first)
            target = os.fspath(rest[0]) if rest and real.__name__ in ("rename", "replace") else path
            inside = str(path).startswith(str(output))
            if inside and (refused or re.search(matches, f"{real.__name__} {target}")):
                refused.append(target)
                raise OSError(number, os.strerror(number))
            return real(first, *rest, **options)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    return refused


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc to tell which file is written")
@pytest.mark.parametrize(
    "matches", ["write .*steps.jsonl", "rename .*best-000002", "rename .*step-000002", "replace .*result.json"]
)
def test_disk_that_fills_up_ends_the_run_in_one_line_and_resume_gives_the_same_weights(
    matches, recipe, through, tmp_path, monkeypatch
):
    run = RunDirectory(tmp_path / "out" / "run")
    with monkeypatch.context() as patch:
        refused = refuse(patch, tmp_path / "out", matches)
        with pytest.raises(MachineError) as raised:
            finetune(recipe, run.path)
    assert refused
    (line,) = raised.value.problems
    assert line.startswith(str(tmp_path / "out")) and "cannot be written: No space left on device" in line
    assert "\n" not in line and line.endswith("--resume goes on") and raised.value.exit_code == 5
    assert not list(tmp_path.rglob("*.partial")) and not (run.path / "result.json").exists()
    finetune(recipe, run.path, resume=True)
    check_same(run, through)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc to tell which file is written")
def test_last_step_without_room_for_its_checkpoint_is_said_and_evaluated(recipe, through, tmp_path, monkeypatch, capsys):
    import debft.runs.checkpoint

    save = debft.runs.checkpoint.write_checkpoint

    def full_for_a_while(directory, name, *rest):
        with monkeypatch.context() as patch:
            if name == "step-000004":
                refuse(patch, tmp_path / "run" / "checkpoints", "mkdir")
            return save(directory, name, *rest)

    monkeypatch.setattr(debft.runs.checkpoint, "write_checkpoint", full_for_a_while)
    finetune(recipe, tmp_path / "run")
    assert "No space left on device: the last step has no checkpoint; going on" in capsys.readouterr().err
    check_same(RunDirectory(tmp_path / "run"), through)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc to tell which file is written")
def test_checkpoint_without_room_is_a_warning_where_the_one_before_it_is_whole(recipe, through, tmp_path, monkeypatch, capsys):
    import debft.runs.checkpoint

    save = debft.runs.checkpoint.write_checkpoint

    def full_for_a_while(directory, name, *rest):
        with monkeypatch.context() as patch:
            if name == "step-000003":
                refuse(patch, tmp_path / "run" / "checkpoints", "mkdir")
            return save(directory, name, *rest)

    monkeypatch.setattr(debft.runs.checkpoint, "write_checkpoint", full_for_a_while)
    run = RunDirectory(tmp_path / "run")
    finetune(replace(recipe, runtime=replace(recipe.runtime, save_steps=1)), run.path)
    said = "No space left on device: step 3 has no checkpoint, the newest is step-000002; training goes on"
    assert f"warning: {run.checkpoints}: cannot be written: {said}" in capsys.readouterr().err
    assert sorted(path.name for path in run.checkpoints.glob("step-*")) == ["step-000002", "step-000004"]
    check_same(run, through)


def test_every_file_of_a_run_has_the_mode_that_the_umask_leaves(through):
    modes = {oct(path.stat().st_mode & 0o777) for path in through.path.rglob("*") if path.is_file() and path.name != ".lock"}
    assert modes == {oct((through.path / "steps.jsonl").stat().st_mode & 0o777)}


def test_disk_need_is_what_the_run_then_has_on_the_disk(through, needs):
    """To 2 %: headers of safetensors, state.json and the manifest are not counted."""
    size = lambda folder: sum(path.stat().st_size for path in folder.iterdir())  # noqa: E731
    (need,) = needs
    assert need.checkpoint == pytest.approx(size(through.checkpoints / "step-000004"), rel=0.02)
    assert need.best == pytest.approx(2 * size(next(through.checkpoints.glob("best-*"))), rel=0.02)
    assert need.model == pytest.approx(size(through.model), rel=0.1)  # most of it is the tokenizer, which is estimated
    assert (need.at_once, need.kept) == (2, 2)
    assert need.total > sum(path.stat().st_size for path in through.path.rglob("*") if path.suffix == ".safetensors")


def free_disk(monkeypatch, free):
    monkeypatch.setattr(debft.training.disk.shutil, "disk_usage", lambda path: SimpleNamespace(total=10**9, free=free))


def test_run_that_cannot_fit_ends_before_its_first_step_and_leaves_nothing(recipe, tmp_path, monkeypatch):
    free_disk(monkeypatch, 2**20)
    with pytest.raises(
        MachineError, match=r"--output .*run: expected 4 MiB of free disk \(2 checkpoints of .*, got 1 MiB; "
    ) as raised:
        finetune(recipe, tmp_path / "run")
    assert raised.value.exit_code == 5 and list(tmp_path.iterdir()) == []


def test_run_that_is_overwritten_stays_where_the_new_one_cannot_fit(recipe, copy, monkeypatch):
    free_disk(monkeypatch, -(10**7))
    before = files(copy)
    with pytest.raises(MachineError, match="of free disk"):
        finetune(recipe, copy.path, overwrite=True)
    assert files(copy) == before


def test_run_that_goes_on_needs_no_room_for_what_it_has_already(recipe, copy, through, monkeypatch):
    free_disk(monkeypatch, 3 * 2**20)
    finetune(recipe, unfinished(copy).path, resume=True)
    check_same(copy, through)


def test_failing_final_evaluation_loses_no_step(recipe, through, tmp_path, monkeypatch):
    run = RunDirectory(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(debft.training.evaluations, "final_evaluation", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            finetune(recipe, run.path)
    monkeypatch.setattr(debft.training.train, "record", lambda *_: pytest.fail("a step was trained again"))
    finetune(recipe, run.path, resume=True)
    check_same(run, through)


@pytest.mark.parametrize("left", [b"", b'{"step": 1, "loss"'], ids=["empty", "half a line"])
def test_log_that_a_power_cut_shortened_is_taken_back_from_the_checkpoint(copy, through, recipe, left, capsys):
    run = unfinished(copy)
    (run.path / "steps.jsonl").write_bytes(left)
    finetune(recipe, run.path, resume=True)
    assert "steps.jsonl: is not what it was at step 4; taken back from the checkpoint" in capsys.readouterr().err
    check_same(run, through)


def test_short_log_beside_a_checkpoint_of_an_older_debft_is_refused(copy, recipe):
    """Which kept no copy of it: the run would end with exit code 0 and never be counted."""
    run = unfinished(copy)
    for path in run.checkpoints.glob("step-*"):
        for name in ("steps.jsonl", "evaluations.jsonl"):
            (path / name).unlink()
        manifest = json.loads((path / "manifest.json").read_text())
        kept = {name: digest for name, digest in manifest.items() if not name.endswith("jsonl")}
        (path / "manifest.json").write_text(json.dumps(kept))
    log = run.path / "steps.jsonl"
    log.write_text(log.read_text().splitlines(keepends=True)[0])
    with pytest.raises(InputError, match=r"steps\.jsonl: expected [\d,]+ tokens up to step 4.*lines are lost"):
        finetune(recipe, run.path, resume=True)


def test_result_comes_last_and_all_before_it_is_on_disk(copy, recipe, monkeypatch):
    """A power cut behind it finds the model, the predictions and the logs."""
    run, done = unfinished(copy), []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(os.fstat(handle).st_ino), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(Path(b).name), replace(a, b)))
    finetune(recipe, run.path, resume=True)
    before = done[: done.index("result.json")]
    needed = [path for folder in (run.model, run.path / "predictions") for path in folder.iterdir()]
    assert len(needed) > 5
    for path in (*needed, *run.logs.paths, run.model, run.path / "predictions", run.path):
        assert path.stat().st_ino in before, path


def test_run_is_refused_where_no_checkpoint_is_whole_and_its_logs_stay(copy, recipe):
    run = unfinished(copy)
    for path in run.checkpoints.glob("step-*"):
        (path / "model.safetensors").write_bytes(b"")
    before = [path.read_bytes() for path in run.logs.paths]
    with pytest.raises(InputError, match=r"found only damaged ones: step-000004 \(.*step-000002 \("):
        finetune(recipe, run.path, resume=True)
    assert [path.read_bytes() for path in run.logs.paths] == before


def test_added_field_of_a_state_or_result_is_no_damage(copy, through, recipe):
    path = copy.path / "result.json"
    path.write_text(json.dumps(sealed(json.loads(path.read_text()) | {"added": 1})))
    assert finetune(recipe, copy.path, resume=True) == through.result()


def test_result_of_a_run_fits_the_schema_of_results(through):
    assert wrong(json.loads((through.path / "result.json").read_text()), schema(RunResult, closed=False)) == []


def test_result_of_an_older_format_is_read_and_its_model_called_unchecked(copy, through, recipe, capsys):
    path = copy.path / "result.json"
    content = json.loads(path.read_text()) | {"format_version": 1}
    path.write_text(json.dumps({key: value for key, value in content.items() if key not in ("model_files", "run_files", "sha256")}))
    result = finetune(recipe, copy.path, resume=True)
    assert (result.scores, result.model_files, result.format_version) == (through.result().scores, None, FORMAT_VERSION)
    assert "not checked" in capsys.readouterr().err


def test_result_of_a_newer_format_is_refused_by_its_version_and_never_to_be_removed(copy):
    path = copy.path / "result.json"
    path.write_text(json.dumps({"format_version": FORMAT_VERSION + 1, "scores": "otherwise"}))
    with pytest.raises(
        InputError, match=rf"result.json: format {FORMAT_VERSION + 1} is newer than this debft reads \({FORMAT_VERSION}\)"
    ) as raised:
        copy.result()
    assert "upgrade" in str(raised.value) and "remove" not in str(raised.value)


def test_recipe_of_a_newer_debft_is_named_by_the_key_that_is_not_known(copy):
    path = copy.path / "recipe.yaml"
    path.write_bytes(
        sealed_lines(path.read_bytes().partition(b"\n")[2].replace(b"train:\n", b"train:\n  invented_later: 1\n"), None)
    )
    with pytest.raises(InputError, match=r"recipe\.yaml: train: unknown key 'invented_later'"):
        copy.recipe()


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_model_that_was_cut_is_refused_wherever_the_run_is_read(copy, recipe):
    (copy.model / "model.safetensors").write_bytes(b"")
    for use in (copy.result, lambda: check_output(copy, recipe, "resume"), lambda: recipe_of(copy)):
        with pytest.raises(InputError, match=r"model/model\.safetensors: expected what the run wrote, [\d,]+ bytes, got 0;"):
            use()


def test_model_with_other_weights_of_the_same_size_is_refused_before_it_is_used(copy, recipe, tmp_path):
    """Another run's, or a flipped bit: to show it as complete, to evaluate or predict with it, to start from it."""
    flip(copy.model / "model.safetensors")
    other = load_recipe(
        recipe_path("demo"), {"task": "rte", "data": "demo", "init_from": str(copy.path), "train.from_scratch": False}
    )
    for use in (lambda: check_output(copy, recipe, "resume"), lambda: recipe_of(copy), lambda: make_plan(other)):
        with pytest.raises(InputError, match=r"model/model\.safetensors: expected what the run wrote, sha256 "):
            use()


def test_complete_run_is_shown_and_said_to_be_complete(copy, through, recipe, capsys):
    assert finetune(recipe, copy.path, resume=True) == through.result()
    assert f"{copy.path}: already complete" in capsys.readouterr().err


def test_run_that_another_process_made_meanwhile_is_noticed_under_the_lock(recipe, through, tmp_path, monkeypatch):
    """While this one read its rows; recipe.yaml and result.json would be of two runs."""
    plan = debft.training.run.make_plan

    def slow(*wanted):
        shutil.copytree(through.path, tmp_path / "run")
        return plan(*wanted)

    monkeypatch.setattr(debft.training.run, "make_plan", slow)
    with pytest.raises(InputError, match="holds a run already"):
        finetune(with_train(recipe, seed=2), tmp_path / "run")
    assert files(RunDirectory(tmp_path / "run")) == files(through)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(InputError, match="another process has just completed this run"):
        finetune(recipe, tmp_path / "run", resume=True)


def test_lock_stays_where_a_run_was_begun_and_nothing_stays_where_none_was(tmp_path):
    with hold(RunDirectory(tmp_path / "a" / "b")):
        pass
    assert not (tmp_path / "a").exists()
    run = RunDirectory(tmp_path / "begun")
    with hold(run):
        (run.path / "recipe.yaml").write_text("")
        (run.path / ".result.json.x.partial").write_text("of a process that died")
    with hold(run):
        assert sorted(path.name for path in run.path.iterdir()) == [".lock", "recipe.yaml"]
    assert (run.path / ".lock").exists()


def test_second_process_is_refused_while_the_lock_is_held(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with hold(run), pytest.raises(InputError, match="another process is training into it"), hold(RunDirectory(run.path)):
        pass
    with hold(run):
        pass
