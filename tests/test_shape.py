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
    {"train", "evaluation", "optimization", "sift", "probe", "precision"},
    {"heads"},
    {"checks", "models"},
    {"foreign_tokenizers"},
    {"schedule", "checkpoint"},
    {"data"},
    {"results", "agreement"},
    {"hub", "tasks", "metrics", "published", "tokenization", "spans"},
    {"tokenizer_json"},
    {"added_tokens"},
    {"launch"},
    {"devices"},
    {"recipe", "model_files"},
    {"signals", "variables"},
    {"yaml12", "cache", "storage", "progress", "layouts", "positions", "pages", "environment"},
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
    "sentencepiece",
    "numpy",
    "scipy",
    "pandas",
    "huggingface_hub",
    "pyarrow",
    "matplotlib",
    "jinja2",
}


def layer(module: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if module in names)


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level and node.module, f"{path.name}:{node.lineno}: expected an import of debft by its full name"
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


def test_help_starts_without_the_heavy_packages():
    """Half a second: importing any of them takes longer than that."""
    code = f"import sys; sys.argv = ['debft', '--help']; from debft.cli import main\ntry: main()\nexcept SystemExit: pass\n" \
           f"print(sorted(set(sys.modules) & {HEAVY!r}))"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()[-1] == "[]"


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
