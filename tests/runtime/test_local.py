"""The parent of a group: what its processes are started with, whom a signal or a failure reaches, and which exit code it ends with."""

import os
import signal
import socket
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from debft.errors import InputError
from debft.runtime.launch import local
from debft.runtime.launch.lifeline import Place
from debft.runtime.launch.machines import Share

STACKS = Path("runs/stacks.txt")


class Child:
    """Stands in for a started process. `ends`: the exit code with which it heeds a signal, by its number"""

    def __init__(self, command, variables, name, seconds):
        self.command, self.variables, self.name, self.seconds = command, variables, name, seconds
        self.code, self.number, self.silent, self.missed = None, 0, False, False
        self.sent, self.said, self.ends = [], [], {}
        self.line = SimpleNamespace(put=lambda *said: self.said.append(said), between_beats=lambda: 1.0, beat=lambda: None)

    def send(self, number):
        self.sent.append(number)
        if self.code is None:
            self.code = self.ends.get(number)

    def end(self):
        self.send("end")

    def told(self):
        return self.number

    def is_silent(self):
        return self.code is None and self.silent

    def misses_parent(self):
        return self.missed

    def silence(self):
        return "no sign of life for 7 seconds"


class Group:
    """Starts such processes. `at(look, do)`: what happens while the parent looks that many times, 0.05 s apart"""

    def __init__(self):
        self.children, self.events, self.now, self.looks, self.stacks = [], {}, 0.0, 0, []
        self.run = local.RunOfGroup(stacks=STACKS, what_stays=lambda: "step 8 stays", hang_seconds=7.0)

    def begin(self, *given):
        self.children.append(Child(*given))
        return self.children[-1]

    def at(self, look, do):
        self.events[look] = do

    def sleep(self, seconds):
        self.now += seconds
        self.looks += 1
        assert self.looks < 2000, "it waits for ever"
        self.events.pop(self.looks, lambda: None)()

    def start(self, processes=2, **share):
        return local.start_processes(Share(processes=processes, **share), self.run)

    def code(self, rank, code):
        self.children[rank].code = code

    def end_all(self, code=0):
        for child in self.children:
            child.code = code if child.code is None else child.code


@pytest.fixture
def group(monkeypatch):
    group = Group()
    monkeypatch.setattr(local, "Started", group.begin)
    monkeypatch.setattr(local, "time", SimpleNamespace(monotonic=lambda: group.now, sleep=group.sleep))
    monkeypatch.setattr(local, "write_stacks", lambda children, path: group.stacks.append((list(children), path)))
    monkeypatch.setattr(local, "visible_gpus", lambda: 0)
    monkeypatch.setattr(sys, "argv", ["debft", "mnli", "--seed", "7"])
    return group


def test_each_process_gets_the_command_its_rank_and_the_same_port(group):
    group.at(1, group.end_all)
    assert group.start() == 0
    assert [child.command for child in group.children] == [[sys.executable, "-m", "debft", "mnli", "--seed", "7"]] * 2
    assert [(child.name, child.seconds) for child in group.children] == [("process 0", 7.0), ("process 1", 7.0)]
    for rank, child in enumerate(group.children):
        expected = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
        }
        assert expected.items() <= child.variables.items()
    ports = {child.variables["MASTER_PORT"] for child in group.children}
    assert len(ports) == 1
    port = int(ports.pop())
    assert port > 1023  # the others are root's
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))  # nothing listens on it


@pytest.mark.parametrize(
    ("number", "given", "cores", "threads"), [(2, None, 9, "4"), (2, None, 1, "1"), (1, None, None, "1"), (2, "3", 8, "3")]
)
def test_processes_on_the_cpu_share_its_cores(group, monkeypatch, number, given, cores, threads):
    """Unless the user has said how many threads each has."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    group.at(1, group.end_all)
    group.start(number)
    variables = group.children[-1].variables
    assert (variables["ACCELERATE_USE_CPU"], variables["OMP_NUM_THREADS"]) == ("true", threads)


def test_processes_on_gpus_are_not_told_to_use_the_cpu(group, monkeypatch):
    monkeypatch.setattr(local, "visible_gpus", lambda: 2)
    group.at(1, group.end_all)
    assert group.start() == 0
    assert not {"ACCELERATE_USE_CPU", "OMP_NUM_THREADS"} & set(group.children[0].variables)


def test_processes_without_a_gpu_of_their_own_are_refused(group, monkeypatch):
    monkeypatch.setattr(local, "visible_gpus", lambda: 2)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # which does not matter
    with pytest.raises(InputError) as raised:
        group.start(3)
    assert str(raised.value) == "--num-processes: expected at most one per GPU, 2, got 3; start fewer"
    assert group.children == []


@pytest.mark.parametrize(
    ("cores", "most", "said"), [(2, 4, "4 on this machine of 2"), (None, 4, "4 on this machine of 1"), (4, 4, "4"), (6, 6, "6")]
)
def test_more_processes_than_cores_are_refused_where_they_would_share_a_cpu(group, monkeypatch, cores, most, said):
    """Four may: that a run of several processes works can be tried on any machine."""
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    with pytest.raises(InputError) as raised:
        group.start(most + 1)
    assert str(raised.value) == f"--num-processes: expected at most one per core, {said}, got {most + 1}; start fewer"
    assert group.children == []
    group.at(1, group.end_all)
    assert group.start(most) == 0


def test_processes_of_further_machines_are_counted_on_from_the_first(group):
    """All meet where process 0 is."""
    group.at(1, group.end_all)
    assert group.start(6, machines=3, machine=1, address="10.0.0.7", port=29511) == 0
    assert [child.name for child in group.children] == ["process 2", "process 3"]
    for place, child in enumerate(group.children):
        expected = {"RANK": str(2 + place), "LOCAL_RANK": str(place), "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "2"}
        assert (expected | {"MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "29511"}).items() <= child.variables.items()


def test_more_processes_than_the_gpus_of_all_machines_are_refused(group, monkeypatch):
    monkeypatch.setattr(local, "visible_gpus", lambda: 2)
    with pytest.raises(InputError) as raised:
        group.start(6, machines=2)
    assert str(raised.value) == "--num-processes: expected at most one per GPU, 4 on 2 machines, got 6; start fewer"


def test_group_ends_when_its_last_process_has(group):
    group.at(1, lambda: group.code(0, 0))
    group.at(20, lambda: group.code(1, 0))
    assert group.start() == 0
    assert group.looks == 20 and group.now == pytest.approx(1.0)


@pytest.mark.parametrize("code", [1, 3])
def test_process_that_fails_ends_the_others_with_its_exit_code(group, capsys, code):
    """It leaves them the time to print why, and then asks them. One that is ended by that is not spoken for."""
    group.at(3, lambda: group.code(1, code))
    group.at(5, lambda: group.children[0].ends.update(end=-signal.SIGTERM))
    assert group.start() == code
    assert (group.children[0].sent, capsys.readouterr().err) == (["end"], "")
    assert [child.said for child in group.children] == [[(Place.SAID, 1)]] * 2
    assert group.now == pytest.approx(3 * 0.05 + local.SECONDS_TO_FOLLOW, abs=0.11)  # two looks


def test_process_that_does_not_leave_is_killed_half_a_minute_after_the_failure(group, monkeypatch):
    monkeypatch.setattr(local, "SECONDS_BETWEEN_LOOKS", 0.25)  # which floats have, unlike 0.05
    group.at(2, lambda: group.code(1, 3))
    group.at(3, lambda: group.children[0].ends.update({signal.SIGKILL: -9}))
    assert group.start() == 3
    assert group.children[0].sent == ["end", signal.SIGKILL]
    assert group.now == 2 * 0.25 + 30 + 2 * 0.25  # failed, had 30 s, was killed at the next look and gone at the one after it


@pytest.mark.parametrize(
    ("number", "why"), [(9, "SIGKILL, as the system does where memory runs out"), (signal.SIGSEGV, "SIGSEGV")], ids=["9", "11"]
)
def test_lost_process_is_named_once_and_the_others_have_five_seconds(group, capsys, number, why):
    group.at(2, lambda: group.code(1, -number))
    group.at(3, lambda: group.children[0].ends.update({signal.SIGKILL: -9}))
    assert group.start() == 5
    assert capsys.readouterr().err == f"process 1: ended by {why}; step 8 stays\n"
    assert [child.said for child in group.children] == [[(Place.SAID, 1)]] * 2
    assert group.now == pytest.approx(2 * 0.05 + 5, abs=0.11)  # two looks


def test_exit_code_of_processes_that_fail_between_two_looks_is_the_cause(group, capsys):
    """All have ended before the parent looked: code 5 is that of a process which lost another one."""

    def end():
        group.code(0, 5)
        group.code(1, 3)

    group.at(1, end)
    assert (group.start(), capsys.readouterr().err) == (3, "")


def test_process_that_was_lost_between_the_last_two_looks_is_named(group, capsys):
    group.at(1, lambda: (group.code(0, 0), group.code(1, -9)))
    assert group.start() == 5
    assert capsys.readouterr().err == "process 1: ended by SIGKILL, as the system does where memory runs out; step 8 stays\n"


def test_processes_are_shown_life_from_the_first_one_on(group, monkeypatch):
    shown = []

    @contextmanager
    def parent_of(children):
        shown.append(children)
        yield
        shown.append(list(children))

    monkeypatch.setattr(local, "parent_of", parent_of)
    group.at(1, group.end_all)
    group.start()
    assert shown == [group.children, group.children]


def test_signal_that_a_process_was_told_is_passed_on_once(group):
    group.at(2, lambda: setattr(group.children[1], "number", int(signal.SIGUSR1)))
    group.at(9, lambda: group.end_all(128 + signal.SIGUSR1))
    assert group.start() == 128 + signal.SIGUSR1
    assert [child.sent for child in group.children] == [[signal.SIGUSR1]] * 2


def test_signal_to_the_parent_is_passed_on_once(group, capsys):
    """Process 0 says it, and the parent nothing."""
    group.at(2, lambda: signal.raise_signal(signal.SIGTERM))
    group.at(9, lambda: group.end_all(143))
    assert (group.start(), capsys.readouterr().err) == (143, "")
    assert [child.sent for child in group.children] == [[signal.SIGTERM]] * 2


def test_others_of_an_interrupted_process_save_as_well(group):
    """They are sent what it was sent, and are not asked to leave at once; 30 seconds later they are killed."""
    group.at(2, lambda: group.code(1, 130))
    group.at(9, lambda: group.children[0].ends.update({signal.SIGKILL: -9}))
    assert group.start() == 130
    assert group.children[0].sent == [signal.SIGINT, signal.SIGKILL]


def test_first_signal_is_the_one_that_is_passed_on(group):
    group.at(2, lambda: signal.raise_signal(signal.SIGTERM))
    group.at(3, lambda: group.code(1, 129))
    group.at(9, group.end_all)
    assert group.start() == 129
    assert group.children[0].sent == [signal.SIGTERM]


def test_interrupted_main_process_that_could_say_nothing_is_spoken_for(group, capsys):
    group.at(2, lambda: (group.code(0, -signal.SIGTERM), group.code(1, 143)))
    assert group.start() == 143
    assert capsys.readouterr().err == "interrupted; no training step was lost\n"


def test_second_interrupt_kills_the_processes_and_ends(group, monkeypatch):
    monkeypatch.setattr("debft.runtime.signals.SECONDS_OF_COPIES", 0.0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    group.at(2, lambda: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
    try:
        with pytest.raises(KeyboardInterrupt):
            group.start()
    finally:
        signal.signal(signal.SIGINT, before)
    assert [child.sent for child in group.children] == [[signal.SIGKILL]] * 2


def test_hanging_process_is_named_with_the_stacks_and_ends_all(group, capsys):
    group.at(2, lambda: setattr(group.children[1], "silent", True))
    group.at(5, lambda: group.end_all(1))
    assert group.start() == 5
    said = f"process 1: no sign of life for 7 seconds; all are ended, their stacks are in {STACKS}; step 8 stays\n"
    assert capsys.readouterr().err == said
    assert group.stacks == [(group.children, STACKS)]
    assert [child.sent for child in group.children] == [["end"]] * 2


def test_hanging_process_has_half_a_minute_to_save(group):
    group.at(2, lambda: setattr(group.children[1], "silent", True))
    group.at(4, lambda: [child.ends.update({signal.SIGKILL: -9}) for child in group.children])
    assert group.start() == 5
    assert group.now == pytest.approx(2 * 0.05 + 30, abs=0.11)  # two looks


def test_every_hanging_process_is_named(group, capsys):
    group.at(2, lambda: [setattr(child, "silent", True) for child in group.children])
    group.at(5, lambda: group.end_all(1))
    group.start()
    each = [f"process {rank}: no sign of life for 7 seconds" for rank in range(2)]
    assert capsys.readouterr().err.startswith(f"{each[0]}, {each[1]}; all are ended")


def test_parent_that_was_silent_itself_says_so(group, capsys):
    """As after SIGSTOP: its processes have missed it and have woken it."""
    group.at(2, lambda: setattr(group.children[0], "missed", True))
    group.at(5, lambda: group.end_all(1))
    assert group.start() == 5
    assert capsys.readouterr().err.startswith(
        f"the process that started them, {os.getpid()}: no sign of life for 7 seconds; all are ended, "
    )


def test_ended_process_neither_hangs_nor_misses_its_parent(group, capsys):
    def end():
        group.code(0, 0)
        group.children[0].missed = group.children[0].silent = True

    group.at(1, end)
    group.at(5, group.end_all)
    assert (group.start(), group.stacks, capsys.readouterr().err) == (0, [], "")


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([None, 0], 0),
        ([0, 3, 2], 3),
        ([5, 0, 2], 2),  # 5: it lost the other one
        ([5, None], 5),
        ([None, 1], 1),
        ([-signal.SIGTERM, None], 143),
        ([-signal.SIGHUP, 3], 129),
        ([-signal.SIGKILL, 3], 3),
        ([None, -signal.SIGSEGV], 5),
    ],
    ids=str,
)
def test_exit_code_of_the_group_is_that_of_the_first_cause(codes, code):
    assert local.first_failure(codes) == code
