"""`debft ARGUMENTS` in this process: some milliseconds in place of the second that another one takes.

That is what ten thousand commands can afford.
"""

import importlib
import io
import logging
import multiprocessing
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import processes
import typer

SECONDS = 240  # until a command counts as hanging, on a slow and busy machine
CODES = (0, 2, 3, 4, 5)  # of the contract, without those of signals; 1 is a bug
# What moves a terminal's cursor, colours it or renames its window. A tab and an end of line are all that a line may hold.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a command has said, and its exit code; that of a signal is negative."""

    arguments: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    def check(self, codes: tuple[int, ...] = CODES) -> "Said":
        """Raise AssertionError where the command broke the contract: a code of its own, a traceback, a control character."""
        what = f"debft {' '.join(map(ascii, self.arguments))}: exit code {self.code}"
        assert self.code in codes, f"{what}: {self.stderr[-3000:]}"
        assert "Traceback (most recent call last)" not in self.stderr, f"{what}: {self.stderr[-3000:]}"
        assert self.code != 2 or (self.stderr + self.stdout).strip(), f"{what}, without a word"
        for stream, text in (("stdout", self.stdout), ("stderr", self.stderr)):
            raw = CONTROL.search(text)
            assert raw is None, f"{what}: {stream} holds {raw[0]!a} raw in {text[max(raw.start() - 200, 0) : raw.end() + 20]!a}"
        return self


@cache
def prepare() -> None:
    """Import once what the commands need, build the commands once, and make the demo's model."""
    typer.main.get_command = cache(typer.main.get_command)
    for name in processes.PRELOADED:
        importlib.import_module(name)
    from debft.data.sources import demo

    demo.model_directory()


def debft(*arguments: object, cwd: Path, **environment: str) -> Said:
    """Run `debft ARGUMENTS` in the directory `cwd`, in this process: what it changes of it is put back, and it is ended after SECONDS."""
    prepare()
    words, files = tuple(map(str, arguments)), [cwd.parent / f"{cwd.name}.{name}" for name in ("stdout", "stderr")]
    variables, before, typed, streams = dict(os.environ), Path.cwd(), sys.argv, (sys.stdin, sys.stdout, sys.stderr)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    os.environ.update({"HF_HUB_OFFLINE": "1", "COLUMNS": "100", **environment})
    os.chdir(cwd)
    sys.argv = ["debft", *words]
    signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(SECONDS)
    try:
        with files[0].open("w", encoding="utf-8") as sys.stdout, files[1].open("w", encoding="utf-8") as sys.stderr:
            sys.stdin = io.StringIO()
            code = _run()
    finally:
        signal.alarm(0)
        sys.stdin, sys.stdout, sys.stderr = streams
        sys.excepthook = sys.__excepthook__
        sys.argv = typed
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.chdir(before)
        os.environ.clear()
        os.environ.update(variables)
        logging.disable(logging.NOTSET)
    texts = [file.read_bytes().decode("utf-8", "backslashreplace") for file in files]
    for file in files:
        file.unlink()
    return Said(arguments=words, code=code, stdout=texts[0], stderr=texts[1])


def _hangs(number: int, frame: object) -> None:
    raise TimeoutError(f"the command did not end in {SECONDS} s")


def _run() -> int:
    """Run the command line of `sys.argv` and return its exit code; a traceback goes to stderr, as Python prints it."""
    from debft.cli.main import main

    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def in_child(do: Callable[..., str], *arguments: object) -> str:
    """Call a function of a module in a process of its own, which it may change or end. Raises AssertionError with what it raised there.

    The process is no fork of this one: threads that torch has begun here would not be there, and be waited for without end.
    """
    ours, its = multiprocessing.Pipe()
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_answer, args=(its, dict(os.environ), do, arguments))
    process.start()
    its.close()
    try:
        held, words = ours.recv() if ours.poll(SECONDS) else (False, f"no answer in {SECONDS} s")
    except EOFError:
        held, words = False, "the process ended"
    process.kill()
    process.join()
    assert held, words
    return words


def _answer(pipe: Connection, environment: dict[str, str], do: Callable[..., str], arguments: Sequence[object]) -> None:
    """Be the process of `in_child`."""
    os.environ.clear()
    os.environ.update(environment)
    try:
        prepare()
        pipe.send((True, do(*arguments)))
    except BaseException as error:
        pipe.send((False, "".join(traceback.format_exception(error))))
