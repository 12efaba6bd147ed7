"""An extra that is missing is named in one line, with what to type."""

import importlib.util
import tomllib
from pathlib import Path

import pytest

from debft.errors import InputError
from debft.runtime.extras import EXTRAS, check_extra


def test_extra_that_is_missing_is_named_with_what_to_type(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in EXTRAS["serve"] else find(name))
    with pytest.raises(InputError, match=r"debft serve: expected starlette and uvicorn, .*; pip install 'debft\[serve\]'$"):
        check_extra("serve", "debft serve")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find("json"))
    with pytest.raises(InputError, match=r"expected uvicorn, which is not installed; pip install 'debft\[serve\]'"):
        check_extra("serve", "debft serve")


@pytest.mark.parametrize("name", EXTRAS)
def test_extras_are_those_that_the_package_declares(name):
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {line.split(">")[0] for line in declared[name]} == set(EXTRAS[name])
