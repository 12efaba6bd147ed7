"""A run that is resumed with another precision, by more processes or elsewhere is the same run, and says what did which steps."""

import io
from contextlib import redirect_stderr
from types import SimpleNamespace

import pytest
from conftest import write_mnli
from interrupting import interrupted_after
from test_finetune import tiny_recipe

from debft.reproduce.labels import _labels_of_sessions
from debft.runs.directory import RunDirectory
from debft.training.resuming import restore
from debft.training.run import finetune

SHORT = {"train.max_steps": 4, "train.max_train_samples": 32, "train.max_eval_samples": 4}
CHANGE = "resumed after step 2 with precision bf16, not fp32"


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """(result, path, what was said) of a run of 4 steps that was stopped after the 1st, 2nd and 4th; from the 3rd it was in bf16."""
    root, said = tmp_path_factory.mktemp("sessions"), io.StringIO()
    plain, rounded = (tiny_recipe(root / "data", **SHORT | changes) for changes in ({}, {"runtime.precision": "bf16"}))
    write_mnli(root / "data")
    with redirect_stderr(said):
        for step, recipe in ((1, plain), (2, plain), (4, rounded)):
            with interrupted_after(step):
                finetune(recipe, root / "run", resume=True)
        result = finetune(rounded, root / "run", resume=True)
    return result, root / "run", said.getvalue()


def test_sessions_name_their_steps_and_what_they_ran_with(resumed):
    sessions = resumed[0].sessions
    assert [(one.from_step, one.to_step) for one in sessions] == [(0, 1), (1, 2), (2, 4), (4, 4)]
    assert [one.environment["precision"] for one in sessions] == ["fp32", "fp32", "bf16", "bf16"]
    assert [one.changed for one in sessions] == [{}, {}, *[{"runtime.precision": "bf16"}] * 2]
    assert sessions[-1].environment == resumed[0].environment
    assert RunDirectory(resumed[1]).result() == resumed[0]


def test_change_is_said_once_when_the_run_goes_on(resumed):
    assert [line for line in resumed[2].splitlines() if "resumed after" in line] == [f"warning: {CHANGE}; result.json records it"]


def test_change_is_a_label_of_the_run_in_a_reproduction(resumed):
    run = SimpleNamespace(damage=lambda: None, result=lambda: resumed[0])
    assert _labels_of_sessions(run) == [CHANGE]
    assert _labels_of_sessions(SimpleNamespace(damage=lambda: "its model is gone")) == []


def test_run_that_was_never_stopped_has_no_sessions_to_tell_apart(tmp_path, tiny_data):
    result = finetune(tiny_recipe(tiny_data, **SHORT | {"train.max_steps": 1}), tmp_path / "run")
    assert result.sessions == [] and result.environment["num_processes"] == 1


def test_checkpoint_of_an_older_debft_has_one_session_that_was_not_recorded(monkeypatch):
    class Anything:
        scaler = None

        def __getattr__(self, name):
            return lambda *arguments: {}

    monkeypatch.setattr("debft.training.resuming.checkpoint.restore_optimizer", lambda *arguments: None)
    saved = SimpleNamespace(step=3, state={"num_tokens": 7}, weights={}, moments={})
    state = restore(saved, Anything(), Anything(), None, Anything())
    assert [(one.from_step, one.to_step, one.environment) for one in state.sessions] == [(0, 3, {})]
    assert (state.step, state.num_tokens) == (3, 7)
