"""The tests that are marked `gpu`, run by pytest in a few processes side by side, and what they have measured."""

from pathlib import Path
from xml.etree import ElementTree

from gpu_parts import Bench, PartFailed

# What each process runs, so that none is much longer than the others. Every test belongs to one of them.
KERNELS, MODELS, DROPOUT = (f"tests/models/attention/test_{name}.py" for name in ("triton", "exactness", "dropout"))
RUNS = "tests/training/test_on_gpu.py"
TESTS = {
    "kernels": (KERNELS, DROPOUT),
    "models for classes": (MODELS, "-k", "classes"),
    "models for spans": (MODELS, "-k", "not classes"),
    "resumed runs": (RUNS, "-k", "resumed_run"),
    "repeated runs": (RUNS, "-k", "five_runs"),
    "recorded steps, vocabulary, loop, evaluation": (
        "tests/training/test_graphs.py",
        "tests/models/test_vocabulary.py",
        "tests/training/test_background.py",
        "tests/training/test_behind.py",
        "tests/scoring/test_evaluation.py",
    ),
    "other runs": (RUNS, "-k", "not resumed_run and not five_runs"),
}


def run_tests(bench: Bench, name: str) -> str:
    """Run some of the tests and return what `summary` says. Raises PartFailed with the names of those that failed."""
    directory = bench.out / f"tests {name}"
    report = directory / "report.xml"
    directory.mkdir()
    at_once = ("-n", "6", "--dist", "worksteal") if name == "kernels" else ()  # they compile all the time
    files = (f"--junitxml={report}", f"--basetemp={directory / 'tmp'}")
    options = ("-q", "-m", "gpu and not sweep", "-p", "no:cacheprovider", *at_once, *files)
    try:
        bench.process(directory.name, "-m", "pytest", *options, *TESTS[name], threads=1)
    except PartFailed as error:
        failed = _failed(report) if report.is_file() else []
        raise PartFailed(f"{', '.join(failed)}; see {directory.name}.out" if failed else str(error)) from None
    return summary(report)


def summary(report: Path) -> str:
    """Return in one line what a report of pytest says: tests passed, reasons of those skipped, what was noted."""
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    skipped = [case.find("skipped") for case in cases if case.find("skipped") is not None]
    reasons = sorted({(skip.get("message") or "").removeprefix("Skipped: ") for skip in skipped})
    noted = [f"{one.get('name')} {one.get('value')}" for case in cases for one in case.iter("property")]
    said = [f"{len(cases) - len(skipped)} passed"]
    if skipped:
        said.append(f"{len(skipped)} skipped ({', '.join(reasons)})")
    return "; ".join([", ".join(said), *noted])


def _failed(report: Path) -> list[str]:
    """Return the names of the tests that failed."""
    cases = ElementTree.parse(report).getroot().iter("testcase")
    return [case.get("name", "") for case in cases if case.find("failure") is not None or case.find("error") is not None]
