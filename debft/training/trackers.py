"""A run is logged to the trackers that its recipe names, by accelerate's own classes for them.

Each tracker works in a thread of its own, so that one whose server does not answer holds up no step. What goes wrong before the
first step ends the run; what goes wrong later is a warning, and the run goes on without that tracker. Nothing that looks like a
secret is handed on: TensorBoard, for one, writes the whole configuration into a file in plain text.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

from debft import __version__
from debft.config.recipe import Recipe, to_dict
from debft.config.recipe_hash import recipe_hash
from debft.console import say, say_field
from debft.errors import HIDDEN, SECRET_NAME, InputError, first_line, without_secrets
from debft.runs.storage import make_directory, write_atomically
from debft.runtime.progress import activity
from debft.runtime.tracker_names import TRACKERS, tracker_names

PROJECT = "debft"
PROJECT_VARIABLES = {"wandb": "WANDB_PROJECT", "comet_ml": "COMET_PROJECT_NAME"}  # the others read theirs themselves, or have none
MOST_WAITING = 20_000  # lines for a tracker that does not answer
SECONDS_TO_FINISH = 20.0  # SIGKILL comes 30 seconds after a scheduler's SIGTERM
RUNS = "runs.json"

Values = Mapping[str, float]
Work = Callable[[], object]


class _StartError(Exception):
    """A tracker cannot be started, for the reason that is its text."""


class _Thread:
    """A tracker at work: it is started, logs what it is given, in order, and is finished. All of it in one thread.

    MLflow, for one, knows its run only in the thread that began it.
    """

    def __init__(self, name: str, tracker: Any, config: Mapping[str, Any] | None) -> None:
        self.name, self.tracker, self.config = name, tracker, config
        self.started: Future[str | None] = Future()
        self.waiting: queue.Queue[tuple[Values, int] | None] = queue.Queue(MOST_WAITING)
        self.step = 0  # the last that was logged
        self.failure = ""
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            self.tracker.start()
            if self.config is not None:
                self.tracker.store_init_configuration(dict(self.config))
            identity = IDENTITIES[self.name](self.tracker) if self.name in IDENTITIES else None
        except (Exception, SystemExit) as error:  # of another program, whose errors have nothing in common
            self.started.set_exception(_StartError(first_line(error)))
            return
        self.started.set_result(identity)
        try:
            while (entry := self.waiting.get()) is not None and not self.failure:
                values, step = entry
                self.tracker.log(dict(values), step=step)
                self.step = step
            self.tracker.finish()
        except (Exception, SystemExit) as error:
            self.fail(first_line(error))

    def log(self, values: Values, step: int) -> None:
        """Hand on what was measured after a step. It never waits."""
        if self.failure:
            return
        try:
            self.waiting.put_nowait((values, step))
        except queue.Full:
            self.fail(f"it does not answer, {MOST_WAITING:,} lines wait for it")

    def fail(self, reason: str) -> None:
        """Say that the tracker is given up, and that the run is not."""
        if not self.failure:
            self.failure = hidden(reason)
            with suppress(RuntimeError):  # a signal came while a line was being written
                say(f"warning: {self.name}: {self.failure}; the run goes on, nothing behind step {self.step:,} is logged there")

    def finish(self) -> None:
        """Let it send what it has, for a while."""
        with suppress(queue.Full):
            self.waiting.put_nowait(None)
        self.thread.join(SECONDS_TO_FINISH)
        if self.thread.is_alive():
            self.fail(f"it did not finish within {SECONDS_TO_FINISH:g} seconds")


@dataclass(kw_only=True)
class Trackers:
    """The trackers of a run; with none of them nothing happens."""

    threads: list[_Thread] = field(default_factory=list)

    def log(self, values: Values, step: int) -> None:
        """Log numbers by name, measured after a step."""
        for thread in self.threads:
            thread.log(values, step)

    def close(self) -> None:
        """Finish all of them."""
        for thread in self.threads:
            with activity(f"finishing {thread.name}"), redirect_stdout(sys.stderr):  # stdout is for results
                thread.finish()
        self.threads = []


def open_trackers(recipe: Recipe, run: Path, step: int) -> Trackers:
    """Start the trackers of a recipe, on the main process alone, or go on with those that the run had.

    run: the run directory, in which a tracker that has files keeps them; step: the last one done
    Raises InputError where one cannot be started.
    """
    opened = Trackers()
    if not (names := tracker_names(recipe.runtime.report_to)):
        return opened
    _check_command(names)
    folder = run / "trackers"
    make_directory(folder)
    before = _identities(folder) if step else {}
    config = config_of(recipe)
    for name in names:
        tracker = _tracker(name, run, folder, step, before.get(name))
        with activity(f"starting {name}"), redirect_stdout(sys.stderr):
            thread = _Thread(name, tracker, None if name in before else config)
            opened.threads.append(thread)
            try:
                identity = thread.started.result()
            except _StartError as error:
                opened.threads.pop()
                opened.close()
                reason = hidden(first_line(error))
                raise InputError(f"--report-to {name}: cannot be started: {reason}; mend that, or leave it out") from None
        before[name] = identity
    write_atomically(folder / RUNS, (json.dumps(before) + "\n").encode())
    say_field("trackers", ", ".join(f"{name} (in {folder})" if name in IN_FOLDER else name for name in names))
    return opened


def _check_command(names: Sequence[str]) -> None:
    """Raise InputError where the command holds a secret: most trackers record it by themselves. TensorBoard does not."""
    others = [name for name in names if name != "tensorboard"]
    if others and any(hidden(word) != word for word in sys.argv):
        raise InputError(
            f"--report-to {others[0]}: expected a command without secrets, got one in an option, and {others[0]} records the "
            "command; leave one of the two out"
        )


def _identities(folder: Path) -> dict[str, str | None]:
    """Return by name what the trackers of an earlier part of the run call it, {} where that is not known."""
    try:
        content = json.loads((folder / RUNS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _tracker(name: str, run: Path, folder: Path, step: int, identity: str | None) -> Any:
    """Return accelerate's tracker, not started. identity: that of the run that goes on, as the tracker calls it"""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    if name not in [str(one) for one in get_available_trackers()]:
        raise InputError(
            f"--report-to {name}: accelerate finds no package of it that it works with; pip install {TRACKERS[name][1]}"
        )
    title = "/".join(run.absolute().parts[-2:])
    project = os.environ.get(PROJECT_VARIABLES.get(name, ""), PROJECT)
    options = _options(name, title, folder, step) | (_resumed(name, identity) if identity is not None else {})
    kind = LOGGER_TYPE_TO_CLASS[name]
    if name == "tensorboard":  # which calls a directory what others call a project
        _await_next_second(folder)
        return kind("tensorboard", folder, **options)
    return kind(project, folder, **options) if kind.requires_logging_directory else kind(project, **options)


def _await_next_second(folder: Path) -> None:
    """Wait, for a second at most, until a new file of TensorBoard is called after a later second than all that are there.

    TensorBoard reads its files by name, and what comes later takes the place of what came before. Within one second the names
    differ by a counter that has no leading zeros, so that a file numbered 10 would be read before the one numbered 9.
    """
    while any(folder.rglob(f"events.out.tfevents.{int(time.time()):010d}.*")):
        time.sleep(0.01)


IN_FOLDER = ("tensorboard", "wandb", "aim", "dvclive", "swanlab")


def _options(name: str, title: str, folder: Path, step: int) -> dict[str, Any]:
    """Return how a tracker is told the name of the run and the place of its files. step: the last one done"""
    named: dict[str, dict[str, Any]] = {
        "tensorboard": {"purge_step": step + 1} if step else {},  # steps behind the checkpoint are done anew
        "wandb": {"name": title, "dir": str(folder), "save_code": False, "settings": {"console": "off"}},  # our lines are ours
        "trackio": {"name": f"{title.replace('/', '-')}-{token_hex(3)}"},
        "mlflow": {"run_name": title},
        "clearml": {"task_name": title},
        "dvclive": {"dir": str(folder / "dvclive")},
        "swanlab": {"experiment_name": title, "logdir": str(folder)},
    }
    return named.get(name, {})


def _resumed(name: str, identity: str) -> dict[str, Any]:
    """Return how a tracker is told to go on with a run."""
    going_on: dict[str, dict[str, Any]] = {
        "wandb": {"id": identity, "resume": "allow"},
        "trackio": {"name": identity, "resume": "allow"},
        "mlflow": {"run_id": identity},
        "comet_ml": {"experiment_key": identity},
        "aim": {"run_hash": identity},
        "clearml": {"continue_last_task": identity},
        "dvclive": {"resume": True},
        "swanlab": {"id": identity, "resume": "allow"},
    }
    return going_on.get(name, {})


# What a tracker calls the run that it has begun; "" where the place of its files says it.
IDENTITIES: dict[str, Callable[[Any], str]] = {
    "tensorboard": lambda tracker: "",
    "dvclive": lambda tracker: "",
    "wandb": lambda tracker: str(tracker.run.id),
    "trackio": lambda tracker: str(tracker.run.name),
    "mlflow": lambda tracker: str(tracker.active_run.info.run_id),
    "comet_ml": lambda tracker: str(tracker.writer.get_key()),
    "aim": lambda tracker: str(tracker.writer.hash),
    "clearml": lambda tracker: str(tracker.task.id),
    "swanlab": lambda tracker: str(tracker.run.id),
}


def config_of(recipe: Recipe) -> dict[str, Any]:
    """Return what a tracker is told of a run: each key of the recipe that has a value, by its dotted name, without secrets."""
    values = {"recipe_hash": recipe_hash(recipe), "debft": __version__}
    for name, value in to_dict(recipe).items():
        flat = {f"{name}.{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
        values |= {key: part for key, part in flat.items() if part is not None}
    return {key: hidden(value) for key, value in values.items() if not SECRET_NAME.search(key)}


def hidden(value: Any) -> Any:
    """Return a value without secrets, that of the hub's token file included."""
    if not isinstance(value, str):
        return value
    from huggingface_hub import get_token

    token = get_token()
    return without_secrets(value.replace(token, HIDDEN) if token else value)
