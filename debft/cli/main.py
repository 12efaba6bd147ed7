"""The command line: its commands, their exit codes, and what a signal does before a run takes it over.

A command parses, calls one function and prints. Nothing heavy is imported before a command needs it.
"""

import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from types import TracebackType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from debft import __version__
from debft.cli import export, look, reproduce, runs, search, serve, share, tables, use
from debft.cli.completion import with_completion
from debft.cli.foreign.command import import_command
from debft.cli.stdout import flush_stdout, write_any_text
from debft.cli.train import task_command
from debft.cli.words import unknown_options, wrong_command
from debft.console import put, say, say_problem
from debft.errors import DebftError, Interrupted, MachineError, NotFiniteError, without_secrets
from debft.library.options import DEFAULT_MODEL
from debft.runs.storage import failing_disk, unusable_paths
from debft.runtime.early import leave
from debft.runtime.launch.group import is_main_process, process_name
from debft.runtime.launch.lifeline import cause_is_said
from debft.runtime.library_variables import check_library_variables
from debft.runtime.memory import too_little_memory
from debft.runtime.signals import SECONDS_TO_LEAVE, SIGNALS, StopRequest, arrived
from debft.tasks import TASKS, TEXT, Task

# The commands beside those of the tasks: (heading in --help, function, example).
COMMANDS = (
    ("Use", use.evaluate, "debft evaluate runs/mnli-demo/seed-42 --data demo"),
    ("Use", use.predict, "debft predict runs/mnli-demo/seed-42 'a premise' 'a hypothesis'"),
    ("Use", serve.serve, "debft serve runs/mnli-demo/seed-42 --port 8000"),
    ("Use", use.submit, "debft submit runs/rte-deberta-v3-large/seed-42 --output submission"),
    ("Use", export.export, "debft export runs/mnli-demo/seed-42 --onnx --int8"),
    ("Use", share.card, "debft card runs/mnli-demo/seed-42 --output README.md"),
    ("Use", share.push, "debft push runs/mnli-demo/seed-42 --repo me/mnli --dry-run"),
    ("Use", reproduce.COMMAND, "debft reproduce deberta-v3 --row DeBERTa-v3-xsmall --check"),
    ("Look", runs.runs, "debft runs runs --sort score"),
    ("Look", runs.compare, "debft compare runs/text-a/seed-42 runs/text-b/seed-42"),
    ("Look", tables.tables, "debft tables runs --table deberta-v3 --format markdown"),
    ("Look", look.recipes, "debft recipes mnli/deberta-v3-small-repo"),
    ("Look", look.check, "debft check my-recipe.yaml"),
    ("Look", look.doctor, "debft doctor --model path/to/model"),
)
TRACEBACK = "DEBFT_TRACEBACK"  # the variable that asks for what lies behind an error's line
# Examples of the task commands that no `--model deberta-v3-xsmall` suits.
EXAMPLES = {"text": "debft text --data DIR", "xnli": "debft xnli --model mdeberta-v3-base --train-language en"}


class _Command(TyperCommand):
    """A command whose switches stand in `--help` without the word `<bool>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_bool(super().get_params(ctx))


class _Group(TyperGroup):
    """The same, for the options of all commands together."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_bool(super().get_params(ctx))


def _without_bool(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


app = typer.Typer(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Fine-tune DeBERTa-v3, BERT, RoBERTa and other encoders, and compare your score with the published one.",
    epilog="Start with: debft mnli --data demo",
)
# Typer brings its own copy of click from 0.26 on.
_UsageError = next(kind for kind in typer.BadParameter.__mro__ if issubclass(kind, Exception) and kind.__name__ == "ClickException")
_request = StopRequest()  # for the interrupts that arrive before a run takes signals over, or after it
_interrupting: list[bool] = []  # not empty once a signal has raised KeyboardInterrupt
_ending: list[bool] = []  # not empty once all is done, so that nothing is left to interrupt


def _show_version(wanted: bool) -> None:
    if wanted:
        put(f"debft {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _common(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        put(ctx.get_help())
    elif not {"--help", "-h"} & set(sys.argv[1:]):  # help imports none of them
        check_library_variables()


def _help_of(task: Task) -> str:
    if task is TEXT:
        return "Fine-tune on your own texts or pairs: labels or a score."
    return f"Fine-tune and evaluate {task.title}: {', '.join(task.text_keys)} -> {task.gives}."


for _name, _task in TASKS.items():
    _example = EXAMPLES.get(_name, f"debft {_name} --model {DEFAULT_MODEL}")
    app.command(_name, help=_help_of(_task), rich_help_panel="Tasks", epilog=f"Example: {_example}", cls=_Command)(
        with_completion(task_command(_name))
    )
for _panel, _function, _example in COMMANDS:
    app.command(rich_help_panel=_panel, epilog=f"Example: {_example}", cls=_Command)(with_completion(_function))
app.command(
    rich_help_panel="Look",
    epilog="Example: debft import-command 'python run_glue.py --model_name_or_path roberta-base --task_name rte --do_train'",
    cls=_Command,
    context_settings={"ignore_unknown_options": True},  # those of the command that is imported
)(with_completion(import_command))
app.add_typer(search.app, name="search", rich_help_panel="Use", epilog="Example: debft search text --data DIR --trials 30")


def main() -> None:
    """Run the command and end with the exit code of the contract."""
    write_any_text()
    sys.excepthook = _print_bug
    for number in SIGNALS:  # a signal that is ignored stays ignored
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler, leave):
            signal.signal(number, _interrupt)
    try:
        with failing_disk(), unusable_paths(), too_little_memory():
            code = app(standalone_mode=False) or 0
        if code == 130 and _interrupting:  # typer's own answer to the KeyboardInterrupt of `_interrupt`
            _leave_interrupted()
        flush_stdout()
    except DebftError as error:
        if os.environ.get(TRACEBACK, "0") != "0":
            _print_cause(error)
        _ending.append(True)
        _print_problems(error)
        with suppress(MachineError):
            flush_stdout()
        sys.exit(error.exit_code)
    except _UsageError as error:
        for line in _usage(error):
            say_problem(line)
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        _leave_interrupted()
    _ending.append(True)
    sys.exit(code)


def _print_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print the traceback of a bug as Python does, without secrets: it ends in logs and in reports."""
    sys.stderr.write(without_secrets("".join(traceback.format_exception(kind, error, trace))))


def _print_cause(error: BaseException) -> None:
    """Print the traceback of an error that has a line of its own, with what led to it: what a library said, or a bug."""
    cause: BaseException | None = error
    while cause is not None:  # `from None` hides them from everybody else
        cause.__suppress_context__ = False
        cause = cause.__cause__ or cause.__context__
    _print_bug(type(error), error, error.__traceback__)


def _usage(error: Any) -> list[str]:
    """Return the lines of a wrong command or option, with what is meant."""
    context = getattr(error, "ctx", None)
    where = context.command_path if context else "debft"
    if context is not None and getattr(error, "possibilities", None) is not None and error.option_name:
        known = [word for parameter in context.command.get_params(context) for word in (*parameter.opts, *parameter.secondary_opts)]
        return unknown_options(where, error.option_name, known, sys.argv[1:])
    return [wrong_command(error, sys.argv[1:])]


def _print_problems(error: DebftError) -> None:
    """Print an error once: the main process prints it, another process only what happened to itself alone."""
    if is_main_process():
        for problem in error.problems:
            say_problem(f"debft: {problem}" if error.exit_code == 1 else problem)
    elif not isinstance(error, Interrupted | NotFiniteError):  # these two end all the processes
        for problem in error.problems:
            say(f"{process_name()}: {problem}")


def _interrupt(number: int, frame: object) -> None:
    """Leave on a signal, at once. Should a library swallow the exception, the process ends all the same."""
    if number == signal.SIGINT and _request.is_second_interrupt():
        _leave_interrupted()
    if arrived or _ending:  # a copy of the first signal, or all is done: the process is leaving
        return
    arrived.append(number)
    _interrupting.append(True)
    timer = threading.Timer(SECONDS_TO_LEAVE, _leave_interrupted)
    timer.daemon = True
    timer.start()
    raise KeyboardInterrupt


def _leave_interrupted() -> NoReturn:
    """End with exit code 128 + the signal. sys.exit does not do: Python ends by the signal where the exception went through C."""
    number = arrived[0] if arrived else signal.SIGINT
    if is_main_process() and not cause_is_said():
        trains = any(word in TASKS for word in sys.argv[1:2]) or "reproduce" in sys.argv[1:2]
        what = "no training step was lost" if trains else "nothing was changed"
        say(f"interrupted by {signal.Signals(number).name}; {what}")
    sys.stdout.flush()
    os._exit(128 + number)
