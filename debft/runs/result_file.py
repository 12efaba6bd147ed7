"""The file result.json is read, in the newest format and in every older one."""

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from debft.config.reading import upgraded as upgraded_recipe
from debft.errors import InputError, shown
from debft.runs.json_records import LARGEST, is_whole, json_of, read_as
from debft.runs.result import FORMAT_VERSION, RunResult
from debft.runs.seal import SEAL, check_seal


def from_json(text: str, where: str) -> RunResult:
    """Read the content of a result.json of this format or an older one. A field that is not known here is left alone.

    where: the path of the file, for the error lines. Raises InputError where the format is newer than this one, and ValueError
    with the place and the reason where the text is no result of a complete run.
    """
    content = json_of(text, _refuse_constant)
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, got {shown(content)}")
    version = content.get("format_version")
    if not is_whole(version) or version < 1:
        raise ValueError(f"format_version: expected a whole number of at least 1, got {shown(version)}")
    if version > FORMAT_VERSION:
        raise InputError(f"{where}: format {version} is newer than this debft reads ({FORMAT_VERSION}); upgrade debft")
    written = content
    for older in range(version, FORMAT_VERSION):
        content = UPGRADES[older](content)
    result = read_as(content | {"format_version": FORMAT_VERSION}, RunResult, "")
    if not isinstance(result.recipe.get("train"), dict):
        raise ValueError(f"recipe.train: expected an object, got {shown(result.recipe.get('train'))}")
    if not result.scores:
        raise ValueError("scores: expected at least one, got none")
    for name, score in result.scores.items():
        if abs(score) > LARGEST:
            raise ValueError(f"scores.{name}: expected a score, got {shown(score)}")
    for name, ends in result.intervals.items():
        if len(ends) != 2:
            raise ValueError(f"intervals.{name}: expected [low, high], got {shown(ends)}")
    for where_of, files in (("model_files", result.model_files), ("run_files", result.run_files)):
        for name in files or {}:
            if (path := PurePosixPath(name)).is_absolute() or ".." in path.parts:
                of_what = "model/" if where_of == "model_files" else "the run"
                raise ValueError(f"{where_of}: expected names of files in {of_what}, got {shown(name)}")
    if not written.keys().isdisjoint((SEAL, "run_files")):  # an older debft wrote neither
        check_seal(written)
    return result


def _refuse_constant(name: str) -> None:
    raise ValueError(f"expected JSON, got {name}")


def _upgrade_1_to_2(content: dict[str, Any]) -> dict[str, Any]:
    """Format 1 did not record the files of the model, as the default says."""
    return content


def _upgrade_2_to_3(content: dict[str, Any]) -> dict[str, Any]:
    """In format 2 every key of a recipe that moves the score was in `train`."""
    recipe = content.get("recipe")
    return content | {"recipe": upgraded_recipe(recipe)} if isinstance(recipe, dict) else content


def _upgrade_3_to_4(content: dict[str, Any]) -> dict[str, Any]:
    """In format 3 the keys of own data were in `text`."""
    return _upgrade_2_to_3(content)


# By the format that a function starts from; each brings it to the next one.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _upgrade_1_to_2, 2: _upgrade_2_to_3, 3: _upgrade_3_to_4}
