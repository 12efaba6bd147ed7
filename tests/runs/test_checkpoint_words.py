"""What is said of a checkpoint that is not what was written, which of several is read, and which are removed."""

import errno
import hashlib
import json
import os

import pytest
import torch

from debft.errors import InputError
from debft.runs import checkpoint
from debft.runs.checkpoint import (
    Snapshot,
    checkpoints,
    keep_best,
    keep_newest,
    load_checkpoint,
    load_newest,
    moments_of,
    newest_whole,
    restore_optimizer,
    save_checkpoint,
    sizes_of,
    write_checkpoint,
)
from debft.runs.storage import DiskError

RUN, OTHER = "a" * 16, "b" * 16
WAY_ON = "; --resume goes on from an older one that is whole"


def save(directory, step, prefix="step-", logs=None, moments=None, **state):
    weights = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}
    snapshot = Snapshot(step=step, weights=weights, moments=moments, state=state, logs=logs or {})
    return write_checkpoint(directory, f"{prefix}{step:06d}", snapshot)


def spoil(path, file="model.safetensors"):
    (path / file).write_bytes((path / file).read_bytes() + b"x")


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def write_manifest(path, content):
    (path / "manifest.json").write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def without(path, name):
    manifest = json.loads((path / "manifest.json").read_bytes())
    del manifest[name]
    write_manifest(path, manifest)


DAMAGES = {
    "model": (lambda path: spoil(path), "model.safetensors is not what manifest.json says"),
    "state": (lambda path: spoil(path, "state.json"), "state.json is not what manifest.json says"),
    "state gone": (lambda path: (path / "state.json").unlink(), "state.json is missing, which manifest.json names"),
    "manifest gone": (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing"),
    "no JSON": (lambda path: write_manifest(path, b"{"), "manifest.json is not what was written"),
    "a list": (lambda path: write_manifest(path, ["model.safetensors", "state.json"]), "manifest.json is not what was written"),
    "a number": (lambda path: write_manifest(path, 3), "manifest.json is not what was written"),
    "no model": (lambda path: without(path, "model.safetensors"), "model.safetensors is not what manifest.json says"),
    "no state": (lambda path: without(path, "state.json"), "state.json is not what manifest.json says"),
    "renamed": (lambda path: path.rename(path.with_name("step-000009")), "it is that of step 5"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_told_by_what_is_wrong(tmp_path, kind):
    damage, words = DAMAGES[kind]
    damage(save(tmp_path, 5))
    (path,) = checkpoints(tmp_path)
    with pytest.raises(InputError) as raised:
        load_checkpoint(path)
    assert str(raised.value) == f"{path}: expected the checkpoint that was written, but {words}{WAY_ON}"
    assert newest_whole(tmp_path) is None


def test_checkpoint_that_is_gone_is_told(tmp_path):
    with pytest.raises(InputError) as raised:
        load_checkpoint(tmp_path / "step-000005")
    assert str(raised.value) == (
        f"{tmp_path}/step-000005: expected the checkpoint that was written, but manifest.json is missing{WAY_ON}"
    )


def test_checkpoint_is_of_the_run_that_is_asked_for(tmp_path):
    path = save(tmp_path, 5, run=RUN)
    for run in (None, RUN):
        assert load_checkpoint(path, run=run).step == 5
    with pytest.raises(InputError, match="but it is that of another run"):
        load_checkpoint(path, run=OTHER)


def test_newest_whole_checkpoint_is_that_of_the_run(tmp_path):
    """Damaged ones and those of another run are passed over."""
    assert newest_whole(tmp_path / "none") is None
    for step, run in ((5, RUN), (10, RUN), (15, OTHER), (20, RUN)):
        save(tmp_path, step, run=run)
    spoil(tmp_path / "step-000020")
    assert newest_whole(tmp_path, run=RUN) == tmp_path / "step-000010"
    assert newest_whole(tmp_path) == tmp_path / "step-000015"


def test_newest_whole_checkpoint_of_a_disk_that_fails_is_an_error(tmp_path, monkeypatch):
    save(tmp_path, 5)

    def fail(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(checkpoint, "_sha256", fail)
    with pytest.raises(DiskError, match=f"^{tmp_path}: cannot be read: Input/output error;"):
        newest_whole(tmp_path)


def test_every_damaged_checkpoint_that_is_passed_over_is_named(tmp_path, capsys):
    for step in (5, 10, 15):
        save(tmp_path, step)
    spoil(tmp_path / "step-000010")
    (tmp_path / "step-000015" / "manifest.json").unlink()
    assert load_newest(tmp_path).step == 5
    assert capsys.readouterr().err.replace("\n", " ").strip() == (
        f"{tmp_path}: step-000015 (manifest.json is missing), step-000010 (model.safetensors is not what manifest.json says) "
        "is damaged; going back to step-000005"
    )


def test_no_whole_checkpoint_is_told_with_the_ways_on(tmp_path):
    save(tmp_path, 5, best_step=3)
    with pytest.raises(InputError) as raised:
        load_newest(tmp_path)
    assert str(raised.value) == (
        f"{tmp_path}: expected a whole checkpoint, found only damaged ones: step-000005 (its best-000003: manifest.json is missing); "
        "bring one back, or --restart in the place of --resume begins the run anew"
    )


def test_best_checkpoint_of_another_run_is_damage(tmp_path):
    save(tmp_path, 3, "best-", run=OTHER)
    save(tmp_path, 5, best_step=3, run=RUN)
    with pytest.raises(InputError, match=r"step-000005 \(its best-000003: it is that of another run\)"):
        load_newest(tmp_path, run=RUN)


def test_best_checkpoint_that_cannot_be_read_at_once_is_read_again(tmp_path, monkeypatch, capsys):
    save(tmp_path, 3, "best-")
    save(tmp_path, 5, best_step=3)
    real, failed = checkpoint._sha256, []

    def fails_once(path):
        if path.parent.name == "best-000003" and not failed:
            failed.append(path)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path)

    monkeypatch.setattr(checkpoint, "_sha256", fails_once)
    assert load_newest(tmp_path).step == 5
    assert "best-000003: cannot be read: Input/output error; trying once more" in capsys.readouterr().err.replace("\n", " ")


def test_best_checkpoints_are_read_by_their_own_name(tmp_path):
    save(tmp_path, 3, "best-")
    save(tmp_path, 5)
    assert (load_newest(tmp_path, "best-").step, load_newest(tmp_path).step) == (3, 5)


def test_other_names_are_no_checkpoints(tmp_path):
    for name in ("step-000005", "step-x", ".step-000006.1.partial", "step-000007.old", "best-000008", "xstep-000009", "step-"):
        (tmp_path / name).mkdir(parents=True)
    assert checkpoints(tmp_path) == [tmp_path / "step-000005"]
    assert checkpoints(tmp_path, "best-") == [tmp_path / "best-000008"]
    assert checkpoints(tmp_path, "s.ep-") == [] == checkpoints(tmp_path / "none")


def test_manifest_is_of_every_file_in_the_order_of_their_names(tmp_path):
    (tmp_path / "steps.jsonl").write_bytes(b"one\ntwo\n")
    path = save(tmp_path / "c", 5, moments={"a/step": torch.tensor(3.0)}, logs={tmp_path / "steps.jsonl": 4})
    files = ["model.safetensors", "optimizer.safetensors", "state.json", "steps.jsonl"]
    digests = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in files}
    assert (path / "manifest.json").read_text() == json.dumps(digests, indent=1)
    assert (path / "steps.jsonl").read_bytes() == b"one\n"  # lines that are added later are no part of it


def test_state_begins_with_its_format_and_its_step(tmp_path):
    path = save(tmp_path, 5, waited=2)
    assert (path / "state.json").read_text() == '{"format_version": 3, "step": 5, "waited": 2}'
    assert load_checkpoint(path).state == {"waited": 2}


def test_checkpoint_without_an_optimizer_has_no_file_for_its_state(tmp_path):
    path = save_checkpoint(tmp_path, "best-000005", 5, torch.nn.Linear(2, 2), None, {})
    assert names(path) == ["manifest.json", "model.safetensors", "state.json"]
    assert load_checkpoint(path).moments == {}


def test_whole_checkpoint_of_the_step_stays_and_a_damaged_one_is_replaced(tmp_path):
    first = save(tmp_path, 5, run=RUN, waited=1)
    assert save(tmp_path, 5, run=RUN, waited=2) == first
    assert load_checkpoint(first).state["waited"] == 1
    spoil(first)
    assert save(tmp_path, 5, run=RUN, waited=3) == first
    assert load_checkpoint(first).state["waited"] == 3


def test_size_of_a_log_that_is_not_there_is_left_out(tmp_path):
    (tmp_path / "steps.jsonl").write_bytes(b"12345")
    assert sizes_of(tmp_path, [tmp_path / "steps.jsonl", tmp_path / "none.jsonl"]) == {tmp_path / "steps.jsonl": 5}


def test_half_written_checkpoints_go_with_the_old_ones_of_their_kind(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
        save(tmp_path, step, "best-")
    for name in (".step-000004.1.partial", ".best-000004.1.partial"):
        (tmp_path / name / "x").mkdir(parents=True)
    (tmp_path / ".step-000005.1.partial").write_text("")
    keep_newest(tmp_path, 1)
    (tmp_path / ".step-000005.1.partial").unlink()  # a file, which no checkpoint is, is no error
    assert names(tmp_path) == [".best-000004.1.partial", "best-000001", "best-000002", "best-000003", "step-000003"]
    keep_newest(tmp_path, 2, "best-", last=2)
    assert names(tmp_path) == ["best-000001", "best-000002", "step-000003"]


@pytest.mark.parametrize("state", [b"{", b"[]", None])
def test_best_checkpoints_stay_while_it_is_not_known_which_one_a_state_names(tmp_path, state):
    save(tmp_path, 3, "best-")
    path = save(tmp_path, 5)
    (path / "state.json").unlink()
    if state is not None:
        (path / "state.json").write_bytes(state)
    keep_best(tmp_path, 7)
    assert (tmp_path / "best-000003").is_dir()


def test_best_checkpoint_that_nothing_names_goes(tmp_path):
    for step in (0, 2, 3, 4):
        save(tmp_path, step, "best-")
    save(tmp_path, 5)  # of a run without evaluations: it names the 0th, which is none
    save(tmp_path, 6, best_step=3)
    keep_best(tmp_path, 4)
    assert [path.name for path in checkpoints(tmp_path, "best-")] == ["best-000000", "best-000003", "best-000004"]


def test_weights_without_optimizer_state_begin_without_it():
    """As those that got no gradient so far."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    optimizer = torch.optim.AdamW([{"params": model[1].parameters()}, {"params": model[0].parameters(), "lr": 0.5}])
    model[0](torch.ones(2)).sum().backward()
    optimizer.step()
    moments = moments_of(model, optimizer)
    assert sorted(moments) == [f"0.{name}/{moment}" for name in ("bias", "weight") for moment in ("exp_avg", "exp_avg_sq", "step")]
    other = torch.optim.AdamW([{"params": model[1].parameters()}, {"params": model[0].parameters(), "lr": 0.5}])
    restore_optimizer(model, other, moments)
    assert set(other.state) == {model[0].weight, model[0].bias} and other.param_groups[1]["lr"] == 0.5
    assert all(torch.equal(tensor, moments[name]) for name, tensor in moments_of(model, other).items())
