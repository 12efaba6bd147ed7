"""A run directory or a fine-tuned model is looked at before anything heavy is loaded: its task, and how it is to be used."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from debft.config.recipe import OwnConfig, Recipe, with_train
from debft.console import say
from debft.data.sources import demo
from debft.data.sources.own import own_task_of_model
from debft.errors import HubError, InputError, did_you_mean, one_of
from debft.models.attention.backends import BACKENDS, check_attention
from debft.models.files import ModelFiles, find_model
from debft.models.json_files import read_config
from debft.models.names import MODELS, canonical_name
from debft.models.outputs import are_numbers, output_names
from debft.models.settings import USE_ANSWERS, USE_TEXTS, flat_values, read_settings, use_config
from debft.runs.directory import RunDirectory
from debft.runtime.devices import device_type
from debft.scoring.rows import TrainedOn
from debft.tasks import TASKS, TEXT, Task, TextClassification, task_of
from debft.tasks.rules import check_lengths

RUNS_LISTED = "`debft runs` lists the runs that are here"
MOST_NAMED = 3  # runs that are named where a directory of runs is given


@dataclass(frozen=True, kw_only=True)
class UsedModel:
    """A model that is to be used, and not loaded yet.

    named: what the user typed.
    run: the run directory it is in, None for a model that is no run.
    files: its files.
    task: its task, with the columns and labels of its data.
    recipe: how it is used, which names neither task nor model.
    trained_on: what the run says about its rows, None for a model that is no run.
    settings: what its config.json has for its use, by key.
    """

    named: str
    run: RunDirectory | None
    files: ModelFiles
    task: Task
    recipe: Recipe
    trained_on: TrainedOn | None
    settings: dict[str, Any]

    def source_of(self, data: str | None) -> str:
        """Return where rows come from: `data`, else where the run has its own, else the hub."""
        return data or (self.trained_on.recipe.data if self.trained_on is not None else "hub")

    def limit_of(self, data: str | None) -> int | None:
        """Return how many rows of each split the run was scored on, where `data` is its own and it did not take all."""
        trained = self.trained_on
        of_run = trained is not None and (data is None or trained.holds(data))
        return trained.recipe.train.max_eval_samples if trained is not None and of_run else None


def recipe_of(run: RunDirectory) -> Recipe:
    """Return the recipe of a complete run. Raises InputError where its model is missing or is not the one that the run wrote."""
    if not (run.model / "config.json").is_file():
        raise InputError(f"{run.path}: expected a complete run with a model/, found none; finish it with --resume")
    check_written(run)
    return run.recipe()


def check_written(run: RunDirectory) -> None:
    """Raise InputError where the model of a run is not the one that the run wrote."""
    if (result := run.result()) is not None:
        run.check_model(result)


def find_used_model(run_or_model: str, task_name: str | None, attention: str = "auto") -> UsedModel:
    """Find a run directory, or a fine-tuned model whose config.json names its task; where it names none, `task_name` does.

    attention: what is to compute the attention, as a recipe's `runtime.attention`
    Raises InputError where the task is not known, or the model gives something else than the task needs.
    """
    if attention not in ("auto", *BACKENDS):
        raise InputError(f"--attention: expected one of {one_of(('auto', *BACKENDS))}, got {attention!r}")
    run = RunDirectory(Path(run_or_model))
    recipe = recipe_of(run) if run.exists() else None
    files = files_of_model(run_or_model) if recipe is None else find_model(str(run.model), from_scratch=False)
    if attention != "auto":
        check_attention(attention, read_config(files.path), device_type())
    settings = read_settings(files)
    foreign = "task" not in settings
    name = _task_name(run_or_model, settings.get("task"), task_name)
    if recipe is not None:  # a run of an earlier version left some settings in its recipe alone
        settings = flat_values(recipe, (*USE_TEXTS, *USE_ANSWERS)) | settings
    used = use_config(files, settings)
    task = _own_texts(files, used.own, foreign=foreign) if name == TEXT.name else task_of(name, (recipe or used).languages)
    if foreign and isinstance(task, TextClassification):
        _check_outputs(files, task)
    check_lengths(task, used, f"{files.path / 'config.json'}: debft.")
    if recipe is not None:
        used = with_train(used, skip_bad_rows=recipe.train.skip_bad_rows)
    return UsedModel(
        named=run_or_model,
        run=run if recipe is not None else None,
        files=files,
        task=task,
        recipe=used,
        trained_on=TrainedOn(recipe=recipe, split=run.split()) if recipe is not None else None,
        settings=settings,
    )


def _check_there(named: str) -> None:
    """Raise InputError for a name that is no run, no model and no name of one on the hub."""
    path = Path(named)
    is_path = path.parent.is_dir() if "/" in named else canonical_name(named) not in (*MODELS, demo.MODEL_NAME)
    if not path.exists() and is_path:
        raise InputError(f"{named}: no such run or model directory; {RUNS_LISTED}")
    if path.is_file():
        raise InputError(f"{named}: expected the directory of a run or of a model, got a file")
    if path.is_dir() and not any((path / name).exists() for name in ("config.json", "recipe.yaml")):
        inside = [str(file.parent) for file in sorted(path.glob("*/recipe.yaml"))]
        more = ", ..." if len(inside) > MOST_NAMED else ""
        hint = f"it holds {', '.join(inside[:MOST_NAMED])}{more}: give one" if inside else RUNS_LISTED
        raise InputError(f"{named}: expected a run or a model, found a directory with no recipe.yaml or config.json; {hint}")


def files_of_model(named: str) -> ModelFiles:
    """Return the files of a model that is no run.

    Raises HubError where it is no directory, and the hub cannot be asked, and InputError where it cannot be used as it lies there.
    """
    _check_there(named)
    try:
        return find_model(named, from_scratch=False)
    except HubError as error:
        why = error.problems[0].partition(": ")[2].partition("; ")[0]
        raise HubError(f"{named}: no such run or directory; as a model of the hub it is {why}; {RUNS_LISTED}") from None
    except InputError as error:  # the user did not type --model, and random weights are of no use here
        lines = (line.removeprefix("--model ").removesuffix(", or --from-scratch for random ones") for line in error.problems)
        raise InputError(*lines) from error


def _task_name(run_or_model: str, trained: str | None, asked: str | None) -> str:
    """Return the task that the model was `trained` on, or the one `asked` for. Raises InputError for two or for none."""
    if None not in (trained, asked) and trained != asked:
        raise InputError(f"--task {asked}: {run_or_model} is a model of {trained}; leave --task out")
    name = trained or asked
    if name is None:
        raise InputError(f"{run_or_model}: expected a run directory, or --task for a model; {did_you_mean('', TASKS)[2:]}")
    if name not in TASKS:
        raise InputError(f"--task: unknown task '{name}'{did_you_mean(name, TASKS)}")
    return name


def _own_texts(files: ModelFiles, config: OwnConfig, *, foreign: bool) -> TextClassification:
    """Return the task of a model that was trained on the user's own texts.

    foreign: another program saved it, so that nothing but the names and the number of its outputs tells what it predicts
    """
    names = output_names(files)
    if not foreign:
        return own_task_of_model(config, names)
    if _gives_sets(files):
        return replace(own_task_of_model(replace(config, problem="multilabel"), names), numbered=are_numbers(names))
    if len(names) == 1 or read_config(files.path).get("problem_type") == "regression":
        return own_task_of_model(replace(config, problem="regression"), names)
    return replace(own_task_of_model(config, names), numbered=are_numbers(names))


def _gives_sets(files: ModelFiles) -> bool:
    """Tell a model that gives each text any number of labels."""
    return read_config(files.path).get("problem_type") == "multi_label_classification"


def _check_outputs(files: ModelFiles, task: TextClassification) -> None:
    """Say what is assumed about a model of another program whose outputs have no names.

    Raises InputError for a model that gives each text any number of labels where the task has one for each.
    """
    where, names = files.path / "config.json", output_names(files)
    if _gives_sets(files) and not task.multilabel:
        raise InputError(f"{where}: problem_type: expected one label for each text, got multi_label_classification")
    if task.is_regression or not are_numbers(names):
        return
    if task.name == TEXT.name:
        say(f"{where}: names no labels: the outputs are called {', '.join(names)}, and 0, 1, ... in a file of labels are theirs")
    elif len(names) == len(task.labels):
        say(
            f"{where}: names no labels: its outputs are taken for {', '.join(task.labels)}, in the order of {task.name}, which may "
            "not be that of the model; where it is not, name them in id2label"
        )
