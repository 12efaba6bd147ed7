"""A few damages of each kind; `run.py damage` does all of them."""

import damage
import pytest


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("damage")


@pytest.mark.sweep
def test_few_of_many_damages_are_all_noticed_and_named(place):
    cases = list(damage.PART.cases())
    for case in cases[3 :: len(cases) // damage.PART.few]:
        (place / case.name).mkdir()
        case.run(place / case.name)
