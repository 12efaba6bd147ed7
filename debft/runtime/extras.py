"""What a command needs beyond the packages that debft always brings: its extras, named in one line where they are missing."""

import importlib.util

from debft.errors import InputError

EXTRAS = {
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "serve": ("starlette", "uvicorn"),
    "search": ("optuna",),
    "slurm": ("submitit",),
}


def check_extra(name: str, command: str) -> None:
    """Raise InputError where a package of the extra `name` is missing. command: what needs it, such as `debft serve`"""
    missing = [package for package in EXTRAS[name] if importlib.util.find_spec(package) is None]
    if missing:
        which = f"{' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed"
        raise InputError(f"{command}: expected {which}; pip install 'debft[{name}]'")
