"""A run whose memory is not enough at some moment ends as one that had enough: its losses, its scores, and what it says."""

from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from limited_memory import GPU, PLACE, Limited, limit_evaluations
from parts import Case, Part
from runs_of_numbers import KINDS, STEPS, TASKS, name_of, steps, undisturbed

from debft.errors import TooLittleMemoryError
from debft.runs.directory import RunDirectory
from debft.scoring import inference
from debft.scoring.loading import load_predictor
from debft.training.run import finetune

CPU = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes. Error code 12")
ERRORS = {"gpu": GPU, "cpu": CPU}
LOSS, SCORE = 1e-5, 0.01  # of losses near 1 that are summed in another order; of scores in percent, of which correlations round
PASSES = range(0, STEPS, 3)  # after which memory becomes short


def halved(directory: Path, *, of: str, sift: bool, error: str, backward: bool, after: int, rows: int) -> str:
    """Compare a run that has memory for so many sequences at once with one that has all of it."""
    recipe, whole = undisturbed(directory.parent, of, sift)
    device, run = Limited(rows, ERRORS[error], after=after, backward=backward), RunDirectory(directory / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PLACE, device)
        result = finetune(recipe, run.path)
    expected, got = steps(whole), steps(run)
    assert len(got) == len(expected), f"{len(got)} steps are logged"
    farthest = max(abs(one["loss"] - other["loss"]) for one, other in zip(got, expected, strict=True))
    assert farthest <= LOSS, f"a loss differs by {farthest:.1e}"
    different = [name for name, score in whole.result().scores.items() if abs(score - result.scores[name]) > SCORE]
    assert not different, f"scores differ: {', '.join(different)}"
    assert device.failed, "no pass failed"
    assert result.memory_cuts, "no cut is recorded"
    # The first step that is too large: of 25 windows the fourth step of each epoch has one, for which there is memory.
    first = next(line["step"] for line in expected[after:] if line["num_examples"] > rows)
    assert {cut.step for cut in result.memory_cuts} <= {first}, f"cut again after it was kept: {result.memory_cuts}"
    return f"cut {len(result.memory_cuts)} times in step {first}, losses within {farthest:.0e}"


def too_little(directory: Path, *, of: str, sift: bool, after: int) -> str:
    """End a run by memory that is not enough for one sequence, and let it go on where there is more: it has the same bits."""
    recipe, whole = undisturbed(directory.parent, of, sift)
    run = RunDirectory(directory / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PLACE, Limited(0, after=after))
        try:
            finetune(recipe, run.path)
        except TooLittleMemoryError as error:
            lines, code = error.problems, error.exit_code
        else:
            raise AssertionError("the run has not ended")
    assert code == 5 and len(lines) == 1, f"exit code {code}, {len(lines)} lines"
    saved = f"step-{after:06d} is whole" if after else "no step was saved"
    assert f"step {after + 1}:" in lines[0] and saved in lines[0], lines[0]
    finetune(recipe, run.path, resume=True)
    farthest = max(abs(one["loss"] - other["loss"]) for one, other in zip(steps(run), steps(whole), strict=True))
    assert farthest == 0, f"a loss differs by {farthest:.1e}"
    return f"ended in step {after + 1}, went on with the same bits"


def evaluated(directory: Path, *, of: str, error: str, rows: int) -> str:
    """Evaluate while training, and use the model, where the memory is enough for so many sequences: the same scores and predictions."""
    recipe, whole = undisturbed(directory.parent, of, False)
    run, expected = RunDirectory(directory / "run"), whole.result()
    with pytest.MonkeyPatch.context() as patch:
        limit_evaluations(patch, rows, ERRORS[error])
        result = finetune(recipe, run.path)
        predictor = load_predictor(str(run.path), None, "auto")
        used = inference.evaluate(predictor, None, 6)["scores"]
        limit_evaluations(patch, 0)
        lines = []
        for what in (lambda: finetune(recipe, directory / "none"), lambda: inference.evaluate(predictor, None, 6)):
            try:
                what()
            except TooLittleMemoryError as ended:
                lines += ended.problems
    for scores in (result.scores, used):
        different = [name for name, score in expected.scores.items() if abs(score - scores[name]) > SCORE]
        assert not different, f"scores differ: {', '.join(different)}"
    assert {cut.during for cut in result.memory_cuts} == {"evaluation"}, f"cuts: {result.memory_cuts}"
    assert len(lines) == 2 and all("one sequence of" in line for line in lines), f"said of one sequence: {lines}"
    return f"cut {len(result.memory_cuts)} times, the same scores"


def cases() -> Iterator[Case]:
    for of, sift in KINDS:
        for after in PASSES:
            for error, backward in (("gpu", False), ("gpu", True), ("cpu", False), ("cpu", True)):
                for rows in (1, 3):
                    name = f"{name_of(of, sift)}-{error}-{'backward' if backward else 'forward'}-after-{after}-rows-{rows}"
                    how = {"of": of, "sift": sift, "error": error, "backward": backward, "after": after, "rows": rows}
                    yield Case(name=name, run=partial(halved, **how))
            yield Case(name=f"{name_of(of, sift)}-too-little-after-{after}", run=partial(too_little, of=of, sift=sift, after=after))
    for of, error, rows in product(TASKS, ERRORS, (1, 3)):
        how = {"of": of, "error": error, "rows": rows}
        yield Case(name=f"{name_of(of, sift=False)}-{error}-evaluation-rows-{rows}", run=partial(evaluated, **how))


PART = Part(
    name="memory",
    claim="memory that is not enough halves the micro-batch: the same losses to 1e-5; 0 runs lost",
    cases=cases,
    few=4,
)
