"""The workflows of the repository ask for what is there: YAML that parses, commands, options and tables that exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from debft import __version__
from debft.cli import main as cli
from debft.published.load import load_published

COMMANDS = typer.main.get_command(cli.app).commands
ROOT = Path(__file__).parent.parent
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}


def commands(workflow):
    for job in WORKFLOWS[workflow]["jobs"].values():
        for step in job.get("steps", ()):
            yield from step.get("run", "").splitlines()


def test_workflows_are_where_they_are_looked_for():
    assert {"ci", "reproduce"} <= set(WORKFLOWS)


def test_ci_runs_the_tests_the_demo_the_site_and_the_frozen_table():
    lines = list(commands("ci"))
    assert {".ci/run", "make demo", "make docs", ".venv/bin/debft reproduce demo --check"} <= set(lines)


def test_site_that_is_built_is_the_one_that_is_published():
    steps = WORKFLOWS["docs"]["jobs"]["build"]["steps"]
    site = yaml.safe_load((ROOT / "docs" / "mkdocs.yml").read_text().replace("!ENV", ""))["site_dir"]
    uploaded = next(step for step in steps if "upload-pages-artifact" in step.get("uses", ""))["with"]["path"]
    assert (ROOT / "docs" / site).resolve() == (ROOT / uploaded).resolve()
    assert "make docs" in list(commands("docs"))
    assert WORKFLOWS["docs"]["jobs"]["deploy"]["permissions"] == {"pages": "write", "id-token": "write"}


def test_reproduction_runs_weekly_and_on_demand_on_published_tables_and_always_leaves_its_report():
    workflow = WORKFLOWS["reproduce"]
    triggers = workflow[True]  # YAML 1.1 reads the key `on` so
    assert triggers["schedule"] and "workflow_dispatch" in triggers
    choices = triggers["workflow_dispatch"]["inputs"]["table"]["options"]
    (job,) = workflow["jobs"].values()
    assert "gpu" in job["runs-on"]
    weekly = re.findall(r'"([\w-]+)"', job["strategy"]["matrix"]["table"].partition("||")[2])
    assert weekly and all(load_published(name).kind == "published" for name in {*choices, *weekly})
    upload = next(step for step in job.get("steps", ()) if "upload-artifact" in step.get("uses", ""))
    assert upload["if"] == "always()" and upload["with"]["path"].endswith("/report")
    cache = next(step for step in job.get("steps", ()) if "actions/cache" in step.get("uses", ""))
    assert Path(job["env"]["HF_HOME"]).name in cache["with"]["path"]


def test_weekly_reproduction_finds_no_run_of_last_week_but_a_rerun_of_the_same_one_goes_on():
    """GitHub gives each week's run a new run_id; a re-run has the same run_id and another run_attempt."""
    (job,) = WORKFLOWS["reproduce"]["jobs"].values()
    output = job["env"]["OUTPUT"]
    assert "github.run_id" in output and "run_attempt" not in output and "matrix.table" in output
    (command,) = [line for line in commands("reproduce") if ".venv/bin/debft reproduce" in line]
    assert '--output "$OUTPUT"' in command
    checkout = next(step for step in job.get("steps", ()) if "actions/checkout" in step.get("uses", ""))
    assert checkout["with"]["clean"] is False
    cached = next(step for step in job.get("steps", ()) if "actions/cache" in step.get("uses", ""))["with"]["path"]
    assert "runs" not in cached
    (shown,) = [line for line in commands("reproduce") if "report.md" in line]
    assert "$OUTPUT/report" in shown
    upload = next(step for step in job.get("steps", ()) if "upload-artifact" in step.get("uses", ""))
    assert upload["with"]["path"] == "${{ env.OUTPUT }}/report"


def test_frozen_table_in_ci_starts_on_a_machine_without_runs():
    job = WORKFLOWS["ci"]["jobs"]["reproduce"]
    assert job["runs-on"] == "ubuntu-latest"
    assert not [
        step for step in job.get("steps", ()) if "cache" in step.get("uses", "") or "download-artifact" in step.get("uses", "")
    ]


@pytest.mark.parametrize("workflow", sorted(WORKFLOWS))
def test_options_of_the_commands_exist(workflow):
    for line in commands(workflow):
        words = shlex.split(line, comments=True)
        if words and words[0].endswith("bin/debft"):
            options = {option for parameter in COMMANDS[words[1]].params for option in parameter.opts}
            assert set(re.findall(r"(?<!\w)--[a-z-]+", line)) <= options, line


@pytest.mark.parametrize("workflow", sorted(WORKFLOWS))
def test_nothing_from_outside_is_pasted_into_a_script(workflow):
    assert not [line for line in commands(workflow) if "${{" in line]


@pytest.mark.parametrize("workflow", sorted(WORKFLOWS))
def test_actions_are_pinned_to_a_commit_and_may_only_read(workflow):
    assert WORKFLOWS[workflow]["permissions"] == {"contents": "read"}
    used = [step["uses"] for job in WORKFLOWS[workflow]["jobs"].values() for step in job.get("steps", ()) if "uses" in step]
    assert used and all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", name) for name in used)


def test_versions_that_stand_in_two_files_agree():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert f"ruff=={hook['rev'].removeprefix('v')}\n" in (ROOT / "constraints.txt").read_text()
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__


DOCUMENTS = [
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/RESULTS.md"),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs" / "pages").glob("*.md"))),
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_document_names_are_there(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(r"(?<![\w/.])((?:debft|tests|benchmarks|docs|recipes|\.github)/[\w./-]*\w)", text)
    assert not [name for name in named if not (ROOT / name).exists()]
