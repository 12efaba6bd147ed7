"""What a process knows of its group: whether it is alone, and whether it is the one that speaks."""

import pytest

from debft.runtime.launch import group


@pytest.fixture
def variables(monkeypatch):
    """Set the variables of a launcher, and no others."""

    def choose(**given):
        for name in ("RANK", "WORLD_SIZE", group.PARENT):
            monkeypatch.delenv(name, raising=False)
        for name, value in given.items():
            monkeypatch.setenv(name, value)

    return choose


@pytest.mark.parametrize(
    ("given", "in_a_group", "main"),
    [
        ({}, False, True),
        ({"RANK": "1"}, False, True),  # a variable that is left over from something else
        ({"RANK": "0", "WORLD_SIZE": "1"}, False, True),
        ({"RANK": "0", "WORLD_SIZE": "2"}, True, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, True, False),
    ],
)
def test_group_is_what_the_launcher_says(variables, given, in_a_group, main):
    variables(**given)
    assert (group.in_a_group(), group.is_main_process()) == (in_a_group, main)


def test_process_is_named_by_its_rank(variables):
    variables(RANK="3", WORLD_SIZE="4")
    assert (group.process_name(), group.group_size()) == ("process 3", 4)


@pytest.mark.parametrize("given", [{"RANK": "0", "WORLD_SIZE": "1"}, {group.PARENT: "17"}])
def test_process_of_a_launcher_or_of_debft_is_started_by_another(variables, given):
    variables()
    assert not group.started_by_another()
    variables(**given)
    assert group.started_by_another()
