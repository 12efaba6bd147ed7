"""The trackers that a run can be logged to, by the names that accelerate has for them."""

import importlib.util

from debft.errors import InputError, did_you_mean

NOTHING = "none"  # as transformers' --report_to has it
# The modules of each, of which one is enough, with what pip installs. Source: accelerate tracking.py.
TRACKERS: dict[str, tuple[tuple[str, ...], str]] = {
    "tensorboard": (("tensorboard", "tensorboardX"), "tensorboard"),
    "wandb": (("wandb",), "wandb"),
    "trackio": (("trackio",), "trackio"),
    "mlflow": (("mlflow",), "mlflow"),
    "comet_ml": (("comet_ml",), "comet_ml"),
    "aim": (("aim",), "'aim<4'"),
    "clearml": (("clearml",), "clearml"),
    "dvclive": (("dvclive",), "dvclive"),
    "swanlab": (("swanlab",), "swanlab"),
}


def tracker_names(report_to: str | None) -> list[str]:
    """Return the names in `tensorboard,wandb`, each once; none for None and for `none`."""
    names = [name.strip() for name in (report_to or NOTHING).split(",")]
    return [] if names == [NOTHING] else list(dict.fromkeys(names))


def unknown_tracker(report_to: str | None) -> str | None:
    """Return what is wrong with the names of trackers, None where all are known."""
    wrong = next((name for name in tracker_names(report_to) if name not in TRACKERS), None)
    if wrong is None:
        return None
    if wrong == "all":
        return f"expected trackers by name, got all; name those that are wanted, of {', '.join(TRACKERS)}"
    return f"unknown tracker '{wrong}'{did_you_mean(wrong, (*TRACKERS, NOTHING))}"


def check_installed(report_to: str | None) -> None:
    """Raise InputError with a line for each tracker that is named and not installed."""
    missing = [
        f"--report-to {name}: expected the package {modules[0]}, which is not installed; pip install {package}"
        for name in tracker_names(report_to)
        for modules, package in [TRACKERS[name]]
        if not any(importlib.util.find_spec(module) for module in modules)
    ]
    if missing:
        raise InputError(*missing)
