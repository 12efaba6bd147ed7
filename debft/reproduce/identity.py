"""This module makes the two keys in the id of a run: one of what was asked for, one of the code and versions that make it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from debft.config.recipe import Recipe, source_kind
from debft.config.recipe_hash import recipe_hash
from debft.runs.environment import code_digest, moving_versions

FORMAT = "0.1.0"  # the version of debft when the first runs were made; it stays, so that those are still found and named


def run_key(recipe: Recipe, fingerprints: Mapping[str, str], runtime: Mapping[str, Any]) -> str:
    """Return 8 hex digits of the recipe with its seed, the rows by split, and what was asked of the runtime."""
    return _digest([identity_of(recipe), dict(fingerprints), FORMAT, *([dict(runtime)] if runtime else [])])


def made_key(model_revision: str | None, weights: Mapping[str, str]) -> str:
    """Return 8 hex digits of what makes a run here: code of debft, versions that move a number, revision and weights of the model.

    weights: the sha256 of each file that it begins from
    """
    return _digest([code_digest(), moving_versions(), model_revision, dict(weights)])


def made_here(environment: Mapping[str, Any]) -> bool:
    """Return whether a run with this environment was made by the code and the versions that are here."""
    here = {"code": code_digest(), **moving_versions()}
    return {name: environment.get(name) for name in here} == here


def made_by(environment: Mapping[str, Any]) -> str:
    """Return what made a run, for people: the digest of its code, and the versions that are other ones here."""
    here = moving_versions()
    recorded = {name: environment[name] for name in here if environment.get(name) is not None}
    others = [f"{name} {value} (here {here[name]})" for name, value in recorded.items() if value != here[name]]
    code = f"code {environment['code']}" if environment.get("code") else "code that was not recorded"
    return ", ".join([code if environment.get("code") != code_digest() else "this code", *others])


def identity_of(recipe: Recipe) -> str:
    """Return the hash of the recipe without paths: the rows tell what a directory holds, and a run to start from has a name."""
    if recipe.init_from is not None:
        first_run = "/".join(Path(recipe.init_from).parts[-2:])
        recipe = replace(recipe, init_from=first_run.rpartition("-")[0])  # without what made it, which is compared by itself
    return recipe_hash(recipe if source_kind(recipe.data) != "directory" else replace(recipe, data="directory"))


def _digest(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
