"""This module knows the packaged recipes: their names, their files, and which one is used where none is asked for."""

from difflib import get_close_matches
from pathlib import Path

from debft.errors import InputError

_PACKAGE = Path(__file__).parent.parent
RECIPES_DIR = next(path for path in (_PACKAGE / "recipes", _PACKAGE.parent / "recipes") if path.is_dir())


def recipe_names() -> list[str]:
    """List the packaged recipes, `mnli/deberta-v3-small`; those without a task are `default` and `demo`."""
    return sorted(path.relative_to(RECIPES_DIR).with_suffix("").as_posix() for path in RECIPES_DIR.rglob("*.yaml"))


def recipe_path(name: str, task: str | None = None, where: str = "--recipe ") -> Path:
    """Find the file of `mnli/deberta-v3-xsmall`, of `deberta-v3-xsmall` for a known task, or of a path to a YAML file.

    where: what stands before the name in the error line
    Raises InputError where there is none.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"{where}{name}: expected a YAML file, found none; `debft recipes` lists the packaged ones")
        return path
    for full in (name if task is None or "/" in name else f"{task}/{name}", name):
        if (path := RECIPES_DIR / f"{full}.yaml").is_file():
            return path
    if Path(name).is_file():
        raise InputError(f"{where}{name}: expected a name ending in .yaml or .yml; rename it if it holds a recipe")
    raise InputError(f"{where}{name}: no such recipe; {_near(name, task)}`debft recipes` lists them")


def _near(name: str, task: str | None) -> str:
    """Name the recipes that are near to a name, of its task first; "" where there is none."""
    names = recipe_names()
    full = name if task is None or "/" in name else f"{task}/{name}"
    close = get_close_matches(full, names, n=3) or get_close_matches(name, {each.rpartition("/")[2] for each in names}, n=3)
    return f"did you mean {' or '.join(repr(each) for each in close)}? " if close else ""


def default_recipe_path(task: str, model: str, sift: bool = False) -> Path:
    """Find the published recipe of this model and task, with SiFT where that is asked for and there is one.

    Without a published one it is the task's default, else the default of all tasks.
    """
    candidates = (
        f"{task}/{model}-sift" if sift else "",
        f"{task}/{model}",
        model if model == "demo" else "",
        f"{task}/default",
        "default",
    )
    return next(path for name in candidates if name and (path := RECIPES_DIR / f"{name}.yaml").is_file())


def published_weight(model: str) -> float:
    """Return SiFT's lambda in the published recipes: 3 for deberta-v3-xsmall, 5 for every other model.

    Source: microsoft/DeBERTa experiments/glue/mnli.sh at commit 4d7fe0b.
    """
    return 3.0 if model == "deberta-v3-xsmall" else 5.0


def display(path: Path) -> str:
    """Name a packaged recipe as in the repository, whatever directory it is installed in; others by their path."""
    return f"recipes/{path.relative_to(RECIPES_DIR).as_posix()}" if path.is_relative_to(RECIPES_DIR) else str(path)
