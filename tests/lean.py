"""A Python that sees debft and what its dependencies bring along, and nothing else that is installed here.

`python tests/lean.py mnli --data demo` runs debft so. What is not seen is not found, as if it were not installed; names that no package
is known to bring (the standard library, the tests) are left alone.
"""

import importlib.machinery
import importlib.metadata
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def declared(extra: str | None = None) -> list[str]:
    """Return the requirements in pyproject.toml: the dependencies, or those of an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["optional-dependencies"][extra] if extra else project["dependencies"]


def closure(requirements: list[str]) -> set[str]:
    """Return the names of the installed packages that these need, and those that they need in turn, extras that are asked for included."""
    names: set[str] = set()
    left = [(Requirement(text), "") for text in requirements]
    seen = set()
    while left:
        requirement, extra = left.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": each}) for each in (extra, "")):
            continue
        name = canonicalize_name(requirement.name)
        names.add(name)
        for each in ("", *requirement.extras):
            if (name, each) in seen:
                continue
            seen.add((name, each))
            try:
                needed = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                continue
            left += [(Requirement(text), each) for text in needed if each or "extra ==" not in text]
    return names


def hidden(seen: set[str]) -> set[str]:
    """Return the modules of the installed packages that are not among those seen."""
    modules = importlib.metadata.packages_distributions().items()
    return {name for name, packages in modules if not {canonicalize_name(package) for package in packages} & seen} - {"debft"}


def hide(modules: set[str]) -> None:
    """Let no import find these modules."""

    class Finder(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, fullname, path=None, target=None):
            return None if fullname.partition(".")[0] in modules else super().find_spec(fullname, path, target)

    sys.meta_path[:] = [Finder if finder is importlib.machinery.PathFinder else finder for finder in sys.meta_path]


if __name__ == "__main__":
    hide(hidden(closure(declared())))
    sys.argv[0] = "debft"
    from debft.cli.main import main

    main()
