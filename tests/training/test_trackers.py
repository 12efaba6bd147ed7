"""A run is logged to the trackers that are named, to no other one, without a secret, and goes on when one of them fails."""

import importlib.util
import json
import threading
from dataclasses import replace

import accelerate.tracking
import pytest
import yaml
from processes import SECONDS
from processes import run as command
from tensorboard.summary.writer.event_file_writer import AtomicCounter

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe, with_values
from debft.config.recipe_hash import recipe_hash
from debft.errors import InputError
from debft.runs.directory import RunDirectory
from debft.runs.removal import remove_run
from debft.runtime.tracker_names import TRACKERS, check_installed, tracker_names
from debft.tasks.rules import check_recipe
from debft.training import trackers
from debft.training.run import finetune
from debft.training.trackers import config_of, hidden, open_trackers

SETTINGS = {
    "task": "mnli",
    "train.max_steps": 4,
    "train.max_train_samples": 200,
    "train.max_eval_samples": 12,
    "train.eval_steps": 2,
    "runtime.save_steps": 2,
}
SECRETS = {"HF_TOKEN": "hf_aPlantedTokenOfTheHub", "WANDB_API_KEY": "0123456789abcdef" * 2, "MY_PASSWORD": "a planted password"}
TYPED = "hf_TypedByMistakeIntoAnOption"


def recipe_of(names, **changes):
    return load_recipe(recipe_path("demo"), SETTINGS | {"runtime.report_to": names} | changes)


def scalars_of(run):
    """{name: {step: value}} as TensorBoard itself reads the files of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(run / "trackers" / "tensorboard"), size_guidance={"scalars": 0})
    read.Reload()
    return {name: {event.step: event.value for event in read.Scalars(name)} for name in read.Tags()["scalars"]}


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """A run that was logged to TensorBoard, with secrets in its environment."""
    run = tmp_path_factory.mktemp("tracked") / "run"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        recipe = recipe_of("tensorboard")
        return finetune(recipe, run), recipe, run


def test_steps_scores_and_result_are_what_tensorboard_reads(tracked):
    result, _, run = tracked
    scalars, directory = scalars_of(run), RunDirectory(run)
    steps = directory.logs.rows("steps.jsonl")
    assert len(steps) == 4
    for name, key in (("train/loss", "loss"), ("train/learning_rate", "learning_rate"), ("train/grad_norm", "grad_norm")):
        # 1e-6: TensorBoard keeps numbers as float32
        assert scalars[name] == {row["step"]: pytest.approx(row[key], rel=1e-6) for row in steps}
    speeds = {row["step"]: pytest.approx(row["num_tokens"] / row["seconds"], rel=1e-6) for row in steps}
    assert scalars["train/tokens_per_second"] == speeds
    for row in directory.logs.rows("evaluations.jsonl"):
        for name, score in row["scores"].items():
            assert scalars[name][row["step"]] == pytest.approx(score, rel=1e-6)
        assert scalars["validation_matched/loss"][row["step"]] == pytest.approx(row["validation_matched/loss"], rel=1e-6)
    for name, score in result.scores.items():
        assert scalars[f"final/{name}"] == {4: pytest.approx(score, rel=1e-6)}


def test_configuration_is_the_recipe(tracked):
    _, recipe, run = tracked
    (file,) = run.rglob("hparams.yml")
    content = yaml.safe_load(file.read_text())
    assert content["recipe_hash"] == recipe_hash(recipe)
    assert (content["train.learning_rate"], content["train.max_steps"]) == (recipe.train.learning_rate, 4)
    assert "own.folds" not in content, "a key without a value"


def test_no_secret_is_in_a_file_of_a_tracker(tracked):
    files = [path for path in (tracked[2] / "trackers").rglob("*") if path.is_file()]
    assert len(files) >= 3
    for path in files:
        for secret in SECRETS.values():
            assert secret.encode() not in path.read_bytes(), f"{path} holds {secret}"


def test_secret_in_a_recipe_that_a_program_made_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match="note: expected no token or password, got one") as error:
        finetune(replace(recipe_of(None), note=f"see https://me:{TYPED}@example.org and {TYPED}"), tmp_path / "run")
    assert TYPED not in str(error.value) and not (tmp_path / "run").exists()


def test_secret_in_a_recipe_is_not_told_to_a_tracker():
    assert (
        config_of(replace(Recipe(), note=f"see https://me:{TYPED}@example.org and {TYPED}"))["note"]
        == "see https://***example.org and ***"
    )


def test_score_and_hash_do_not_depend_on_trackers(tracked, tmp_path):
    plain = recipe_of(None)
    assert recipe_hash(plain) == recipe_hash(tracked[1])
    result = finetune(plain, tmp_path / "run")
    assert result.scores == tracked[0].scores
    assert not (tmp_path / "run" / "trackers").exists()


def test_run_that_is_removed_takes_its_trackers_with_it(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create(recipe_of("tensorboard"))
    open_trackers(recipe_of("tensorboard"), run.path, 0).close()
    assert run.foreign_files() == []
    remove_run(run.path)
    assert list(run.path.iterdir()) == []


def test_resumed_run_goes_on_in_the_same_files_from_its_checkpoint(tmp_path, monkeypatch):
    # The order of their names within a second, which TensorBoard reads them by: 10 comes before 9
    monkeypatch.setattr("tensorboard.summary.writer.event_file_writer._global_uid", AtomicCounter(9))
    recipe = recipe_of("tensorboard")
    for step, value in ((0, 1.0), (2, 2.0)):
        opened = open_trackers(recipe, tmp_path, step)
        for number in range(step + 1, 5):
            opened.log({"train/loss": value}, number)
        opened.close()
    assert scalars_of(tmp_path)["train/loss"] == {1: 1.0, 2: 1.0, 3: 2.0, 4: 2.0}
    assert len(list(tmp_path.rglob("hparams.yml"))) == 1


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ("all", "runtime.report_to: expected trackers by name, got all; name those that are wanted, of tensorboard, "),
        ("tensorbord", "runtime.report_to: unknown tracker 'tensorbord'; did you mean 'tensorboard'?"),
        ("wandb,,mlflow", "runtime.report_to: unknown tracker ''; expected one of tensorboard, "),
        ("none,wandb", "runtime.report_to: unknown tracker 'none'"),
    ],
)
def test_unknown_trackers_are_refused(names, line):
    with pytest.raises(InputError) as error:
        check_recipe(recipe_of(names))
    assert error.value.problems[0].startswith(line)


def test_names_are_those_of_accelerate():
    assert set(TRACKERS) == set(accelerate.tracking.LOGGER_TYPE_TO_CLASS)
    assert [tracker_names(text) for text in (None, "none", "wandb, mlflow,wandb")] == [[], [], ["wandb", "mlflow"]]


def test_tracker_that_is_named_and_missing_ends_the_run_before_anything_is_done(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("wandb", "mlflow") else find(name))
    with pytest.raises(InputError) as error:
        finetune(recipe_of("tensorboard,wandb,mlflow"), tmp_path / "run")
    assert error.value.problems == (
        "--report-to wandb: expected the package wandb, which is not installed; pip install wandb",
        "--report-to mlflow: expected the package mlflow, which is not installed; pip install mlflow",
    )
    assert not (tmp_path / "run").exists()
    check_installed("tensorboard")


def test_option_is_checked_before_the_rows_are_read(tmp_path):
    done = command("text", "--data", tmp_path / "none.csv", "--report-to", "all")
    assert done.returncode == 2 and "expected trackers by name, got all" in done.stderr


class Fake(accelerate.tracking.GeneralTracker):
    """A tracker of the name wandb that keeps what it is told, and fails or hangs where it is asked to."""

    name, requires_logging_directory, tracker = "wandb", False, None
    made: list["Fake"] = []
    fails: dict[str, Exception | threading.Event] = {}

    def __init__(self, project, **options):
        self.project, self.options, self.config, self.logged, self.finished = project, options, None, [], False
        self.run = self
        self.id = options.get("id", f"run-{len(self.made)}")
        self.made.append(self)

    def _may_fail(self, what):
        way = self.fails.get(what)
        if isinstance(way, threading.Event):
            way.wait(SECONDS)
        elif way is not None:
            raise way

    def start(self):
        print("a line of the tracker")
        self._may_fail("start")

    def store_init_configuration(self, values):
        self.config = values

    def log(self, values, step=None):
        self._may_fail("log")
        self.logged.append((step, values))

    def finish(self):
        print("another line of the tracker")
        self._may_fail("finish")
        self.finished = True


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "wandb", Fake)
    monkeypatch.setattr(accelerate.tracking, "_available_trackers", [*accelerate.tracking._available_trackers, "wandb"])
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find("json" if name == "wandb" else name))
    monkeypatch.setattr(Fake, "made", [])
    monkeypatch.setattr(Fake, "fails", {})
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return Fake


def opened(tmp_path, step=0):
    return open_trackers(recipe_of("wandb"), tmp_path / "task" / "seed-1", step)


def test_tracker_gets_all_in_order_and_is_finished(fake, tmp_path):
    trackers = opened(tmp_path)
    for step in range(1, 50):
        trackers.log({"train/loss": step / 2}, step)
    trackers.close()
    (one,) = fake.made
    assert one.logged == [(step, {"train/loss": step / 2}) for step in range(1, 50)] and one.finished
    assert one.project == "debft" and one.options["name"] == "task/seed-1" and one.config == config_of(recipe_of("wandb"))


def test_run_that_goes_on_is_the_same_run_there(fake, tmp_path):
    opened(tmp_path).close()
    opened(tmp_path, step=2).close()
    opened(tmp_path, step=0).close()
    first, again, anew = fake.made
    assert (again.options["id"], again.options["resume"], again.config) == (first.id, "allow", None)
    assert "id" not in anew.options and anew.config is not None


def test_tracker_that_cannot_start_ends_the_run_and_leaves_nothing(fake, tmp_path):
    fake.fails["start"] = ValueError("no login\nand more")
    with pytest.raises(InputError) as error:
        finetune(recipe_of("tensorboard,wandb"), tmp_path / "run")
    assert error.value.problems == ("--report-to wandb: cannot be started: no login; mend that, or leave it out",)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", ["overwrite", "restart"])
def test_tracker_that_cannot_start_leaves_the_run_that_was_to_be_replaced(fake, tmp_path, capfd, option):
    finetune(recipe_of(None), tmp_path / "run")
    before = content_of(tmp_path / "run")
    fake.fails["start"] = ValueError("no login")
    with pytest.raises(InputError, match="no login"):
        finetune(recipe_of("wandb"), tmp_path / "run", **{option: True})
    assert content_of(tmp_path / "run") == before
    assert f"{tmp_path / 'run'}: the run that was there is there again" in capfd.readouterr().err
    del fake.fails["start"]
    finetune(recipe_of("wandb"), tmp_path / "run", **{option: True})
    assert not list((tmp_path / "run").glob(".*.partial")), "the replaced run is still there"


def content_of(run):
    return {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_tracker_that_ends_its_thread_does_not_hang_the_run(fake, tmp_path):
    fake.fails["start"] = SystemExit(1)
    with pytest.raises(InputError, match="--report-to wandb: cannot be started: 1; "):
        opened(tmp_path)


def test_tracker_that_fails_is_a_warning_and_the_run_is_the_same(fake, tmp_path, tracked, capfd, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SECRETS["WANDB_API_KEY"])
    fake.fails["log"] = OSError(f"network is gone, key {SECRETS['WANDB_API_KEY']}")
    result = finetune(recipe_of("wandb"), tmp_path / "run")
    said = [line for line in capfd.readouterr().err.splitlines() if "wandb" in line and line.startswith("warning")]
    assert said == ["warning: wandb: network is gone, key ***; the run goes on, nothing behind step 0 is logged there"]
    assert result.scores == tracked[0].scores


def test_tracker_that_hangs_holds_up_no_step_and_no_end(fake, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(trackers, "SECONDS_TO_FINISH", 0.05)
    monkeypatch.setattr(trackers, "MOST_WAITING", 5)
    fake.fails["log"] = threading.Event()
    try:
        hanging = opened(tmp_path)
        for step in range(1, 20):
            hanging.log({"train/loss": 0.5}, step)
        hanging.close()
    finally:
        fake.fails["log"].set()
    err = capfd.readouterr().err
    assert err.count("warning: wandb: it does not answer, 5 lines wait for it; the run goes on") == 1 and err.count("warning") == 1


def test_tracker_that_does_not_finish_is_left(fake, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(trackers, "SECONDS_TO_FINISH", 0.05)
    fake.fails["finish"] = threading.Event()
    try:
        opened(tmp_path).close()
    finally:
        fake.fails["finish"].set()
    assert "warning: wandb: it did not finish within 0.05 seconds" in capfd.readouterr().err


def test_what_a_tracker_prints_does_not_go_among_the_results(fake, tmp_path, capsys):
    opened(tmp_path).close()
    printed = capsys.readouterr()
    assert printed.out == "" and "a line of the tracker" in printed.err and "another line" in printed.err


def test_project_of_the_environment_is_used(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    opened(tmp_path).close()
    assert fake.made[0].project == "mine"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hf_abcdefghijklmnopqrst", "***"),
        ("a hf_abcdefghijklmnopqrst!", "a ***!"),
        ("https://me:pass@example.org/x", "https://***example.org/x"),
        ("the planted value of a variable", "the *** of a variable"),
        ("runs/mnli-demo", "runs/mnli-demo"),
        (7, 7),
    ],
)
def test_what_looks_like_a_secret_is_hidden(monkeypatch, text, shown):
    monkeypatch.setenv("SOME_API_KEY", "planted value")
    monkeypatch.setenv("SHORT_TOKEN", "runs")
    assert hidden(text) == shown


def test_command_with_a_secret_is_not_shown_to_a_tracker_that_records_it(fake, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["debft", "mnli", "--set", f"note={TYPED}"])
    with pytest.raises(InputError, match="--report-to wandb: expected a command without secrets, got one in an option") as error:
        opened(tmp_path)
    assert TYPED not in str(error.value) and fake.made == []
    open_trackers(recipe_of("tensorboard"), tmp_path / "run", 0).close()


def test_numbers_of_tokens_are_no_secret():
    assert "runtime.micro_batch_tokens" in config_of(with_values(Recipe(), {"runtime.micro_batch_tokens": 512}))


def test_identities_of_trackers_are_kept_with_the_run(fake, tmp_path):
    opened(tmp_path).close()
    content = json.loads((tmp_path / "task" / "seed-1" / "trackers" / "runs.json").read_text())
    assert content == {"wandb": fake.made[0].id}


@pytest.mark.parametrize("content", ["{", "[]", "[" * 5000], ids=["cut", "list", "deep"])
def test_damaged_identities_of_trackers_are_none(tmp_path, content):
    (tmp_path / "runs.json").write_text(content)
    assert trackers._identities(tmp_path) == {}
