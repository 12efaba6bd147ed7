"""What is wrong with a command as it was typed, in words of debft rather than of the parser, and what to type instead."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import PurePath
from typing import Any

from debft.cli.foreign.flags import answer
from debft.library.options import OPTIONS

IMPORT = "`debft import-command 'python run_glue.py ...'` makes a recipe of such a command as it stands"
KINDS = {"int": "a whole number", "float": "a number"}  # by how the parser calls what is wrong, `int_parsing`
OF_PREDICT = {"--data": "the rows are an argument: debft predict RUN FILE", "--output": "the rows go to stdout: > FILE keeps them"}
BOUNDS = {"ge": "at least", "le": "at most"}  # by pydantic's names; no option has others
SHARES = ("--validation", "--test")
_EXTRA = re.compile(r"Got unexpected extra argument\(?s?\)? \((.*)\)")


def wrong_command(error: Any, words: Sequence[str]) -> str:
    """Return the line about a command that the parser refuses, for another reason than an option that is not there.

    error: the parser's; words: all that was typed behind `debft`
    """
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    where = context.command_path if context else "debft"
    if parameter is not None and hasattr(error.__cause__, "errors"):
        return f"{where}: {_wrong_value(next(word for word in parameter.opts if word[:1] == '-'), error.__cause__.errors()[0])}"
    if context is not None and context.parent is None and words and words[0] not in context.command.commands:
        near = next(iter(get_close_matches(words[0], context.command.commands, n=1)), None)
        meant = f"did you mean {near}?" if near else "`debft text` trains on texts of your own, `debft --help` lists the commands"
        return f"{where}: no such command: {words[0]}; {of_another_program(words) or meant}"
    said = error.format_message()
    if context and (extra := _EXTRA.fullmatch(said)) and any("--data" in each.opts for each in context.command.params):
        return f"{where}: expected options, got {extra[1]}; rows are given with --data {extra[1]}"
    hint = f" {where} --help has an example" if type(error).__name__ == "MissingParameter" else ""
    return f"{where}: {said}{hint}"


def _wrong_value(option: str, problem: dict[str, Any]) -> str:
    """Return `--max-steps: expected a whole number, got 'five'`. problem: as pydantic has it"""
    bounds = [f"{word} {problem['ctx'][bound]}" for bound, word in BOUNDS.items() if bound in problem.get("ctx", {})]
    expected = KINDS.get(problem["type"].partition("_")[0]) or (f"a number of {' and '.join(bounds)}" if bounds else None)
    if expected is None:
        return f"{option}: {problem['msg']}"
    advice = "; rows of their own go into a directory, as train.csv and validation.csv, which --data names"
    return f"{option}: expected {expected}, got {problem['input']!r}{advice if option in SHARES else ''}"


def of_another_program(words: Sequence[str]) -> str:
    """Return what to do where the first word is not a command of debft but a script or what starts one; "" for other words."""
    first = PurePath(words[0]).name if words else ""
    return IMPORT if first.endswith(".py") or first in ("python", "torchrun", "accelerate", "deepspeed") else ""


def unknown_options(where: str, option: str, known: Iterable[str], words: Sequence[str]) -> list[str]:
    """Return a line for the option that ended the command, and for each flag of another program that was typed with it.

    where: the command, `debft mnli`
    option: the one that the parser stumbled over
    known: the options of the command
    words: all that was typed behind the command
    """
    known = set(known)
    before = words[: words.index("--")] if "--" in words else words
    typed = [word.partition("=")[0] for word in before if word.startswith("--")]
    others = [word for word in dict.fromkeys(typed) if word not in known and word != option and answer(word, known)]
    lines = [f"{where}: {meant(each, known, where.rpartition(' ')[2])}" for each in (option, *others)]
    if others:
        lines.append(f"{where}: {IMPORT}")
    return lines


def meant(option: str, known: Iterable[str], command: str) -> str:
    """Return `--lr: debft's is --learning-rate`, `no such option: --max-seq-len; did you mean --max-seq-length?` or the like."""
    known, typed = set(known), option.partition("=")[0].lower().replace("_", "-")
    if typed not in known and (said := answer(option, known)):
        return f"{option}: {said}"
    if command == "predict" and typed in OF_PREDICT:
        return f"no such option: {option}; {OF_PREDICT[typed]}"
    if typed not in known and (task := next((each.only_for for each in OPTIONS if each.typed == typed and each.only_for), None)):
        return f"no such option: {option}; it is one of `debft {task}`"
    near = typed if typed in known else next(iter(get_close_matches(typed, known - {"--help"}, n=1, cutoff=0.7)), "")
    return f"no such option: {option}" + (f"; did you mean {near}?" if near else "; --help lists the options")
