"""The shape of the code: imports point one way, the command line starts fast, everything is packaged."""

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import processes
import pytest

PACKAGE = Path(__file__).parent.parent / "debft"
# A room may import those behind it, never those before it.
ROOMS = (
    "__main__",
    "cli",
    "library",
    "several",
    "reproduce",
    "output",
    "training",
    "scoring",
    "models",
    "data",
    "published",
    "runs",
    "tasks",
    "config",
    "runtime",
    "console",
    "errors",
)
HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "evaluate",
    "sklearn",
    "tokenizers",
    "sentencepiece",
    "numpy",
    "scipy",
    "pandas",
    "huggingface_hub",
    "pyarrow",
    "matplotlib",
    "jinja2",
}


def modules() -> dict[str, Path]:
    """The file of each module, `training.loop`; a room's own `__init__` is named as the room."""
    files = {path: list(path.relative_to(PACKAGE).with_suffix("").parts) for path in sorted(PACKAGE.rglob("*.py"))}
    named = {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for path, parts in files.items()}
    return {name: path for name, path in named.items() if name}


MODULES = modules()


def imported(name: str) -> set[str]:
    """The modules of the package that a module imports, anywhere in it."""
    modules = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level and node.module, f"{name}:{node.lineno}: expected an import of debft by its full name"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                modules.add(full if full.removeprefix("debft.") in MODULES else node.module)
        elif isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
    return {module.removeprefix("debft.") for module in modules if module.startswith("debft.")} - {name}


def room(module: str) -> int:
    return ROOMS.index(module.split(".")[0])


@pytest.mark.parametrize("name", MODULES)
def test_rooms_import_one_way(name):
    for other in imported(name):
        assert room(name) <= room(other), f"{name} imports {other}"


def test_pages_for_contributors_name_every_room_in_its_order():
    root = PACKAGE.parent
    order = re.search(r"rooms behind it: `([^`]+)`", (root / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert tuple(re.split(r"\s*>\s*", order[1])) == ROOMS[1:]
    tree = (root / "docs" / "pages" / "contributing.md").read_text(encoding="utf-8")
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert {name for name in rooms if f"\n  {name}/ " not in tree} == set()


def test_package_has_no_flat_files_beside_its_rooms():
    flat = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert flat == {"__init__.py", "__main__.py", "console.py", "errors.py", "py.typed"}


def test_nothing_is_printed_past_the_console():
    """`put` and `say` show control characters of labels and ids, which `print` would send to the terminal."""
    calls = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert calls <= {"console", "__main__"}


def test_no_module_imports_itself_over_others():
    """A circle is found by taking away, again and again, the modules that import none of those left."""
    left = {name: imported(name) & set(MODULES) for name in MODULES}
    while done := [name for name, others in left.items() if not others & set(left)]:
        for name in done:
            del left[name]
    assert not left


def imported_at_start(name: str) -> set[str]:
    """What importing a module imports with it: modules of the package by their name here, others by their first word.

    That is every import outside of functions and of `if TYPE_CHECKING`, and the rooms that the imported modules are in.
    """
    modules, left = set(), list(ast.parse(MODULES[name].read_text(encoding="utf-8")).body)
    while left:
        node = left.pop()
        if isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}".removeprefix("debft.") for alias in node.names]
            modules.update(module if module in MODULES else node.module.removeprefix("debft.") for module in full)
        elif isinstance(node, ast.Import):
            modules.update(alias.name.removeprefix("debft.") for alias in node.names)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "TYPE_CHECKING" not in ast.dump(node):
            left += ast.iter_child_nodes(node)
    parents = {module.rpartition(".")[0] for module in modules if module in MODULES} & set(MODULES)
    return parents | {module if module in MODULES else module.split(".")[0] for module in modules}


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] in ("cli", "__main__")])
def test_command_line_imports_nothing_heavy_at_its_top(name):
    """Nor a module of the package that does."""
    path_to, left = {name: name}, [name]
    while left:
        module = left.pop()
        for other in imported_at_start(module) - set(path_to):
            path_to[other] = f"{path_to[module]} > {other}"
            left += [other] if other in MODULES else []
    assert [path for module, path in path_to.items() if module in HEAVY] == []


def test_help_starts_without_the_heavy_packages():
    """Half a second: importing any of them takes longer than that."""
    code = (
        f"import sys; sys.argv = ['debft', '--help']; from debft.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
        f"print(sorted(set(sys.modules) & {HEAVY!r}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", processes.PRELOADED)
def test_modules_that_the_commands_of_the_tests_start_with_are_there(name):
    """One that is gone would be left out without a word, and every command would import it anew."""
    assert importlib.util.find_spec(name)


def test_wheel_carries_recipes_tables_and_metrics_and_finds_them_from_anywhere(tmp_path):
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(PACKAGE.parent),
    ]
    subprocess.run(build, check=True, capture_output=True)
    site = tmp_path / "site"
    zipfile.ZipFile(next(tmp_path.glob("*.whl"))).extractall(site)
    code = (
        "import json, debft; from debft.config.packaged import *; from debft.config.reading import load_recipe; from debft.published.load import *; from debft.scoring.metrics.export import modules; import pathlib; "
        "print(json.dumps([debft.__file__, recipe_names(), load_recipe(recipe_path('mnli/deberta-v3-base')).model, "
        "len(published_scores('deberta-v3-base', 'mnli')), pathlib.Path(modules.path('accuracy'), 'accuracy.py').is_file()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    where, names, model, scores, metric = json.loads(done.stdout)
    assert where.startswith(str(site))
    assert len(names) == len(list((PACKAGE.parent / "recipes").rglob("*.yaml")))
    assert (model, scores, metric) == ("deberta-v3-base", 2, True)
    assert (site / "debft" / "recipes" / "schema.json").is_file()
    packaged = {path.relative_to(PACKAGE) for pattern in ("*.yaml", "*.html", "*.j2", "*.py") for path in PACKAGE.rglob(pattern)}
    assert packaged and all((site / "debft" / path).is_file() for path in packaged)
