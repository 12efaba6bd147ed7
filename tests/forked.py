"""Processes that debft starts, forked from it in the place of a Python that starts anew: the ranks of a run, the runs of several.

`processes.FORKING` runs debft so. At the points of `POINTS` a process says in a file that it is there and waits a moment, so that a
test can send a signal just then.
"""

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from debft.console import console
from debft.runtime import signals
from debft.runtime.launch import group, lifeline, started
from debft.runtime.progress import _doing

# Variables: a point, `saving:2`; the file that says that it is reached; a directory for the ids of all processes; how long the
# process waits there, `0.3`, or computes without letting another thread run, `hold 3`.
POINT, WHERE, PIDS, WAITS = "TEST_POINT", "TEST_REACHED", "TEST_PIDS", "TEST_WAITS"
# What begins at a point: module, object and function. The number behind a point's name counts its calls from 1.
POINTS = {
    "reading": ("debft.training.run", "", "make_plan"),
    "opening": ("debft.training.opening", "", "open_session"),
    "step": ("debft.training.loop", "", "_begin"),
    "evaluation": ("debft.training.evaluations", "", "predict_splits"),
    "batch": ("debft.scoring.heads.label", "LabelHead", "outputs"),
    "saving": ("debft.runs.checkpoint", "", "write_checkpoint"),
    "model": ("debft.training.finish", "", "save_model"),
    "result": ("debft.runs.directory", "RunDirectory", "write_result"),
}


class Forked:
    """What `subprocess.Popen` is to those who start debft, with the imports of this process."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], stdout: int | None = None, stderr: Any = None, **_: Any
    ) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _redirect(stdout, stderr)
                _become(command[command.index("debft") + 1 :], env)
            finally:
                os._exit(1)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def _redirect(stdout: int | None, stderr: Any) -> None:
    """Give this process the streams that a new program was to have: none to read, and those that are None as they are."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    if stdout == subprocess.DEVNULL:
        os.dup2(nothing, 1)
    if stderr is not None:
        os.dup2(stderr.fileno(), 2)


def _become(arguments: Sequence[str], variables: Mapping[str, str]) -> None:
    """Be `debft ARGUMENTS`, in a session of its own and with the signals as a new program has them."""
    os.setsid()
    for number in (*signals.SIGNALS, signal.SIGTSTP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(variables)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # or it waits for threads that the tokenizer had in the parent alone
    signals.arrived.clear()
    lifeline._to_parent.clear()
    console._lock = threading.RLock()  # a thread of the parent may have held it
    _doing.clear()
    sys.argv = ["debft", *arguments]
    code = 1
    try:
        _run()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def start() -> None:
    """Run debft, and fork what it starts. That this starts anew is held by tests in `training`, `several` and `reproduce`."""
    started.subprocess = SimpleNamespace(Popen=Forked, DEVNULL=subprocess.DEVNULL)
    point, _, number = os.environ.get(POINT, "").partition(":")
    if point:
        _stop_at(point, int(number))
    _run()


def _run() -> None:
    from debft.__main__ import main

    if PIDS in os.environ:
        (Path(os.environ[PIDS]) / str(os.getpid())).write_text(os.environ.get("RANK", ""))
    main()


def _stop_at(point: str, number: int) -> None:
    """Let the main process say, at the n-th call of a point, that it is there, and wait a moment before it goes on."""
    module, kind, name = POINTS[point]
    holder = importlib.import_module(module)
    holder = getattr(holder, kind) if kind else holder
    call: Callable[..., Any] = getattr(holder, name)
    calls = [0]

    def reached(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == number and group.is_main_process():
            Path(os.environ[WHERE]).touch()
            _wait(os.environ[WAITS])
        return call(*arguments, **options)

    setattr(holder, name, reached)


def _wait(how: str) -> None:
    """Wait so many seconds, which a signal does not end; or hold Python's lock for about as long."""
    word, _, seconds = how.rpartition(" ")
    if word != "hold":
        time.sleep(float(seconds))
        return
    until = time.monotonic() + float(seconds)
    number = 10**7
    while time.monotonic() < until:
        begun = time.monotonic()
        sum(range(number))  # in C, without a look at who else wants to run
        number = int(number * max(1.0, min(8.0, float(seconds) / (time.monotonic() - begun + 1e-3))))
