"""`srun debft ...` under a real Slurm: its tasks are the processes of one run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from start import running, why_not

pytestmark = pytest.mark.sweep

SECONDS = 400  # until a step counts as hanging, on a slow and busy machine
PACKAGE = Path(__file__).parents[2]
SHORT = ("--data", "demo", "--recipe", "demo", "--max-steps", "4", "--max-train-samples", "96", "--max-eval-samples", "30")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if why := why_not():
        pytest.skip(f"no Slurm can be started here: {why}")
    with running(tmp_path_factory.mktemp("slurm")) as variables:
        yield variables


def srun(variables, tasks, *words, cwd):
    environment = os.environ | variables | {"PYTHONPATH": str(PACKAGE), "OMP_NUM_THREADS": "1"}
    command = ["srun", f"--ntasks={tasks}", sys.executable, "-m", "debft", "mnli", *SHORT, *words]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=SECONDS)


@pytest.mark.parametrize("tasks", [1, 2])
def test_tasks_of_a_step_are_the_processes_of_one_run(slurm, tmp_path, tasks):
    """Each would train a run of its own into the same directory; one task is a plain run."""
    done = srun(slurm, tasks, "--output", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "result.json").read_text())["environment"]["num_processes"] == tasks
    assert ("2, the tasks of step" in done.stderr) is (tasks == 2)


def test_step_with_fewer_tasks_than_were_asked_for_is_refused(slurm, tmp_path):
    done = srun(slurm, 2, "--num-processes", "8", "--output", "run", cwd=tmp_path)
    assert "--num-processes: expected 2, which srun has started, got 8" in done.stderr
    assert done.returncode == 2 and not (tmp_path / "run").exists()
