"""The shape of the code: imports point one way, the command line starts fast, everything is packaged."""

import ast
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "debft"
# A module may import those below its own line, never those above.
LAYERS = [
    {"__main__"},
    {"cli"},
    {"reproduce"},
    {"reproduce"},
    {"report", "finetune", "doctor", "submit", "tables"},
    {"inference"},
    {"session"},
    {"plan", "comparison"},
    {"train", "evaluation", "optimization", "sift", "precision"},
    {"heads"},
    {"checks", "models"},
    {"schedule", "devices", "checkpoint"},
    {"data"},
    {"results", "signals"},
    {"hub", "tasks", "metrics", "published", "tokenization", "spans"},
    {"recipe"},
    {"yaml12", "cache", "progress", "launch", "layouts", "pages", "environment"},
    {"errors"},
]
HEAVY = {
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "evaluate",
    "sklearn",
    "tokenizers",
    "huggingface_hub",
    "pyarrow",
    "matplotlib",
    "jinja2",
}


def layer(module: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if module in names)


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)


def modules():
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for module, names in imports(path):
        parts = module.split(".")
        if parts[0] != "debft":
            continue
        targets = [parts[1]] if len(parts) > 1 else [name for name in names if name != "__version__"]
        for target in targets:
            assert target == own or layer(own) < layer(target), f"{own} imports {target}"


def test_help_starts_in_half_a_second_without_the_heavy_packages():
    code = f"import sys; sys.argv = ['debft', '--help']; from debft.cli import main\ntry: main()\nexcept SystemExit: pass\n" \
           f"print(sorted(set(sys.modules) & {HEAVY!r}))"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()[-1] == "[]"
    seconds = []
    for _ in range(3):  # of processor time: a busy machine makes the wall clock say anything
        before = os.times()
        subprocess.run([sys.executable, "-m", "debft", "--help"], capture_output=True, check=True)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) < 0.5


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
    code = "import json, debft; from debft.recipe import *; from debft.published import *; from debft import metrics; import pathlib; " \
           "print(json.dumps([debft.__file__, recipe_names(), load_recipe(recipe_path('mnli/deberta-v3-base')).model, " \
           "len(published_scores('deberta-v3-base', 'mnli')), pathlib.Path(metrics.path('accuracy'), 'accuracy.py').is_file()]))"  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    where, names, model, scores, metric = json.loads(done.stdout)
    assert where.startswith(str(site))
    assert len(names) == len(list((PACKAGE.parent / "recipes").rglob("*.yaml")))
    assert (model, scores, metric) == ("deberta-v3-base", 2, True)
    packaged = {path.relative_to(PACKAGE) for pattern in ("*.yaml", "*.html") for path in PACKAGE.rglob(pattern)}
    assert packaged and all((site / "debft" / path).is_file() for path in packaged)
