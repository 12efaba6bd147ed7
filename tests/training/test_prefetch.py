"""What steps need is made on a thread, one step ahead: in order, with its errors, and no longer than the steps go on."""

import threading

import pytest
import torch

from debft.training.prefetch import made_ahead

CPU = torch.device("cpu")


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_steps_come_in_order_and_the_next_one_is_made_on_a_thread_while_one_is_in_use():
    made, made_next = [], threading.Event()

    def make(step):
        assert threading.current_thread() is not threading.main_thread()
        made.append(step)
        if step == 6:
            made_next.set()
        return step

    steps = made_ahead(make, range(5, 9), CPU)
    assert next(steps) == 5
    assert made_next.wait(60)  # step 6, although nobody has asked for it
    assert made == [5, 6]  # and no further one
    assert list(steps) == [6, 7, 8]
    assert made == [5, 6, 7, 8]
    assert not prefetch_threads()


def test_no_step_makes_nothing():
    assert list(made_ahead(lambda step: 1 / 0, range(3, 3), CPU)) == []


def test_error_is_raised_at_its_step():
    steps = made_ahead(lambda step: 1 / (step - 2), range(5), CPU)
    assert [next(steps), next(steps)] == [-0.5, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(steps)
    assert not prefetch_threads()


def test_thread_ends_with_steps_that_are_left():
    steps = made_ahead(lambda step: step, range(5), CPU)
    next(steps)
    assert prefetch_threads()
    steps.close()
    assert not prefetch_threads()
