"""A signal asks, however often it arrives; a second Ctrl-C ends; a process that waits for others in vain is ended."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from debft.runtime import early, signals
from debft.runtime.launch.group import PARENT
from debft.runtime.signals import LONGEST_INTERVALS, SIGNALS, StopRequest, Watch, ended_without_life, stop_requested

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


@pytest.mark.parametrize("number", SIGNALS)
def test_first_signal_only_asks_and_handlers_come_back(number):
    before = signal.getsignal(number)
    with stop_requested(show=False) as stop:
        assert not stop
        signal.raise_signal(number)
        assert stop.number == number
    assert signal.getsignal(number) is before


def test_first_signal_after_the_others_agreed_to_stop_does_not_end_the_process():
    """Else the process that saves the checkpoint would die while it does."""
    with stop_requested(show=False) as stop:
        stop.number = signal.SIGINT
        signal.raise_signal(signal.SIGINT)
        assert stop


def test_second_interrupt_ends_the_process():
    code, _ = ended(python("with stop_requested(False): [signal.raise_signal(signal.SIGINT) for _ in range(2)]"))
    assert code == -signal.SIGINT


def test_second_interrupt_ends_what_the_process_started_first(tmp_path):
    saying = f"open({str(tmp_path / 'ended')!r}, 'w').close"
    code, _ = ended(python(f"with stop_requested(False, at_once={saying}): [signal.raise_signal(2) for _ in range(2)]"))
    assert (code, (tmp_path / "ended").exists()) == (-signal.SIGINT, True)


@pytest.mark.parametrize("numbers", [(15, 15), (1, 1), (15, 1), (15, 2), (1, 15, 2)])
def test_copies_of_a_request_end_nothing(numbers):
    """systemd sends SIGHUP after SIGTERM, timeout(1) two SIGTERM, a closing terminal two SIGHUP."""
    with stop_requested(show=False) as stop:
        for number in numbers:
            signal.raise_signal(number)
        assert stop.number == numbers[0]


@pytest.mark.parametrize("number", SIGNALS)
def test_three_at_once_are_one_request(number):
    """A wrapper passes on the SIGINT that the terminal has sent to both; a person presses keys more slowly."""
    with stop_requested(show=False) as stop:
        for _ in range(3):
            signal.raise_signal(number)
        assert stop.number == number


@pytest.mark.parametrize("variable", [PARENT, "RANK"])
def test_second_interrupt_of_a_started_process_is_its_parents_to_count(variable, monkeypatch):
    """The parent passes on what the terminal, or a scheduler that signals every process, sent to both."""
    monkeypatch.setattr("debft.runtime.signals.SECONDS_OF_COPIES", 0.0)
    monkeypatch.setenv(variable, "1")
    with stop_requested(show=False) as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert stop.number == signal.SIGINT


def test_hangup_stays_ignored_under_nohup(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requested(show=False) as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signal_of_a_program_that_calls_stays_its_own():
    """SIGUSR1 and SIGUSR2 mean what the program says, as for submitit, which submits the job again."""
    heard = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: heard.append(number))
    try:
        with stop_requested(show=False) as stop:
            signal.raise_signal(signal.SIGUSR2)
            assert not stop and heard == [signal.SIGUSR2]
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.fixture
def handled():
    """`handled(number, handler)` sets what handles a signal; as it was before after the test."""
    before = {}

    def handle(number, handler):
        before.setdefault(number, signal.getsignal(number))
        signal.signal(number, handler)

    yield handle
    for number, handler in before.items():
        signal.signal(number, handler)


def foreign(number, frame):
    pytest.fail("the handler of the program that calls was reached")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize(
    "handler", [signal.SIG_DFL, signal.SIG_IGN, early.leave, foreign], ids=["none", "ignored", "own", "foreign"]
)
def test_signals_are_taken_over_from_what_is_known(handled, number, handler):
    """What is ignored stays so, but for the SIGINT of a job in the background; SIGUSR1 and 2 stay with a foreign handler."""
    handled(number, handler)
    with stop_requested(show=False):
        taken = signal.getsignal(number) is not handler
    stays = (handler is signal.SIG_IGN and number != signal.SIGINT) or (
        handler is foreign and number in (signal.SIGUSR1, signal.SIGUSR2)
    )
    assert taken == (not stays)


def test_handler_that_is_not_pythons_stays(monkeypatch):
    """Python calls it None, and could not put it back."""
    before, getsignal = signal.getsignal(signal.SIGTERM), signal.getsignal
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGTERM else getsignal(number))
    with stop_requested(show=False):
        assert getsignal(signal.SIGTERM) is before


def test_signals_are_left_alone_outside_of_the_main_thread():
    seen = []

    def block():
        with stop_requested(show=False) as stop:
            seen.append((bool(stop), [signal.getsignal(number) for number in SIGNALS]))

    before = [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=block)
    thread.start()
    thread.join(SECONDS)
    assert seen == [(False, before)]


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (signal.SIGTERM, "SIGTERM: stopping after this step, with a checkpoint"),
        (signal.SIGINT, "SIGINT: stopping after this step, with a checkpoint; once more to stop at once"),
    ],
)
def test_signal_is_said_once(capsys, number, line):
    with stop_requested(show=True):
        signal.raise_signal(number)
        signal.raise_signal(number)
    assert capsys.readouterr().err == f"{line}\n"


def test_signal_is_not_said_where_another_process_says_it(capsys, monkeypatch):
    with stop_requested(show=False):
        signal.raise_signal(signal.SIGTERM)
    monkeypatch.setattr(signals, "cause_is_said", lambda: True)
    with stop_requested(show=True):
        signal.raise_signal(signal.SIGTERM)
    assert capsys.readouterr().err == ""


def test_signal_that_comes_while_a_line_is_written_is_not_said(monkeypatch):
    """Python refuses to write into a stream from within its own writing."""

    def refuse(line):
        raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stderr>'>")

    monkeypatch.setattr(signals, "say", refuse)
    with stop_requested(show=True) as stop:
        signal.raise_signal(signal.SIGHUP)
        assert stop.number == signal.SIGHUP


def test_parent_is_told_the_signal_once(monkeypatch):
    told = []
    monkeypatch.setattr(signals, "tell_parent", told.append)
    with stop_requested(show=False):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
    assert told == [signal.SIGTERM]


@pytest.mark.parametrize(("handler", "noted"), [(early.leave, [signal.SIGTERM]), (foreign, [])], ids=["own", "foreign"])
def test_signal_ends_the_command_only_where_debft_is_the_command(handled, monkeypatch, handler, noted):
    monkeypatch.setattr(signals, "arrived", [])
    handled(signal.SIGTERM, handler)
    with stop_requested(show=False):
        signal.raise_signal(signal.SIGTERM)
    assert signals.arrived == noted


def test_second_interrupt_is_one_that_comes_a_second_later(monkeypatch):
    clock = {"now": 50.0}
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: clock["now"]))
    stop = StopRequest(Watch())
    assert not stop.is_second_interrupt()
    clock["now"] = 50.99
    assert not stop.is_second_interrupt()
    clock["now"] = 51.0
    assert stop.is_second_interrupt()


def test_second_interrupt_raises_in_a_program_of_python_once_what_was_started_has_ended(handled, monkeypatch):
    monkeypatch.setattr(signals, "SECONDS_OF_COPIES", 0.0)
    handled(signal.SIGINT, signal.default_int_handler)
    ended = []
    with pytest.raises(KeyboardInterrupt), stop_requested(show=False, at_once=lambda: ended.append("children")):
        signal.raise_signal(signal.SIGINT)
        assert ended == []
        signal.raise_signal(signal.SIGINT)
    assert ended == ["children"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_interrupt_of_a_command_ends_it_as_the_system_does(handled, monkeypatch):
    """A shell that runs several commands learns by that that it was interrupted."""
    raised = []
    monkeypatch.setattr(signals, "SECONDS_OF_COPIES", 0.0)
    handled(signal.SIGINT, early.leave)
    with stop_requested(show=False):
        note = signal.getsignal(signal.SIGINT)
        note(signal.SIGINT, None)
        monkeypatch.setattr(signal, "raise_signal", lambda number: raised.append((number, signal.getsignal(number))))
        note(signal.SIGINT, None)
    assert raised == [(signal.SIGINT, signal.SIG_DFL)]


@pytest.mark.parametrize("number", [number for number in SIGNALS if number != signal.SIGINT])
def test_only_a_second_interrupt_counts(monkeypatch, number):
    monkeypatch.setattr(signals, "SECONDS_OF_COPIES", 0.0)
    with stop_requested(show=False, at_once=lambda: pytest.fail("ended")) as stop:
        signal.raise_signal(number)
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGINT)
        assert stop.number == number


def test_request_has_the_watch_that_it_is_given():
    watch = Watch()
    with stop_requested(False, watch) as stop, stop_requested(False) as other:
        assert stop.watch is watch
        assert isinstance(other.watch, Watch) and other.watch is not watch


def test_closed_terminal_is_survived(tmp_path):
    """The kernel sends SIGHUP and every further line fails with EIO: the checkpoint is saved all the same."""
    ready, saved = tmp_path / "ready", tmp_path / "saved"
    code = (
        "import sys, time, pathlib\nfrom debft.console import meter, say\nfrom debft.runtime.signals import stop_requested\n"
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


def test_watch_waits_as_long_as_the_steps_take():
    watch = Watch()
    watch.seen -= 1000.0
    watch.alive()
    assert watch.longest == 0.0  # the time it took to start
    watch.seen -= 1000.0
    watch.alive()
    assert watch.seconds == pytest.approx(LONGEST_INTERVALS * 1000.0, rel=0.1)


def test_watch_takes_the_seconds_that_a_sign_of_life_says():
    watch = Watch()
    assert watch.seconds == signals.SECONDS_TO_LEAVE
    watch.alive(signals.SECONDS_TO_SAVE)
    assert watch.seconds == signals.SECONDS_TO_SAVE
    watch.alive()
    assert watch.seconds == signals.SECONDS_WITHOUT_LIFE  # as little time passed between them


def test_watch_keeps_the_longest_interval(monkeypatch):
    clock = {"now": 100.0}
    monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: clock["now"]))
    watch = Watch(seconds=20.0, seen=100.0)
    for clock["now"], longest in ((110.0, 10.0), (113.0, 10.0), (125.0, 12.0)):
        watch.alive()
        assert (watch.longest, watch.seconds, watch.seen) == (longest, 4 * longest, clock["now"])


def test_watch_leaves_the_signals_as_they_were():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before, files = signal.set_wakeup_fd(writing), len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    try:
        with ended_without_life("process 0") as watch:
            assert watch.seconds == signals.SECONDS_TO_LEAVE
            assert threading.active_count() == threads + 1
        assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, files)
    finally:
        assert signal.set_wakeup_fd(before) == writing
        os.close(reading)
        os.close(writing)


def test_watch_goes_on_while_there_are_signs_of_life():
    """A signal reaches its thread by the pipe that Python writes to."""
    with ended_without_life("process 1") as watch, stop_requested(False, watch) as stop:
        watch.alive(SECONDS)
        signal.raise_signal(signal.SIGTERM)
        assert stop.number == signal.SIGTERM


class Exit(BaseException):
    """In the place of the end of the process."""


@pytest.fixture
def waiting(monkeypatch, capsys):
    """`waiting(watch, *events)`: (exit code, what was said, seconds) of a process that waits while this comes about.

    An event is the number of a signal, the seconds until the next one, what is done then, or None where the block ends.
    """
    clock = {"now": 1000.0}

    def watch_over(watch, *events):
        left, limits = list(events), []

        def select(reading, writing, failing, limit):
            assert (reading, writing, failing) == ([5], [], [])
            limits.append(limit)
            while callable(left[0]):
                left.pop(0)()
            if isinstance(left[0], float):
                assert limit == 0.2, "it waits until the next signal"
                clock["now"] += 0.25  # floats have no 0.2
                left[0] -= 0.25
                if not left[0]:
                    left.pop(0)
                return [], [], []
            return [5], [], []

        def read(file, size):
            assert (file, size) == (5, 1)
            number = left.pop(0)
            return b"" if number is None else bytes([number])

        def leave(code):
            raise Exit(code)

        began = clock["now"]
        monkeypatch.setattr(signals, "select", SimpleNamespace(select=select))
        monkeypatch.setattr(signals, "os", SimpleNamespace(read=read, _exit=leave))
        monkeypatch.setattr(signals, "time", SimpleNamespace(monotonic=lambda: clock["now"]))
        code = None
        try:
            signals._end_without_life(5, watch, "process 1")
        except Exit as end:
            (code,) = end.args
        assert limits[0] is None  # nothing is looked at before a signal comes
        return code, capsys.readouterr().err, clock["now"] - began

    watch_over.clock = clock
    return watch_over


def test_waiting_process_leaves_when_nothing_came_for_so_long_after_the_signal(waiting):
    code, said, seconds = waiting(Watch(seconds=3.0, seen=0.0), 15, 100.0)
    assert (code, seconds) == (143, 3.25)  # a look behind the limit
    assert said == (
        "process 1: SIGTERM: no step was done in the 3 seconds since, nor did the other processes answer; ended at once, "
        "the last checkpoint stays\n"
    )


def test_waiting_process_counts_from_the_last_sign_of_life(waiting):
    watch = Watch(seconds=20.0, seen=0.0)
    code, said, seconds = waiting(watch, 15, 6.0, lambda: setattr(watch, "seen", waiting.clock["now"]), 100.0)
    assert (code, seconds) == (143, 6.0 + 20.25)
    assert "in the 20 seconds since" in said


def test_first_of_several_signals_is_the_one_that_ends_a_waiting_process(waiting):
    code, said, seconds = waiting(Watch(seconds=20.0, seen=0.0), 1, 10.0, 15, 100.0)
    assert (code, seconds) == (129, 20.25)
    assert said.startswith("process 1: SIGHUP: ")


def test_other_signals_say_nothing_to_a_waiting_process(waiting):
    assert waiting(Watch(seconds=0.0, seen=0.0), int(signal.SIGCHLD), int(signal.SIGWINCH), None) == (None, "", 0.0)


def test_waiting_process_ends_also_where_it_can_say_nothing(waiting, monkeypatch):
    def refuse(line):
        raise OSError("no stderr")

    monkeypatch.setattr(signals, "say", refuse)
    assert waiting(Watch(seconds=3.0, seen=0.0), 10, 100.0)[0] == 138


def test_watch_ends_with_its_block(waiting):
    assert waiting(Watch(seconds=3.0, seen=0.0), 15, 1.0, None) == (None, "", 1.0)


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
