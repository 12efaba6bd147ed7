"""Fine-tune DeBERTa-v3 and its peers, and reproduce the published numbers.

As a library: `debft.finetune`, `debft.evaluate`, `debft.load`, `debft.read_table`. Each is imported when it is first named.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from debft.errors import DebftError, InputError
    from debft.library.finetune import finetune
    from debft.library.use import Model, evaluate, load, read_table
    from debft.runs.result import RunResult

__version__ = "0.1.0"
__all__ = ["DebftError", "InputError", "Model", "RunResult", "evaluate", "finetune", "load", "read_table"]
_PLACES = {
    "DebftError": "debft.errors",
    "InputError": "debft.errors",
    "RunResult": "debft.runs.result",
    "finetune": "debft.library.finetune",
    "Model": "debft.library.use",
    "evaluate": "debft.library.use",
    "load": "debft.library.use",
    "read_table": "debft.library.use",
}


if not TYPE_CHECKING:  # to a checker a module with a __getattr__ has every name

    def __getattr__(name: str) -> Any:
        """Import what is named for the first time. `debft --help` and a program that needs one name wait for nothing else."""
        from importlib import import_module

        from debft.runtime.system import unsupported

        if name not in _PLACES:
            raise AttributeError(f"module 'debft' has no attribute {name!r}")
        if line := unsupported():
            raise ImportError(line)
        return globals().setdefault(name, getattr(import_module(_PLACES[name]), name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
