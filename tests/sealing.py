"""Files of a run are changed as if the run had written them so: what they are sealed with is made anew."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from debft.runs.directory import RunDirectory
from debft.runs.seal import SEAL, sealed, sealed_lines


def seal_result(run: Path, **changes: Any) -> None:
    """Give fields of result.json other values; None takes one away."""
    path = run / "result.json"
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    content = {key: value for key, value in content.items() if changes.get(key, "") is not None}
    path.write_text(json.dumps(sealed(content)), encoding="utf-8")


def seal_files(run: Path) -> None:
    """Let the result of a complete run name its files as they are now."""
    written = {name: asdict(file) for name, file in RunDirectory(run).files_written().items()}
    if json.loads((run / "result.json").read_text(encoding="utf-8")).get("run_files") is not None:
        seal_result(run, run_files=written)


def seal_recipe(run: Path, old: str, new: str) -> None:
    """Replace text in the recipe.yaml of a complete run, which has it."""
    lines = (run / "recipe.yaml").read_text(encoding="utf-8").partition("\n")[2]
    assert old in lines
    (run / "recipe.yaml").write_bytes(sealed_lines(lines.replace(old, new).encode(), RunDirectory(run).number()))
    seal_files(run)


def seal_split(run: Path, **changes: Any) -> None:
    """Give keys of the split.json of a complete run other values."""
    content = json.loads((run / "split.json").read_text(encoding="utf-8")) | changes
    RunDirectory(run).write_split({key: value for key, value in content.items() if key not in (SEAL, "run")})
    seal_files(run)
