"""The sessions of a run: what each command that did a part of it ran with. A run that was never resumed has one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

# Of an environment: what may differ between the sessions of a run and moves no number.
HARMLESS = ("platform", "python", "cpu_cores", "datasets", "evaluate", "debft")


@dataclass(frozen=True, kw_only=True)
class SessionOfRun:
    """A session is the part of a run that one command did."""

    from_step: int
    """Optimizer steps that were done before it."""
    to_step: int
    """Optimizer steps that were done at its end; as many as before it where it evaluated alone."""
    environment: dict[str, Any]
    """Code, versions and hardware of the session; {}: an older debft did not record them."""
    changed: dict[str, Any] = field(default_factory=dict)
    """Keys of the recipe that it had otherwise than the run began with, with their values."""


def changes_in_words(sessions: Sequence[SessionOfRun]) -> list[str]:
    """Return what changed from one session to the next and may move a number, a line for each time; [] where nothing did."""
    return [
        f"resumed after step {after.from_step:,} with {', '.join(differences)}"
        for before, after in pairwise(sessions)
        if (differences := _differences(before, after))
    ]


def _differences(before: SessionOfRun, after: SessionOfRun) -> list[str]:
    """Name what is otherwise in the second session, with both values."""
    if not before.environment:
        return ["an environment that may differ from the one before, which was not recorded"]
    one, other = _facts(before), _facts(after)
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return [f"{name} {_value(other, name)}, not {_value(one, name)}" for name in names]


def _value(facts: Mapping[str, Any], name: str) -> Any:
    """Return a fact; a key of the recipe that was not changed is as the run began with it."""
    return facts.get(name, "as begun" if "." in name else None)


def _facts(session: SessionOfRun) -> Mapping[str, Any]:
    """Return by name what a session computed with. The precision in use says more than the one that was asked for."""
    facts = {name: value for name, value in session.environment.items() if name not in HARMLESS}
    return facts | {name: value for name, value in session.changed.items() if name != "runtime.precision"}
