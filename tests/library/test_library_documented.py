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


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The directory in which the notebook was run, its outputs, and what replaced one of them while a cell ran."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook, folder, updates = nbformat.read(ROOT / "docs" / "library.ipynb", as_version=4), tmp_path_factory.mktemp("book"), []

    class Client(nbclient.NotebookClient):
        def process_message(self, message, *place):
            if message["msg_type"] == "update_display_data":
                updates.append(message["content"]["data"])
            return super().process_message(message, *place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        Client(notebook, timeout=240, resources={"metadata": {"path": str(folder)}}).execute()
    return folder, [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs], updates


@pytest.mark.sweep
def test_notebook_runs(executed):
    folder, shown, _ = executed
    assert "train[1]: text: expected text, got 7; mend it, or skip_bad_rows=True leaves such rows out\n" in [
        output.get("text") for output in shown
    ]
    assert (folder / "runs" / "reviews" / "result.json").is_file()


@pytest.mark.sweep
def test_notebook_shows_a_bar_that_moves_in_its_place_and_goes(executed):
    """No ipywidgets are needed, and nobody is told to install them."""
    _, shown, updates = executed
    drawn = [update["text/plain"] for update in updates if "train " in update["text/plain"]]
    assert drawn and all("/60" in text and "━" in text and "ETA" in text for text in drawn)
    assert all("<pre><span style=" in update["text/html"] for update in updates if update["text/plain"])
    bars = [output for output in shown if output.get("data", {}).get("text/html") == ""]
    assert len(bars) == sum(update["text/plain"] == "" for update in updates) > 0  # each was taken down
    assert not [output for output in shown if output.get("name") == "stderr"]


def test_notebook_is_kept_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(ROOT / "docs" / "library.ipynb", as_version=4)
    assert [cell for cell in notebook.cells if cell.cell_type == "code" and (cell.outputs or cell.execution_count)] == []
