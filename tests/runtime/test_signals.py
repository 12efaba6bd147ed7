"""A second Ctrl-C ends; processes hear of each other's signals and leave together; one that waits for others in vain is ended."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from debft.runtime.signals import SIGNALS, StopRequest, stop_requested

NO_COPIES = "signals.SECONDS_OF_COPIES = 0.0\nfrom debft.runtime.signals import *"  # a second SIGINT counts, however soon
SECONDS = 240  # until a process counts as hanging, on a slow and busy machine


def python(code, **environment):
    """A process of its own that runs `code`, in the foreground of nothing: SIGINT is not ignored."""
    return subprocess.Popen(
        [sys.executable, "-c", f"import os, signal, sys, time\nfrom debft.runtime import signals\n{NO_COPIES}\n{code}"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def ended(process):
    _, err = process.communicate(timeout=SECONDS)
    return process.returncode, err


def test_second_interrupt_ends_the_process():
    code, _ = ended(python("with stop_requested(False): [signal.raise_signal(signal.SIGINT) for _ in range(2)]"))
    assert code == -signal.SIGINT


def test_second_interrupt_ends_what_the_process_started_first(tmp_path):
    saying = f"open({str(tmp_path / 'ended')!r}, 'w').close"
    code, _ = ended(python(f"with stop_requested(False, at_once={saying}): [signal.raise_signal(2) for _ in range(2)]"))
    assert (code, (tmp_path / "ended").exists()) == (-signal.SIGINT, True)


def test_closed_terminal_is_survived(tmp_path):
    """The kernel sends SIGHUP and every further line fails with EIO: the checkpoint is saved all the same."""
    ready, saved = tmp_path / "ready", tmp_path / "saved"
    code = (
        "import sys, time, pathlib\nfrom debft.console import say\nfrom debft.runtime.progress import meter\n"
        "from debft.runtime.signals import stop_requested\n"
        "with stop_requested(True) as stop, meter('train', 10, 'steps'):\n"
        f"    pathlib.Path({str(ready)!r}).touch()\n    while not stop: time.sleep(0.01)\n"
        f"    say('saving'); time.sleep(0.2); say('saved'); pathlib.Path({str(saved)!r}).touch()\nsys.exit(128 + stop.number)"
    )
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(slave)
    wait_for(ready.exists)
    os.close(master)
    assert process.wait(timeout=SECONDS) == 129
    assert saved.exists()


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def waits_for(pid: int, number: int) -> bool:
    """Whether the signal has been sent to a process that is stopped."""
    pending = re.findall(r"^(?:Sig|Shd)Pnd:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return any(int(mask, 16) >> (number - 1) & 1 for mask in pending)


def wait_for(condition, seconds=SECONDS):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


# Stands in for a training process: says that it runs, "saves" for a while when it is asked to stop.
CHILD = """
import os, pathlib, sys, time
from debft.runtime.launch.group import follow_parent
from debft.runtime.signals import stop_requested
here = pathlib.Path(sys.argv[1])
follow_parent()
with stop_requested(False) as stop:
    (here / f"pid-{os.environ['RANK']}").write_text(str(os.getpid()))
    while not stop: time.sleep(0.01)
    time.sleep(0.3)
    (here / f"saved-{os.environ['RANK']}").touch()
sys.exit(128 + stop.number)
"""


def family(directory: Path, seconds: float = 300.0) -> tuple[subprocess.Popen, list[int]]:
    """A parent of two such processes, and their ids."""
    directory.mkdir()
    (directory / "child.py").write_text(CHILD)
    parent = python(
        f"from debft.runtime.launch import local, machines\nlocal.DEBFT = (sys.executable, {str(directory / 'child.py')!r})\n"
        f"sys.argv = ['debft', {str(directory)!r}]\nfrom pathlib import Path\n"
        f"run = local.RunOfGroup(stacks=Path({str(directory / 'stacks.txt')!r}), what_stays=lambda: 'it stays', hang_seconds={seconds})\n"
        "sys.exit(local.start_processes(machines.Share(processes=2), run))"
    )
    pids = [directory / f"pid-{rank}" for rank in range(2)]
    wait_for(lambda: all(path.exists() and path.read_text() for path in pids))
    return parent, [int(path.read_text()) for path in pids]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGTERM])
def test_signal_to_parent_and_children_at_once_lets_all_of_them_save(tmp_path, number):
    """As a cgroup does: each child hears it twice."""
    parent, children = family(tmp_path / "run")
    for pid in (parent.pid, *children):
        os.kill(pid, number)
    assert ended(parent)[0] == 128 + number
    assert sorted(path.name for path in (tmp_path / "run").glob("saved-*")) == ["saved-0", "saved-1"]


def test_children_save_and_leave_when_their_parent_is_killed(tmp_path):
    parent, children = family(tmp_path / "run")
    parent.kill()
    wait_for(lambda: not any(map(lives, children)))
    assert sorted(path.name for path in (tmp_path / "run").glob("saved-*")) == ["saved-0", "saved-1"]
    parent.communicate()


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_to_one_of_the_children_lets_all_of_them_save(tmp_path, number):
    """It tells its parent, which passes it on: the others might be in an evaluation that takes minutes."""
    parent, children = family(tmp_path / "run")
    os.kill(children[1], number)
    assert ended(parent) == (128 + number, "")
    assert sorted(path.name for path in (tmp_path / "run").glob("saved-*")) == ["saved-0", "saved-1"]


@pytest.mark.parametrize("stopped", ["parent", "child"])
def test_stopped_process_ends_all_of_them_with_their_stacks(tmp_path, stopped):
    parent, children = family(tmp_path / "run", seconds=2.0)
    os.kill(parent.pid if stopped == "parent" else children[1], signal.SIGSTOP)
    code, err = ended(parent)
    assert code == 5
    name = f"the process that started them, {parent.pid}" if stopped == "parent" else "process 1"
    assert err.startswith(f"{name}: no sign of life for") and err.endswith("stacks.txt; it stays\n")
    assert (tmp_path / "run" / "stacks.txt").read_text().count("most recent call first") >= 3
    assert sorted(path.name for path in (tmp_path / "run").glob("saved-*")) == ["saved-0", "saved-1"]
    wait_for(lambda: not any(map(lives, children)))


def test_lost_process_is_named_and_ends_the_others(tmp_path):
    """As the kernel ends one where memory runs out; the other one saves what it can, and only one line says why."""
    parent, children = family(tmp_path / "run")
    os.kill(children[1], signal.SIGKILL)
    code, err = ended(parent)
    assert code == 5
    assert err == "process 1: ended by SIGKILL, as the system does where memory runs out; it stays\n"
    assert [path.name for path in (tmp_path / "run").glob("saved-*")] == ["saved-0"]


def test_second_interrupt_of_the_parent_ends_the_children_at_once(tmp_path):
    parent, children = family(tmp_path / "run")
    for pid in children:
        os.kill(pid, signal.SIGSTOP)  # else they might be done before the second one
    parent.send_signal(signal.SIGINT)
    wait_for(lambda: all(waits_for(pid, signal.SIGINT) for pid in children))  # the parent has heard it: two at once count as one
    parent.send_signal(signal.SIGINT)
    assert ended(parent)[0] == -signal.SIGINT
    wait_for(lambda: not any(map(lives, children)))
    assert not list((tmp_path / "run").glob("saved-*"))


def test_process_that_waits_in_vain_is_ended_by_a_signal():
    """It is inside C code that never runs a handler of Python's, as a collective of torch is."""
    process = python(
        "import hashlib, threading, debft.runtime.signals\ndebft.runtime.signals.SECONDS_WITHOUT_LIFE = 0.5\n"
        "with ended_without_life('process 1') as watch, stop_requested(False, watch):\n"
        "    watch.alive()\n    threading.Timer(0.3, os.kill, (os.getpid(), 15)).start()\n"
        "    hashlib.pbkdf2_hmac('sha256', b'x', b'y', 2_000_000_000)"
    )
    code, err = ended(process)
    assert code == 143
    assert err.startswith("process 1: SIGTERM: no step was done")


def test_signal_that_arrives_during_the_exchange_is_not_lost():
    """It was not sent along, so this step goes on; the next exchange carries it."""
    import torch

    from debft.training.stopping import stop_agreed

    with stop_requested(show=False) as stop:

        def gather(told):
            signal.raise_signal(signal.SIGTERM)
            return torch.tensor([int(told[0]), 0])

        accelerator = SimpleNamespace(num_processes=2, device="cpu", gather=gather)
        assert not stop_agreed(SimpleNamespace(accelerator=accelerator), stop)
        accelerator.gather = lambda told: torch.tensor([int(told[0]), 0])
        assert stop_agreed(SimpleNamespace(accelerator=accelerator), stop)
        assert stop.number == signal.SIGTERM


def test_evaluation_ends_early_and_all_the_processes_leave_together():
    """One that was told stops with its batches, but only where the others can follow."""
    import numpy as np
    import torch

    from debft.scoring.evaluation import predict_splits

    class Left(Exception):
        pass

    def leave():
        raise Left

    stop = StopRequest()
    stop.number = signal.SIGTERM
    split = type("Split", (), {"lengths": lambda self: np.ones(4, dtype=int), "__len__": lambda self: 4})()
    accelerator = SimpleNamespace(process_index=0, num_processes=2, is_main_process=False, device=torch.device("cpu"))
    head = SimpleNamespace(collector=lambda split, **_: None)  # without outputs: no batch is computed
    loaded = SimpleNamespace(model=SimpleNamespace(eval=lambda: None), head=head, collate=SimpleNamespace(left=False, packed=False))
    with pytest.raises(Left):
        predict_splits(loaded, accelerator, {"x": split}, micro_batch_tokens=1, should_stop=lambda: bool(stop), leave=leave)
