"""The guard of a step: what is not finite ends the run, an overflow that fp16's loss scale can still avoid does not."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from debft.errors import InputError, Interrupted, NotFiniteError
from debft.runs.storage import DiskError
from debft.scoring.heads import LogitsNotFiniteError
from debft.training.guards import SMALLEST_LOSS_SCALE, EvaluationNotFiniteError, StepNotFiniteError, check_finite

NAN, INFINITY = float("nan"), float("inf")


def with_scale(scale):
    """What the guard asks of an accelerator; no scale: no fp16."""
    return SimpleNamespace(scaler=None if scale is None else SimpleNamespace(get_scale=lambda: scale))


@pytest.mark.parametrize(
    ("scale", "loss", "norm", "named"),
    [
        (None, NAN, 1.0, "loss, got nan"),
        (None, 1.0, INFINITY, "gradient norm, got inf"),
        (65536.0, NAN, 1.0, "loss, got nan"),  # the scale moves the gradient alone
        (SMALLEST_LOSS_SCALE, 1.0, INFINITY, "gradient norm, got inf"),
    ],
)
def test_loss_or_gradient_that_is_not_finite_ends_the_run_at_its_step(scale, loss, norm, named):
    with pytest.raises(NotFiniteError, match=f"^step 8: expected a finite {named}"):
        check_finite(with_scale(scale), 7, loss, norm, np.arange(2))


@pytest.mark.parametrize(("scale", "norm"), [(None, 1.0), (65536.0, INFINITY), (2 * SMALLEST_LOSS_SCALE, INFINITY)])
def test_finite_step_and_overflow_of_a_large_loss_scale_go_on(scale, norm):
    check_finite(with_scale(scale), 7, 1.0, norm, np.arange(2))


def test_errors_reach_the_other_processes_as_they_were_made():
    # torch.distributed sends objects between the processes of a run as pickles.
    logits = LogitsNotFiniteError(["a", 7], 20)
    evaluation = EvaluationNotFiniteError(4, "validation", logits)
    for error in (
        InputError("a", "b"),
        DiskError("no room"),
        Interrupted(15, "a"),
        StepNotFiniteError(3, "loss", NAN, []),
        evaluation,
    ):
        sent = pickle.loads(pickle.dumps(error))
        assert (type(sent), str(sent), repr(vars(sent))) == (type(error), str(error), repr(vars(error)))
        assert sent.exit_code == error.exit_code
