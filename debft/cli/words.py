"""The answer to an option that a command does not have: debft's own for what other programs call so, or the one that is near."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import PurePath

from debft.cli.foreign.flags import answer

IMPORT = "`debft import-command 'python run_glue.py ...'` makes a recipe of such a command as it stands"


def of_another_program(words: Sequence[str]) -> str:
    """Return what to do where the first word is not a command of debft but a script or what starts one; "" for other words."""
    first = PurePath(words[0]).name if words else ""
    return f" {IMPORT}" if first.endswith(".py") or first in ("python", "torchrun", "accelerate", "deepspeed") else ""


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
    lines = [f"{where}: {meant(each, known)}" for each in (option, *others)]
    if others:
        lines.append(f"{where}: {IMPORT}")
    return lines


def meant(option: str, known: Iterable[str]) -> str:
    """Return `--lr: debft's is --learning-rate`, `no such option: --max-seq-len; did you mean --max-seq-length?` or the like."""
    known, typed = set(known), option.partition("=")[0].lower().replace("_", "-")
    if typed not in known and (said := answer(option, known)):
        return f"{option}: {said}"
    near = typed if typed in known else next(iter(get_close_matches(typed, known - {"--help"}, n=1, cutoff=0.7)), "")
    return f"no such option: {option}" + (f"; did you mean {near}?" if near else "; --help lists the options")
