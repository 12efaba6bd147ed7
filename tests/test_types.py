"""The annotations are checked by mypy in `make check`, and go to whoever imports debft."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_files_without_checked_types_are_files_that_there_are():
    """A name that outlives its file would leave a new file of that name unchecked."""
    overrides = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["overrides"]
    unchecked = [name for each in overrides if each.get("ignore_errors") for name in each["module"]]
    assert [name for name in unchecked if not (ROOT / (name.replace(".", "/") + ".py")).is_file()] == []


def test_package_says_that_it_is_typed():
    assert (ROOT / "debft" / "py.typed").is_file()
