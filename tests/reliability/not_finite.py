"""A number that is not finite, put into a run at some step, stops it before anything of use is lost, and the run can go on."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from parts import Case, Part
from poisoned import INFINITY, KINDS, NAN, PLACE, Poisoned
from runs_of_numbers import KINDS as RUNS
from runs_of_numbers import SAVE_STEPS, STEPS, name_of, steps, undisturbed, weights
from safetensors.torch import load_file

from debft.config.recipe import with_values
from debft.errors import NotFiniteError
from debft.runs.directory import RunDirectory
from debft.training.run import finetune

VALUES = {"nan": NAN, "inf": INFINITY}


def stopped(directory: Path, *, of: str, sift: bool, kind: str, step: int, value: str, go_on: str) -> str:
    """Stop a run, look at what it leaves, and let it go on: as it was, or with a lower learning rate."""
    recipe, whole = undisturbed(directory.parent, of, sift)
    run = RunDirectory(directory / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PLACE, Poisoned(kind, step, VALUES[value]))
        try:
            finetune(recipe, run.path)
        except NotFiniteError as error:
            code, lines = error.exit_code, error.problems
        else:
            raise AssertionError("the run has not stopped")
    assert code == 3, f"exit code {code}"
    content = json.loads((run.path / "not-finite.json").read_text())
    kept = _check_record(content, lines, run, whole, kind, step)
    if go_on == "as-it-was":
        finetune(recipe, run.path, resume=True)
        _check_same(run, whole)
        return f"stopped in step {content['step']}, went on from step {kept} with the same bits"
    slower = with_values(recipe, {"train.learning_rate": recipe.train.learning_rate / 2})
    result = finetune(slower, run.path, resume=True)
    changes = [(session.from_step, key) for session in result.sessions for key in session.changed]
    assert changes == ([(kept, "train.learning_rate")] if kept else []), f"recorded: {changes}"
    rates, usual = ([line["learning_rate"] for line in steps(one)[kept:]] for one in (run, whole))
    assert rates == pytest.approx([rate / 2 for rate in usual]), f"the rates are {rates}, they were {usual}"
    return f"stopped in step {content['step']}, went on from step {kept} with half the rate"


def _check_record(content: dict, lines: tuple[str, ...], run: RunDirectory, whole: RunDirectory, kind: str, step: int) -> int:
    """Check what is written and said of the stop, and return the step of the checkpoint that is named, 0 for none."""
    late = kind == "optimizer"  # its update is the first that shows it
    assert content["step"] in ((step, step + 1) if late else (step,)), f"it names step {content['step']}"
    tokens = sum(row["tokens"] for row in content["rows"])
    named = steps(whole)[content["step"] - 1]["num_tokens"]
    assert tokens == named or (late and not content["rows"]), f"it names {tokens} tokens of {named}"
    kept = int(content["checkpoint"].rpartition("-")[2]) if content["checkpoint"] else 0
    ruined = kind in ("weight", "optimizer")
    last = (step - 1) // SAVE_STEPS * SAVE_STEPS if ruined else step - 1
    assert kept == last, f"it names the checkpoint of step {kept}, not of {last}"
    assert not kept or content["checkpoint"] in lines[-1], lines[-1]
    for path in run.checkpoints.glob("*/*.safetensors"):
        bad = [name for name, tensor in load_file(path).items() if not tensor.isfinite().all()]
        assert not bad, f"{path.parent.name}/{path.name}: {bad[0]} is not finite"
    return kept


def _check_same(run: RunDirectory, whole: RunDirectory) -> None:
    expected, got = weights(whole), weights(run)
    different = [name for name, tensor in expected.items() if not torch.equal(tensor, got[name])]
    assert not different, f"other bits in {', '.join(different[:3])}"


def cases() -> Iterator[Case]:
    for of, sift in RUNS:
        for kind in KINDS:
            if kind == "sift" and not sift:
                continue
            for step in range(1, STEPS + 1):
                if kind == "optimizer" and step == 1:
                    continue  # it has no state yet
                value, go_on = ("nan", "inf")[step % 2], ("as-it-was", "slower")[step // 2 % 2]
                how = {"of": of, "sift": sift, "kind": kind, "step": step, "value": value, "go_on": go_on}
                yield Case(name=f"{name_of(of, sift)}-{kind}-{step}-{value}-{go_on}", run=partial(stopped, **how))


PART = Part(
    name="not-finite",
    claim="a number that is not finite stops the run: 0 saved, step and rows named, and it goes on with 0 bits changed",
    cases=cases,
    few=4,
)
