"""What the processes of a launcher write in their store when they come, and how process 0 tells them who is missing or wrong."""

from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace

import pytest
from torch.distributed import DistError, HashStore

from debft.errors import InputError, MachineError
from debft.runtime.launch import meeting
from debft.runtime.launch.group import PARENT
from debft.runtime.launch.lifeline import SECONDS_TO_START

NAMES = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "TORCHELASTIC_RESTART_COUNT",
    "TORCHELASTIC_USE_AGENT_STORE",
    PARENT,
)
SAME = "start all machines with the same options, but --machine-rank"


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    """Set the variables of a launcher, and no others."""

    def choose(**given):
        for name in NAMES:
            monkeypatch.delenv(name, raising=False)
        for name, value in ({"MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "29511"} | given).items():
            monkeypatch.setenv(name, value)

    choose()
    return choose


class Clock:
    """The time of the processes. at: what happens at a time, once"""

    def __init__(self):
        self.now, self.slept, self.at = 0.0, [], {}

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds
        assert len(self.slept) < 2000, "it waits for ever"
        for time in [time for time in self.at if time <= self.now]:
            self.at.pop(time)()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(meeting, "time", clock)
    monkeypatch.setattr(meeting, "SECONDS_BETWEEN_LOOKS", 0.25)  # which floats have
    return clock


@pytest.fixture
def come(variables, clock):
    """`come(rank, size)`: this process comes, and has 60 seconds. `come.store` is what it meets the others in."""

    def begin(rank, size=3):
        variables(RANK=str(rank), WORLD_SIZE=str(size))
        assert meeting._meet(begin.store, 60.0) is begin.store

    begin.store = HashStore()
    begin.store.set_timeout(timedelta(seconds=1))  # that a key which nobody has set is waited for
    return begin


def test_process_0_waits_for_all_and_tells_them(come, clock):
    clock.at = {1.0: lambda: come.store.add("came/2", 1), 1.5: lambda: come.store.add("came/1", 1)}
    come(0)
    assert clock.slept == [0.25] * 6 + [0]
    found = [come.store.get(key) for key in ("beat/0", "came/0", "expected", "met")]
    assert found == [b"0", b"1", b"3", b"all"] and not come.store.check(["wrong"])


@pytest.mark.parametrize(
    ("size", "who"), [(2, "1"), (9, "1, 2, 3, 4, 5, 6, 7, 8"), (10, "1, 2, 3, 4, 5, 6, 7, 8 and 1 more")], ids=str
)
def test_processes_that_do_not_come_are_named_to_all(come, clock, size, who):
    with pytest.raises(MachineError) as raised:
        come(0, size)
    line = f"10.0.0.7:29511: {size - 1} of {size} processes did not come within 60 seconds: {who}; {SAME}"
    assert str(raised.value) == line
    assert (clock.now, clock.slept[-1]) == (62.25, 2.0)  # the others have the time to hear of it
    assert come.store.get("met") == b"missing" and come.store.get("missing").decode() == line


def test_process_that_comes_at_the_last_look_is_not_missed(come, clock):
    clock.at[60.0] = lambda: come.store.add("came/1", 1)
    come(0, 2)
    assert (clock.now, come.store.get("met")) == (60.0, b"all")


@pytest.mark.parametrize("rank", [0, 1])
def test_process_that_comes_twice_is_told_to_all(come, clock, rank):
    come.store.add(f"came/{rank}", 1)
    clock.at[1.0] = lambda: come.store.set("met", "wrong")  # process 0 does that
    with pytest.raises(InputError) as raised:
        come(rank)
    line = f"process {rank} has come twice; {SAME}"
    assert str(raised.value) == line and come.store.get("wrong").decode() == line
    assert come.store.get("met") == b"wrong" and clock.slept == ([2.0] if rank == 0 else [0.25] * 4)


@pytest.mark.parametrize("rank", [0, 1])
def test_process_that_expects_other_numbers_is_told_to_all(come, clock, rank):
    come.store.set("expected", "4")
    clock.at[1.0] = lambda: come.store.set("met", "wrong")
    with pytest.raises(InputError) as raised:
        come(rank)
    assert str(raised.value) == f"process {rank}: expected 4 processes as another one does, got 3; {SAME}"


def test_other_process_goes_on_when_process_0_says_so(come, clock):
    clock.at[69.0] = lambda: come.store.set("met", "all")
    come(1)
    assert (clock.now, set(clock.slept), come.store.get("came/1"), come.store.get("beat/1")) == (69.0, {0.25}, b"1", b"0")


def test_other_process_hears_who_is_missing(come, clock):
    come.store.set("missing", "process 2 is missing")
    come.store.set("met", "missing")
    with pytest.raises(MachineError, match=r"^process 2 is missing$"):
        come(1)


def test_process_0_that_says_nothing_is_waited_for_ten_seconds_longer(come, clock):
    with pytest.raises(MachineError) as raised:
        come(1)
    assert str(raised.value) == "10.0.0.7:29511: process 0 did not say within 60 seconds that all are there"
    assert clock.now == 70.25


def test_store_that_goes_before_all_are_there_was_process_0s(come):
    def fail(*_):
        raise DistError("connection reset\nat a place")

    come.store = SimpleNamespace(set=fail)
    with pytest.raises(MachineError) as raised:
        come(1)
    assert str(raised.value) == "10.0.0.7:29511: process 0 is gone before all processes were there (connection reset)"


@pytest.fixture
def stores(monkeypatch):
    """What stores of torch are made with. `error`: what ends that"""
    made = SimpleNamespace(of=[], error=None)

    def connect(*given, **named):
        made.of.append((given, named))
        if made.error:
            raise made.error
        return "a store"

    monkeypatch.setattr("torch.distributed.TCPStore", connect)
    monkeypatch.setattr("torch.distributed.PrefixStore", lambda prefix, store: (prefix, store))
    monkeypatch.setattr(meeting, "_meetings", [1.0, 1.0])
    return made


@pytest.mark.parametrize("serves", [True, False])
def test_store_is_where_process_0_is_and_its_keys_are_of_this_meeting_alone(variables, stores, serves):
    variables(MASTER_ADDR="fe80::7")
    assert meeting.open_store(60.0, serves=serves) == ("debft/0/2", "a store")
    given = ("fe80::7", 29511, None, serves, timedelta(seconds=60))
    assert stores.of == [(given, {"wait_for_workers": False, "multi_tenant": serves})]
    variables(TORCHELASTIC_RESTART_COUNT="3")
    assert meeting.open_store(60.0, serves=serves) == ("debft/3/2", "a store")


@pytest.mark.parametrize(
    ("serves", "kind", "line"),
    [
        (True, InputError, "cannot be listened at (in use); choose another port"),
        (False, MachineError, "process 0 did not answer for 60 seconds; see that its machine is started, and reached from here"),
    ],
)
def test_store_that_cannot_be_opened_is_named_with_its_place(stores, serves, kind, line):
    stores.error = DistError("in use\nat a place")
    with pytest.raises(kind) as raised:
        meeting.open_store(60.0, serves=serves)
    assert str(raised.value) == f"10.0.0.7:29511: {line}"


@pytest.fixture
def meet(monkeypatch):
    """`meet(hang)`: what the user sees while this process waits, how the store is opened, and how long the meeting may take."""
    done = []

    @contextmanager
    def activity(what, show):
        done.append((what, show))
        yield

    monkeypatch.setattr(meeting, "activity", activity)
    monkeypatch.setattr(meeting, "open_store", lambda seconds, serves: done.append((seconds, serves)) or "store")
    monkeypatch.setattr(meeting, "_meet", lambda *given: done.append(given) or given[0])
    monkeypatch.setattr(meeting, "_meetings", [])
    monkeypatch.setattr(meeting, "_held", [])

    def begin(hang):
        assert meeting.meet(hang) == "store"
        assert meeting._held == ["store"] and len(meeting._meetings) == 1
        return done

    return begin


@pytest.mark.parametrize(
    ("hang", "seconds"), [(None, SECONDS_TO_START), (1.0, SECONDS_TO_START), (SECONDS_TO_START + 9.0, SECONDS_TO_START + 9.0)]
)
def test_meeting_may_take_as_long_as_a_start_or_a_hang(variables, meet, hang, seconds):
    variables(RANK="0", WORLD_SIZE="2", LOCAL_RANK="0")
    what = f"waiting at 10.0.0.7:29511 for 2 processes, at most {seconds:.0f} seconds"
    assert meet(hang) == [(what, True), (seconds, True), ("store", seconds)]


@pytest.mark.parametrize(
    ("given", "serves"),
    [
        ({"RANK": "0"}, True),
        ({"RANK": "1"}, False),
        ({"RANK": "0", "TORCHELASTIC_USE_AGENT_STORE": "True"}, False),  # torchrun does
        ({"RANK": "0", "TORCHELASTIC_USE_AGENT_STORE": "False"}, True),
    ],
)
def test_store_is_held_by_process_0_unless_torchrun_does(variables, meet, given, serves):
    variables(WORLD_SIZE="2", **given)
    assert meet(None)[1] == (SECONDS_TO_START, serves)


@pytest.mark.parametrize(("place", "problems"), [("0", ("it is taken",)), ("1", ())])
def test_first_process_of_a_machine_alone_says_why_they_do_not_meet(variables, meet, monkeypatch, place, problems):
    def refuse(*_, **__):
        raise InputError("it is taken")

    monkeypatch.setattr(meeting, "open_store", refuse)
    variables(RANK="1", WORLD_SIZE="2", LOCAL_RANK=place)
    with pytest.raises(InputError) as raised:
        meeting.meet(None)
    assert (raised.value.problems, meeting._held) == (problems, [])


@pytest.mark.parametrize(
    ("given", "by_one"),
    [
        ({"WORLD_SIZE": "2"}, False),
        ({"WORLD_SIZE": "2", PARENT: "17"}, False),
        ({"WORLD_SIZE": "2", PARENT: "17", "LOCAL_WORLD_SIZE": "2"}, True),
        ({"WORLD_SIZE": "2", PARENT: "17", "LOCAL_WORLD_SIZE": "1"}, False),
        ({"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}, False),
    ],
    ids=str,
)
def test_group_of_one_debft_needs_no_meeting(variables, given, by_one):
    """Its parent sees who is there and who lives."""
    variables(**given)
    assert meeting.started_by_one() == by_one


@pytest.mark.parametrize(("address", "got"), [(None, "none"), ("\udcff", r"'\udcff'")])
def test_group_without_the_address_of_process_0_is_refused(variables, monkeypatch, address, got):
    monkeypatch.delenv("MASTER_ADDR")
    if address is not None:
        monkeypatch.setenv("MASTER_ADDR", address)
    with pytest.raises(InputError) as raised:
        meeting.place()
    assert str(raised.value) == (
        f"MASTER_ADDR: expected the address of process 0 beside RANK and WORLD_SIZE, got {got}; "
        "start it with torchrun, accelerate launch or --num-processes"
    )


@pytest.mark.parametrize("port", ["abc", "", "0", "65536", "-1"])
def test_port_that_none_can_be_is_refused(variables, port):
    variables(MASTER_PORT=port)
    with pytest.raises(InputError, match=f"MASTER_PORT: expected a whole number, 1 to 65535, got '{port}'; unset it"):
        meeting.place()


@pytest.mark.parametrize("port", ["1", "65535", None])
def test_place_is_the_address_with_the_port_that_torch_takes_where_none_is_given(variables, monkeypatch, port):
    variables(MASTER_PORT=port or "")
    if port is None:
        monkeypatch.delenv("MASTER_PORT")
    assert meeting.place() == f"10.0.0.7:{port or 29500}"
