"""The beats of a process, what it sees of the others', and how it ends where one of them is silent: by a clock of the tests."""

import threading
from types import SimpleNamespace

import pytest
from torch.distributed import HashStore

from debft.runtime.launch import heartbeat
from debft.runtime.launch.group import PARENT
from debft.runtime.launch.heartbeat import STORE, Signs
from debft.runtime.launch.lifeline import SECONDS_TO_START

HANG = 100.0


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    """Set the variables of a launcher, and no others."""

    def choose(**given):
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", PARENT):
            monkeypatch.delenv(name, raising=False)
        for name, value in ({"MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "29511"} | given).items():
            monkeypatch.setenv(name, value)

    choose()
    return choose


@pytest.fixture
def signs(monkeypatch):
    """(signs of processes 1 and 2, a clock that the test sets)."""
    clock = {"now": 7.0}
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: clock["now"])
    return Signs([1, 2], HANG), clock


def test_silence_counts_from_the_last_beat_of_each(signs):
    signs, clock = signs
    for number in range(1, 13):
        clock["now"] += 10.0
        signs.seen(STORE, str(number).encode())
        signs.seen(1, str(number).encode())
        signs.seen(2, b"7")  # stands still
        silent = signs.silent()
        assert number > 10 or silent == {}
    assert silent == {2: 120.0}


def test_nobody_is_silent_until_the_time_has_passed(signs):
    signs, clock = signs
    for _ in range(4):
        clock["now"] += HANG / 4
        assert signs.silent() == {}
    clock["now"] += 1.0
    assert signs.silent() == {STORE: HANG + 1.0, 1: HANG + 1.0, 2: HANG + 1.0}


def test_time_in_which_this_process_was_stopped_counts_as_a_quarter_at_most(signs):
    signs, clock = signs
    for _ in range(4):
        clock["now"] += 1000 * HANG
        assert signs.silent() == {}
    clock["now"] += 1000 * HANG
    assert signs.silent() == dict.fromkeys([STORE, 1, 2], 5 * HANG / 4)


@pytest.mark.parametrize(
    ("rank", "first", "silent", "speaks"),
    [
        (0, 0, {1: 1.0}, True),
        (2, 0, {1: 1.0}, False),  # process 0 says it
        (1, 0, {0: 1.0}, True),
        (3, 2, {0: 1.0}, False),  # process 2 does, on the same machine
        (2, 2, {0: 1.0}, True),
        (2, 2, {STORE: 1.0, 3: 1.0}, True),
        (3, 2, {STORE: 1.0, 2: 1.0}, False),
        (1, 0, {STORE: 1.0, 0: 1.0}, True),
        (0, 0, {STORE: 1.0}, True),
        (2, 0, {STORE: 1.0}, False),
    ],
)
def test_one_process_of_a_machine_says_who_is_silent(variables, rank, first, silent, speaks):
    variables(RANK=str(rank), WORLD_SIZE="4")
    assert heartbeat._speaks(silent, first) is speaks


class Rounds:
    """Stands in for the event that the block has ended: it has after so many rounds. waited: the seconds of each wait"""

    def __init__(self, rounds):
        self.left, self.waited = rounds, []

    def wait(self, seconds):
        self.waited.append(seconds)
        self.left -= 1
        return self.left < 0


class Seen:
    """Notes what is seen of the processes `others`."""

    def __init__(self, *others):
        self.others, self.of = list(others), []

    def seen(self, rank, beat):
        self.of.append((rank, beat))


def test_process_beats_and_sees_the_beats_of_the_others():
    store, signs, done = HashStore(), Seen(0, 3), Rounds(2)
    store.set("beat/0", "17")
    store.set("beat/3", "19")
    heartbeat._exchange(store, 2, signs, 1.5, done)
    assert store.get("beat/2") == b"2" and done.waited == [0, 1.5, 1.5]  # the first beat comes at once
    assert signs.of == [(0, b"17"), (3, b"19"), (STORE, b"1"), (0, b"17"), (3, b"19"), (STORE, b"2")]


def test_process_that_watches_the_store_alone_asks_for_no_beats():
    beats, signs = [], Seen()
    heartbeat._exchange(SimpleNamespace(set=lambda *given: beats.append(given)), 0, signs, 1.5, Rounds(1))
    assert (beats, signs.of) == ([("beat/0", "1")], [(STORE, b"1")])


def test_store_that_is_gone_is_silence_and_a_bug_is_not():
    def fail(error):
        def do(*_):
            raise error

        return SimpleNamespace(set=do)

    signs = Seen(1)
    heartbeat._exchange(fail(RuntimeError("connection reset")), 0, signs, 1.5, Rounds(3))
    assert signs.of == []
    with pytest.raises(ValueError):
        heartbeat._exchange(fail(ValueError("a bug")), 0, signs, 1.5, Rounds(3))


class Ended(Exception):
    """The process has ended, with this exit code."""


@pytest.fixture
def judge(monkeypatch):
    """`judge(*silent)`: what is said, the seconds that are slept, and the exit code, where these are silent at one look after another."""
    monkeypatch.setattr(heartbeat, "_ending", [])

    def end(code):
        raise Ended(code)

    def begin(*silent, first=0):
        said, slept, left, done = [], [], list(silent), Rounds(len(silent))
        monkeypatch.setattr(heartbeat, "say", said.append)
        monkeypatch.setattr(heartbeat, "time", SimpleNamespace(sleep=slept.append))
        monkeypatch.setattr(heartbeat.os, "_exit", end)
        code = None
        try:
            heartbeat._judge(SimpleNamespace(silent=lambda: left.pop(0)), first, 1.5, done, lambda: "step 8 stays")
        except Ended as ended:
            (code,) = ended.args
        assert set(done.waited) == {1.5}
        return said, slept, code

    return begin


def test_process_says_who_is_silent_and_ends_a_little_later(variables, judge):
    variables(RANK="0", WORLD_SIZE="4")
    assert not heartbeat.is_ending()
    line = "process 1, process 3: no sign of life for 107 seconds, by way of 10.0.0.7:29511; step 8 stays"
    assert judge({}, {1: 101.2, 3: 106.9}) == ([line], [3.0], 5)
    assert heartbeat.is_ending()


def test_store_that_does_not_answer_is_told_as_process_0(variables, judge):
    variables(RANK="1", WORLD_SIZE="2")
    line = "10.0.0.7:29511: process 0 has not answered for 101 seconds: it is stopped, or the network is cut; step 8 stays"
    assert judge({STORE: 101.2, 0: 101.2}) == ([line], [3.0], 5)


def test_process_for_which_another_one_speaks_ends_without_a_word(variables, judge):
    variables(RANK="3", WORLD_SIZE="4")
    assert judge({0: 101.0}, first=2) == ([], [3.0], 5)
    assert heartbeat.is_ending()


def test_process_whose_others_live_goes_on(judge):
    assert judge({}, {}, {}) == ([], [], None)
    assert not heartbeat.is_ending()


class Thread:
    """Stands in for a thread. did: what is done with it, and whether the block had ended by then"""

    begun = None  # all of them

    def __init__(self, target, args, daemon):
        self.target, self.args, self.daemon, self.did = target, args, daemon, []
        self.begun.append(self)

    def start(self):
        self.did.append("start")

    def join(self):
        self.did.append(("join", self.args[-2].is_set()))


def touch(monkeypatch, hang):
    """Enter and leave the block; return what its threads are given, and how the store is opened."""
    opened, store = [], object()
    monkeypatch.setattr(Thread, "begun", [])
    monkeypatch.setattr(heartbeat, "threading", SimpleNamespace(Thread=Thread, Event=threading.Event))
    monkeypatch.setattr(heartbeat, "open_store", lambda seconds, serves: opened.append((seconds, serves)) or store)
    with heartbeat.in_touch("store", hang, "what stays"):
        exchange, judge = Thread.begun
        its_store, rank, signs, between, done = exchange.args
        assert (exchange.target, judge.target) == (heartbeat._exchange, heartbeat._judge)
        assert exchange.did == judge.did == ["start"] and exchange.daemon and judge.daemon and not done.is_set()
    assert done.is_set() and its_store is store
    assert judge.did == ["start", ("join", True)]
    assert exchange.did == ["start"]  # it may wait for a store that is gone
    first = judge.args[1]
    assert judge.args == (signs, first, between, done, "what stays")
    return rank, first, signs, between, opened


@pytest.mark.parametrize(("parent", "others"), [({}, [0, 1, 2, 3, 4, 6, 7]), ({PARENT: "17"}, [0, 1, 2, 3, 6, 7])])
def test_processes_of_one_debft_watch_those_of_other_machines(variables, monkeypatch, parent, others):
    variables(RANK="5", WORLD_SIZE="8", LOCAL_RANK="1", LOCAL_WORLD_SIZE="2", **parent)
    rank, first, signs, _, _ = touch(monkeypatch, HANG)
    assert (rank, first, signs.others, signs.seconds) == (5, 4, others, HANG)


@pytest.mark.parametrize(("hang", "between"), [(1.0, 0.1), (20.0, 1.0), (100.0, 5.0), (1000.0, 5.0)])
def test_beats_are_twenty_within_the_time_but_neither_rare_nor_a_burden(variables, monkeypatch, hang, between):
    variables(RANK="0", WORLD_SIZE="2")
    _, _, _, seconds, opened = touch(monkeypatch, hang)
    assert (seconds, opened) == (between, [(max(hang, SECONDS_TO_START), False)])


def test_nothing_is_watched_without_a_limit(variables, monkeypatch):
    monkeypatch.setattr(heartbeat, "open_store", lambda *_, **__: pytest.fail("it is watched"))
    with heartbeat.in_touch("store", None, "what stays"):
        pass
