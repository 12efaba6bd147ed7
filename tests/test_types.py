"""The annotations are checked by mypy in `make check`, and go to whoever imports debft."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_file_of_debft_is_checked_and_no_function_is_without_annotations():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert settings["files"] == ["debft"] and settings["disallow_untyped_defs"]
    relaxed = [name for each in settings["overrides"] for name in each["module"] if name.startswith("debft")]
    assert relaxed == []


def test_package_says_that_it_is_typed():
    assert (ROOT / "debft" / "py.typed").is_file()
