"""What the library promises to programs: types that a checker knows, a notebook that runs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# The types of these take a minute to read, and no name of the library has one of them.
SETTINGS = """[mypy]
strict = True
follow_imports = silent
python_version = 3.11
[mypy-torch.*,transformers.*,accelerate.*,datasets.*,numpy.*,scipy.*,sklearn.*,rich.*,tokenizers.*,safetensors.*]
follow_imports = skip
"""


@pytest.mark.sweep
def test_types_of_the_library_are_known_to_a_program_that_uses_it(tmp_path):
    """Right uses pass, and each wrong one is found: an ignored error that is none fails as well."""
    program = Path(__file__).with_name("typed.py")
    settings = tmp_path / "mypy.ini"
    settings.write_text(SETTINGS)
    command = [sys.executable, "-m", "mypy", f"--config-file={settings}", f"--cache-dir={tmp_path}", str(program)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.sweep
def test_notebook_runs(tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "docs" / "library.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert "train[1]: text: expected text, got 7; mend it, or skip_bad_rows=True leaves such rows out\n" in [
        output.get("text") for output in shown
    ]
    assert (tmp_path / "runs" / "reviews" / "result.json").is_file()


def test_notebook_is_kept_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(ROOT / "docs" / "library.ipynb", as_version=4)
    assert [cell for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)] == []
