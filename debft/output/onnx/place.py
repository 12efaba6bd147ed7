"""Where an export goes, before anything is loaded."""

from pathlib import Path

from debft.errors import InputError
from debft.output.onnx.names import RECORD
from debft.scoring.used_model import UsedModel

IN_RUN = "onnx"  # the directory in that of a run


def place_of(used: UsedModel, output: str | None, *, overwrite: bool) -> Path:
    """Return the directory that is to be written.

    Raises InputError where there is something that `--overwrite` was not given for, or that is no export.
    """
    if output is not None:
        place = Path(output)
    elif used.run is not None:
        place = used.run.path / IN_RUN
    else:
        raise InputError("--output: expected a directory for what is no run, got none; a run has its export in RUN/onnx")
    if place.is_dir() and any(place.iterdir()):
        if not (place / RECORD).is_file():
            raise InputError(f"--output {place}: expected a new or empty directory, got one with other files; choose another")
        if not overwrite:
            raise InputError(f"--output {place}: holds an export already; --overwrite writes it anew, or choose another --output")
    elif place.exists() and not place.is_dir():
        raise InputError(f"--output {place}: expected a directory, got a file; choose another")
    return place
