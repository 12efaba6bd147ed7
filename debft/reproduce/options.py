"""This module holds what a user may ask of every run of a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from debft.errors import InputError


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """These options hold for every run of a table; None leaves what the recipe says."""

    data: str | None = None
    """`hub`, `demo` or a directory."""
    precision: str | None = None
    """`auto`, `fp32`, `bf16` or `fp16`."""
    max_steps: int | None = None
    """Optimizer steps after which every run ends; such a run is labelled."""
    max_train_samples: int | None = None
    """Rows of the training split; such a run is labelled."""
    max_eval_samples: int | None = None
    """Rows of each eval split; such a run is labelled."""
    changed: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the recipe with their values, `{"train.num_train_epochs": 1.0}`."""

    def check(self) -> None:
        """Raise InputError for a key that is given twice, or the seed, which `--seeds` chooses."""
        if "train.seed" in self.changed:
            raise InputError("--set train.seed: expected another key, every run has a seed of its own; give --seeds")
        if twice := next((key for key in self.changed if key in self._option_names()), None):
            raise InputError(f"--set {twice}: is given as {self._option_names()[twice]} as well; give it once")

    def arguments(self) -> list[str]:
        """Return the same for the command line of one run."""
        given = [word for name, value in self._given().items() for word in (f"--{name.replace('_', '-')}", str(value))]
        return [*given, *(word for key, value in self.changed.items() for word in ("--set", f"{key}={value}"))]

    def overrides(self) -> dict[str, Any]:
        """Return the values by key of the recipe."""
        return {_key(name): value for name, value in self._given().items()} | dict(self.changed)

    def runtime(self) -> dict[str, Any]:
        """Return what was asked of the runtime, by key of the recipe."""
        return {key: value for key, value in self.overrides().items() if key.startswith("runtime.")}

    def origins(self) -> dict[str, str]:
        """Return what the user typed, by key of the recipe, for error lines."""
        return self._option_names() | {key: f"--set {key}" for key in self.changed}

    def _option_names(self) -> dict[str, str]:
        return {_key(name): f"--{name.replace('_', '-')}" for name in self._given()}

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "changed" and value is not None}


def _key(name: str) -> str:
    """Return the key of the recipe that one of the options sets."""
    return {"data": "data", "precision": "runtime.precision"}.get(name, f"train.{name}")
