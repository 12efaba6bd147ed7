"""Whatever is given to a command, it keeps its contract: an exit code that has a meaning, one line for the user, no traceback.

Hypothesis makes command lines, recipes, data, models and runs, `EXAMPLES` of them for each case, and cuts down what fails to the
shortest that does. A case is named by its kind and its seed, so that it makes the same ones each time.
"""

import os
import shutil
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path

import fuzzed_bytes
import fuzzed_data
import fuzzed_models
import hypothesis
import typer
from fuzzed_values import HOSTILE_TEXTS, yaml_texts
from hypothesis import strategies as st
from in_process import CODES, debft, prepare
from parts import Case, Part

EXAMPLES = 25
SEEDS = 80  # of each kind
# What a command takes that would train or serve for hours, or ask another machine, if it were left out.
ALWAYS = {"push": ("--dry-run",), "reproduce": ("--dry-run",), "search": ("--dry-run",)}
WAITING = ("serve",)  # runs until it is ended
FILES = ("rows.csv", "rows.jsonl", "recipe.yaml", "run", "model", "nothing", ".", "/dev/null", "demo", "mnli/quick", "-")
ASSIGNED = ("train.seed", "train.max_steps", "text.max_seq_length", "runtime.precision", "own.problem", "sift.learning_rate", "x")


@cache
def commands() -> dict[str, tuple[list[str], list[str], bool]]:
    """Return for each command its options with a value, its switches, and whether it takes arguments."""
    from debft.cli.main import app

    found = {}
    for name, command in typer.main.get_command(app).commands.items():
        command = getattr(command, "commands", {}).get("text", command)
        options = [one for one in command.params if one.param_type_name == "option"]
        switches = [word for one in options if one.is_flag for word in (*one.opts, *one.secondary_opts)]
        valued = [word for one in options if not one.is_flag for word in one.opts]
        found[name] = valued, switches, len(options) < len(command.params)
    return {name: one for name, one in found.items() if name not in WAITING}


@st.composite
def command_lines(draw: Callable) -> list[str]:
    """A command with some of its options, most of whose values make no sense."""
    from debft.tasks import TASKS

    name = draw(st.sampled_from(sorted(commands())))
    valued, switches, takes_arguments = commands()[name]
    words = [name] if name != "search" else [name, "text"]
    value = st.one_of(st.sampled_from(FILES), st.sampled_from(HOSTILE_TEXTS), st.integers().map(str), st.floats().map(str))
    for _ in range(draw(st.integers(0, 4))):
        if switches and draw(st.booleans()):
            words.append(draw(st.sampled_from(switches)))
        elif valued:
            option = draw(st.sampled_from(valued))
            given = draw(value) if option != "--set" else f"{draw(st.sampled_from(ASSIGNED))}={draw(value)}"
            words += [option, given]
    words += draw(st.lists(value, max_size=3)) if takes_arguments else []
    if name in TASKS and draw(st.booleans()):
        words += ["--data", draw(st.sampled_from(("demo", "rows.csv", "rows.jsonl"))), "--model", "demo", "--from-scratch"]
    words = [word for word in words if "\0" not in word]  # which no program can be given
    return [*words, *(("--dry-run",) if name in TASKS else ALWAYS.get(name, ()))]


def try_command(words: list[str], directory: Path) -> None:
    """A command line, in a directory with some rows, a recipe, a run and a model."""
    shutil.copytree(material(), directory, dirs_exist_ok=True, symlinks=True)
    debft(*words, cwd=directory).check()


def try_recipe(text: bytes, directory: Path) -> None:
    """A recipe of any content: checked, and planned with rows that are right."""
    shutil.copytree(material() / "mnli", directory / "mnli")
    (directory / "r.yaml").write_bytes(text)
    checked = debft("check", "r.yaml", cwd=directory).check((0, 2))
    if checked.code == 0:
        debft("mnli", "--recipe", "r.yaml", "--data", ".", "--model", "demo", "--dry-run", cwd=directory).check()


def try_data(file: tuple[str, bytes], directory: Path) -> None:
    """A data file of any content, to train on, to label, and as a benchmark's own."""
    name, content = file
    shutil.copytree(material() / "run", directory / "run")
    task = "squad2" if name.startswith("squad") else "mnli"
    for path in (directory / name, directory / task / f"train{Path(name).suffix}"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    model = ("--model", "demo", "--from-scratch", "--dry-run")
    if task == "mnli":
        debft("text", "--data", name, *model, cwd=directory).check((0, 2))
        debft("predict", "run", name, "--dry-run", cwd=directory).check((0, 2))
    debft(task, "--data", ".", *model, cwd=directory).check((0, 2))


def try_model(change: Callable[[Path], None], directory: Path) -> None:
    """A model whose files are not what they were: looked at, and used."""
    shutil.copytree(material() / "model", directory / "model")
    change(directory / "model")
    debft("doctor", "--model", "model", cwd=directory).check((0, 2))
    debft("predict", "model", "the fox", "the dog", "--task", "mnli", cwd=directory).check()


def try_run(change: Callable[[Path], None], directory: Path) -> None:
    """A run whose files are not what it wrote: listed, compared, described, used and continued."""
    shutil.copytree(material() / "run", directory / "runs" / "a")
    shutil.copytree(material() / "run", directory / "runs" / "b")
    change(directory / "runs" / "a")
    for words in (
        ("runs", "runs"),
        ("tables", "runs"),
        ("compare", "runs/a", "runs/b"),
        ("card", "runs/a"),
        ("evaluate", "runs/a", "--dry-run"),
        ("predict", "runs/a", "the fox", "the dog", "--dry-run"),
        ("mnli", "--output", "runs/a", "--resume", "--dry-run"),
    ):
        debft(*words, cwd=directory).check()


def try_bytes(example: tuple[str, bytes], directory: Path) -> None:
    """Bytes from outside, given to what reads them."""
    fuzzed_bytes.read_bytes(*example, directory)


@cache
def material() -> Path:
    """Return a directory with right rows, a recipe, a run and its model, made once by each process."""
    prepare()
    directory = Path(os.environ["DEBFT_CACHE"]) / f"fuzzing-{os.getpid()}"
    (directory / "mnli").mkdir(parents=True)
    (directory / "rows.csv").write_text(fuzzed_data.csv_of(fuzzed_data.ROWS, ","))
    (directory / "rows.jsonl").write_text(fuzzed_data.jsonl_of(fuzzed_data.ROWS))
    for split in ("train", "validation_matched", "validation_mismatched"):
        (directory / "mnli" / f"{split}.tsv").write_text(fuzzed_data.csv_of(fuzzed_data.ROWS, "\t"))
    recipe = debft("recipes", "mnli/quick", cwd=directory).check((0,)).stdout
    (directory / "recipe.yaml").write_text(recipe)
    options = ("--data", ".", "--model", "demo", "--from-scratch", "--max-steps", "2", "--max-seq-length", "16", "--output", "run")
    debft("mnli", "--recipe", "mnli/quick", *options, cwd=directory).check((0,))
    shutil.copytree(directory / "run" / "model", directory / "model")
    return directory


def kinds() -> dict[str, tuple[st.SearchStrategy, Callable]]:
    """Return by the name of a kind what makes its examples and what tries one."""
    return {
        "commands": (command_lines(), try_command),
        "recipes": (yaml_texts(), try_recipe),
        "data": (fuzzed_data.files(), try_data),
        "models": (fuzzed_models.changes(), try_model),
        "runs": (fuzzed_models.changes(), try_run),
        "bytes": (fuzzed_bytes.examples(), try_bytes),
    }


def try_kind(kind: str, seed: int, directory: Path, examples: int = EXAMPLES) -> str:
    """Try examples of a kind, each in a directory of its own."""
    strategy, attempt = kinds()[kind]
    tried = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=examples, database=None, deadline=None, derandomize=False, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(strategy)
    def attempted(example: object) -> None:
        here = directory / "x" / str(len(tried))  # whatever is written beside it is seen
        here.mkdir(parents=True)
        tried.append(example)
        attempt(example, here)
        shutil.rmtree(directory / "x")
        assert not (outside := sorted(path.name for path in directory.iterdir())), f"wrote {outside} outside of its directory"

    attempted()
    return f"{len(tried)} {kind}"


def cases() -> Iterable[Case]:
    """Return the cases of every kind, kind by kind: the few of the suite are one of each."""
    for kind in kinds():
        for seed in range(SEEDS):
            yield Case(name=f"{kind}-{seed}", run=partial(try_kind, kind, seed))


PART = Part(
    name="fuzzing",
    claim=f"0 tracebacks, exit codes {', '.join(map(str, CODES))} alone, {EXAMPLES} inputs a case",
    cases=cases,
    few=6,
)
