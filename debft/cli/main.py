"""The command line: parse, call one function, print. Nothing heavy is imported before a command needs it."""

import io
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from debft import __version__
from debft.console import say
from debft.errors import DebftError, InputError, Interrupted, NotFiniteError, one_of
from debft.runtime.signals import SECONDS_TO_LEAVE, SIGNALS

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Fine-tune DeBERTa-v3 and its peers, and set the result beside the published one.",
    epilog="Start with: debft mnli --data demo",
)

# typer brings its own copy of click from 0.26 on.
_UsageError = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

# Options of one task alone.
ONLY_FOR = {"train_language": "xnli", "languages": "xnli", "text_columns": "text", "label_column": "text", "problem": "text"}
# Task commands: option -> key of the recipe.
TRAIN_OPTIONS = (
    "seed",
    "from_scratch",
    "max_steps",
    "max_train_samples",
    "max_eval_samples",
    "skip_bad_rows",
    "learning_rate",
    "num_train_epochs",
    "train_batch_size",
    "warmup_steps",
    "weight_decay",
    "max_seq_length",
    "eval_steps",
    *ONLY_FOR,
)
RUNTIME_OPTIONS = ("precision", "save_steps")
# Options whose key is in another section of the recipe than `train`, or has another name there.
KEY_OF = {
    "max_seq_length": "text.max_seq_length",
    "text_columns": "text.text_columns",
    "label_column": "text.label_column",
    "problem": "text.problem",
    "train_language": "languages.train_language",
    "languages": "languages.eval_languages",
}
DEFAULT_MODEL = "deberta-v3-xsmall"
TRIALS = 12  # of `reproduce --search`


def _panel(name: str, help: str, *flags: str, **more: Any):
    return typer.Option(*flags, help=help, rich_help_panel=name, show_default=False, **more)


def _fine_tune(
    task: str,
    model: Annotated[
        str | None, _panel("Run", f"Alias, hub id or directory (default: the recipe's, else {DEFAULT_MODEL}).")
    ] = None,
    recipe: Annotated[str | None, _panel("Run", "Name or YAML file (default: the published recipe of model and task).")] = None,
    data: Annotated[str | None, _panel("Run", "hub, demo or a directory (default: hub).")] = None,
    init_from: Annotated[str | None, _panel("Score", "Start from the weights of this run, such as an MNLI run for RTE.")] = None,
    output: Annotated[Path | None, _panel("Run", "Run directory (default: runs/TASK-MODEL/seed-SEED).")] = None,
    resume: Annotated[bool, _panel("Run", "Continue the newest valid checkpoint of --output.", "--resume")] = False,
    dry_run: Annotated[bool, _panel("Run", "Check everything, show the plan, train nothing.", "--dry-run")] = False,
    as_json: Annotated[bool, _panel("Run", "result.json on stdout and nothing else there.", "--json")] = False,
    num_processes: Annotated[int | None, _panel("Run", "Processes on this machine (default: one per GPU).", min=1)] = None,
    precision: Annotated[str | None, _panel("Run", "auto, fp32, bf16 or fp16.")] = None,
    save_steps: Annotated[int | None, _panel("Run", "Optimizer steps between checkpoints.")] = None,
    sift: Annotated[
        bool | None, _panel("Score", "Adversarial fine-tuning, with the published strength.", "--sift/--no-sift")
    ] = None,
    seed: Annotated[int | None, _panel("Score", "Of the head, the data order and dropout.")] = None,
    from_scratch: Annotated[bool | None, _panel("Score", "Random weights from the model's config.", "--from-scratch")] = None,
    max_steps: Annotated[int | None, _panel("Score", "Optimizer steps in all; the schedule ends there.")] = None,
    max_train_samples: Annotated[int | None, _panel("Score", "Only the first rows of the training split.")] = None,
    max_eval_samples: Annotated[int | None, _panel("Score", "Only the first rows of each eval split.")] = None,
    skip_bad_rows: Annotated[bool | None, _panel("Score", "Leave bad rows out, count and name them.", "--skip-bad-rows")] = None,
    learning_rate: Annotated[float | None, _panel("Score", "The peak.")] = None,
    num_train_epochs: Annotated[float | None, _panel("Score", "Passes over the training data.")] = None,
    train_batch_size: Annotated[int | None, _panel("Score", "Sequences per optimizer step over all devices.")] = None,
    warmup_steps: Annotated[float | None, _panel("Score", "Optimizer steps; below 1: a fraction of the run.")] = None,
    weight_decay: Annotated[float | None, _panel("Score", "Not on biases and LayerNorm weights.")] = None,
    max_seq_length: Annotated[int | None, _panel("Score", "Tokens, special ones included.")] = None,
    eval_steps: Annotated[int | None, _panel("Score", "Optimizer steps between evaluations.")] = None,
    train_language: Annotated[str | None, _panel("Score", "XNLI: the language trained on (default: en).")] = None,
    languages: Annotated[
        str | None, _panel("Score", "XNLI: those evaluated, such as fr,de (default: all 15).", "--language")
    ] = None,
    text_columns: Annotated[str | None, _panel("Run", "The column of the texts, or A,B for pairs (default: detected).")] = None,
    label_column: Annotated[str | None, _panel("Run", "The column of the labels (default: detected).")] = None,
    problem: Annotated[str | None, _panel("Run", "classification or regression (default: detected).")] = None,
    set: Annotated[list[str] | None, _panel("Score", "Any other key: --set train.adam_epsilon=1e-6 (repeatable).")] = None,
) -> None:
    from debft.runs.directory import RunDirectory
    from debft.runtime import launch
    from debft.runtime.devices import visible_gpus
    from debft.runtime.variables import check_variables
    from debft.training.plan import check_output, describe, make_plan
    from debft.training.precision import precision_for

    given = locals()
    for name in ("model", "recipe", "data", "init_from", "output"):
        if given[name] is not None and str(given[name]) in ("", "."):
            raise InputError(f"{_option(name)}: expected a name or path, got '{given[name]}'")
    resolved = _resolve(task, given)
    out = output or _default_output(resolved)
    if dry_run:
        precision, remark = precision_for(resolved)
        check_output(RunDirectory(out), resolved, resume)
        plan = make_plan(resolved)
        describe(plan)
        if remark:
            say(f"precision {precision} ({remark})")
        _show_plan(plan, out, as_json)
        return
    if launch.is_parent(num_processes):
        check_variables(None, visible_gpus())
        _check_before_launch(resolved, out, resume)
        raise typer.Exit(launch.start_processes(launch.count(num_processes)))
    launch.follow_parent()
    from debft.training.run import finetune

    result = finetune(resolved, out, resume=resume)
    if launch.is_main_process():
        _show_result(result, out, as_json)


def _resolve(task: str, given: dict[str, Any]):
    """The recipe that the options ask for."""
    from debft.config.packaged import default_recipe_path, display, published_weight, recipe_path
    from debft.config.reading import load_recipe, parse_set
    from debft.data.sources import demo
    from debft.models.build import canonical_name
    from debft.runtime.devices import check_precision

    model = canonical_name(given["model"]) if given["model"] else None
    if given["recipe"]:
        path = recipe_path(given["recipe"], task)
    else:
        model = model or (demo.MODEL_NAME if given["data"] == "demo" else DEFAULT_MODEL)
        path = default_recipe_path(task, model, sift=bool(given["sift"]))
    overrides = {KEY_OF.get(name, f"train.{name}"): given[name] for name in TRAIN_OPTIONS if given[name] is not None}
    overrides |= {f"runtime.{name}": given[name] for name in RUNTIME_OPTIONS if given[name] is not None}
    overrides |= {
        name: value
        for name, value in (("model", model), ("data", given["data"]), ("init_from", given["init_from"]))
        if value is not None
    }
    if given["sift"] is not None and bool(load_recipe(path).sift.weight) != given["sift"]:
        overrides["sift.weight"] = published_weight(model or "") if given["sift"] else 0.0
    assigned = parse_set(given["set"] or [])
    if twice := next((dotted for dotted in assigned if dotted in overrides), None):
        raise InputError(f"--set {twice}: is given as an option as well; give it once")
    origins = {dotted: _option(dotted.rpartition(".")[2]) for dotted in overrides}
    recipe = load_recipe(path, overrides | assigned, origins | {dotted: f"--set {dotted}" for dotted in assigned})
    if recipe.task is None:
        recipe = replace(recipe, task=task)
    if recipe.task != task:
        raise InputError(f"--recipe {given['recipe']}: expected a recipe of {task}, got one of {recipe.task}")
    if "runtime.precision" in overrides | assigned:  # a recipe's own may give way to the hardware, this one must be there
        check_precision(recipe.runtime.precision)
    if path.stem == "default":
        say(f"no published recipe for {recipe.model} on {task}: {display(path)} is used")
    return recipe


def _option(key: str) -> str:
    """What the user typed for a key of the recipe."""
    return "--language" if key == "eval_languages" else "--" + key.replace("_", "-")


def _default_output(recipe) -> Path:
    from debft.models.build import short_name

    return Path("runs") / f"{recipe.task}-{short_name(recipe.model)}" / f"seed-{recipe.train.seed}"


def _check_before_launch(recipe, output: Path, resume: bool) -> None:
    """Bad input is found once, before several processes would each find it."""
    from debft.runs.directory import RunDirectory
    from debft.training.plan import check_output, make_plan

    if check_output(RunDirectory(output), recipe, resume) is None:
        make_plan(recipe)


def _show_plan(plan, output: Path, as_json: bool) -> None:
    from debft.output.terminal import plan_dict, print_plan

    _print_json(plan_dict(plan, output)) if as_json else print_plan(plan, output)


def _show_result(result, output: Path, as_json: bool) -> None:
    from debft.output.terminal import print_result

    print_result(result, output)
    if as_json:
        print(result.to_json())


@contextmanager
def _until_closed() -> Iterator[None]:
    """Print until `| head` has read enough, where typer would end with 1. Raises InputError where stdout takes no more."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise InputError(f"stdout: {error.strerror}") from None


def _print_json(content: dict[str, Any]) -> None:
    import json

    print(json.dumps(content, indent=2, ensure_ascii=False))


_RUN_OR_MODEL = typer.Argument(help="A run directory, or a fine-tuned model with --task.", metavar="RUN_OR_MODEL")
_TASK = typer.Option(help="The task of a model that is no run directory.", show_default=False)
_PRECISION = typer.Option(help="auto (as the model was trained), fp32, bf16 or fp16.")
_DATA = typer.Option(help="hub, demo or a directory (default: that of the run).", show_default=False)
_MAX_EVAL_SAMPLES = typer.Option(min=1, help="Only the first rows of each split.", show_default=False)


@app.command(rich_help_panel="Use", epilog="Example: debft evaluate runs/mnli-demo/seed-42 --data demo")
def evaluate(
    run_or_model: Annotated[str, _RUN_OR_MODEL],
    task: Annotated[str | None, _TASK] = None,
    data: Annotated[str | None, _DATA] = None,
    max_eval_samples: Annotated[int | None, _MAX_EVAL_SAMPLES] = None,
    precision: Annotated[str, _PRECISION] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Score a fine-tuned model on the dev splits of its task."""
    from debft.scoring import inference, loading

    result = inference.evaluate(loading.load_predictor(run_or_model, task, precision), data, max_eval_samples)
    if as_json:
        _print_json(result)
    else:
        for name, score in result["scores"].items():
            print(f"{name:<36} {score:6.2f}")
        for name, count in result["num_examples"].items():
            print(f"{name:<36} {count:,} rows")


@app.command(rich_help_panel="Use", epilog="Example: debft predict runs/mnli-demo/seed-42 pairs.jsonl")
def predict(
    run_or_model: Annotated[str, _RUN_OR_MODEL],
    file: Annotated[
        str, typer.Argument(help="JSONL, JSON, TSV, CSV or Parquet with the task's columns; - for stdin (JSONL, JSON or TSV).")
    ] = "-",
    task: Annotated[str | None, _TASK] = None,
    precision: Annotated[str, _PRECISION] = "auto",
    form: Annotated[str, typer.Option("--format", help="jsonl or tsv.")] = "jsonl",
) -> None:
    """Label texts, or answer questions: one line per row on stdout, with names and probabilities."""
    from debft.scoring import formats, inference, loading

    if form not in formats.FORMATS:
        raise InputError(f"--format {form}: expected {' or '.join(formats.FORMATS)}")
    rows = inference.label(loading.load_predictor(run_or_model, task, precision), file)
    with _until_closed():
        for line in formats.FORMATS[form](rows):
            print(line, flush=True)


@app.command(rich_help_panel="Use", epilog="Example: debft submit runs/rte-deberta-v3-large/seed-42 --output submission")
def submit(
    runs: Annotated[list[str], typer.Argument(help="GLUE runs, one per task, or one SQuAD run.", metavar="RUN...")],
    data: Annotated[str | None, _DATA] = None,
    output: Annotated[Path, typer.Option(help="An empty or new directory.")] = Path("submission"),
    partial: Annotated[
        bool, typer.Option("--partial", help="Write it with other rows than the benchmark's too; the leaderboard refuses it.")
    ] = False,
    precision: Annotated[str, _PRECISION] = "auto",
) -> None:
    """Write the files that the GLUE and SQuAD leaderboards take, checked against their rules."""
    from debft.output.leaderboards import print_submission, submit

    print_submission(submit(runs, data, output, partial=partial, precision=precision))


@app.command(rich_help_panel="Use", epilog="Example: debft reproduce deberta-v3 --row DeBERTa-v3-xsmall --check")
def reproduce(
    table: Annotated[str, typer.Argument(help="A table of `debft tables`, such as deberta-v3 or demo.", metavar="TABLE")],
    row: Annotated[list[str] | None, _panel("What", "Only this row (repeatable).")] = None,
    task: Annotated[list[str] | None, _panel("What", "Only this task (repeatable).")] = None,
    seeds: Annotated[
        int | None, _panel("What", "Runs of each recipe (default: the table's own number, 8 of a published one).", min=1)
    ] = None,
    data: Annotated[str | None, _panel("What", "hub, demo or a directory (default: the table's, else hub).")] = None,
    max_steps: Annotated[int | None, _panel("What", "Ends every run early; labelled, never reproduced.", min=1)] = None,
    max_train_samples: Annotated[int | None, _panel("What", "A subset; labelled, never reproduced.", min=1)] = None,
    max_eval_samples: Annotated[int | None, _panel("What", "A subset; labelled, never reproduced.", min=1)] = None,
    set: Annotated[list[str] | None, _panel("What", "A key of every recipe, such as train.warmup_steps=0.1; labelled.")] = None,
    output: Annotated[Path | None, _panel("How", "Of runs and report (default: runs/reproduce/TABLE).")] = None,
    jobs: Annotated[
        int | None, _panel("How", "Runs at a time (default: one per GPU, else one; demo: one per core).", min=1)
    ] = None,
    precision: Annotated[str | None, _panel("How", "auto, fp32, bf16 or fp16.")] = None,
    dry_run: Annotated[bool, _panel("How", "Probe every recipe for 20 steps, show the cost, run nothing.", "--dry-run")] = False,
    check: Annotated[
        bool,
        _panel("How", "Exit code 4 where a cell is not reproduced or above; of our own frozen tables, not reproduced.", "--check"),
    ] = False,
    search: Annotated[bool, _panel("How", "Look for better settings of our recipes in the papers' grids.", "--search")] = False,
    trials: Annotated[
        int | None, _panel("How", "Points of the grid that --search tries for each recipe (default: 12).", min=1)
    ] = None,
    as_json: Annotated[bool, _panel("How", "report.json on stdout and nothing else there.", "--json")] = False,
) -> None:
    """Run the recipe of every cell of a table over several seeds, and judge each cell: reproduced, above, below or undecided."""
    from debft.config.reading import parse_set
    from debft.reproduce.plan import Options, make_table_plan

    for name, value in (("data", data), ("output", output)):
        if value is not None and str(value) in ("", "."):
            raise InputError(f"{_option(name)}: expected a name or path, got '{value}'")
    _refuse_together("--search", search, {"--seeds": seeds, "--check": check, "--dry-run": dry_run})
    _refuse_together("--dry-run", dry_run, {"--check": check})
    if trials is not None and not search:
        raise InputError("--trials: is of --search, which is not given; add it, or leave --trials out")
    out = output or Path("runs") / "reproduce" / table
    options = Options(
        data=data,
        precision=precision,
        max_steps=max_steps,
        max_train_samples=max_train_samples,
        max_eval_samples=max_eval_samples,
        changed=parse_set(set or []),
    )
    if search:
        from debft.reproduce.search import trial_options

        options = trial_options(options)
    plan = make_table_plan(
        table, out, rows=row or (), tasks=task or (), seeds=range(1, seeds + 1) if seeds else None, options=options
    )
    from debft.reproduce.reproduction import dry_run as cost_only
    from debft.reproduce.reproduction import reproduce as run_table
    from debft.reproduce.search import search as run_search

    if dry_run:
        content, code = cost_only(plan, jobs)
    elif search:
        content, code = run_search(plan, out, options, jobs=jobs, trials=trials or TRIALS)
    else:
        command = shlex.join(["debft", *sys.argv[1:]])
        content, code = run_table(plan, out, jobs=jobs, check=check, command=command)
    if as_json:
        _print_json(content)
    sys.exit(code)  # not typer.Exit: an interrupted one has said so itself


def _refuse_together(option: str, given: bool, others: dict[str, Any]) -> None:
    """Raises InputError for an option that would do nothing beside `option`."""
    if given and (other := next((name for name, value in others.items() if value), None)):
        raise InputError(f"{option}: does not go with {other}; leave one of them out")


@app.command(rich_help_panel="Look", epilog="Example: debft tables runs --table deberta-v3 --format markdown")
def tables(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Runs, or directories that hold some, to set beside the cells.", metavar="RUN")
    ] = None,
    table: Annotated[list[str] | None, typer.Option(help="Only this table (repeatable).", show_default=False)] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="terminal, markdown, html or json (default: terminal).", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Show the published tables cell by cell as printed, with your runs beside them."""
    from debft.output.tables.document import tables_document
    from debft.output.tables.render import FORMATS

    if form is not None and form not in FORMATS:
        raise InputError(f"--format {form}: expected {one_of(FORMATS)}")
    if as_json and form not in (None, "json"):
        raise InputError(f"--format {form}: --json is given as well; give one of them")
    document = tables_document(table or [], runs or [])
    with _until_closed():
        FORMATS["json" if as_json else form or "terminal"](document)
    if document["damaged"]:
        raise InputError(*document["damaged"])


@app.command(rich_help_panel="Look", epilog="Example: debft recipes mnli/deberta-v3-small-repo")
def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    as_schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of a recipe, with which editors complete and check one.")
    ] = False,
) -> None:
    """List the packaged recipes, or show one with every value it resolves to."""
    from debft.config.packaged import recipe_path
    from debft.config.reading import load_recipe
    from debft.config.recipe import Recipe, to_dict
    from debft.config.schema import schema
    from debft.output.terminal import print_recipe, print_recipes, recipes_list

    if as_schema:
        if name is not None:
            raise InputError(f"--schema: is of every recipe, {name} is one; leave one of the two out")
        _print_json(schema(Recipe))
        return
    if name is None:
        _print_json({"recipes": recipes_list()}) if as_json else print_recipes(recipes_list())
        return
    found = load_recipe(recipe_path(name))
    _print_json(to_dict(found)) if as_json else print_recipe(found)


@app.command(rich_help_panel="Look", epilog="Example: debft check my-recipe.yaml")
def check(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or YAML file.")],
    as_json: Annotated[bool, typer.Option("--json", help="The resolved recipe as JSON on stdout.")] = False,
) -> None:
    """Validate a recipe without training; every problem is reported at once."""
    from debft.config.packaged import recipe_path
    from debft.config.reading import load_recipe
    from debft.config.recipe import to_dict
    from debft.tasks import TASKS
    from debft.tasks.rules import check_recipe

    found = load_recipe(recipe_path(recipe))
    check_recipe(replace(found, task=found.task or next(iter(TASKS)), model=found.model or DEFAULT_MODEL), recipe)
    _print_json(to_dict(found)) if as_json else print(f"{recipe}: ok")


@app.command(rich_help_panel="Look", epilog="Example: debft doctor --model path/to/model")
def doctor(
    model: Annotated[str | None, typer.Option(help="Also check this model directory: weights, tokens.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Check the environment: versions, device, hub, cache, and the traps of the installed packages."""
    from debft.cli.doctor import examine
    from debft.output.terminal import print_findings

    findings = examine(model)
    _print_json({"findings": findings}) if as_json else print_findings(findings)
    if any(finding["state"] == "bad" for finding in findings):
        raise typer.Exit(2)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"debft {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    pass


def _task_command(task: str) -> Callable[..., None]:
    """`_fine_tune` with the task filled in, for Typer to read the other parameters off."""
    import functools
    import inspect

    @functools.wraps(_fine_tune)
    def command(**options: Any) -> None:
        _fine_tune(task, **dict.fromkeys(ONLY_FOR) | options)

    signature = inspect.signature(_fine_tune)
    kept = [p for name, p in signature.parameters.items() if name != "task" and ONLY_FOR.get(name, task) == task]
    command.__signature__ = signature.replace(parameters=kept)
    del command.__wrapped__
    return command


def _add_task_commands() -> None:
    from debft.tasks import TASKS, TEXT

    for name, task in TASKS.items():
        if task is TEXT:
            words, example = "Fine-tune on your own texts or pairs: labels or a score.", "debft text --data DIR"
        else:
            words, example = (
                f"Fine-tune and evaluate {name.upper()}: {', '.join(task.text_keys)} -> {task.gives}.",
                f"debft {name} --model {DEFAULT_MODEL}",
            )
        app.command(name, help=words, rich_help_panel="Tasks", epilog=f"Example: {example}")(_task_command(name))


_add_task_commands()


def _write_any_text() -> None:
    """Results that go to a file or another program are UTF-8, whatever code page the system has for them; what a terminal cannot
    show, it gets as \\u escapes.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            narrow = stream is sys.stdout and not stream.isatty()
            stream.reconfigure(encoding="utf-8" if narrow else None, errors="backslashreplace")


def main() -> None:
    """Run the command and end with the exit code of the contract."""
    _write_any_text()
    for number in SIGNALS:  # those that are ignored stay so
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _interrupt)
    try:
        code = app(standalone_mode=False) or 0
    except DebftError as error:
        _say_problems(error)
        sys.exit(error.exit_code)
    except _UsageError as error:
        where = error.ctx.command_path if getattr(error, "ctx", None) else "debft"
        say(f"{where}: {error.format_message()}")
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        _leave_interrupted()
    if code == 130:  # typer's own answer to the KeyboardInterrupt of `_interrupt`
        _leave_interrupted()
    sys.exit(code)


def _say_problems(error: DebftError) -> None:
    """Of several processes the main one speaks for all, but for an error of another one alone."""
    from debft.runtime.launch import is_main_process
    from debft.training.parallel import process_name

    if is_main_process():
        for problem in error.problems:
            say(f"debft: {problem}" if error.exit_code == 1 else problem)
    elif not isinstance(error, Interrupted | NotFiniteError):  # those two end all the processes
        for problem in error.problems:
            say(f"{process_name()}: {problem}")


_first_signal: list[int] = []


def _interrupt(number: int, frame: object) -> None:
    """A signal before a run takes them over. Should a library swallow the exception, the process ends all the same."""
    if _first_signal and number != signal.SIGINT:  # a copy of the first one; the process is leaving
        return
    _first_signal.append(number)
    timer = threading.Timer(SECONDS_TO_LEAVE, _leave_interrupted)
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


def _leave_interrupted() -> NoReturn:
    """With exit code 128 + the signal. Not by sys.exit: Python ends by the signal where the exception went through C."""
    from debft.runtime.launch import is_main_process

    number = _first_signal[0] if _first_signal else signal.SIGINT
    if is_main_process():
        say(f"interrupted by {signal.Signals(number).name}; no training step was lost")
    sys.stdout.flush()
    os._exit(128 + number)
