"""Checkpoints: whole or absent, noticed when damaged, free of pickle."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch

from debft.checkpoint import checkpoints, keep_newest, load_newest, restore_optimizer, save_checkpoint


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
        from debft.checkpoint import keep_newest, save_checkpoint
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
        process = subprocess.Popen(
            [sys.executable, "-c", child, str(reached + 1)], stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        process.stdout.readline()
        try:
            process.wait(0.01 + 0.02 * attempt)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = load_newest(tmp_path)
        assert found is not None
        assert found.step > reached
        reached = found.step
