"""Checkpoints: whole or absent, noticed when damaged, free of pickle."""

import errno
import hashlib
import json
import os
import shutil
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from processes import Command

from debft.errors import InputError
from debft.models.vocabulary import ActiveVocabulary
from debft.runs import checkpoint
from debft.runs.checkpoint import (
    checkpoints,
    keep_best,
    keep_newest,
    load_checkpoint,
    load_newest,
    restore_optimizer,
    save_checkpoint,
)
from debft.runs.directory import RunDirectory
from debft.runs.storage import DiskError
from debft.training import resuming
from debft.training.background import Background
from debft.training.checkpoints import save, save_best
from debft.training.session import TrainState


def trained(steps=3, seed=0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
    optimizer = torch.optim.AdamW(
        [{"params": [model[1].weight]}, {"params": [model[0].weight, model[0].bias, model[1].bias]}], lr=1e-2
    )
    for _ in range(steps):
        model(torch.ones(1, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model, optimizer


def test_what_is_read_is_what_was_written(tmp_path):
    model, optimizer = trained()
    save_checkpoint(tmp_path, "step-000003", 3, model, optimizer, {"best": {"score": 1.5}})
    found = load_newest(tmp_path)
    assert (found.step, found.state) == (3, {"best": {"score": 1.5}})
    other, other_optimizer = trained(steps=0, seed=1)
    other.load_state_dict(found.weights)
    restore_optimizer(other, other_optimizer, found.moments)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
        for name, value in optimizer.state[p].items():
            assert torch.equal(value, other_optimizer.state[q][name]), name


def test_nothing_is_pickled(tmp_path):
    model, optimizer = trained()
    path = save_checkpoint(tmp_path, "step-000003", 3, model, optimizer, {})
    assert sorted(p.name for p in path.iterdir()) == ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]


@pytest.mark.parametrize(("call", "name"), [("is_dir", "step-000003"), ("is_file", "steps.jsonl")])
def test_disk_that_does_not_tell_what_is_there_is_named_by_the_directory(tmp_path, monkeypatch, call, name):
    real = getattr(Path, call)

    def refuses(path, **options):
        if path.name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path, **options)

    monkeypatch.setattr(Path, call, refuses)
    with pytest.raises(DiskError, match=f"^{tmp_path}/x: cannot be written: Input/output error;"):
        save_checkpoint(tmp_path / "x", "step-000003", 3, *trained(), {}, [tmp_path / "steps.jsonl"])


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_damaged_checkpoint_is_named_and_the_older_one_is_used(tmp_path, capsys, file, damage):
    model, optimizer = trained()
    save_checkpoint(tmp_path, "step-000001", 1, model, optimizer, {})
    newest = save_checkpoint(tmp_path, "step-000002", 2, model, optimizer, {})
    content = bytearray((newest / file).read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    (newest / file).write_bytes(content if damage == "flip" else content[: len(content) // 2])
    if damage == "remove":
        (newest / file).unlink()
    assert load_newest(tmp_path).step == 1
    assert "is damaged" in capsys.readouterr().err


def test_none_where_there_is_none(tmp_path):
    assert load_newest(tmp_path / "nowhere") is None


def test_only_the_newest_are_kept_and_half_written_ones_go(tmp_path):
    model, optimizer = trained()
    for step in (1, 2, 10):
        save_checkpoint(tmp_path, f"step-{step:06d}", step, model, optimizer, {})
    (tmp_path / ".step-000011.123").mkdir()
    keep_newest(tmp_path, 2)
    assert [p.name for p in checkpoints(tmp_path)] == ["step-000002", "step-000010"]
    assert not list(tmp_path.glob(".*"))


def test_saving_the_same_step_again_keeps_a_whole_checkpoint(tmp_path):
    model, optimizer = trained()
    for _ in range(2):
        save_checkpoint(tmp_path, "step-000001", 1, model, optimizer, {})
    assert load_newest(tmp_path).step == 1


def test_kill_at_any_moment_leaves_a_loadable_checkpoint(tmp_path):
    """A child saves without end; it is killed at 8 different moments. Whatever is newest must load."""
    child = textwrap.dedent(f"""
        import sys, torch
        from pathlib import Path
        from debft.runs.checkpoint import keep_newest, save_checkpoint
        model = torch.nn.Linear(400, 400)
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.ones(1, 400)).sum().backward(); optimizer.step()
        directory, step = Path({str(tmp_path)!r}), int(sys.argv[1])
        save_checkpoint(directory, f"step-{{step:06d}}", step, model, optimizer, {{}})
        print("ready", flush=True)
        while True:
            step += 1
            save_checkpoint(directory, f"step-{{step:06d}}", step, model, optimizer, {{}})
            keep_newest(directory, 2)
    """)
    reached = 0
    for attempt in range(8):
        process = Command(reached + 1, code=child)
        while not process.texts()[0] and process.poll() is None:
            time.sleep(0.005)
        assert process.poll() is None, process.texts()
        time.sleep(0.01 + 0.02 * attempt)
        process.kill()
        process.communicate()
        found = load_newest(tmp_path)
        assert found is not None
        assert found.step > reached
        reached = found.step


def save_steps(directory, *steps, prefix="step-", **state):
    model, optimizer = trained()
    for step in steps:
        save_checkpoint(directory, f"{prefix}{step:06d}", step, model, optimizer, state)


def names(directory):
    return [path.name for path in checkpoints(directory)]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_state(path, **changes):
    """Other words in state.json under a manifest that is right."""
    state = json.loads((path / "state.json").read_text()) | changes
    (path / "state.json").write_text(json.dumps({key: value for key, value in state.items() if value is not None}))
    manifest = json.loads((path / "manifest.json").read_text())
    digests = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in manifest}
    (path / "manifest.json").write_text(json.dumps(digests))


def test_step_one_million_is_newer_than_the_one_before(tmp_path):
    save_steps(tmp_path, 999_995, 1_000_000, 1_000_005)
    keep_newest(tmp_path, 2)
    assert names(tmp_path) == ["step-1000000", "step-1000005"]
    assert load_newest(tmp_path).step == 1_000_005


def test_digest_is_that_of_the_manifest(tmp_path):
    """Several processes compare it: equal digests are equal files."""
    save_steps(tmp_path, 3)
    manifest = (tmp_path / "step-000003" / "manifest.json").read_bytes()
    assert load_newest(tmp_path).digest == hashlib.sha256(manifest).hexdigest()


def test_no_whole_checkpoint_left_is_refused_and_each_is_named(tmp_path):
    save_steps(tmp_path, 5, 10)
    flip(tmp_path / "step-000005" / "model.safetensors")
    (tmp_path / "step-000010" / "state.json").unlink()
    with pytest.raises(InputError) as raised:
        load_newest(tmp_path)
    (line,) = raised.value.problems
    assert (
        "step-000010 (state.json is missing, which manifest.json names), step-000005 (model.safetensors is not what manifest.json says)"
        in line
    )
    assert "--restart in the place of --resume begins the run anew" in line


def refuse_reading(monkeypatch, times):
    """The first `times` reads of a file fail as a worn disk or a network does."""
    real, calls = checkpoint._sha256, []

    def read(path):
        calls.append(path)
        if len(calls) <= times:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(checkpoint, "_sha256", read)


def test_passing_error_of_the_disk_is_tried_once_more_and_is_no_damage(tmp_path, monkeypatch, capsys):
    save_steps(tmp_path, 5, 10)
    refuse_reading(monkeypatch, 1)
    assert load_newest(tmp_path).step == 10
    assert "step-000010: cannot be read: Input/output error; trying once more" in capsys.readouterr().err


def test_checkpoint_that_cannot_be_read_is_not_given_up_for_an_older_one(tmp_path, monkeypatch):
    save_steps(tmp_path, 5, 10)
    refuse_reading(monkeypatch, 2)
    with pytest.raises(DiskError, match="step-000010: cannot be read: Input/output error"):
        load_newest(tmp_path)


def test_damaged_checkpoints_ahead_do_not_push_new_ones_out(tmp_path):
    """A run that went back behind two damaged ones saves step 6: it stays, and the damaged ones go."""
    save_steps(tmp_path, 5, 9, 10)
    for name in ("step-000009", "step-000010"):
        flip(tmp_path / name / "model.safetensors")
    save_steps(tmp_path, 6)
    keep_newest(tmp_path, 2, last=6)
    assert names(tmp_path) == ["step-000005", "step-000006"]


def test_checkpoint_of_a_newer_format_is_refused_by_its_version(tmp_path):
    save_steps(tmp_path, 5, 10)
    change_state(tmp_path / "step-000010", format_version=99)
    with pytest.raises(InputError, match=r"step-000010: format 99 is newer than this debft reads \(3\); upgrade debft"):
        load_newest(tmp_path)


def test_checkpoint_without_a_version_or_logs_is_read(tmp_path):
    save_steps(tmp_path, 5, waited=2)
    change_state(tmp_path / "step-000005", format_version=None)
    found = load_newest(tmp_path)
    assert (found.step, found.state, found.logs) == (5, {"waited": 2}, {})


def test_logs_are_part_of_the_checkpoint(tmp_path):
    """A log that loses lines later has them back."""
    (tmp_path / "steps.jsonl").write_text("one\n")
    model, optimizer = trained()
    save_checkpoint(tmp_path, "step-000001", 1, model, optimizer, {}, [tmp_path / "steps.jsonl", tmp_path / "none.jsonl"])
    (tmp_path / "steps.jsonl").write_text("")
    assert load_newest(tmp_path).logs == {"steps.jsonl": b"one\n"}


def test_best_checkpoint_stays_while_a_saved_state_names_it(tmp_path):
    save_steps(tmp_path, 5, best_step=2)
    save_steps(tmp_path, 2, 4, 6, prefix="best-")
    keep_best(tmp_path, 6)
    assert [path.name for path in checkpoints(tmp_path, "best-")] == ["best-000002", "best-000006"]
    for damaged in ("{", "[" * 5000, '{"best_step": []}'):
        (tmp_path / "step-000005" / "state.json").write_text(damaged)
        keep_best(tmp_path, 0)  # what a damaged state names is not known
        assert len(checkpoints(tmp_path, "best-")) == 2


def test_state_of_a_checkpoint_that_is_none_is_named(tmp_path):
    (tmp_path / "state.json").write_text("[" * 5000)
    with pytest.raises(InputError, match=r"state\.json: is not what was written; take another checkpoint"):
        RunDirectory(tmp_path).state_of(tmp_path)


@pytest.mark.parametrize("content", ["[" * 5000, "[]", "5"], ids=["deep", "list", "number"])
def test_manifest_that_is_none_is_damage(tmp_path, capsys, content):
    save_steps(tmp_path, 5, 10)
    (tmp_path / "step-000010" / "manifest.json").write_text(content)
    assert load_newest(tmp_path).step == 5
    assert "(manifest.json is not what was written) is damaged" in capsys.readouterr().err.replace("\n", " ")


def test_checkpoint_whose_best_one_is_damaged_is_not_gone_on_from(tmp_path, capsys):
    """The run would train to its end, and only then find that the weights of its best step are gone."""
    save_steps(tmp_path, 2, 4, prefix="best-")
    save_steps(tmp_path, 3, best_step=2)
    save_steps(tmp_path, 5, best_step=4)
    flip(tmp_path / "best-000004" / "model.safetensors")
    assert load_newest(tmp_path).step == 3
    said = capsys.readouterr().err.replace("\n", " ")
    assert "step-000005 (its best-000004: model.safetensors is not what manifest.json says) is damaged" in said


@pytest.mark.parametrize("prefix", ["step-", "best-"])
def test_checkpoint_in_the_place_of_another_step_is_named(tmp_path, prefix):
    """Each file is what its manifest says."""
    save_steps(tmp_path, 5, 10, prefix=prefix)
    shutil.rmtree(tmp_path / f"{prefix}000010")
    (tmp_path / f"{prefix}000005").rename(tmp_path / f"{prefix}000010")
    for read in (lambda: load_newest(tmp_path, prefix), lambda: load_checkpoint(tmp_path / f"{prefix}000010")):
        with pytest.raises(InputError, match="it is that of step 5"):
            read()


def test_checkpoint_of_another_run_is_named_and_the_older_one_is_used(tmp_path, capsys):
    save_steps(tmp_path, 5, run="a" * 16)
    save_steps(tmp_path, 10, run="b" * 16)
    assert load_newest(tmp_path, run="a" * 16).step == 5
    said = capsys.readouterr().err.replace("\n", " ")
    assert "step-000010 (it is that of another run) is damaged; going back to step-000005" in said


def test_checkpoint_of_an_older_debft_is_of_any_run(tmp_path):
    save_steps(tmp_path, 5)
    assert load_newest(tmp_path, run="a" * 16).step == 5


def test_checkpoint_of_another_run_gives_way_to_one_that_is_saved(tmp_path):
    save_steps(tmp_path, 5, run="b" * 16)
    save_steps(tmp_path, 5, run="a" * 16)
    assert load_newest(tmp_path, run="a" * 16).step == 5


def facts_at_restoring(monkeypatch, saved):
    """What each process compares with process 0 once it has received a checkpoint."""
    compared = {}
    monkeypatch.setattr(resuming, "check_same_on_all_ranks", lambda facts: compared.update(facts()))
    model, optimizer = trained(steps=0, seed=1)
    resuming.restore(saved, SimpleNamespace(scaler=None), model, optimizer, ActiveVocabulary())
    return compared


def test_processes_compare_step_weights_and_optimizer_state_of_the_checkpoint(tmp_path, monkeypatch):
    save_steps(tmp_path, 5)
    saved = load_newest(tmp_path)
    first = facts_at_restoring(monkeypatch, saved)
    assert first["step of the checkpoint"] == "5" and first == facts_at_restoring(monkeypatch, load_newest(tmp_path))
    for part, fact in (("weights", "weights of the checkpoint"), ("moments", "optimizer state of the checkpoint")):
        tensors = getattr(saved, part)
        name = next(name for name in tensors if "weight" in name)
        other = {**tensors, name: tensors[name] + 1e-3}
        second = facts_at_restoring(monkeypatch, replace(saved, **{part: other}))
        assert {key for key in first if first[key] != second[key]} == {fact}


class Killed(BaseException):
    """As `kill -9`: nothing after it touches the disk, clean-up included."""


@pytest.fixture
def at_call(monkeypatch):
    """`at_call(n, error)`: call number n of anything that changes the disk raises, and every later one as well; see `came`."""
    left, raised = [None], []

    def guarded(real, removes=False):
        def call(*args, **kwargs):
            if left[0] is not None:
                left[0] -= 1
                if left[0] < 0 and not (removes and isinstance(raised[0], OSError)):  # a full disk still takes removals
                    raise raised[0]
            return None if real is fsync else real(*args, **kwargs)

        return call

    fsync = os.fsync
    for name in ("mkdir", "rename", "replace", "fsync"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    monkeypatch.setattr(shutil, "rmtree", guarded(shutil.rmtree, removes=True))
    monkeypatch.setattr(checkpoint, "write_tensors", guarded(checkpoint.write_tensors))

    def arm(number, error):
        left[0], raised[:] = number, [error]

    arm.came = lambda: left[0] < 0  # that call; else the run made fewer
    return arm


def run_of_three_saves(directory):
    """What a run does: a new best at steps 2, 4 and 6, its state saved at 3, 5 and 7, with logs."""
    run, (model, optimizer) = RunDirectory(directory), trained()
    model.config = SimpleNamespace(id2label={0: "no", 1: "yes"})
    plan = SimpleNamespace(fingerprints={}, total_steps=9, recipe=SimpleNamespace(runtime=SimpleNamespace(keep_checkpoints=1)))
    accelerator = SimpleNamespace(wait_for_everyone=lambda: None, scaler=None)
    one = SimpleNamespace(
        run=run,
        plan=plan,
        accelerator=accelerator,
        loaded=SimpleNamespace(model=model),
        vocabulary=ActiveVocabulary(),
        optimizer=optimizer,
        saving=Background(),
    )
    state = TrainState()
    for step in range(1, 8):
        state.step = step
        run.logs.append("steps.jsonl", {"step": step})
        if step % 2 == 0:
            state.best_step = step
            save_best(one, state, {})
        elif step > 1:
            save(one, state)


def check_what_is_left(directory):
    """The newest whole checkpoint has its log and the best that it names. Returns its step."""
    found = load_newest(directory / "checkpoints")
    if found is None:
        return 0
    assert [json.loads(line)["step"] for line in found.logs["steps.jsonl"].splitlines()] == list(range(1, found.step + 1))
    assert load_checkpoint(directory / "checkpoints" / f"best-{found.state['best_step']:06d}").step == found.step - 1
    return found.step


@pytest.mark.parametrize("error", [Killed(), OSError(errno.ENOSPC, "No space left on device")], ids=["killed", "full"])
def test_death_at_any_call_leaves_a_checkpoint_with_its_log_and_its_best(tmp_path, at_call, error):
    """Also with a full disk in place of the death; then nothing half-written is left either."""
    reached = []
    for number in range(1000):
        directory = tmp_path / str(number)
        directory.mkdir()
        at_call(number, error)
        try:
            run_of_three_saves(directory)
            finished = not at_call.came()  # a full disk that only keeps older checkpoints ends nothing
        except (Killed, DiskError):
            finished = False
        at_call(None, None)
        reached.append(check_what_is_left(directory))
        if isinstance(error, OSError):
            assert not list(directory.rglob("*.partial"))
        if finished:
            break
    assert reached == sorted(reached) and set(reached) == {0, 3, 5, 7}
    assert number > 40
