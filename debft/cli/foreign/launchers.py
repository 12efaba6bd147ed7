"""The command in a script that trains: which program it starts, on how many processes, with which arguments."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from debft.cli.foreign.flags import programs
from debft.cli.foreign.imported import whole
from debft.cli.foreign.shell_text import Script, Statement
from debft.errors import InputError, one_of

LAUNCHERS = ("torchrun", "accelerate", "deepspeed", "python")
# What starts several processes, by a word of the command that names it.
STARTERS = {
    "torchrun": "torchrun",
    "torch.distributed.launch": "torch.distributed.launch",
    "torch.distributed.run": "torchrun",
    "accelerate": "accelerate launch",
    "accelerate.commands.launch": "accelerate launch",
    "deepspeed": "deepspeed",
    "xla_spawn.py": "xla_spawn.py",
}
# The options that give processes on one machine, and machines, by launcher.
COUNTS = {
    "torchrun": ("nproc_per_node", "nnodes"),
    "torch.distributed.launch": ("nproc_per_node", "nnodes"),
    "accelerate launch": ("num_processes", None),  # over all machines
    "deepspeed": ("num_gpus", "num_nodes"),
    "xla_spawn.py": ("num_cores", None),
}


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of a program that trains."""

    program: str
    """Its name in flags.yaml."""
    arguments: list[str]
    """The words behind it."""
    processes: int
    """Processes, each with a GPU of its own, or the GPUs that one process shares its batch among."""
    how: str
    """Where that number comes from."""
    precision: str | None = None
    """The precision that the launcher sets, `fp16` or `bf16`."""
    lost: tuple[str, ...] = ()
    """What the launcher sets beside that, and debft does not take over."""


def find_call(script: Script, text: str, where: str, gpus: int | None) -> Call:
    """Find the one command of a script that starts a known program. gpus: how many there are, where only the user knows.

    Raises InputError where there is none, or several, or where it cannot be told how many processes it has.
    """
    calls, strays = [], []
    for statement in script.statements(text, where):
        position = _program_at(statement.words)
        if position is not None:
            calls.append((statement, position))
        elif calls and statement.words[0].startswith("--"):
            strays.append(statement)
    if strays:
        line = strays[0].line
        raise InputError(f"{where}:{line}: a line begins with an option; put a backslash at the end of the line before it")
    if not calls:
        raise InputError(_none_found(script, text, where))
    if len(calls) > 1:
        lines = ", ".join(str(statement.line) for statement, _ in calls)
        raise InputError(f"{where}: expected one command, got {len(calls)} (lines {lines}); give one of them")
    return _call(script, *calls[0], gpus)


def _program_at(words: Sequence[str]) -> int | None:
    """Return the position of the word that names a known program."""
    for position, word in enumerate(words):
        if PurePosixPath(word.replace("\\", "/")).name in programs() or (word in programs() and words[position - 1] == "-m"):
            return position
    return None


def _none_found(script: Script, text: str, where: str) -> str:
    """Say that no known program is started, and which one is, where a script of Python is."""
    others = [
        word
        for statement in Script().statements(text, where)
        if re.match(r"python|torchrun|accelerate|deepspeed", PurePosixPath(statement.words[0]).name)
        for word in statement.words
        if word.endswith(".py")
    ]
    got = f", got {others[0]}" if others else ""
    return f"{where}: expected a command with {one_of(programs())}{got}; a copy of one of them goes by its first name"


def _call(script: Script, statement: Statement, position: int, gpus: int | None) -> Call:
    before, words = statement.words[:position], statement.words[position + 1 :]
    name = PurePosixPath(statement.words[position].replace("\\", "/")).name
    launcher = next((STARTERS[key] for word in before if (key := PurePosixPath(word).name) in STARTERS), None)
    first = PurePosixPath(before[0]).name if before else "python"
    if launcher is None and not re.fullmatch(r"i?python[0-9.]*|torchrun", first):
        raise InputError(
            f"{first}: expected {one_of(LAUNCHERS)} before {name}; take it away, and give --gpus N where it starts several"
        )
    options = _options(before)
    for option, value in options.items():
        if (
            value
            and (unknown := script.unknown_in(value))
            and option in {"nproc_per_node", "nnodes", "num_processes", "num_gpus", "num_nodes"}
        ):
            raise InputError(f"--{option}: {unknown[0]}; write the number")
    if launcher is None:
        processes, how = _of_python(statement.variables, words, gpus)
    else:
        processes, how = _of_launcher(launcher, options, gpus)
    mixed = options.get("mixed_precision")
    lost = tuple(
        f"--{name}"
        for name in ("config_file", "use_deepspeed", "deepspeed_config_file", "use_fsdp", "gradient_accumulation_steps")
        if name in options
    )
    return Call(
        program=name,
        arguments=words,
        processes=processes,
        how=how,
        precision=mixed if mixed in ("fp16", "bf16") else "fp16" if "fp16" in options else None,
        lost=lost,
    )


def _options(words: Sequence[str]) -> dict[str, str | None]:
    """Return the options among the words before the script; None for one without a value."""
    options: dict[str, str | None] = {}
    for word, following in zip(words, [*words[1:], "--"], strict=False):
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            options[name.replace("-", "_")] = value if equals else None if following.startswith("-") else following
    return options


def _of_launcher(launcher: str, options: dict[str, str | None], gpus: int | None) -> tuple[int, str]:
    """Return the processes that a launcher starts, and the words that say so."""
    per_machine, machines = COUNTS[launcher]
    included = options.get("include")
    if launcher == "deepspeed" and included and ":" in included:
        count = sum(len(host.partition(":")[2].split(",")) for host in included.split("@"))
        return count, f"--include {included}"
    if launcher.startswith("torch") and per_machine not in options:
        options = {**options, per_machine: "1"}
    given = options.get(per_machine)
    if "cpu" in options and given is None:
        given = "1"
    number = None if given is None else whole(given)
    if number is None:
        if gpus is None:
            typed = f"--{per_machine} {given}" if given else f"no --{per_machine}"
            raise InputError(f"{launcher}: the number of its processes is not in the command ({typed}); say it with --gpus N")
        return gpus, "--gpus"
    nodes = options.get(machines) if machines else None
    num_nodes = 1 if nodes is None else whole(nodes)
    if num_nodes is None:
        raise InputError(f"--{machines}: expected a number of machines, got {nodes}; write the number")
    number *= num_nodes
    if gpus not in (None, number):
        raise InputError(f"--gpus {gpus}: the command starts {number} processes; leave --gpus out, or mend the command")
    return number, f"--{per_machine} {given}" + (f" on {nodes} machines" if num_nodes > 1 else "")


def _of_python(variables: dict[str, str], arguments: Sequence[str], gpus: int | None) -> tuple[int, str]:
    """Return the GPUs of a script that python alone starts: it shares a step among all that it sees (DataParallel)."""
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    if {"--no_cuda", "--use_cpu", "--no-cuda", "--use-cpu"} & set(arguments):
        return 1, "on the CPU"
    if gpus is not None:
        return gpus, "--gpus"
    if visible is not None and re.fullmatch(r"[0-9]*(,[0-9]+)*", visible):
        return max(1, len(visible.split(","))), f"CUDA_VISIBLE_DEVICES={visible}"
    return 1, "one GPU; python alone trains on all it sees: say with --gpus N if there are several"
