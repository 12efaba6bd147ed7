"""What a process knows of its group: whether it is alone, and whether it is the one that speaks."""

import os
import signal
import threading
from types import SimpleNamespace

import pytest

from debft.errors import InputError
from debft.runtime.launch import group


@pytest.fixture
def variables(monkeypatch):
    """Set the variables of a launcher, and no others."""

    def choose(**given):
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", group.PARENT):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return choose


@pytest.mark.parametrize(
    ("given", "in_a_group", "main"),
    [
        ({}, False, True),
        ({"RANK": "1"}, False, True),  # a variable that is left over from something else
        ({"RANK": "0", "WORLD_SIZE": "1"}, False, True),
        ({"RANK": "0", "WORLD_SIZE": "2"}, True, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, True, False),
    ],
)
def test_group_is_what_the_launcher_says(variables, given, in_a_group, main):
    variables(**given)
    assert (group.in_a_group(), group.is_main_process()) == (in_a_group, main)


def test_process_is_named_by_its_rank(variables):
    variables(RANK="3", WORLD_SIZE="4")
    assert (group.process_name(), group.group_size()) == ("process 3", 4)


@pytest.mark.parametrize(
    ("given", "speaks"),
    [
        ({}, True),
        ({"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "WORLD_SIZE": "4"}, True),  # a launcher that starts one on each machine
        ({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "1"}, True),
    ],
)
def test_first_process_of_a_machine_speaks_for_it(variables, given, speaks):
    variables(**given)
    assert group.speaks_for_machine() == speaks


@pytest.mark.parametrize("given", [{"RANK": "0", "WORLD_SIZE": "1"}, {group.PARENT: "17"}])
def test_process_of_a_launcher_or_of_debft_is_started_by_another(variables, given):
    variables()
    assert not group.started_by_another()
    variables(**given)
    assert group.started_by_another()


def test_process_alone_is_process_0_of_one(variables):
    variables()
    assert (group.process_name(), group.group_size()) == ("process 0", 1)


@pytest.mark.parametrize(
    ("given", "place", "size"),
    [
        ({}, 0, 1),
        ({"LOCAL_RANK": "-1"}, 0, 1),
        ({"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}, 0, 1),
        ({"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, 1, 2),
    ],
)
def test_place_on_the_machine_is_what_the_launcher_says(variables, given, place, size):
    variables(RANK="3", WORLD_SIZE="4", **given)
    assert (group.local_rank(), group.local_size()) == (place, size)


@pytest.mark.parametrize("value", ["abc", "", "1.5", "²", "9" * 5000])
@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("WORLD_SIZE", {}),
        ("WORLD_SIZE", {"RANK": "0"}),
        ("LOCAL_RANK", {}),
        ("RANK", {"WORLD_SIZE": "2"}),
        ("LOCAL_WORLD_SIZE", {"RANK": "0", "WORLD_SIZE": "2"}),
    ],
)
def test_variable_that_is_no_number_is_named_and_keeps_no_error_from_being_printed(variables, name, others, value):
    variables(**others, **{name: value})
    with pytest.raises(InputError, match=f"{name}: expected a whole number"):
        group.check_group()
    assert group.is_main_process()


@pytest.mark.parametrize(
    "given",
    [
        {"RANK": "2", "WORLD_SIZE": "2"},
        {"WORLD_SIZE": "0"},
        {"LOCAL_RANK": "-2"},
        {"LOCAL_WORLD_SIZE": "0", "RANK": "0", "WORLD_SIZE": "2"},
    ],
)
def test_number_that_no_process_can_have_is_refused(variables, given):
    variables(**given)
    with pytest.raises(InputError, match=f"{next(iter(given))}: expected a whole number"):
        group.check_group()


def test_variable_that_is_left_over_may_be_anything(variables):
    variables(RANK="gold", LOCAL_RANK="-1", LOCAL_WORLD_SIZE="x")
    group.check_group()


@pytest.mark.parametrize("value", ["abc", "", "0"])
def test_parent_that_is_no_process_is_refused(variables, value):
    variables(**{group.PARENT: value})
    with pytest.raises(InputError, match="DEBFT_PARENT: expected a whole number"):
        group.follow_parent()


@pytest.fixture
def threads(monkeypatch):
    """Whether each thread that is started is a daemon. What it does is done here and now."""
    begun = []

    def thread(target, daemon):
        begun.append(daemon)
        return SimpleNamespace(start=target)

    monkeypatch.setattr(group, "threading", SimpleNamespace(Thread=thread))
    return begun


def test_process_without_a_parent_follows_nobody(variables, threads):
    variables()
    group.follow_parent()
    assert threads == []


class ParentThatDies:
    """A parent that lives while it is looked at three times, and the time that is slept between two looks."""

    def __init__(self, monkeypatch, line, pid=17):
        self.pids, self.slept, self.killed, self.looked, self.taken = [pid, pid, pid, 0], [], [], [], []
        monkeypatch.setenv(group.PARENT, str(pid))
        parts = {"environ": os.environ, "getppid": lambda: self.pids.pop(0), "getpid": lambda: 23}
        monkeypatch.setattr(group, "os", SimpleNamespace(kill=lambda *sent: self.killed.append(sent), **parts))
        monkeypatch.setattr(group, "time", SimpleNamespace(sleep=self.slept.append))
        monkeypatch.setattr(group, "look_at_parent", self.looked.append)
        monkeypatch.setattr(group, "take_lifeline", lambda parent: self.taken.append(parent) or line)


@pytest.mark.parametrize("pid", [1, 17])  # within a container debft may be the first process
def test_process_ends_as_on_sigterm_when_its_parent_has_died(monkeypatch, threads, pid):
    parent = ParentThatDies(monkeypatch, line=None, pid=pid)
    group.follow_parent()
    assert parent.killed == [(23, signal.SIGTERM)]
    assert (parent.taken, parent.looked, parent.slept) == ([pid], [], [1.0] * 3)
    assert threads == [True]  # a thread that does not keep the process from ending


def test_process_shows_its_parent_life_as_often_as_that_expects_it(monkeypatch, threads):
    line = SimpleNamespace(between_beats=lambda: 0.4)
    parent = ParentThatDies(monkeypatch, line)
    group.follow_parent()
    assert (parent.looked, parent.slept, parent.killed) == ([line] * 3, [0.4] * 3, [(23, signal.SIGTERM)])


def test_parent_is_followed_beside_the_work(monkeypatch):
    """In a thread of its own."""
    parent, done, here = ParentThatDies(monkeypatch, line=None), threading.Event(), []
    monkeypatch.setattr(group.os, "kill", lambda *sent: (here.append(threading.current_thread().daemon), done.set()))
    group.follow_parent()
    assert done.wait(240) and here == [True] and parent.pids == []
