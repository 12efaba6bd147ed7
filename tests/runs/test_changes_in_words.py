"""What changed between the sessions of a run, in words."""

import pytest

from debft.runs.sessions import SessionOfRun, changes_in_words

CPU = {"code": "0123", "torch": "2.13.0", "device": "cpu", "gpu": None, "precision": "fp32", "num_processes": 1, "python": "3.11"}


def session(first, last, changed=None, **environment):
    return SessionOfRun(from_step=first, to_step=last, environment=CPU | environment, changed=changed or {})


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (session(6, 8), []),
        (session(6, 8, python="3.12"), []),  # it moves no number
        (session(6, 8, precision="bf16", changed={"runtime.precision": "bf16"}), ["precision bf16, not fp32"]),
        (session(6, 8, device="cuda:0", gpu="H100"), ["device cuda:0, not cpu, gpu H100, not None"]),
        (session(6, 8, shards=2), ["shards 2, not None"]),  # the one before did not record it
        (session(6, 8, num_processes=2, torch="2.14.0"), ["torch 2.14.0, not 2.13.0, num_processes 2, not 1"]),
        (session(6, 8, changed={"runtime.attention": "eager"}), ["runtime.attention eager, not as begun"]),
    ],
)
def test_change_between_sessions_is_named_with_both_values(other, words):
    assert changes_in_words([session(0, 6), other]) == [f"resumed after step 6 with {line}" for line in words]


def test_change_back_is_named_as_well():
    lines = changes_in_words([session(0, 3), session(3, 5, num_processes=2), session(5, 9)])
    assert [line.partition(" with ")[0] for line in lines] == ["resumed after step 3", "resumed after step 5"]


def test_session_of_an_older_debft_is_not_taken_for_the_same():
    before = SessionOfRun(from_step=0, to_step=3, environment={})
    assert changes_in_words([before, session(3, 8)]) == [
        "resumed after step 3 with an environment that may differ from the one before, which was not recorded"
    ]
    assert changes_in_words([]) == changes_in_words([session(0, 3)]) == []
