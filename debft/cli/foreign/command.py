"""`debft import-command`: a recipe from a command of run_glue.py and its kin. The command is read as text; nothing of it is run."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from debft.cli.options import check_new, name_or_path
from debft.cli.stdout import print_json
from debft.console import put, say
from debft.errors import InputError, disk_failed


def import_command(
    command: Annotated[
        list[str],
        typer.Argument(
            help="The command in quotes, a file with it, or - for stdin. It is read, never run.",
            metavar="COMMAND",
            callback=name_or_path,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(help="Write the recipe to this new file (default: to stdout).", show_default=False, callback=name_or_path),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(help="Processes or GPUs of the command, where it does not say how many.", min=1, show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print recipe, hash and notes as JSON on stdout.")] = False,
) -> None:
    """Make a recipe of a command of run_glue.py, run_xnli.py, run_qa.py or DeBERTa.apps.run, and say what changed and why."""
    from debft.cli.foreign.recipe import imported_recipe
    from debft.config.recipe import to_dict
    from debft.config.recipe_hash import recipe_hash
    from debft.runs.storage import write_atomically

    check_new("--output", output)
    text, where = _text(command)
    recipe, yaml_text, notes = imported_recipe(text, where, gpus)
    for kind, lines in _by_kind(notes):
        say(f"{kind}:")
        for line in lines:
            say(f"  {line}")
    if output:
        write_atomically(Path(output), yaml_text.encode())
        say(f"{output}: written; `debft check {output}` and `debft {recipe.task} --recipe {output} --dry-run` look at it")
    if as_json:
        print_json(
            {
                "recipe": to_dict(recipe),
                "recipe_hash": recipe_hash(recipe),
                "notes": [vars(note) for note in notes],
                "yaml": yaml_text,
            }
        )
    elif not output:
        put(yaml_text, end="")


# The headings of the notes on stderr, by kind, in the order in which they are read.
HEADINGS = {
    "set": "taken over",
    "default": "made explicit, as the script has it where nothing is said",
    "say": "to know",
    "lost": "lost",
    "gone": "gone, they no longer do anything",
    "unused": "not needed, they move no score in debft",
}


def _by_kind(notes: Sequence[Any]) -> list[tuple[str, list[str]]]:
    """Return the lines of the notes under their headings."""
    groups = [(heading, [note.line() for note in notes if note.kind == kind]) for kind, heading in HEADINGS.items()]
    return [group for group in groups if group[1]]


def _text(words: Sequence[str]) -> tuple[str, str]:
    """Return the command as text, and the place that error lines name. Raises InputError where a file cannot be read."""
    import shlex

    if len(words) > 1:
        return shlex.join(words), "the command"
    (word,) = words
    if len(word.split()) > 1:
        return word, "the command"
    where = "stdin" if word == "-" else word
    if word == "-" and sys.stdin.isatty():
        say("reading the command from the terminal; end it with Ctrl-D")
    try:
        return sys.stdin.read() if word == "-" else Path(word).read_text(encoding="utf-8"), where
    except UnicodeDecodeError:
        raise InputError(f"{where}: expected a text file with a command, got other bytes") from None
    except OSError as error:
        if disk_failed(error):
            raise
        raise InputError(f"{where}: expected a command in quotes or a file with one: {(error.strerror or '').lower()}") from None
