"""The run that the parts about disks repeat: 20 steps with everything that a run writes, in a process that has done it before.

Each run is a fork of that process, which has imported, read and drawn all it needs: a second or two of processor time instead of ten.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import processes  # noqa: F401  it has the server of the forks import what a run needs
import system_calls
from system_calls import Call, speak_into, watched

SAVED_EVERY = 7  # steps; the last of the 20 is no multiple of it
COMMAND = (
    *("mnli", "--data", "demo", "--recipe", "demo", "--max-steps", 20, "--save-steps", SAVED_EVERY, "--eval-steps", 10),
    *("--train-batch-size", 4, "--set", "train.checkpoint=best", "--max-train-samples", 80, "--max-eval-samples", 8),
)
LOGS = ("steps.jsonl", "evaluations.jsonl")
SECONDS = ("seconds",)  # what differs between two runs of the same bits


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended: its exit code, and the lines that it said."""

    code: int
    lines: list[str]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def debft(folder: Path, *options: str, answer: Callable[[Call], int] | None = None) -> Ended:
    """Run COMMAND into `folder/run`, with its cache in `folder/cache`, in a fork of this process.

    answer: as `watched` has it, for the calls on what lies in `folder`; None lets all of them happen, unseen
    """
    said = Path(os.environ["TMPDIR"]) / "said"
    said.unlink(missing_ok=True)
    if answer is None:
        code = _forked(folder, options, said)
    else:
        here = f"{folder}/"
        ask = lambda call: answer(call) if f"{call.path}/".startswith(here) else 0  # noqa: E731
        code = watched(lambda: _command(folder, options), ask, said)
    lines = said.read_text(encoding="utf-8").splitlines()
    said.unlink()
    return Ended(code=code, lines=lines)


def _forked(folder: Path, options: tuple[str, ...], said: Path) -> int:
    """Return the exit code of the command in a fork that nobody watches."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        code = 1
        try:
            speak_into(said)
            code = _command(folder, options)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _command(folder: Path, options: tuple[str, ...]) -> int:
    """Run the command in this process, and return its exit code."""
    from debft.__main__ import main

    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.environ["DEBFT_CACHE"] = str(folder / "cache")
    sys.argv = ["debft", *map(str, COMMAND), "--output", str(folder / "run"), *options]
    try:
        main()
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def bits(folder: Path) -> dict[str, str]:
    """Return by name a digest of each thing that must be the same, whatever happened to the run on its way."""
    run = folder / "run"
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    files = [path for name in ("model", "predictions") for path in (run / name).iterdir()] + [run / "analysis.json"]
    found = {str(path.relative_to(run)): path.read_bytes() for path in files}
    found |= {"scores": json.dumps(result["scores"]).encode(), "warnings": json.dumps(result["warnings"]).encode()}
    for name in LOGS:
        rows = [json.loads(line) for line in (run / name).read_text(encoding="utf-8").splitlines()]
        found[name] = json.dumps([{key: row[key] for key in row if key not in SECONDS} for row in rows]).encode()
    for name, written in result["model_files"].items():
        assert hashlib.sha256(found[f"model/{name}"]).hexdigest() == written["sha256"], f"{name} is not what result.json says"
    return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}


def half_written(folder: Path) -> list[str]:
    """Return what a run leaves behind that is not whole: its own temporary files, and those of the libraries."""
    paths = (path for name in ("run", "cache") for path in (folder / name).rglob(".*"))
    return sorted(str(path.relative_to(folder)) for path in paths if path.name != ".lock")


def whole_checkpoints(folder: Path) -> list[int]:
    """Return the steps of the checkpoints, each of which is whole."""
    steps = []
    for path in sorted((folder / "run" / "checkpoints").glob("[sb]*-*")):
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        for name, digest in manifest.items():
            assert hashlib.sha256((path / name).read_bytes()).hexdigest() == digest, f"{path.name}/{name} is damaged"
        if path.name.startswith("step-"):
            steps.append(int(path.name[5:]))
    return steps


def check_goes_on(folder: Path, expected: dict[str, str]) -> list[str]:
    """Resume the run that lies in `folder`, which must come to the same bits and leave nothing half-written. Return its lines."""
    ended = debft(folder, "--resume")
    assert ended.code == 0, f"--resume ended with {ended.code}: {ended.text[-1500:]}"
    check_complete(folder, expected)
    return ended.lines


def check_complete(folder: Path, expected: dict[str, str]) -> None:
    """Check that the run in `folder` is complete, with the same bits and nothing half-written."""
    found = bits(folder)
    changed = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    assert not changed, f"other bits: {', '.join(changed)}"
    assert not half_written(folder), f"half-written: {half_written(folder)}"


@cache
def uninterrupted() -> tuple[dict[str, str], list[Call]]:
    """Return the bits of the run that nothing happened to, and the calls that it made on its files, in their order.

    The first call takes the run in this very process, so that its forks find everything imported and read.
    """
    _leave_out_what_writes_nothing()
    root = Path(os.environ["TMPDIR"])
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        _command(root / "warm", ())
    signal.signal(signal.SIGTERM, _end)  # the command has taken it
    calls: list[Call] = []
    ended = _uninterrupted(root / "through", calls)
    assert ended.code == 0, ended.text
    return bits(root / "through"), calls


def _leave_out_what_writes_nothing() -> None:
    """Keep what is the same in every run, and draw and print nothing: half of the time of a run this small."""
    import debft.config.yaml12
    import debft.data.sources.demo
    import debft.output.pages.run_page
    import debft.output.terminal

    parse = cache(debft.config.yaml12.parse)
    debft.config.yaml12.parse = lambda text, where: deepcopy(parse(text, where))
    table, tables = debft.data.sources.demo.table, {}
    debft.data.sources.demo.table = lambda task, split: tables.get(split.name) or tables.setdefault(split.name, table(task, split))
    debft.output.pages.run_page.run_page = lambda *_: "<html></html>"
    debft.output.terminal.print_result = lambda *_: None


def _uninterrupted(folder: Path, calls: list[Call]) -> Ended:
    folder.mkdir()
    return debft(folder, answer=lambda call: calls.append(call) or 0)


class Warm:
    """A process that has done the run before; `Warm.ask` has it call a function of a module."""

    def __init__(self) -> None:
        # The server of a process is not that of its fork, as the one that runs the cases may be.
        context = multiprocessing.get_context("forkserver" if multiprocessing.parent_process() is None else "spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Return what the function returns there. Raises AssertionError with its text where it raises any error."""
        self._ours.send((function, arguments))
        try:
            succeeded, answer = self._ours.recv()
        except EOFError:
            raise AssertionError("the process that forks the runs has ended") from None
        assert succeeded, answer
        return answer


def warm() -> Warm:
    """The one process of that kind of this process, which ends with it."""
    return _warm_of(os.getpid())


@cache
def _warm_of(_process: int) -> Warm:
    return Warm()


def _serve(pipe: Any) -> None:
    """Answer questions until the other side is gone."""
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory(prefix="debft-warm-") as scratch, suppress(EOFError):
        os.environ["TMPDIR"] = scratch
        while True:
            function, arguments = pipe.recv()
            try:
                answer = (True, function(*arguments))
            except AssertionError as error:
                answer = (False, str(error))
            except Exception:
                answer = (False, traceback.format_exc())
            pipe.send(answer)


def _end(_number: int, _frame: object) -> None:
    sys.exit(0)


def why_not() -> str | None:
    """Return why these runs cannot be watched here."""
    return system_calls.why_not()
