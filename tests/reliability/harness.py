"""Run the parts of the reliability runs, or some of them, and print one table.

The cases of a part run one after another, each in a directory of its own, by one process or by several (`--jobs`). What came of each
is a line in build/reliability/log.jsonl. The next run leaves out what has held with the same code, so a run may be interrupted at any
time. A case also fails where its process dies or does not end in `SECONDS`; its directory and what it printed then stay until the
next run of the part, in build/reliability. The table is committed as RESULTS.md; `--few` runs what the suite runs, and leaves that file alone.
"""

import argparse
import hashlib
import importlib
import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import conftest  # sets the environment that all tests share: no network, a cache of its own, one thread
import processes
from parts import Case, Part

from debft import __version__
from debft.console import say
from debft.runtime.progress import Meter, meter

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD, RESULTS = ROOT / "build" / "reliability", HERE / "RESULTS.md"
NO_PARTS = ("run", "harness", "guided")
SECONDS = 3600  # until a case counts as hanging
COMMAND = "make test-reliability"
HEADER = ("Part", "Held", "Failed", "Of", "Held before", "Claim", "Command", "When, version, code")
HELD, BEFORE, CODE = 1, 4, 7  # columns


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a case. words: what it says of itself, or why it does not hold"""

    held: bool
    words: str
    seconds: float


class HangsError(Exception):
    """A case did not end."""


def find_parts(directory: Path = HERE) -> dict[str, tuple[Part, str]]:
    """Return by name every part and 12 hex digits for the code that it tries and its own: what another code did counts no more."""
    paths = [path for path in sorted(directory.glob("*.py")) if not path.stem.startswith("test_") and path.stem not in NO_PARTS]
    if taken := sorted({path.stem for path in paths} & sys.stdlib_module_names):
        raise SystemExit(f"{directory / taken[0]}.py: expected another name than that of a module of Python's own")
    found = {path: getattr(importlib.import_module(path.stem), "PART", None) for path in paths}
    shared = [*sorted((ROOT / "debft").rglob("*.py")), *(path for path, part in found.items() if part is None)]
    parts = {part.name: (part, _digest([*shared, path])) for path, part in found.items() if part is not None}
    return dict(sorted(parts.items()))


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


class Log:
    """The log has a line of JSON for each case ever run here; those of one part, with one code, are read."""

    def __init__(self, path: Path, part: Part, code: str) -> None:
        self.path, self.part, self.code = path, part, code
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        rows = [json.loads(line) for line in lines if line.endswith("}")]  # a run that was killed leaves half a line
        self.rows = {row["case"]: row for row in rows if (row["part"], row["code"]) == (part.name, code)}

    def add(self, case: Case, outcome: Outcome) -> None:
        """Write what came of a case."""
        when = datetime.now(UTC).isoformat(timespec="seconds")
        row = {"part": self.part.name, "case": case.name, "code": self.code, "when": when, **vars(outcome)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(row, ensure_ascii=False)}")
        self.rows[case.name] = row

    def cases(self, *, held: bool) -> list[str]:
        """Return the names of the cases that held, or of those that did not."""
        return [case for case, row in self.rows.items() if row["held"] == held]


def run_cases(cases: Sequence[Case], log: Log, *, jobs: int, until: float) -> None:
    """Run what has not held yet, and log it; no case begins after `until`, in seconds of the monotonic clock."""
    done = set(log.cases(held=True))
    left = [number for number, case in enumerate(cases) if case.name not in done]
    scratch = log.path.parent / log.part.name
    shutil.rmtree(scratch, ignore_errors=True)
    with meter(log.part.name, len(cases), "cases", done=len(cases) - len(left)) as progress, ExitStack() as workers:
        idle = [workers.enter_context(worker(cases, scratch)) for _ in range(min(jobs, len(left)))]
        busy: dict[Any, tuple[Worker, int, float]] = {}
        while busy or (left and time.monotonic() < until):
            while idle and left and time.monotonic() < until:
                one, number = idle.pop(), left.pop(0)
                one.pipe.send(number)
                busy[one.pipe] = one, number, time.monotonic()
            for pipe in multiprocessing.connection.wait(list(busy), timeout=1.0):
                one, number, began = busy.pop(pipe)
                outcome = one.outcome(cases[number], scratch, time.monotonic() - began)
                _note(cases[number], outcome, log, progress, scratch)
                idle.append(one if one.process.is_alive() else workers.enter_context(worker(cases, scratch)))


def _note(case: Case, outcome: Outcome, log: Log, progress: Meter, scratch: Path) -> None:
    """Log what came of a case; say it where the case failed."""
    log.add(case, outcome)
    if not outcome.held:
        say(f"{log.part.name} {case.name}: failed: {outcome.words} (see {scratch / case.name}.out)")
    progress.advance(1, f"{len(log.cases(held=False))} failed  {case.name}: {outcome.words}")


@dataclass(frozen=True)
class Worker:
    """A process that runs the cases whose numbers it is sent. It dies of any error but an AssertionError."""

    process: Any
    pipe: Any

    def outcome(self, case: Case, scratch: Path, seconds: float) -> Outcome:
        """Receive what came of the case that it was sent."""
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            said = (scratch / f"{case.name}.out").read_text(encoding="utf-8", errors="replace").splitlines()
            words = f"the process ended with {self.process.exitcode}; its last line: {said[-1] if said else '-'}"
            return Outcome(held=False, words=words, seconds=round(seconds, 2))


@contextmanager
def worker(cases: Sequence[Case], scratch: Path) -> Iterator[Worker]:
    """Fork a worker, which has all that this process has imported. It ends with the block, and its processes with it."""
    ours, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_work, args=(cases, scratch, its, ours))
    process.start()
    its.close()
    try:
        yield Worker(process, ours)
    finally:
        with suppress(OSError):
            ours.send(None)
        process.join(timeout=5)
        process.kill()
        process.join()


def _work(cases: Sequence[Case], scratch: Path, pipe: Any, other_end: Any) -> None:
    """Run the cases whose numbers come through the pipe, until None does or its other end is closed."""
    other_end.close()
    conftest.take_usual_signals()
    signal.signal(signal.SIGALRM, _hangs)
    with suppress(EOFError):
        while (number := pipe.recv()) is not None:
            pipe.send(run_case(cases[number], scratch))


def _hangs(_number: int, _frame: object) -> None:
    raise HangsError(f"the case did not end in {SECONDS} seconds")


def run_case(case: Case, scratch: Path) -> Outcome:
    """Run a case in its own directory, with what it prints in a file beside it. Both are removed where it holds."""
    directory, said = scratch / case.name, scratch / f"{case.name}.out"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    began, before = time.monotonic(), Path.cwd()
    sys.stdout = sys.stderr = said.open("w", encoding="utf-8", buffering=1)
    for number in (1, 2):
        os.dup2(sys.stderr.fileno(), number)
    signal.alarm(SECONDS)
    try:
        held, words = True, case.run(directory)
    except AssertionError as error:
        held, words = False, " ".join(str(error).split()) or "an assertion without words"
    finally:
        signal.alarm(0)
        os.chdir(before)
        processes.end_all()
    if held:
        shutil.rmtree(directory, ignore_errors=True)
        said.unlink()
    return Outcome(held=held, words=words, seconds=round(time.monotonic() - began, 2))


def row_of(log: Log) -> list[str]:
    """Return the row of the table for a part: what was run with this code, of how many."""
    names = {case.name for case in log.part.cases()}  # an interrupted run may have had others: threads do not make all calls alike
    held, failed = (len(names.intersection(log.cases(held=held))) for held in (True, False))
    when = f"{datetime.now(UTC):%Y-%m-%d}, {__version__}, `{log.code}`"
    command = f"`{COMMAND} PART={log.part.name}`"
    said = [row["words"] for row in log.rows.values() if row["held"]]
    claim = f"{log.part.claim}; {log.part.figure(said)}" if log.part.figure and said else log.part.claim
    return [log.part.name, f"{held:,}", f"{failed:,}", f"{len(names):,}", "0", claim, command, when]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as a table of Markdown."""
    lines = [HEADER, ["---", *["---:"] * BEFORE, "---", "---", "---"], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def with_rows(text: str, rows: Sequence[Sequence[str]]) -> str:
    """Return the text of RESULTS.md with these rows in the place of those of the same parts, whose cases count on as held before."""
    cells = [[cell.strip() for cell in line.strip("|\n ").split(" | ")] for line in text.splitlines() if line.startswith("| ")]
    kept = {row[0]: row for row in cells if len(row) == len(HEADER) and row[0] not in (HEADER[0], "---")}
    kept |= {row[0]: _counted_on(list(row), kept.get(row[0])) for row in rows}
    before = text.partition("| ")[0]
    return before + table([kept[name] for name in sorted(kept)])


def _counted_on(row: list[str], last: Sequence[str] | None) -> list[str]:
    """Add to a row what held before, with other code than its own."""
    if last is None:
        return row
    held, before = (int(last[column].replace(",", "")) for column in (HELD, BEFORE))
    if last[CODE].rpartition(" ")[2] != row[CODE].rpartition(" ")[2]:
        before += held
    row[BEFORE] = f"{before:,}"
    return row


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/reliability/run.py", description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help="names of parts; none: all")
    parser.add_argument("--minutes", type=float, default=60.0, help="after which no case of a part begins (default: 60)")
    parser.add_argument("--few", action="store_true", help="run what the suite runs, and leave RESULTS.md alone")
    parser.add_argument("--jobs", type=int, default=1, help="cases of a part that run at once (default: 1)")
    options = parser.parse_args()
    parts = find_parts()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"expected names of parts, {', '.join(parts)}, got {', '.join(sorted(unknown))}")
    logs = [Log(BUILD / "log.jsonl", *parts[name]) for name in options.parts or parts]
    for log in logs:
        cases = log.part.few_cases() if options.few else list(log.part.cases())
        run_cases(cases, log, jobs=options.jobs, until=time.monotonic() + 60 * options.minutes)
    rows = [row_of(log) for log in logs]
    text = with_rows(RESULTS.read_text(encoding="utf-8"), rows)
    if options.few:
        sys.stdout.write(table(rows))
    else:
        sys.stdout.write(text[text.index("| ") :])
        RESULTS.write_text(text, encoding="utf-8")
    return int(any(log.cases(held=False) for log in logs))
