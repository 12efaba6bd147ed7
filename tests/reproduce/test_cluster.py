"""A table on a cluster without a Slurm: what is asked of it, what is kept, what is made of its answers. `tests/slurm` has a real one."""

import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fake_runs import start_fake
from typer.testing import CliRunner

from debft.cli.main import app
from debft.errors import InputError, MachineError
from debft.reproduce.jobs import command_of, run_all
from debft.reproduce.notes import Note, read_note, write_note
from debft.reproduce.options import RunOptions
from debft.reproduce.plan import make_table_plan
from debft.reproduce.run import executor_of, submit
from debft.reproduce.slurm import submissions as record
from debft.reproduce.slurm import task as job
from debft.reproduce.slurm import watch as waiting
from debft.reproduce.slurm.options import SlurmOptions
from debft.reproduce.status import status
from debft.runtime.launch import slurm
from debft.runtime.launch.slurm import NoAnswerError, QueuedJob

pytestmark = pytest.mark.usefixtures("rows_made_once")
TINY = RunOptions(max_steps=3, max_train_samples=96, max_eval_samples=30)
NAME = "debft-out-1"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A plan of three runs, the first complete, the second failed, the third not begun. Not to be changed."""
    output = tmp_path_factory.mktemp("done")
    plan = plan_of(output)
    with pytest.MonkeyPatch.context() as patch:
        start_fake(patch, plan.runs[0].fingerprints)
        patch.setenv("FAILS", "2")
        run_all(plan.runs[:2], 1, [], output / "logs")
    return plan


@pytest.fixture
def queue(monkeypatch):
    """What Slurm says of jobs, to be filled."""
    jobs = []
    for module in (slurm, record, waiting):
        monkeypatch.setattr(module, "queued_jobs", lambda: list(jobs))
    monkeypatch.setattr("debft.reproduce.status.queued_jobs", lambda: list(jobs))
    monkeypatch.setattr("shutil.which", lambda name: name)
    return jobs


@pytest.fixture
def sbatch(monkeypatch, queue):
    """In the place of sbatch: it takes what it gets, and the tasks are in the queue."""
    calls = []

    def take(tasks, options, folder, name):
        calls.append([task.command.id for task in tasks])
        queue.extend(job_of(name, index, number=str(len(calls))) for index in range(len(tasks)))
        return str(len(calls))

    monkeypatch.setattr(record, "_sbatch", take)
    return calls


@pytest.fixture
def no_time(monkeypatch):
    """Nothing is waited for."""
    monkeypatch.setattr(waiting, "SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setattr(waiting, "LEAST_BETWEEN_QUESTIONS", 0)
    monkeypatch.setattr(waiting, "MOST_BETWEEN_QUESTIONS", 0)
    monkeypatch.setattr(waiting, "SECONDS_TO_APPEAR", -1)


def plan_of(output, seeds=(1, 2, 3)):
    return make_table_plan("demo", output, rows=["MNLI"], seeds=seeds, options=TINY)


def job_of(name=NAME, index=0, state="PENDING", number="7", host="", reason="Resources"):
    return QueuedJob(id=f"{number}_{index}", name=name, index=index, state=state, host=host, reason=reason)


def names_of(runs):
    return [run.id for run in runs]


# --- what is asked


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("01:30", 2), ("12:00:00", 720), ("0:00:59", 1), ("1-0", 1440), ("1-2:30", 1590), ("2-00:00:01", 2881)],
)
def test_time_is_read_as_sbatch_reads_it(text, minutes):
    assert SlurmOptions(time=text).minutes() == minutes


@pytest.mark.parametrize("text", ["", "0", "1h", "12:00:00:00", "-5", "1-", "9" * 5000, "٣"])
def test_time_that_is_none_is_refused(text):
    with pytest.raises(InputError, match=r"--time: expected minutes or HH:MM:SS, such as 90 or 12:00:00, got '"):
        SlurmOptions(time=text).check()


@pytest.mark.parametrize(("name", "text"), [("partition", "a\nb"), ("mem", "\udcff"), ("setup", ("cd /", "\udcff"))])
def test_text_that_no_script_of_a_job_can_hold_is_refused(name, text):
    with pytest.raises(InputError, match=f"--(slurm-)?{name}: expected text of one line in UTF-8, got '"):
        SlurmOptions(**{name: text}).check()


def test_each_option_reaches_the_job(tmp_path):
    """And what submitit adds where nobody has asked, five minutes and an accounting key, does not."""
    core = pytest.importorskip("submitit.slurm.slurm")
    options = SlurmOptions(
        partition="gpu",
        time="1:00:00",
        gpus_per_task=2,
        cpus_per_task=8,
        mem="32G",
        account="lab",
        qos="low",
        max_concurrent=3,
        setup=("module load cuda",),
    )
    text = core._make_sbatch_string(command="true", folder=tmp_path, map_count=5, **options.parameters("name", 5))
    wanted = (
        "partition=gpu",
        "time=60",
        "gpus-per-node=2",
        "cpus-per-task=8",
        "mem=32G",
        "account=lab",
        "qos=low",
        "array=0-4%3",
        "job-name=name",
        "requeue",
        "signal=USR2@120",
    )
    assert [line for line in wanted if f"#SBATCH --{line}\n" not in text] == []
    assert text.index("\nmodule load cuda\n") < text.index("srun") and "srun" in text and " --cpus-per-task=8 " in text
    plain = core._make_sbatch_string(command="true", folder=tmp_path, map_count=5, **SlurmOptions().parameters("name", 5))
    assert "--time" not in plain and "wckey" not in plain and "array=0-4%5" in plain


def test_variable_that_would_win_over_an_option_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("SBATCH_PARTITION", "other")
    SlurmOptions(account="lab").check()
    with pytest.raises(InputError, match="--partition: SBATCH_PARTITION is set and would win over it"):
        SlurmOptions(partition="gpu").check()
    monkeypatch.setenv("SBATCH_NO_REQUEUE", "1")
    with pytest.raises(InputError, match="SBATCH_NO_REQUEUE: expected it unset"):
        SlurmOptions().check()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--executor", "cluster"], "--executor cluster: expected local, slurm"),
        (["--partition", "gpu"], "--partition: needs --executor slurm"),
        (["--slurm-setup", "module load cuda"], "--slurm-setup: needs --executor slurm"),
        (["--no-wait"], "--no-wait: needs --executor slurm"),
        (["--executor", "slurm", "--jobs", "2"], "--executor slurm: does not go with --jobs"),
        (["--executor", "slurm", "--dry-run"], "--executor slurm: does not go with --dry-run"),
        (["--status", "--check"], "--status: does not go with --check"),
        (["--executor", "slurm", "--time", "soon"], "--time: expected minutes"),
        (["--executor", "slurm"], "--executor slurm: expected a machine that submits to Slurm, found no sbatch"),
    ],
)
def test_wrong_options_of_an_executor_are_one_line_before_anything_is_read(options, line, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("debft.reproduce.plan.make_table_plan", lambda *_, **__: pytest.fail("the table was planned"))
    error = CliRunner().invoke(app, ["reproduce", "demo", *options, "--output", str(tmp_path / "out")]).exception
    assert isinstance(error, InputError) and line in error.problems[0]
    assert not (tmp_path / "out").exists()


def test_missing_submitit_is_one_line_before_anything_is_submitted(tmp_path, monkeypatch, queue):
    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("debft.runtime.extras.importlib.util.find_spec", lambda name: None)
    error = CliRunner().invoke(app, ["reproduce", "demo", "--executor", "slurm", "--output", str(tmp_path / "out")]).exception
    assert isinstance(error, InputError) and "pip install 'debft[slurm]'" in error.problems[0]


# --- what Slurm says


def test_answer_of_squeue_is_read_with_arrays_and_single_jobs():
    text = "debft-a|12|3|RUNNING|node7|None\nCLUSTER: west\nother|13|N/A|PENDING||(launch failed | requeued held)\n"
    array, single = slurm.read_queue(text)
    assert array == QueuedJob(id="12_3", name="debft-a", index=3, state="RUNNING", host="node7", reason="None")
    assert (single.id, single.index, single.reason) == ("13", 0, "(launch failed | requeued held)")


def test_command_of_slurm_that_fails_or_hangs_is_no_empty_answer(tmp_path, monkeypatch):
    program = tmp_path / "squeue"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program.write_text("#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1\n")
    program.chmod(0o755)
    with pytest.raises(NoAnswerError, match="Unable to contact slurm controller"):
        slurm.queued_jobs()
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(slurm, "SECONDS_TO_ANSWER", 0.2)
    with pytest.raises(NoAnswerError, match="no answer within"):
        slurm.queued_jobs()


# --- submitting


def test_run_whose_job_is_there_is_not_submitted_twice(tmp_path, sbatch, queue, capfd):
    runs = plan_of(tmp_path).runs
    record.submit(runs[:2], SlurmOptions(), tmp_path / "logs")
    record.submit(runs, SlurmOptions(), tmp_path / "logs")
    assert sbatch == [names_of(runs[:2]), names_of(runs[2:])]
    assert "2 runs submitted before: job 1" in capfd.readouterr().err


def test_run_whose_job_has_ended_is_submitted_again(tmp_path, sbatch, queue):
    runs = plan_of(tmp_path).runs
    record.submit(runs, SlurmOptions(), tmp_path / "logs")
    queue[:] = [replace(queue[0], state="TIMEOUT"), replace(queue[1], state="RUNNING")]  # the third is no longer known
    record.submit(runs, SlurmOptions(), tmp_path / "logs")
    assert sbatch[1:] == [[runs[0].id, runs[2].id]]


def test_job_of_a_command_that_was_killed_behind_sbatch_is_found_by_its_name(tmp_path, sbatch, queue, monkeypatch):
    runs = plan_of(tmp_path).runs

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(record, "_sbatch", killed)
        with pytest.raises(KeyboardInterrupt):
            record.submit(runs, SlurmOptions(), tmp_path / "logs")
    (submission,) = record.submissions(tmp_path / "logs")
    queue += [job_of(submission.name, index) for index in range(3)]
    record.submit(runs, SlurmOptions(), tmp_path / "logs")
    assert sbatch == []


def test_job_of_the_same_number_that_is_no_run_of_ours_is_not_taken_for_one(tmp_path, sbatch, queue):
    runs = plan_of(tmp_path, seeds=(1,)).runs
    record.submit(runs, SlurmOptions(), tmp_path / "logs")
    queue[:] = [replace(queue[0], name="another")]
    record.submit(runs, SlurmOptions(), tmp_path / "logs")
    assert len(sbatch) == 2


def test_run_of_a_job_is_not_made_here_as_well(tmp_path, sbatch, queue):
    plan = plan_of(tmp_path, seeds=(1,))
    executor_of(plan, tmp_path / "logs", jobs=1, slurm=None)
    record.submit(plan.runs, SlurmOptions(), tmp_path / "logs")
    with pytest.raises(InputError, match="--executor local: expected no jobs of Slurm for these runs, got job 1;"):
        executor_of(plan, tmp_path / "logs", jobs=1, slurm=None)
    queue[:] = [replace(queue[0], state="CANCELLED")]
    executor_of(plan, tmp_path / "logs", jobs=1, slurm=None)


def test_runs_that_start_from_others_are_submitted_once_these_are_complete(tmp_path, sbatch, queue, capfd):
    plan = plan_of(tmp_path, seeds=(1, 2))
    first, second = plan.runs
    recipe_plan = replace(plan.recipes["mnli/quick"], runs=(first, replace(second, starts_from=first)))
    submit(replace(plan, recipes={"mnli/quick": recipe_plan}), SlurmOptions(), tmp_path / "logs")
    assert sbatch == [[first.id]]
    assert "1 run to be submitted by the same command, once those that they start from are complete" in capfd.readouterr().err


@pytest.mark.parametrize(
    "content",
    ["{}", "[" * 5000, '{"submissions": [{"name": [1], "runs": []}]}', '{"submissions": [{"name": "a", "runs": [[1]]}]}'],
    ids=["empty", "deep", "name", "run"],
)
def test_damaged_record_of_jobs_is_named(tmp_path, sbatch, content):
    path = tmp_path / "logs" / "slurm" / "submissions.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(InputError, match=r"submissions.json: expected the jobs that were submitted"):
        record.submit(plan_of(tmp_path).runs, SlurmOptions(), tmp_path / "logs")


def test_job_that_submits_others_gives_them_nothing_of_its_own(monkeypatch):
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "1000")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    with record._outside_of_a_job():
        assert "SLURM_MEM_PER_CPU" not in os.environ and os.environ["SLURM_CONF"]
    assert os.environ["SLURM_MEM_PER_CPU"] == "1000"


# --- waiting


def test_run_is_done_once_its_job_says_so_and_its_result_is_there(done, sbatch, queue, no_time, capfd):
    (run, *_), logs = done.runs, done.runs[0].directory.parent.parent / "logs-1"
    before = read_note(command_of(run, done.runs[0].directory.parent.parent / "logs").note)
    record.submit([run], SlurmOptions(), logs)
    write_note(command_of(run, logs).note, replace(before, job="1_0", name=queue[0].name))
    assert waiting.run_all([run], SlurmOptions(), logs) == ({}, 0)
    assert "1/1  " in capfd.readouterr().err


@pytest.mark.parametrize(
    ("state", "note", "code", "error"),
    [
        ("TIMEOUT", None, 5, "job 1_0 ended as TIMEOUT, and has started nothing that is seen in"),
        ("NODE_FAIL", {}, 5, "job 1_0 ended as NODE_FAIL; its last line: step 7"),
        (None, {}, 5, "job 1_0 is no longer known to Slurm; its last line: step 7"),
        ("CANCELLED", None, 143, "job 1_0 ended as CANCELLED; the same command submits it again"),
        ("FAILED", {"code": 3, "error": "not finite"}, 3, "not finite"),
        ("COMPLETED", {"code": 0}, 5, "job 1_0 ended as COMPLETED; its last line: step 7"),
        (
            "FAILED",
            {"code": 3, "error": "of the job before", "name": "debft-before"},
            5,
            "ended as FAILED, and has started nothing",
        ),
    ],
)
def test_job_that_ends_without_a_result_is_a_failure_and_waited_for_no_longer(
    tmp_path, sbatch, queue, no_time, state, note, code, error
):
    runs = plan_of(tmp_path, seeds=(1,)).runs
    command = command_of(runs[0], tmp_path / "logs")
    record.submit(runs, SlurmOptions(), tmp_path / "logs")
    if note is not None:
        write_note(command.note, Note(**{"job": "1_0", "name": queue[0].name, **note}))
        command.log.write_text("step 7\n\n")
    live = waiting.Watch(runs, tmp_path / "logs")
    live.ask()
    assert list(live.ended()) == []
    queue[:] = [replace(queue[0], state=state)] if state else []
    live.ask()
    ((run, failure),) = live.ended()
    assert (run.id, failure.code) == (runs[0].id, code) and error in failure.error
    assert live.waiting == []


def test_slurm_that_does_not_answer_ends_no_run_and_is_given_up_in_the_end(tmp_path, sbatch, queue, no_time, monkeypatch, capfd):
    runs = plan_of(tmp_path, seeds=(1,)).runs
    record.submit(runs, SlurmOptions(), tmp_path / "logs")
    watch = waiting.Watch(runs, tmp_path / "logs")

    def silent():
        raise NoAnswerError("squeue: no answer")

    monkeypatch.setattr(waiting, "queued_jobs", silent)
    for _ in range(3):
        watch.ask()
        assert list(watch.ended()) == []
    assert capfd.readouterr().err.count("warning: Slurm does not answer: squeue: no answer") == 1
    monkeypatch.setattr(waiting, "SECONDS_WITHOUT_ANSWER", -1)
    with pytest.raises(MachineError, match="the same command waits for them again"):
        watch.ask()


def test_job_that_is_held_or_leaves_nothing_here_is_said_once(tmp_path, sbatch, queue, no_time, monkeypatch, capfd):
    monkeypatch.setattr(waiting, "SECONDS_TO_BEGIN", -1)
    runs = plan_of(tmp_path, seeds=(1, 2)).runs
    record.submit(runs, SlurmOptions(), tmp_path / "logs")
    queue[:] = [replace(queue[0], state="RUNNING", host="node7"), replace(queue[1], reason="JobHeldUser")]
    watch = waiting.Watch(runs, tmp_path / "logs")
    for _ in range(3):
        watch.ask()
    lines = capfd.readouterr().err
    assert lines.count("warning: job 1_1 does not begin by itself: JobHeldUser") == 1
    assert lines.count("does node7, where it runs, share it?") == 1
    assert watch.note() == "1 running, 1 queued (JobHeldUser)"


def test_signal_ends_the_waiting_and_leaves_the_jobs(tmp_path, sbatch, queue, monkeypatch, capfd):
    runs = plan_of(tmp_path, seeds=(1, 2)).runs
    monkeypatch.setattr(waiting.Watch, "note", lambda self: signal.raise_signal(signal.SIGINT) or "")
    assert waiting.run_all(runs, SlurmOptions(), tmp_path / "logs") == ({}, signal.SIGINT)
    assert "the jobs of 2 runs go on: job 1;" in capfd.readouterr().err
    assert len(queue) == 2


# --- what a job does


@pytest.fixture
def in_a_job(tmp_path, monkeypatch):
    """A job whose run ends with a code, after what the test lets it do; and what was asked of Slurm."""
    run = plan_of(tmp_path, seeds=(1,)).runs[0]
    asked, handlers = [], {number: signal.getsignal(number) for number in job.TOLD}
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setattr(job, "requeue", asked.append)

    def do(code, *, state="RUNNING", steps=1):
        class Ending(job.RunProcess):
            def __init__(self, command, variables, *, processes, note):
                self.command, self.note, self.hung = command, note, ""
                self.process, self._log = SimpleNamespace(code=code, line=None), SimpleNamespace(close=lambda: None)
                write_note(command.note, note)
                run.directory.mkdir(parents=True, exist_ok=True)
                (run.directory / "steps.jsonl").write_text("".join(f'{{"step": {step}}}\n' for step in range(1, steps + 1)))

        monkeypatch.setattr(job, "RunProcess", Ending)
        monkeypatch.setattr(job, "parent_of", lambda processes: nullcontext())
        monkeypatch.setattr(job, "state_of", lambda number: state)
        command = command_of(run, tmp_path / "logs")
        try:
            job.RunTask(command=command, name=NAME, processes=1)()
        except SystemExit as end:
            assert end.code == code or code in job.BEFORE_LIMIT
        return read_note(command.note), asked

    yield do
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("code", "state", "requeued", "noted"),
    [
        (0, "RUNNING", False, 0),
        (3, "RUNNING", False, 3),
        (140, "RUNNING", True, None),
        (143, "RUNNING", True, None),
        (143, "PENDING", False, None),
        (143, "CANCELLED", False, 143),
        (143, "PREEMPTED", False, 143),
    ],
)
def test_job_begins_anew_where_its_run_was_interrupted_and_it_was_not_cancelled(in_a_job, code, state, requeued, noted):
    """One that Slurm has taken back itself waits already; one that was cancelled stays so."""
    note, asked = in_a_job(code, state=state)
    assert (asked, note.code) == (["7_0"] if requeued else [], noted)
    assert note.job == "7_0" and note.name == NAME


def test_job_whose_run_does_no_step_in_its_time_does_not_begin_anew(in_a_job):
    """It would do so for ever."""
    note, asked = in_a_job(140, steps=0)
    assert asked == [] and note.code == 2 and "give a longer --time" in note.error


# --- looking


def test_status_tells_what_is_complete_failed_and_not_begun_on_this_machine(done, capfd):
    content = status(done, done.runs[0].directory.parent.parent / "logs")
    complete, failed, left = content["runs"]
    assert [run["status"] for run in content["runs"]] == ["complete", "failed", "not run"]
    assert (failed["code"], failed["detail"]) == (3, "out of luck")
    assert (complete["step"], left["step"], complete["steps"]) == (3, 0, 3)
    assert content["counts"] == {"complete": 1, "failed": 1, "not run": 1}
    assert "exit code 3: out of luck" in capfd.readouterr().err


def test_status_of_a_run_follows_the_process_that_started_it(tmp_path):
    plan = plan_of(tmp_path, seeds=(1,))
    note = command_of(plan.runs[0], tmp_path / "logs").note
    write_note(note, Note())
    assert status(plan, tmp_path / "logs")["runs"][0]["status"] == "running"
    write_note(note, Note(pid=_pid_of_nobody()))
    assert status(plan, tmp_path / "logs")["runs"][0]["status"] == "interrupted"
    note.write_text("[" * 5000)
    assert status(plan, tmp_path / "logs")["runs"][0]["status"] == "not run"


def _pid_of_nobody():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


@pytest.mark.parametrize(
    ("state", "note", "word", "detail"),
    [
        ("PENDING", None, "queued", "Resources"),
        ("RUNNING", None, "running", None),
        ("RUNNING", {}, "running", None),
        ("COMPLETING", {"code": 3, "error": "x"}, "running", None),
        ("FAILED", {"code": 3, "error": "x"}, "failed", "x"),
        ("CANCELLED", None, "interrupted", "job 1_0 ended as CANCELLED"),
        ("TIMEOUT", {}, "failed", "job 1_0 ended as TIMEOUT"),
        (None, {}, "failed", "job 1 is no longer known to Slurm, and left no result"),
    ],
)
def test_status_of_a_job_is_what_slurm_says_and_its_note(tmp_path, sbatch, queue, state, note, word, detail):
    plan = plan_of(tmp_path, seeds=(1,))
    record.submit(plan.runs, SlurmOptions(), tmp_path / "logs")
    if note is not None:
        write_note(command_of(plan.runs[0], tmp_path / "logs").note, Note(**{"job": "1_0", "name": queue[0].name, **note}))
    queue[:] = [replace(queue[0], state=state)] if state else []
    (run,) = status(plan, tmp_path / "logs")["runs"]
    assert (run["status"], run["detail"]) == (word, detail)


def test_status_without_slurm_says_what_was_known_last(tmp_path, sbatch, queue, monkeypatch, capfd):
    plan = plan_of(tmp_path, seeds=(1, 2))
    record.submit(plan.runs, SlurmOptions(), tmp_path / "logs")
    write_note(command_of(plan.runs[0], tmp_path / "logs").note, Note(job="1_0", name=queue[0].name, host="node7"))
    monkeypatch.setattr("shutil.which", lambda name: None)
    content = status(plan, tmp_path / "logs")
    assert [run["status"] for run in content["runs"]] == ["running", "queued"]
    assert "warning: no squeue in PATH" in capfd.readouterr().err


def test_note_that_cannot_be_read_is_none(tmp_path):
    whole = '"pid": 1, "host": "x"'
    damaged = ('{"pid": "x"}', "{}", '{"pid": 0, "host": "x"}', f'{{{whole}, "error": 5}}', f'{{{whole}, "error": "\\ud800"}}')
    for text in ("", "{", "[]", '{"step": 3}', *damaged, f'{{{whole}, "job": [1]}}', f'{{{whole}, "code": "a"}}'):
        (tmp_path / "note.json").write_text(text)
        assert read_note(tmp_path / "note.json") is None
    (tmp_path / "note.json").write_text(f'{{"pid": {10**400}, "host": "{Note().host}"}}')
    assert not read_note(tmp_path / "note.json").runs()  # no system has a process of such a number
