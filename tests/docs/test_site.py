"""The site builds without a warning, and what is generated of it holds every command, key, recipe and field."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from dataclasses import fields

import pages
import pytest
import typer
import yaml

from debft.cli import main as cli
from debft.config.packaged import recipe_names
from debft.config.recipe import SECTIONS, Recipe
from debft.runs.result import RunResult

ON_PAGES = [f"docs/pages/{path.name}" for path in sorted((pages.ROOT / "docs" / "pages").glob("*.md"))]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", *ON_PAGES]


@pytest.fixture(scope="module")
def hooks():
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    spec = importlib.util.spec_from_file_location("hooks", pages.ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_of_commands_has_every_command_and_option(hooks):
    page = hooks.commands()
    for name, command in typer.main.get_command(cli.app).commands.items():
        assert f"## debft {name}" in page
        for parameter in command.get_params(typer.Context(command)):
            assert parameter.param_type_name == "argument" or max(parameter.opts, key=len) in page


def test_page_of_keys_has_every_key_with_its_text(hooks):
    explained = re.findall(r"^- `([\w.]+)` \(.+\)\n\n    \S", hooks.recipe_keys(), re.M)
    keys = [f.name for f in fields(Recipe) if f.name not in SECTIONS]
    keys += [f"{section}.{f.name}" for section in SECTIONS for f in fields(getattr(Recipe(), section))]
    assert sorted(explained) == sorted(keys)


def test_page_of_recipes_has_every_recipe(hooks):
    page = hooks.recipe_list()
    assert not [name for name in recipe_names() if f"| {name} |" not in page]


def test_page_of_the_result_has_every_field(hooks):
    page = hooks.result_fields()
    assert not [f.name for f in fields(RunResult) if f"| `{f.name}` |" not in page]


def test_every_page_is_in_the_navigation():
    text = (pages.ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8")
    shown = set(re.findall(r"[\w-]+\.md", text[text.index("\nnav:") :]))
    assert {path.name for path in (pages.ROOT / "docs" / "pages").glob("*.md")} <= shown


@pytest.mark.sweep
def test_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", pages.ROOT / "docs" / "mkdocs.yml"]
    done = subprocess.run([*command, "--site-dir", tmp_path / "site"], cwd=pages.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "site" / "tutorial.html").is_file()
    loaded = re.findall(r'(?:src|<link[^>]*href)="(https?://[^"]+)"', (tmp_path / "site" / "tutorial.html").read_text())
    assert not loaded  # nothing comes from elsewhere


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_of_a_document_lead_to_files_and_headings(document):
    text = pages.FENCE.sub("", (pages.ROOT / document).read_text(encoding="utf-8"))
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#]*)(?:#([^)]*))?\)", text):
        path = (pages.ROOT / document).parent / target if target else pages.ROOT / document
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, (
                f"{target}#{anchor}"
            )


def test_readme_is_read_in_two_minutes():
    assert len((pages.ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


def test_skill_says_what_it_is_for_and_is_in_the_wheel():
    head = yaml.safe_load(pages.SKILL.read_text(encoding="utf-8").split("---")[1])
    assert head["name"] == pages.SKILL.parent.name and len(head["description"]) < 1024
    wheel = tomllib.loads((pages.ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"][".agents/skills/debft"] == "debft/.agents/skills/debft"


def test_figures_beside_run_glue_stand_in_the_results_with_their_command():
    text = (pages.ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Why not run_glue.py?")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if "benchmarks/RESULTS.md#" in line]
    assert len(rows) == 5
    results = (pages.ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    for row in rows:
        for figure in re.findall(r"\b\d+\.\d+\b|\b\d+ of \d+\b", row):
            assert figure in results or f"{float(figure):.2f}" in results, figure
