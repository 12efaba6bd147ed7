"""The memory of this process: what stays is not looked through again and again."""

import gc

import pytest

from debft.runtime.memory import circles_kept


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    gc.unfreeze()
    gc.enable()


def test_circles_are_not_looked_for_while_objects_are_made_that_stay():
    with circles_kept():
        assert not gc.isenabled()
    assert gc.isenabled() and gc.get_freeze_count()


def test_collector_that_the_caller_has_switched_off_stays_off():
    gc.disable()
    with circles_kept():
        pass
    assert not gc.isenabled()


def test_collector_is_switched_on_again_after_an_error():
    with pytest.raises(ValueError, match="x"), circles_kept():
        raise ValueError("x")
    assert gc.isenabled()
