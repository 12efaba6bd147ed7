"""Each command that works on a run is a session of it, with what it ran with and which options it changed."""

from typing import Any

from debft.config.differences import OPTIMISATION
from debft.config.recipe import value_at
from debft.console import say
from debft.runs.result import ChangedOption, SessionOfRun, changes_in_words
from debft.runtime.launch.group import is_main_process
from debft.training.plan import Plan
from debft.training.session import TrainState

# Of the environment of a run: what may be another one when it goes on.
OF_A_SESSION = ("debft", "code", "python", "torch", "platform", "device", "gpu", "cuda", "precision", "num_processes")


def begin_session(plan: Plan, state: TrainState, environment: dict[str, Any]) -> None:
    """Add a session to the state of a run that begins or goes on, and say which options are other ones from here on."""
    now, before = {key: value_at(plan.recipe, key) for key in OPTIMISATION}, state.optimisation
    session = SessionOfRun(
        from_step=state.step,
        environment={name: environment[name] for name in OF_A_SESSION},
        changes=[
            ChangedOption(key=key, before=before[key], after=value)
            for key, value in now.items()
            if key in before and before[key] != value
        ],
    )
    state.optimisation = now
    state.sessions.append(session)
    if session.changes and is_main_process():
        say(f"{changes_in_words([session])}; the run is no longer that of its recipe, and result.json says so")
