"""What is published: the wheel and its metadata, the lean set of dependencies, the container, the release, the systems."""

import email
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import lean
import pytest
import yaml
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import debft.__main__
from debft import __version__
from debft.runtime import system

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINNED = {
    canonicalize_name(line.split("==")[0])
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if re.match(r"[\w.-]+==", line)
}
RELEASE = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built without isolation and without the network."""
    return built(ROOT, tmp_path_factory.mktemp("wheel"))


def built(source, directory):
    path = next(WheelBuilder(str(source)).build(directory=str(directory), versions=["standard"]))
    return zipfile.ZipFile(path)


def metadata(wheel):
    return email.message_from_bytes(wheel.read(f"debft-{__version__}.dist-info/METADATA"))


def names(requirements):
    return {canonicalize_name(Requirement(text).name) for text in requirements} - {"debft"}


def test_wheel_has_every_file_of_the_package_the_recipes_and_the_skill_and_nothing_else(wheel):
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "debft").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    beside = {
        f"debft/{path.relative_to(ROOT).as_posix()}"
        for folder in ("recipes", ".agents/skills/debft")
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
    }
    assert inside == files | beside
    assert {"debft/py.typed", "debft/cli/foreign/flags.yaml", "debft/recipes/schema.json"} <= inside
    assert any(name.endswith(".html.j2") for name in inside) and any(name.startswith("debft/published/") for name in inside)


def test_metadata_has_what_an_index_and_a_user_need(wheel):
    head = metadata(wheel)
    assert (head["Name"], head["Version"], head["License-Expression"]) == ("debft", __version__, "MIT")
    assert head["Summary"] and head.get_payload().startswith("# debft")
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    assert set(head.get_all("Provides-Extra")) == set(EXTRAS)


def test_command_is_called_like_the_package_so_that_pipx_run_finds_it(wheel):
    points = wheel.read(f"debft-{__version__}.dist-info/entry_points.txt").decode()
    assert "[console_scripts]\ndebft = debft.__main__:main" in points
    assert PROJECT["scripts"] == {"debft": "debft.__main__:main"}


def test_plain_installation_leaves_out_figures_tests_and_servers(wheel):
    plain = {
        canonicalize_name(Requirement(text).name) for text in metadata(wheel).get_all("Requires-Dist") if "extra ==" not in text
    }
    assert plain == names(PROJECT["dependencies"])
    for extra in EXTRAS:
        assert not plain & names(EXTRAS[extra]), extra
    assert {"torch", "transformers", "datasets", "evaluate", "accelerate", "typer"} <= plain


def test_every_package_that_is_named_is_pinned_for_the_tests():
    assert names(PROJECT["dependencies"]) | {name for extra in EXTRAS.values() for name in names(extra)} <= PINNED


def test_tests_bring_every_extra_that_needs_no_gpu_and_no_weights():
    (own,) = [Requirement(text) for text in EXTRAS["test"] if Requirement(text).name == "debft"]
    assert own.extras == set(EXTRAS) - {"test", "gpu", "minilm"}


LEAN = [
    ["mnli", "--data", "demo", "--from-scratch", "--max-steps", "3", "--max-eval-samples", "40", "--output", "run"],
    ["predict", "run", "a premise", "a hypothesis"],
    ["evaluate", "run"],
    ["tables", "--table", "demo"],
    ["doctor"],
    ["import-command", "python run_glue.py --model_name_or_path roberta-base --task_name rte --do_train --output_dir out"],
]


@pytest.mark.sweep
def test_lean_set_of_dependencies_trains_evaluates_and_predicts(wheel, tmp_path):
    """From the wheel, where nothing but its dependencies and theirs can be imported."""
    site = tmp_path / "site"
    wheel.extractall(site)
    for words in LEAN:
        done = subprocess.run(
            [sys.executable, str(ROOT / "tests" / "lean.py"), *words],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, (words, done.stderr)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "complete"
    page = (tmp_path / "run" / "report.html").read_text()
    assert "debft[report]" in page and "<svg" not in page


def test_what_is_hidden_from_the_lean_set_is_what_only_extras_bring():
    hidden = lean.hidden(lean.closure(lean.declared()))
    assert {"matplotlib", "pytest", "hypothesis", "optuna", "sklearn"} <= hidden
    assert not {"torch", "transformers", "datasets", "yaml", "scipy", "numpy", "jinja2", "rich", "typer"} & hidden


@pytest.mark.parametrize("platform", system.WINDOWS)
def test_windows_is_refused_with_a_line_before_anything_is_imported(platform, monkeypatch, capsys):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setitem(sys.modules, "debft.cli.main", None)  # an import of it would raise
    with pytest.raises(SystemExit) as end:
        debft.__main__.main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "WSL" in line and platform in line


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_linux_and_macos_are_not_refused(platform, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    assert system.unsupported() is None


def test_line_of_windows_needs_nothing_that_windows_lacks():
    """`signal.SIGHUP` and `resource` are not there: what is imported before the check must not ask for them."""
    code = "import sys; sys.platform = 'win32'; import signal; del signal.SIGHUP; sys.modules['resource'] = None; import debft.__main__ as m; m.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "WSL" in done.stderr


def test_library_on_windows_is_refused_with_the_same_line():
    code = "import sys, signal, debft; sys.platform = 'win32'; del signal.SIGHUP\nfrom debft import finetune"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.splitlines()[-1].startswith("ImportError: debft: expected Linux or macOS, got win32; on Windows use WSL")


def test_memory_is_counted_in_the_units_of_the_system(monkeypatch):
    """getrusage(2): ru_maxrss is in bytes on macOS, in KiB on Linux."""
    import resource

    import torch  # noqa: F401 (before the system is another one)

    from debft.runtime import memory

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(memory.platform, "system", lambda: "Darwin")
    assert memory.peak_memory_bytes() < 2 * peak
    monkeypatch.setattr(memory.platform, "system", lambda: "Linux")
    assert memory.peak_memory_bytes() >= 1024 * peak


def release_lines():
    return [
        line.strip()
        for job in RELEASE["jobs"].values()
        for step in job.get("steps", ())
        for line in step.get("run", "").splitlines()
    ]


def test_release_runs_on_tags_alone_and_the_tag_must_be_the_version():
    assert RELEASE[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads the key `on` so
    assert 'python .github/check_tag.py "$TAG"' in release_lines()
    spec = importlib.util.spec_from_file_location("check_tag", ROOT / ".github" / "check_tag.py")
    check_tag = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check_tag)
    assert f"expected v{__version__}" in check_tag.problem("v99.0")
    found = check_tag.problem(f"v{__version__}")
    assert found is None or "CHANGELOG.md" in found  # an entry is written when the version is released


def test_release_publishes_without_a_stored_secret_and_with_attestations():
    text = (ROOT / ".github/workflows/release.yml").read_text()
    assert "secrets." not in text and "password" not in text.replace("No password", "")
    jobs = RELEASE["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"} and jobs["publish"]["environment"] == "release"
    assert jobs["publish"]["needs"] == "attest" and set(jobs["attest"]["needs"]) == {"build", "test"}
    assert jobs["attest"]["permissions"] == {"contents": "read", "id-token": "write", "attestations": "write"}
    assert "permissions" not in jobs["build"]  # what builds can neither sign nor publish
    used = " ".join(step.get("uses", "") for step in [*jobs["attest"]["steps"], *jobs["publish"]["steps"]])
    assert all(action in used for action in ("attest-build-provenance@", "attest-sbom@", "gh-action-pypi-publish@"))
    assert jobs["test"] == {"uses": "./.github/workflows/ci.yml"}
    assert "workflow_call" in yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())[True]


def test_release_builds_with_pinned_tools_and_tries_the_wheel_alone():
    lines = release_lines()
    assert any("--constraint constraints.txt build hatchling" in line for line in lines)
    assert any("debft mnli --data demo" in line for line in lines) and any("cyclonedx-bom==" in line for line in lines)


def instructions(path):
    """The instructions of a Dockerfile, (word, the rest), with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / path).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("path", ["Dockerfile", ".devcontainer/Dockerfile"])
def test_container_runs_as_a_user_without_rights_and_without_secrets(path):
    steps = instructions(path)
    assert [rest for word, rest in steps if word == "USER"][-1] == "1000"
    assert not re.search(r"token|secret|password|key=", (ROOT / path).read_text(), re.IGNORECASE)


def test_container_installs_the_pinned_versions_of_the_wheel():
    steps = instructions("Dockerfile")
    installs = [rest for word, rest in steps if word == "RUN" and "pip install" in rest]
    assert len(installs) == 3 and all("--constraint" in rest for rest in installs)
    arguments = {rest.partition("=")[0] for word, rest in steps if word == "ARG"}
    assert arguments == {"PYTHON", "EXTRAS", "TORCH_INDEX"}
    assert steps[-2:] == [("ENTRYPOINT", '["debft"]'), ("CMD", '["--help"]')]
    copied = {name for name, _ in copied_into_the_builder()}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed and all((ROOT / name).exists() for name in copied)


def copied_into_the_builder():
    """Return what the container's wheel is built from: (its place in the clone, its place there)."""
    copies = [rest.split() for word, rest in instructions("Dockerfile") if word == "COPY" and "--from" not in rest]
    for *names, place in copies:
        yield from ((name, name if place == "./" else place) for name in names)


def test_container_builds_the_wheel_of_the_clone_from_what_it_copies(wheel, tmp_path):
    for name, place in copied_into_the_builder():
        source, there = ROOT / name, tmp_path / "source" / place
        there.parent.mkdir(parents=True, exist_ok=True)
        unwanted = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, there, ignore=unwanted) if source.is_dir() else shutil.copy(source, there)
    assert sorted(built(tmp_path / "source", tmp_path / "wheel").namelist()) == sorted(wheel.namelist())


def test_development_container_sets_itself_up_as_a_clone_does():
    content = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert content["postCreateCommand"] == "make setup" and content["build"] == {"dockerfile": "Dockerfile"}
    assert content["remoteUser"] in (ROOT / ".devcontainer/Dockerfile").read_text()
