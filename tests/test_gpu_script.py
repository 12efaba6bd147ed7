"""benchmarks/gpu.sh without a GPU: what it prints and how it ends. `--small` runs every part, in minutes."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    """(gpu, gpu_parts) as the script imports them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu
    import gpu_parts

    return gpu, gpu_parts


@pytest.fixture
def bench(scripts, tmp_path):
    found = scripts[1].Bench(data=tmp_path / "data", out=tmp_path, size=scripts[1].SMALL)
    found.deadline = time.monotonic() + 300  # only so that a broken script does not wait for ever
    return found


def script(*arguments):
    return subprocess.run(
        ["bash", str(BENCHMARKS / "gpu.sh"), *map(str, arguments)], capture_output=True, text=True, env={"PYTHON": sys.executable}
    )


def weights(run: Path, **tensors) -> Path:
    (run / "model").mkdir(parents=True)
    save_file({name: np.array(values, dtype=np.float32) for name, values in tensors.items()}, run / "model" / "model.safetensors")
    return run


def test_gpu_script_explains_itself():
    done = script("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--small" in done.stdout and "--data" in done.stdout


def test_gpu_script_says_which_file_is_missing(tmp_path):
    done = script("--data", tmp_path)
    assert done.returncode == 2
    assert f"--data {tmp_path}: expected mnli/train.tsv in it, found none" in done.stderr


def test_failing_part_says_why_and_the_others_go_on(scripts, capsys):
    gpu, parts = scripts

    def fail() -> str:
        raise parts.PartFailed("it was not as it must be")

    assert not gpu.run_parts([gpu.Part("1 bad", fail), gpu.Part("2 good", lambda: "well")], 1)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("1 bad ") and first.endswith(" s   FAILED PartFailed: it was not as it must be")
    assert second.startswith("2 good ") and second.endswith(" s   well")
    assert gpu.run_parts([gpu.Part("2 good", lambda: "well")], 1)


def test_process_returns_what_it_printed(bench):
    assert bench.process("one", "-c", "print('found')") == "found\n"


def test_process_with_another_exit_code_fails_with_its_last_line(bench, scripts):
    with pytest.raises(scripts[1].PartFailed, match=r"^one: expected exit code 0, got 3: the reason$"):
        bench.process("one", "-c", "import sys; print('first', file=sys.stderr); print('the reason', file=sys.stderr); sys.exit(3)")


def test_process_ends_at_the_deadline(bench, scripts):
    bench.deadline = 0.0
    with pytest.raises(scripts[1].PartFailed, match="no time was left for it"):
        bench.process("one", "-c", "import time; time.sleep(600)")


HEARS = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
pathlib.Path({log!r}).write_text("{{}}\\n" * 99)  # from here on the signal is due
time.sleep(600)
"""


def test_process_is_stopped_by_a_signal_when_its_log_is_long_enough(bench):
    log = bench.out / "steps.jsonl"
    assert bench.process("one", "-c", HEARS.format(log=str(log)), stop_after=log) == ""


def test_process_that_ends_before_its_signal_fails(bench, scripts):
    with pytest.raises(scripts[1].PartFailed, match=r"^one: ended before it could be stopped, with exit code 0"):
        bench.process("one", "-c", "pass", stop_after=bench.out / "steps.jsonl")


def test_differences_are_of_bits(scripts, tmp_path):
    differences = scripts[1].differences
    first = weights(tmp_path / "a", x=[0.0, 1.0], y=[2.0])
    assert differences(first, weights(tmp_path / "b", x=[0.0, 1.0], y=[2.0])) == ""
    assert differences(first, weights(tmp_path / "c", x=[-0.0, 1.0], y=[2.5])) == "2 of 2 tensors differ, by 5.0e-01 at most"


def test_every_row_of_speeds_is_asked_for(scripts):
    import speed_rows

    assert sorted(scripts[1].SPEED_ROWS) == sorted(speed_rows.ROWS)


def test_table_of_speeds_stays_where_a_row_fails(bench, scripts, monkeypatch):
    def fail(name, *command):
        (bench.out / "speed.out").write_text("| row | contender |\n")
        raise scripts[1].PartFailed("one of them")

    monkeypatch.setattr(bench, "process", fail)
    with pytest.raises(scripts[1].PartFailed):
        bench.speed()
    assert bench.table == "| row | contender |"


@pytest.mark.parametrize("failing", [True, False])
def test_exit_code_tells_whether_a_part_failed(scripts, tmp_path, monkeypatch, capsys, failing):
    gpu, parts = scripts
    for name in gpu.NEEDED:
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        (tmp_path / "data" / name).touch()
    deadlines = []

    def look(bench) -> str:
        deadlines.append(bench.deadline)
        if failing:
            raise parts.PartFailed("not well")
        return "well"

    monkeypatch.setattr(parts.Bench, "versions", lambda bench: "versions")
    monkeypatch.setattr(gpu, "side_by_side", lambda bench: [gpu.Part("2 bad", lambda: look(bench))])
    monkeypatch.setattr(gpu, "alone", lambda bench: [gpu.Part("5 good", lambda: str(deadlines.append(bench.deadline)))])
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == (1 if failing else 0)
    assert deadlines[1] - deadlines[0] == pytest.approx(parts.FULL.seconds[1] - parts.FULL.seconds[0])
    assert capsys.readouterr().out.splitlines()[-1].startswith("not all parts are well" if failing else "all parts")


def test_every_part_can_be_asked_for(scripts, bench):
    gpu, _ = scripts
    names = [part.name for part in (*gpu.side_by_side(bench), *gpu.alone(bench))]
    assert len(set(names)) == len(names) and {name[0] for name in names} == {"1", "2", "3", "4", "5"}


def test_every_test_for_a_gpu_is_run_by_the_script(scripts):
    import gpu_tests

    tests = Path(__file__).parent
    texts = {path: path.read_text(encoding="utf-8") for path in tests.rglob("test_*.py") if path != Path(__file__)}
    marked = {path for path, text in texts.items() if "mark.gpu" in text or "import DEVICES" in text}
    run = {BENCHMARKS.parent / word for words in gpu_tests.TESTS.values() for word in words if word.endswith(".py")}
    assert marked == run


REPORT = """<testsuites><testsuite><testcase name="a"><properties><property name="losses differ" value="by 1e-07"/></properties>
</testcase><testcase name="b"/><testcase name="c"><skipped message="Skipped: needs a GPU"/></testcase>{}</testsuite></testsuites>"""


def test_tests_for_a_gpu_say_how_many_passed_why_some_did_not_run_and_what_they_measured(scripts, tmp_path):
    import gpu_tests

    report = tmp_path / "report.xml"
    report.write_text(REPORT.format(""))
    assert gpu_tests.summary(report) == "2 passed, 1 skipped (needs a GPU); losses differ by 1e-07"


def test_tests_for_a_gpu_that_fail_are_named(scripts, bench, monkeypatch):
    import gpu_tests

    def process(name, *command, **_):
        report = next(Path(word.partition("=")[2]) for word in command if str(word).startswith("--junitxml"))
        report.write_text(REPORT.format('<testcase name="d[cuda]"><failure/></testcase>'))
        raise gpu_tests.PartFailed("expected exit code 0, got 1")

    monkeypatch.setattr(bench, "process", process)
    with pytest.raises(gpu_tests.PartFailed, match=r"^d\[cuda\]; see tests kernels.out$"):
        gpu_tests.run_tests(bench, "kernels")
