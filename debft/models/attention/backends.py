"""A recipe's `runtime.attention` becomes one of the backends that compute a model's attention, all to the same numbers."""

from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from debft.config.recipe import RuntimeConfig
from debft.errors import InputError
from debft.models.attention.availability import unavailable_reason

BACKENDS = tuple(name for name in get_args(get_type_hints(RuntimeConfig)["attention"]) if name != "auto")
PACKED_TYPES = ("deberta-v2",)  # the model types of forward.py
PREFERRED = {"cuda": ("triton", "torch"), "cpu": ("torch",)}  # by type of device, what `auto` tries before it takes eager


def why_not(backend: str, config: Mapping[str, Any] | None, device_type: str) -> str | None:
    """Return why a backend does not compute this model on such a device; None where it does.

    config: the content of the model's config.json; None asks of any model
    """
    kind = None if config is None else config["model_type"]
    if backend != "eager" and kind not in (None, *PACKED_TYPES):
        return f"a model of type {kind} has none but that of transformers"
    return unavailable_reason(config, device_type) if backend == "triton" else None


def check_attention(asked: str, config: Mapping[str, Any] | None, device_type: str) -> None:
    """Raise InputError with the reason where the backend that was asked for is not there."""
    reason = None if asked == "auto" else why_not(asked, config, device_type)
    if reason is not None:
        raise InputError(f"--attention {asked}: expected a backend that works here, {reason}; give auto or eager")


def attention_for(asked: str, config: Mapping[str, Any] | None, device_type: str) -> tuple[str, str]:
    """Return (backend, remark): what `auto` had to do without, "" where there is nothing to remark.

    asked: the recipe's `runtime.attention`
    config: the content of the model's config.json; None asks of a model that every backend knows

    Raises InputError where a backend was asked for that is not there.
    """
    check_attention(asked, config, device_type)
    if asked != "auto":
        return asked, ""
    reasons: list[str] = []
    for backend in PREFERRED[device_type]:
        reason = why_not(backend, config, device_type)
        if reason is None:
            return backend, ", ".join(reasons)
        reasons.append(f"{backend}: {reason}")
    return "eager", ", ".join(reasons)
