"""`debft` in a process of its own, forked from one that has imported torch and transformers already.

A command spends 5 to 10 seconds of processor time on importing them, which a suite of a hundred commands cannot afford. What is
about starting itself (signals while Python imports, what the hub's library reads when it is imported) starts Python anew.
"""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import debft.runtime.progress

SECONDS = 240  # until a command counts as hanging, on a slow and busy machine
PRELOADED = (
    "accelerate",
    "datasets",
    "scipy.stats",
    "sentencepiece",
    "torch",
    "transformers.models.auto.modeling_auto",
    "transformers.models.deberta_v2.modeling_deberta_v2",
    "debft.cli.main",
    "debft.reproduce.run",
    "debft.scoring.inference",
    "debft.scoring.metrics.scores",
    "debft.training.finish",
    "debft.training.opening",
    "debft.training.run",
    "debft.training.train",
)
DEBFT = "from debft.__main__ import main\nmain()\n"
# The same, but what the command starts (the ranks of a run, the runs of `--seeds`, `search`, `reproduce`) is forked from it instead
# of started anew, for which each imports everything again.
FORKING = "import forked\nforked.start()\n"

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(PRELOADED))
_started: list["Command"] = []


class Command:
    """`debft ARGUMENTS`, started, with what the tests ask of a `subprocess.Popen`.

    code: what is run in the place of debft, as by `python -c`; stdout, stderr: in the place of files of its own
    """

    def __init__(
        self,
        *arguments: object,
        code: str = DEBFT,
        cwd: Path | None = None,
        stdin: str = "",
        stdout: Path | None = None,
        stderr: IO[str] | None = None,
        **environment: str,
    ) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="debft-command-")
        directory = Path(self._directory.name)
        said = Path(stderr.name) if stderr else directory / "stderr"
        self._files = (directory / "stdin", stdout or directory / "stdout", said)
        self._files[0].write_text(stdin, encoding="utf-8")
        for file in self._files[1:]:
            file.touch()
        words = [str(argument) for argument in arguments]
        variables = dict(os.environ) | environment
        self._process = _context.Process(
            target=_become, args=(code, words, self._files, str(cwd or Path.cwd()), variables), daemon=True
        )
        self._process.start()
        _started.append(self)
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    poll = returncode.fget

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = SECONDS) -> tuple[str, str]:
        """(stdout, stderr), once it has ended."""
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired("debft", timeout, *self.texts())
        return self.texts()

    def texts(self) -> tuple[str, str]:
        """(stdout, stderr) so far; of a pipe nothing, which is for its reader."""
        return tuple(file.read_text(encoding="utf-8") if file.is_file() else "" for file in self._files[1:])


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess:
    """What `subprocess.run` gives for `debft ARGUMENTS`."""
    command = Command(*arguments, **options)
    texts = command.communicate()
    return subprocess.CompletedProcess(["debft", *map(str, arguments)], command.returncode, *texts)


def start_two(*arguments: object, folders: Sequence[Path | None] = (None, None), **options: Any) -> list[Command]:
    """Two processes of one run as torchrun starts them on two machines, each in a folder of its own."""
    return start_group(*arguments, folders=folders, **options)


def start_group(*arguments: object, folders: Sequence[Path | None], **options: Any) -> list[Command]:
    """As many processes of one run as there are folders."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {
        "WORLD_SIZE": str(len(folders)),
        "LOCAL_WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "ACCELERATE_USE_CPU": "true",
    }
    return [Command(*arguments, cwd=folder, RANK=str(rank), **group, **options) for rank, folder in enumerate(folders)]


def end_all() -> None:
    """Kill what still runs: a test that fails half-way would leave a run of 500 epochs behind."""
    for command in _started:
        command.kill()
        command.communicate()
    _started.clear()


def _become(code: str, arguments: list[str], files: Sequence[Path], cwd: str, variables: Mapping[str, str]) -> None:
    """Be that command: with its own variables, directory and streams, and with signals as a shell leaves them."""
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "a")):
        with files[number].open(mode) as file:
            os.dup2(file.fileno(), number)
        setattr(sys, name, open(number, mode, encoding="utf-8", buffering=1, closefd=False))  # noqa: SIM115
    _take_signals()
    sys.argv = ["debft", *arguments]
    debft.runtime.progress.SECONDS_OF_SILENCE = SECONDS  # on a busy machine anything lasts; tests compare all that is said
    exec(code, {"__name__": "__main__"})


def _take_signals() -> None:
    """Take signals as a shell leaves them."""
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
