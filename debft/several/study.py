"""This module is `debft search`: optuna suggests settings, each is tried by a run of its own, and the poor ones are stopped early.

Only this process writes the study, a file of JSON lines (optuna's journal). Trials that were running when the search was
interrupted go on from their checkpoints. optuna's TPE suggests, seeded for each trial by its number, so that an interruption
changes nothing.
Source: J. Bergstra, R. Bardenet, Y. Bengio and B. Kegl, Algorithms for Hyper-Parameter Optimization, NeurIPS 2011.
"""

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend

from debft.console import say
from debft.errors import DebftError, InputError
from debft.output.text import counted
from debft.reproduce.identity import made_key
from debft.reproduce.jobs import SECONDS_BETWEEN_LOOKS, Pool
from debft.reproduce.notes import Failure
from debft.reproduce.planned_run import PlannedRun
from debft.runs.lock import HeldError, locked
from debft.runs.reading import read_file
from debft.runs.storage import make_directory, write_atomically
from debft.runtime.devices import devices_here, warn_of_unused_gpus
from debft.runtime.launch.started import parent_of
from debft.runtime.memory import is_out_of_memory
from debft.runtime.progress import meter
from debft.runtime.signals import INTERRUPTED, stop_requested
from debft.several.space import Dimension, Space, Value, space_dict
from debft.several.trials import CHECKS, checks_of, drop_checkpoints, drop_model, plan_trial, rounded, score_of, settings_text
from debft.training.plan import Plan

JOURNAL = "study.jsonl"
LINE = b'{"op_code":'  # how each of its lines begins
LOCK = ".lock"
STARTUP_TRIALS = 5  # complete ones, before any is stopped early
FIRST_CHECK = 2  # at which a trial may be stopped: scores after a fifth of a run say little
STOP = 15  # SIGTERM: a trial that is stopped saves a checkpoint and leaves
State = optuna.trial.TrialState


class _NoLock:
    """No other process writes the journal: the directory of the search is locked. optuna's own lock outlives a `kill -9`."""

    def acquire(self) -> bool:
        """Do nothing."""
        return True

    def release(self) -> None:
        """Do nothing."""


@dataclass(kw_only=True)
class Search:
    """A search holds the study, and the trials that are running."""

    study: optuna.Study
    """optuna's study, in the journal."""
    base: Plan
    """The plan of the recipe that every trial starts from."""
    space: Space
    """What is tried."""
    directory: Path
    """Where everything lies."""
    common: Path
    """The file of the recipe that all trials have in common."""
    running: dict[str, tuple[optuna.Trial, PlannedRun]] = field(default_factory=dict)
    """The trials that are running, by the id of the run."""
    pruned: set[str] = field(default_factory=set)
    """The ids of those that were told to stop."""
    failures: dict[str, Failure] = field(default_factory=dict)
    """Why trials have no result, by the id of the run."""
    interrupted_by: list[int] = field(default_factory=list)
    """The exit codes of trials that a signal to them alone ended; the same command goes on with these."""

    def place(self, number: int) -> Path:
        """Return the directory of a trial."""
        return self.directory / f"trial-{number:03}"

    def values_of(self, params: Mapping[str, Value]) -> dict[str, Value]:
        """Return the settings that a trial tries, by dotted key."""
        return {key: rounded(params[key]) for key in self.space}

    def asked(self) -> int:
        """Return the number of trials so far, whatever became of them."""
        return len(self.study.get_trials(deepcopy=False))

    def interrupted(self) -> list[optuna.Trial]:
        """Return the trials that have begun and not ended; one that ended before it had its settings has failed."""
        begun = self.study.get_trials(deepcopy=False, states=(State.RUNNING,))
        for trial in begun:
            if set(trial.params) != set(self.space):
                self.study.tell(trial.number, state=State.FAIL)
        return [optuna.Trial(self.study, trial._trial_id) for trial in begun if set(trial.params) == set(self.space)]

    def ask(self) -> optuna.Trial:
        """Begin a new trial."""
        seed = 100_000 * self.base.recipe.train.seed + self.asked()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = optuna.samplers.TPESampler(seed=seed % 2**32, constant_liar=True)
        return self.study.ask({key: _distribution(dimension) for key, dimension in self.space.items()})

    def start(self, trial: optuna.Trial, pool: Pool) -> None:
        """Start or resume the run of a trial; settings that cannot be run make it fail at once."""
        values = self.values_of(trial.params)
        try:
            run = plan_trial(self.base, self.common, self.place(trial.number), values)
        except InputError as error:
            self.failures[self.place(trial.number).name] = Failure(code=2, error=error.problems[0])
            self.study.tell(trial.number, state=State.FAIL)
            say(f"trial {trial.number}  {settings_text(values)}  cannot be run: {error.problems[0]}")
            return
        self.running[run.id] = (trial, run)
        pool.start(run)

    def look(self, pool: Pool) -> None:
        """Report what running trials have scored since the last look, and tell one that does worse than the median to stop."""
        for job in pool.running:
            trial, run = self.running[job.run.id]
            if self._report(trial, run) and run.id not in self.pruned and trial.should_prune():
                self.pruned.add(run.id)
                job.tell(STOP)

    def _report(self, trial: optuna.Trial, run: PlannedRun) -> bool:
        """Give the study the scores that it does not have yet. Return whether it may be stopped at the last of them."""
        known = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        new = {check: score for check, score in checks_of(run, self.base).items() if check not in known}
        for check, score in new.items():
            trial.report(score, check)
        return FIRST_CHECK <= max(new, default=0) < CHECKS  # one that has all its steps behind it only has its result to write

    def end(self, run: PlannedRun, failure: Failure | None, count: str) -> None:
        """Tell the study what became of a trial, and keep the model of the best one alone."""
        trial, _ = self.running.pop(run.id)
        line = f"{count}  trial {trial.number}  {settings_text(self.values_of(trial.params))}"
        if failure is None:
            score = self._complete(trial, run)
            say(f"{line}  {score:.2f} over {scored_rows(self.base)}")
        elif run.id in self.pruned and failure.code in INTERRUPTED:
            self.study.tell(trial.number, state=State.PRUNED)
            drop_checkpoints(run)
            checks = checks_of(run, self.base)
            say(f"{line}  stopped after {max(checks)}/{CHECKS}, below the median there")
        elif failure.code in INTERRUPTED:
            self.interrupted_by.append(failure.code)
            say(f"{line}  interrupted; the same command goes on with it")
        else:
            self.failures[run.id] = failure
            self.study.tell(trial.number, state=State.FAIL)
            say(f"{line}  failed with exit code {failure.code}: {failure.error}")

    def _complete(self, trial: optuna.Trial, run: PlannedRun) -> float:
        """Tell the study the score of a run that is complete, and return it."""
        self._report(trial, run)
        result = run.result()
        assert result is not None, "a run that did not fail has a result"
        score = score_of(result.scores, self.base, run.directory)
        self._keep_best_model(trial.number, score)
        self.study.tell(trial.number, score)
        return score

    def _keep_best_model(self, number: int, score: float) -> None:
        """Remove the model of the best trial before this one, or that of this one. Of equal scores the first one's is kept."""
        complete = self.study.get_trials(deepcopy=False, states=(State.COMPLETE,))
        best = max(((trial.value, -trial.number) for trial in complete), default=None)
        if best is not None:
            drop_model(self.place(-min(best, (score, -number))[1]))


def scored_rows(plan: Plan) -> str:
    """Return how many rows the score of a trial is of, `872 rows`."""
    return counted(sum(len(plan.examples[split.name]) for split in plan.task.selection_evals), "row")


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    if dimension.choices:
        return optuna.distributions.CategoricalDistribution(dimension.choices)
    if dimension.whole:
        low, high, step = int(dimension.low), int(dimension.high), int(dimension.step or 1)
        return optuna.distributions.IntDistribution(low, high, log=dimension.log, step=step)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


@contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Let only one search at a time use the directory. Raises InputError where another one does."""
    make_directory(directory)
    with ExitStack() as held:
        try:
            held.enter_context(locked(directory / LOCK))
        except HeldError as error:
            raise InputError(f"--output {directory}: another search is using it ({error.by}); wait for it or end it") from None
        yield


def open_study(base: Plan, space: Space, directory: Path) -> optuna.Study:
    """Open the study in the journal, or begin it. Raises InputError where it is one of another space or other rows."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = directory / JOURNAL
    facts = {"space": space_dict(space), "fingerprints": base.fingerprints}
    _drop_half_line(path)
    try:
        backend = JournalFileBackend(str(path), lock_obj=_NoLock())  # type: ignore[arg-type]  # the class that it names is private
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name="search",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=FIRST_CHECK),
        )
    except Exception as error:  # optuna takes the file for its own: other content is an error of any kind
        if isinstance(error, (OSError, DebftError)) or is_out_of_memory(error):
            raise
        raise _no_journal(path) from error
    recorded, made = study.user_attrs, made_key(base.files.revision, base.weights)
    if not recorded:
        for name, value in (facts | {"made": made}).items():
            study.set_user_attr(name, value)
    elif key := next((name for name, value in facts.items() if recorded.get(name) != value), None):
        what = {"space": "another space", "fingerprints": "other rows"}[key]
        raise InputError(f"--output {directory}: holds a search of {what}; choose another --output")
    elif recorded.get("made") != made:
        say(f"{directory}: the search was begun with other code, versions or model files; its trials are counted all the same")
    return study


def _drop_half_line(path: Path) -> None:
    """Drop a last line that is not whole, which a disk that failed or filled up left: optuna would write the next one behind it."""
    content = read_file(path) if path.is_file() else b""
    half = content.rpartition(b"\n")[2]
    if not half:
        return
    if half[: len(LINE)] != LINE[: len(half)]:
        raise _no_journal(path)
    say(f"{path}: its last line is not whole and was dropped; what it said of a trial is done again")
    write_atomically(path, content.removesuffix(half))


def _no_journal(path: Path) -> InputError:
    return InputError(f"{path}: expected the journal of a search, got something else; choose another --output")


def run_trials(search: Search, trials: int, jobs: int) -> int:
    """Do what is missing of so many trials, `jobs` at a time. Return the signal that ended it early, or 0."""
    pool, waiting = Pool(jobs, devices_here(), search.directory / "logs"), search.interrupted()
    ended = search.asked() - len(waiting)
    warn_of_unused_gpus()
    with (
        stop_requested(show=False, at_once=pool.kill) as stop,
        parent_of(pool.processes),
        meter("search", max(trials, ended), "trials", done=ended) as progress,
    ):
        while pool.running or (not stop and (waiting or search.asked() < trials)):
            while pool.has_room() and not stop and (waiting or search.asked() < trials):
                search.start(waiting.pop(0) if waiting else search.ask(), pool)
            pool.pass_on(stop)
            for run, failure in pool.ended():
                ended += 1
                search.end(run, failure, f"{ended}/{max(trials, ended)}")
            search.look(pool)
            progress.advance(ended - progress.done, _note(search, pool))
            time.sleep(SECONDS_BETWEEN_LOOKS)
    pool.raise_if_missed()
    return stop.number


def _note(search: Search, pool: Pool) -> str:
    """Return the best score so far, and where each running trial stands."""
    complete = search.study.get_trials(deepcopy=False, states=(State.COMPLETE,))
    scores = [trial.value for trial in complete if trial.value is not None]
    best = [f"best {max(scores):.2f}"] if scores else []
    return "  ".join([*best, *(f"{job.run.id} at step {job.step():,} of {job.run.total_steps:,}" for job in pool.running)])
