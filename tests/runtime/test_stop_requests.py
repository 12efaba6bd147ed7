"""A signal asks, however often it arrives, and what handled it before comes back; a process that waits in vain knows for how long."""

import os
import signal
import threading
from types import SimpleNamespace

import pytest

from debft.runtime import early, signals
from debft.runtime.launch.group import PARENT
from debft.runtime.signals import LONGEST_INTERVALS, SIGNALS, StopRequest, Watch, ended_without_life, stop_requested

SECONDS = 240  # until a thread counts as hanging, on a slow and busy machine


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


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_handler_of_a_program_may_be_a_method_in_c(handled, monkeypatch, number):
    """Such a one is of no module."""
    monkeypatch.setattr(signals, "arrived", [])
    method = {}.get
    handled(number, method)
    with stop_requested(show=False) as stop:
        signal.raise_signal(number)
        assert (bool(stop), signals.arrived) == (number == signal.SIGTERM, [])
    assert signal.getsignal(number) == method


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


def test_watching_thread_hears_of_a_signal_by_a_pipe(monkeypatch):
    """Whatever the main thread does; it keeps the process from ending as little as it warns of many signals at once."""
    heard, woken, set_wakeup_fd = [], [], signal.set_wakeup_fd

    def watch_over(reading, watch, name):
        heard.extend([os.read(reading, 1), watch, name, threading.current_thread().daemon, os.read(reading, 1)])

    monkeypatch.setattr(signals, "_end_without_life", watch_over)
    monkeypatch.setattr(signal, "set_wakeup_fd", lambda file, **how: (woken.append(how), set_wakeup_fd(file, **how))[1])
    with ended_without_life("process 3") as watch, stop_requested(False, watch):
        signal.raise_signal(signal.SIGTERM)
    assert heard == [bytes([signal.SIGTERM]), watch, "process 3", True, b""]
    assert woken[0] == {"warn_on_full_buffer": False}


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
