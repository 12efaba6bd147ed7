"""The job files of the pages, with stand-ins for the clusters and services that they are for: nothing of a job is left to chance there."""

import os
import re
import shlex
import subprocess

import pages
import pytest
from test_pages import check_options

FILES = {
    block.title: block.text
    for page in pages.PAGES.values()
    for block in pages.blocks(page)
    if block.title and block.text.startswith("#!/bin/bash")
}


def stand_ins(directory, *names):
    """A directory of programs that note how they are called, for PATH; the shell in the variable DO_NAME says what one does."""
    directory.mkdir()
    for name in names:
        text = f'#!/bin/bash\necho "{name} $*" >> "$CALLS"\neval "${{DO_{name}-}}"\n'
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    return directory


def run_file(tmp_path, text, *names, **variables):
    """(exit code, calls of the stand-ins, stderr) of a job file."""
    calls, file = tmp_path / "calls", tmp_path / "job.sh"
    file.write_text(text)
    programs = stand_ins(tmp_path / "bin", *names)
    given = {"PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(calls)} | variables
    done = subprocess.run(["bash", str(file)], cwd=tmp_path, env=given, capture_output=True, text=True, timeout=60)
    return done.returncode, calls.read_text().splitlines() if calls.exists() else [], done.stderr


def test_job_files_are_shell_and_their_commands_exist(tmp_path):
    assert set(FILES) == {"mnli.sbatch", "mnli-4-nodes.sbatch", "job/mnli.sh"}
    for name, text in FILES.items():
        subprocess.run(["bash", "-n"], input=text, check=True, text=True)
        assert name == "mnli.sbatch" or re.search(r"^set -\w*u", text, re.M), f"{name}: a variable that is not set stays unnoticed"
        found = re.findall(r"\bdebft ([a-z0-9]+ [^;&|\n]*)", "\n".join(line for line in text.splitlines() if line[:1] != "#"))
        assert found, name
        for words in found:
            check_options(shlex.split(words))


@pytest.mark.parametrize(("ends", "queued"), [(0, False), (138, True), (5, False)])
def test_job_of_four_nodes_is_queued_again_when_its_time_was_over(tmp_path, ends, queued):
    code, calls, said = run_file(
        tmp_path,
        FILES["mnli-4-nodes.sbatch"],
        "srun",
        "scontrol",
        DO_srun=f"exit {ends}",
        SLURM_CPUS_PER_TASK="8",
        SLURM_JOB_ID="7",
    )
    assert (code, said) == (ends, "")
    assert calls[0].startswith("srun --cpus-per-task=8 debft mnli ") and calls[0].endswith(" --resume")
    assert calls[1:] == (["scontrol requeue 7"] if queued else [])


@pytest.mark.parametrize(("ends", "pushed"), [(0, True), (138, False), (5, False)])
def test_rented_job_keeps_the_run_and_pushes_only_what_is_complete(tmp_path, ends, pushed):
    """`sleep` lets time pass at once, so that the run is kept while it trains as well; the folder of the wheel is not there."""
    text = FILES["job/mnli.sh"].replace("/tmp/work", f"{tmp_path}/work").replace("sleep 300", "sleep 0.1")
    variables = {"HF_TOKEN": "hf_none", "BUCKET": "me/runs", "REPO": "me/mnli", "MINUTES": "50"}
    does = {"DO_debft": f"[ $1 = push ] || {{ /bin/sleep 1; echo trained >> $CALLS; exit {ends}; }}"}
    code, calls, said = run_file(tmp_path, text, "python", "hf", "debft", **variables, **does)
    assert code == ends, said
    first, second, *others = calls
    assert first == "python -m pip install --quiet /job/debft-*.whl[gpu,report]"
    assert second == "hf buckets sync hf://buckets/me/runs/mnli runs/mnli"
    keeps = "hf buckets sync --delete runs/mnli hf://buckets/me/runs/mnli"
    trains = [call for call in others if call.startswith("debft mnli ")]
    assert len(trains) == 1 and trains[0].endswith(" --resume")
    trained = others.index("trained")
    assert keeps in others[:trained], "it is kept while it trains"
    pushes = ["debft push runs/mnli --repo me/mnli --license mit"] if pushed else []
    behind = others[trained + 1 :]  # once more where the time had come just before what keeps it was ended
    assert behind in ([keeps, *pushes], [keeps, keeps, *pushes])


@pytest.mark.parametrize("name", ["HF_TOKEN", "BUCKET", "REPO", "MINUTES"])
def test_rented_job_without_one_of_its_variables_does_nothing(tmp_path, name):
    variables = dict.fromkeys({"HF_TOKEN", "BUCKET", "REPO", "MINUTES"} - {name}, "1")
    code, calls, said = run_file(tmp_path, FILES["job/mnli.sh"], "python", "hf", "debft", **variables)
    assert code != 0 and calls == [] and f"{name}: unbound variable" in said


def test_rented_job_is_given_its_variables_by_the_line_that_submits_it(tmp_path):
    """As huggingface_hub reads the line: each variable that the file asks for comes with it, and its time ends before the job's."""
    commands = [command for block in pages.blocks(pages.PAGES["machines.md"]) for command in block.commands]
    (line,) = [command for command in commands if command.startswith("hf jobs run")]
    done = pages.other_program(shlex.split(line), "", tmp_path)
    assert done.returncode == 0 and "not submitted" in done.stdout, done.stderr
    shown = dict(re.findall(r"^  (\w+) +(.+(?:\n {10}.+)*)", done.stdout, re.M))
    given = dict(re.findall(r"(\w+)=(\S+)", f"{shown['env']} {shown['secrets']}"))
    asked = re.search(r"^: (.*)$", FILES["job/mnli.sh"], re.M)[1]
    assert set(given) == set(re.findall(r"\$(\w+)", asked))
    assert int(given["MINUTES"]) + 5 < int(shown["timeout"].removesuffix("m"))
    assert shown["command"] == "bash /job/mnli.sh" and shown["volumes"].split(":")[-1] == "/job"
