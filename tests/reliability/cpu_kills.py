"""Kills by the processor time that a run has used: cheap enough for the suite, whatever else its machine does.

A process that has imported everything and trained once forks a run; the run asks the kernel to end it after so many seconds of its own
processor time, by SIGPROF, which nothing handles, so that it ends as by SIGKILL: wherever it is, without a last word. kills.py kills at
moments of the clock, and several processes of a run.
"""

import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from small_runs import SAVE_STEPS, Kind, difference, inputs_beside, left_half_written, steps_logged

import debft.training.describe
from debft.config.recipe import Recipe
from debft.training.run import finetune


def killed(directory: Path, of: str, kills: int) -> str:
    """Kill so many runs of a kind, half of them with SiFT, resume each, and compare its end with that of a run that nobody killed."""
    debft.training.describe.nearest_packaged = lambda recipe: (None, [])  # a third of so short a run, and behind its result
    inputs, said = inputs_beside(directory / "any"), []  # which takes over the environment of conftest.py
    # Else a fork waits for threads that the tokenizer has begun in this process alone.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for sift in (False, True):
        recipe, whole = Kind(of=of, sift=sift).recipe(inputs), directory / f"whole-{sift}"
        finetune(recipe, whole)
        seconds = _seconds_of(recipe, directory / f"timed-{sift}")
        for number in range(kills // 2):
            rng = random.Random(f"{of} {sift} {number}")
            said.append(_kill(directory / f"run-{sift}-{number}", recipe, whole, rng.random() * seconds))
    used = sum(os.times()[:4])
    return f"{sum(words.startswith('killed') for words in said)} of {len(said)} killed before they were complete, {used:.0f} s of a core"


def _kill(run: Path, recipe: Recipe, whole: Path, seconds: float) -> str:
    """Kill a run, resume it, and say where it was."""
    status = _forked(lambda: finetune(recipe, run), run.with_suffix(".said"), seconds)
    logged, complete = steps_logged(run), (run / "result.json").is_file()
    words = f"{'killed' if os.WIFSIGNALED(status) else 'ended'} after {seconds:.2f} s with {logged} steps logged"
    assert complete or os.WIFSIGNALED(status), f"{words}: {_said(run)}"
    assert not os.WIFSIGNALED(status) or os.WTERMSIG(status) == signal.SIGPROF, f"{words}, by signal {os.WTERMSIG(status)}"
    saved = [int(path.name.rpartition("-")[2]) for path in run.glob("checkpoints/step-*")]
    assert logged - max(saved, default=0) <= 2 * SAVE_STEPS, f"{words}: checkpoints of steps {saved}"
    status = _forked(lambda: finetune(recipe, run, resume=True), run.with_suffix(".said"))
    assert status == 0, f"{words}: {_said(run)}"
    assert not (different := difference(whole, run)), f"{words}: {different}"
    assert not (left := left_half_written(run)), f"{words}: {left[0]} was left"
    shutil.rmtree(run)
    return words


def _seconds_of(recipe: Recipe, run: Path) -> float:
    """Return the processor time of a whole run, in seconds."""
    before = os.times()
    status = _forked(lambda: finetune(recipe, run), run.with_suffix(".said"))
    assert status == 0, _said(run)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def _said(run: Path) -> str:
    return " ".join(run.with_suffix(".said").read_text().splitlines()[-3:])


def _forked(do: Callable[[], object], said: Path, seconds: float | None = None) -> int:
    """Do something in a fork of this process, which ends after so many seconds of processor time, and return its wait status."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    code = 1
    try:
        descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(descriptor, number)
        if seconds is not None:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, max(seconds, 1e-4))
        do()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
