"""Tables on a real Slurm, which `start.py` brings up: submitted, preempted, cut off, begun anew, ended, judged as here."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pages
import processes
import pytest
import start

WHY_NOT = start.why_not()
pytestmark = [pytest.mark.sweep, pytest.mark.skipif(WHY_NOT is not None, reason=f"no Slurm can be started here: {WHY_NOT}")]
SECONDS = 900.0  # for whatever is waited for: the machine may be busy
# Long enough to be interrupted twice: Slurm takes some seconds for each.
TABLE = ("reproduce", "demo", "--row", "MNLI", "--seeds", 2, "--max-train-samples", 200, "--max-eval-samples", 30)
ON_SLURM = ("--executor", "slurm", "--time", 30)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    pytest.importorskip("submitit")
    with start.running(tmp_path_factory.mktemp("slurm")) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield


def command(*words):
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def logged(output, step):
    """The runs below `output` that have come to a step."""
    return [path.parent for path in output.rglob("steps.jsonl") if f'"step": {step},' in path.read_text()]


def wait_until(holds, what):
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.1)


def restarts(job):
    return int(re.search(r"Restarts=(\d+)", command("scontrol", "show", "job", job))[1])


def states(output, *options):
    """What `--status` says of each run, by its seed."""
    done = processes.run(*TABLE, *options, "--output", output, "--status", "--json")
    assert done.returncode == 0, done.stderr
    return {int(re.search(r"seed-(\d+)", run["id"])[1]): run for run in json.loads(done.stdout)["runs"]}


def test_table_that_is_preempted_and_cut_off_has_the_verdicts_of_this_machine(slurm, tmp_path):
    """Submitted without waiting; both tasks give way to an urgent job, one is told that its time is over; then it is waited for."""
    steps, output = ("--max-steps", 200), tmp_path / "cluster"
    submitted = processes.run(*TABLE, *steps, *ON_SLURM, "--max-concurrent", 2, "--output", output, "--no-wait", "--json")
    assert submitted.returncode == 0, submitted.stderr
    assert {run["status"] for run in json.loads(submitted.stdout)["runs"]} <= {"queued", "running"}
    number = re.search(r"submitted: job (\d+)", submitted.stderr)[1]
    tasks = [f"{number}_0", f"{number}_1"]
    wait_until(lambda: len(logged(output, 3)) == 2, "both runs begin")
    assert {run["status"] for run in states(output, *steps).values()} == {"running"}

    command("sbatch", "--partition=urgent", "--ntasks=2", "--output=/dev/null", "--wrap=sleep 1")
    wait_until(lambda: [restarts(task) for task in tasks] == [1, 1], "both tasks give way")
    waiting = processes.Command(*TABLE, *steps, *ON_SLURM, "--output", output, "--json")
    log = next(output.glob("logs/*seed-1-*.log"))
    wait_until(lambda: "resuming after step" in log.read_text(), "the first begins anew")
    saved = int(re.search(r"resuming after step (\d+)", log.read_text())[1])
    assert 3 <= saved < 190
    wait_until(lambda: any("seed-1-" in run.name for run in logged(output, saved + 5)), "the first goes on")
    command("scancel", "--signal=USR2", tasks[0])
    wait_until(lambda: waiting.poll() is not None, "the table is done")
    report, said = waiting.communicate()
    assert waiting.returncode == 0, said
    assert f"2 runs submitted before: job {number}" in said
    assert restarts(tasks[1]) == 1

    # One thread for each run, as a task with one core has it.
    local = processes.run(*TABLE, *steps, "--jobs", os.cpu_count(), "--output", tmp_path / "here", "--json")
    assert local.returncode == 0, local.stderr
    of_slurm, here = json.loads(report), json.loads(local.stdout)
    assert of_slurm["cells"] == here["cells"]
    assert [run["scores"] for run in of_slurm["runs"]] == [run["scores"] for run in here["runs"]]
    assert not list(output.rglob("checkpoints"))
    assert {run["status"] for run in states(output, *steps).values()} == {"complete"}


def test_job_that_is_killed_or_cancelled_is_not_waited_for(slurm, tmp_path):
    """Slurm, which keeps no account of jobs here, has no more to say of either than that it has ended."""
    steps = ("--max-steps", 5000)
    waiting = processes.Command(*TABLE, *steps, *ON_SLURM, "--output", tmp_path, "--json")
    wait_until(lambda: len(logged(tmp_path, 2)) == 2, "both runs begin")
    jobs = {seed: run["job"] for seed, run in states(tmp_path, *steps).items()}
    os.kill(json.loads(next(tmp_path.glob("logs/*seed-1-*.json")).read_text())["pid"], signal.SIGKILL)
    command("scancel", jobs[2])
    report, said = waiting.communicate(SECONDS)
    assert waiting.returncode == 5, said
    killed, cancelled = json.loads(report)["runs"]
    assert (killed["status"], cancelled["status"]) == ("failed", "interrupted")
    assert f"job {jobs[1]} ended as " in killed["error"]
    assert list(tmp_path.glob("*/seed-2-*/checkpoints/step-*")), "the one that was cancelled has saved its state"


SMALL = (
    f"{sys.executable} -m debft mnli --data demo --recipe mnli/quick --max-steps 200 --max-train-samples 200 --max-eval-samples 30"
)
ONE_GPU = {
    "#SBATCH --gpus-per-node=1\n": "",
    "--cpus-per-task=8": "--cpus-per-task=1",
    "#SBATCH --mem=32G\n": "",
    "--time=02:00:00": "--time=30",
    "debft mnli --model deberta-v3-base": SMALL,
}
FOUR_NODES = {
    "--ntasks-per-node=8": "--ntasks-per-node=1",
    "--cpus-per-task=8": "--cpus-per-task=1",
    "--time=02:00:00": "--time=30",
    "debft mnli --model deberta-v3-large": SMALL,
}


def job_file(page, name, changes):
    """A job file of a page with a small run in place of its own."""
    (text,) = [block.text for block in pages.blocks(pages.PAGES[page]) if block.title == name]
    for stands, small in changes.items():
        assert text.count(stands) == 1
        text = text.replace(stands, small)
    return text


def check_goes_on(text, directory, processes):
    """Submit a job file, let Slurm tell it that its time is over, and see it begun anew and done."""
    (directory / "mnli.sbatch").write_text(text)
    job = command("sbatch", "--parsable", f"--chdir={directory}", str(directory / "mnli.sbatch")).strip()
    wait_until(lambda: logged(directory, 3), "the run begins")
    command("scancel", "--signal=USR1", job)
    wait_until(lambda: (directory / "runs" / "mnli" / "result.json").is_file(), "the run is done")
    assert restarts(job) == 1
    result = json.loads((directory / "runs" / "mnli" / "result.json").read_text())
    assert (len(result["sessions"]), result["environment"]["num_processes"]) == (2, processes)


def test_job_file_of_the_page_goes_on_when_its_time_is_over(slurm, tmp_path):
    """As it stands, but with a small run, which Slurm tells that its time is over."""
    check_goes_on(job_file("slurm.md", "mnli.sbatch", ONE_GPU), tmp_path, processes=1)


def test_interrupt_ends_the_waiting_and_not_the_jobs(slurm, tmp_path):
    steps = ("--max-steps", 5000)
    waiting = processes.Command(*TABLE, *steps, *ON_SLURM, "--max-concurrent", 1, "--output", tmp_path)
    wait_until(lambda: logged(tmp_path, 2), "a run begins")
    waiting.send_signal(signal.SIGINT)
    said = waiting.communicate(SECONDS)[1]
    assert waiting.returncode == 130
    assert "the jobs of 2 runs go on" in said
    runs = states(tmp_path, *steps)
    assert sorted(run["status"] for run in runs.values()) == ["queued", "running"]
    assert next(run for run in runs.values() if run["status"] == "queued")["detail"] == "JobArrayTaskLimit"
    command("scancel", runs[1]["job"].partition("_")[0])


def test_what_sbatch_refuses_is_one_line_and_leaves_no_record(slurm, tmp_path):
    done = processes.run(*TABLE, *ON_SLURM, "--partition", "nowhere", "--output", tmp_path)
    assert done.returncode == 2
    assert "sbatch: expected the job to be accepted, got 'invalid partition specified: nowhere" in done.stderr.splitlines()[-1]
    assert {run["status"] for run in states(tmp_path).values()} == {"not run"}


@pytest.fixture(scope="module")
def four_nodes(tmp_path_factory):
    """A Slurm of four nodes with eight GPUs each, as far as it knows: all are this machine, and have no GPU."""
    with start.running(tmp_path_factory.mktemp("four"), nodes=4) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in (variables | {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}).items():  # their names lead nowhere
            patch.setenv(name, value)
        yield


def test_job_file_of_four_nodes_is_scheduled_as_it_stands_and_goes_on(four_nodes, tmp_path):
    (tmp_path / "whole.sbatch").write_text(job_file("machines.md", "mnli-4-nodes.sbatch", {}))
    asked = subprocess.run(["sbatch", "--test-only", tmp_path / "whole.sbatch"], capture_output=True, text=True)
    assert asked.returncode == 0 and "256 processors on nodes node[0-3]" in asked.stderr, asked.stderr
    check_goes_on(job_file("machines.md", "mnli-4-nodes.sbatch", FOUR_NODES), tmp_path, processes=4)
