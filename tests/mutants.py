"""Change one thing at a time in a module of debft, and see whether its tests notice: `make mutants MODULES=debft/runs/seal.py`.

The changes are those of mutmut: another operator, number or text, a value or argument that is None or missing, the other branch. Its
own runner leaves out what has a decorator, such as every context manager. Here the tests are collected once; each change is made to
the function in memory, in a forked process that runs the tests which call it, the fastest first, until one fails. So nothing is
imported anew, and what a test starts as a process of its own runs the unchanged code. A change that never ends counts as noticed.
"""

import argparse
import ast
import difflib
import gc
import importlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
# The tests whose subject a module is, in a few seconds each; what needs a process of its own or a whole run is not among them.
TESTS = {
    "debft/runs/checkpoint.py": (
        "tests/runs/test_checkpoint.py",
        "tests/runs/test_checkpoint_words.py",
        "-k",
        "not kill_at_any_moment and not death_at_any_call",
    ),
    "debft/runs/digested.py": ("tests/runs/test_digested.py",),
    "debft/runs/json_records.py": ("tests/runs/test_result.py",),
    "debft/runs/removal.py": ("tests/runs/test_removal.py",),
    "debft/runs/result.py": ("tests/runs/test_result.py",),
    "debft/runs/result_file.py": ("tests/runs/test_result.py",),
    "debft/runs/seal.py": ("tests/runs/test_seal.py",),
    "debft/runs/sessions.py": ("tests/runs/test_changes_in_words.py",),
    "debft/runs/storage.py": ("tests/runs/test_storage.py",),
    "debft/runtime/launch/group.py": ("tests/runtime/test_group.py",),
    "debft/runtime/launch/heartbeat.py": ("tests/runtime/test_heartbeat.py",),
    "debft/runtime/launch/interface.py": ("tests/runtime/test_interface.py",),
    "debft/runtime/launch/lifeline.py": ("tests/runtime/test_lifeline.py",),
    "debft/runtime/launch/local.py": ("tests/runtime/test_local.py",),
    "debft/runtime/launch/machines.py": ("tests/runtime/test_machines.py",),
    "debft/runtime/launch/meeting.py": ("tests/runtime/test_arrivals.py",),
    "debft/runtime/launch/srun.py": ("tests/runtime/test_machines.py",),
    "debft/runtime/launch/started.py": ("tests/runtime/test_started.py",),
    "debft/runtime/signals.py": ("tests/runtime/test_stop_requests.py",),
    "debft/training/checkpoints.py": ("tests/training/test_saving.py",),
    "debft/training/resuming.py": ("tests/training/test_resuming.py",),
    "debft/training/session.py": ("tests/training/test_saving.py",),
}
SECONDS = 60  # until the tests of a change count as hanging, on a slow and busy machine
BROKEN = 3  # the exit code of a process that could not try its change
OPTIONS = (
    "-p",
    "no:terminal",
    "-p",
    "no:xdist",
    "-p",
    "no:cacheprovider",
    "-o",
    "addopts=",
    "-m",
    "not gpu and not hub and not sweep",
)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A function, by its name within the module, with one thing changed. source: the whole module with the change"""

    function: str
    source: str
    change: str

    def apply(self, module: ModuleType) -> None:
        """Put the changed code, and the defaults of its parameters, into the function that is imported."""
        path = module.__file__ or ""
        function, tree = function_of(module, self.function), ast.parse(self.source)
        function.__code__ = code_of(compile(tree, path, "exec"), self.function)
        arguments = definition(tree, self.function.split(".")).args
        value = lambda node: eval(compile(ast.Expression(node), path, "eval"), vars(module))  # noqa: E731
        function.__defaults__ = tuple(map(value, arguments.defaults)) or None
        named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        function.__kwdefaults__ = {name.arg: value(node) for name, node in named if node is not None} or None


def function_of(module: ModuleType, name: str) -> FunctionType:
    """Return the function below its decorators."""
    found: Any = module
    for part in name.split("."):
        found = vars(found)[part]
    found = getattr(found, "fget", found)
    return getattr(found, "__wrapped__", found)


def code_of(code: CodeType, name: str) -> CodeType:
    """Return the code of a function within that of its module."""
    codes = [one for one in code.co_consts if isinstance(one, CodeType)]
    for one in codes:
        if one.co_qualname == name:
            return one
    return next(code_of(one, name) for one in codes if name.startswith(f"{one.co_qualname}."))


def definition(tree: ast.Module | ast.ClassDef, names: Sequence[str]) -> ast.FunctionDef:
    """Return the definition of a function in the tree of its module."""
    found = next(node for node in tree.body if getattr(node, "name", None) == names[0])
    if len(names) == 1:
        assert isinstance(found, ast.FunctionDef)
        return found
    assert isinstance(found, ast.ClassDef)
    return definition(found, names[1:])


def mutants_of(path: str) -> list[Mutant]:
    """Return every change that mutmut makes within a function of this file, those with decorators as well."""
    import libcst
    from libcst.metadata import MetadataWrapper, PositionProvider
    from mutmut.mutation.file_mutation import MutationVisitor
    from mutmut.mutation.mutators import mutation_operators
    from mutmut.mutation.pragma_handling import IgnoredCode

    class Visitor(MutationVisitor):
        def _skip_node_and_children(self, node: libcst.CSTNode) -> bool:
            if isinstance(node, libcst.FunctionDef):
                return False
            return isinstance(node, libcst.Decorator) or super()._skip_node_and_children(node)

    source = (ROOT / path).read_text(encoding="utf-8")
    wrapper = MetadataWrapper(libcst.parse_module(source))
    visitor = Visitor(mutation_operators, IgnoredCode(set(), set(), set()))
    module = wrapper.visit(visitor)
    names, places = {id(node): name for name, node in functions(module)}, wrapper.resolve(PositionProvider)
    begins = [0, *accumulate(map(len, source.splitlines(keepends=True)))]  # of each line, in characters
    mutants = []
    for mutation in visitor.mutations:
        function, place = names.get(id(mutation.contained_by_top_level_function)), places[mutation.original_node]
        start, end = (begins[at.line - 1] + at.column for at in (place.start, place.end))
        changed = source[:start] + module.code_for_node(mutation.mutated_node) + source[end:]
        if function and compiles(changed):
            mutants.append(Mutant(function=function, source=changed, change=difference(source, changed)))
    return mutants


def functions(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield the functions of a module and of its classes with their names."""
    for node in module.body:
        if type(node).__name__ == "FunctionDef":
            yield node.name.value, node
        elif type(node).__name__ == "ClassDef":
            yield from ((f"{node.name.value}.{name}", function) for name, function in functions(node.body))


def compiles(source: str) -> bool:
    """Return whether a change is Python at all."""
    try:
        return bool(compile(source, "", "exec"))
    except SyntaxError:  # as an assignment to None
        return False


def difference(before: str, after: str) -> str:
    """Return the changed lines, `- before` and `+ after`."""
    lines = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""))
    where = lines[2].split()[1].lstrip("-").partition(",")[0]
    return "\n".join([f"line {where}", *(f"{line[0]} {line[1:].strip()}" for line in lines[3:])])


class Runner:
    """A plugin of pytest that runs, in the place of the tests, each change with the tests that call it."""

    def __init__(self, path: str, jobs: int) -> None:
        self.path, self.jobs = path, jobs
        self.failed: list[str] = []
        self.survived: list[Mutant] = []
        self.all: list[Mutant] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what failed."""
        if report.failed:
            self.failed.append(f"{report.nodeid}: {report.longreprtext}")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try every change, `jobs` at a time."""
        module = importlib.import_module(self.path.removesuffix(".py").replace("/", "."))
        called = self.called(session.items, module)
        self.all = mutants_of(self.path)
        gc.freeze()  # else each process copies what it looks at for garbage
        running: dict[int, Mutant] = {}
        for mutant in self.all:
            while len(running) >= self.jobs:
                self.reap(running)
            items = sorted(
                (item for item in session.items if mutant.function in called[item.nodeid][0]),
                key=lambda item: called[item.nodeid][1],
            )
            running[self.fork(module, mutant, items)] = mutant
        while running:
            self.reap(running)
        return True

    def fork(self, module: ModuleType, mutant: Mutant, items: Sequence[pytest.Item]) -> int:
        """Start the tests of a mutant in a process of its own, and return its number."""
        if pid := os.fork():
            return pid
        code = BROKEN
        try:
            gc.disable()
            os.setsid()
            signal.alarm(SECONDS)
            mutant.apply(module)
            code = 1  # also where a test is left by KeyboardInterrupt
            code = self.run(items)
        finally:
            if code == BROKEN:
                traceback.print_exc()
            os._exit(code)

    def run(self, items: Sequence[pytest.Item]) -> int:
        """Run tests until one fails. Return 1 where one does, 0 where none does."""
        for item, following in pairwise([*items, None]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                return 1
        return 0

    def reap(self, running: dict[int, Mutant]) -> None:
        """Wait for one of the processes, and note where no test has failed."""
        pid, status = os.wait()
        mutant = running.pop(pid)
        if os.waitstatus_to_exitcode(status) == BROKEN:
            print(f"{self.path}: cannot be changed: {mutant.function} {mutant.change}", file=sys.stderr)
            os._exit(BROKEN)  # pytest would take an exception for a failure of its own
        if status == 0:
            self.survived.append(mutant)

    def called(self, items: Sequence[pytest.Item], module: ModuleType) -> dict[str, tuple[set[str], float]]:
        """Run every test as it is; return by its name the functions of the module that it calls, and the seconds it took."""
        with tempfile.TemporaryFile("w+") as file:
            if (pid := os.fork()) == 0:
                json.dump(self.record(items, module.__file__ or ""), file)
                file.flush()
                os._exit(0)
            _, status = os.waitpid(pid, 0)
            file.seek(0)
            if status:
                print(f"{self.path}: expected tests that pass", file=sys.stderr)
                os._exit(1)
            return {name: (set(names), seconds) for name, (names, seconds) in json.load(file).items()}

    def record(self, items: Sequence[pytest.Item], path: str) -> dict[str, tuple[list[str], float]]:
        """Be the process that runs them."""
        record, names = {}, set()

        def note(frame: Any, event: str, _: object) -> None:
            if event == "call" and frame.f_code.co_filename == path:
                names.add(frame.f_code.co_qualname.partition(".<locals>")[0])

        threading.setprofile(note)
        sys.setprofile(note)
        for item, following in pairwise([*items, None]):
            names.clear()
            began = time.monotonic()
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.failed:
                os.write(2, "\n".join(self.failed).encode())
                os._exit(1)
            record[item.nodeid] = sorted(names), time.monotonic() - began
        return record


def try_module(path: str, jobs: int) -> int:
    """Print how many changes the tests notice, and the others. Return an exit code."""
    runner, began = Runner(path, jobs), time.monotonic()
    code = int(pytest.main([*OPTIONS, *TESTS[path]], plugins=[runner]))
    if code or not runner.all:
        return code or BROKEN
    noticed, every = len(runner.all) - len(runner.survived), len(runner.all)
    print(f"{path}: {noticed} of {every} noticed, {noticed / every:.1%}, {time.monotonic() - began:.0f} s")
    for mutant in runner.survived:
        print(f"\n{mutant.function} {mutant.change}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="all of them where none is named")
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args(arguments)
    if unknown := set(asked.modules) - set(TESTS):
        parser.error(f"expected some of {', '.join(TESTS)}, got {', '.join(unknown)}")
    worst = 0
    for path in asked.modules or TESTS:
        pid = os.fork()
        if pid == 0:  # the next module begins with nothing imported
            code = BROKEN
            try:
                code = try_module(path, asked.jobs)
            finally:
                sys.stdout.flush()
                os._exit(code)
        worst = max(worst, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return worst


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    sys.exit(main())
