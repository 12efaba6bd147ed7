"""Files of a run are changed as if the run had written them so: what they are sealed with is made anew."""

import hashlib
import json
from pathlib import Path
from typing import Any

from debft.runs.directory import RunDirectory
from debft.runs.seal import sealed, sealed_lines


def seal_result(run: Path, **changes: Any) -> None:
    """Give fields of result.json other values; None takes one away."""
    path = run / "result.json"
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    content = {key: value for key, value in content.items() if changes.get(key, "") is not None}
    path.write_text(json.dumps(sealed(content)), encoding="utf-8")


def seal_recipe(run: Path, old: str, new: str) -> None:
    """Replace text in the recipe.yaml of a complete run, which has it."""
    lines = (run / "recipe.yaml").read_text(encoding="utf-8").partition("\n")[2]
    assert old in lines
    content = sealed_lines(lines.replace(old, new).encode(), RunDirectory(run).number())
    (run / "recipe.yaml").write_bytes(content)
    files = json.loads((run / "result.json").read_text(encoding="utf-8")).get("run_files")
    if files is None:
        return
    files["recipe.yaml"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    seal_result(run, run_files=files)
