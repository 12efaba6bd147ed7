"""Damage: whatever is flipped, cut or swapped in what a run has written is noticed and named by whatever reads it.

A case damages one file of a run, a complete or an interrupted one, or of the cache, and asks one of its readers. It holds where that
reader names the file, and where a run that goes on all the same has lost nothing. A damage that changes nothing (the other file has
the same content, the line of a log lies behind the checkpoint and is computed again) is tried again with other random numbers.
"""

import hashlib
import io
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from conftest import write_mnli, write_model_config
from parts import Case, Part
from processes import Command

from debft.config.packaged import recipe_path
from debft.config.reading import load_recipe
from debft.config.recipe import Recipe
from debft.data.load import encode_split, load_examples
from debft.data.sources import demo
from debft.errors import InputError
from debft.library.resolving import continued
from debft.models.files import find_model
from debft.models.tokens.tokenizer import build_tokenizer
from debft.output.card.subject import subject_of
from debft.output.comparison import compare
from debft.output.pages.run_page import write_run_page
from debft.output.run_list import list_runs
from debft.output.tables.document import tables_document
from debft.reproduce.planned_run import PlannedRun
from debft.runs.checkpoint import load_newest
from debft.runs.directory import RunDirectory
from debft.runs.files import LOGS
from debft.scoring.used_model import find_used_model
from debft.tasks import TASKS
from debft.training.place import check_output, place_of_rows
from debft.training.plan import make_plan
from debft.training.run import finetune

CASES = 5000
WITH_A_COMMAND = 25  # one of so many cases asks the command itself, in a process of its own
STEPS, SAVE_STEPS = 12, 4
KINDS = ("flip", "cut", "overwrite", "swap")
LONGEST = 300  # bytes that are overwritten
TRIES = 50  # until a damage that changes something is found
SETTINGS = {
    "task": "mnli",
    "train.max_steps": STEPS,
    "train.train_batch_size": 8,
    "train.eval_steps": SAVE_STEPS,
    "train.checkpoint": "best",
    "runtime.save_steps": SAVE_STEPS,
    "runtime.micro_batch_tokens": 200,
}
SIZES = {"hidden_size": 32, "intermediate_size": 48, "pooler_hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1}
OF_A_COMPLETE_RUN = ("report.html", "analysis.json", "predictions", "model", "result.json")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is damaged: a complete and an interrupted run, each with another one of the same kind that files are swapped with.

    recipe: that of the first run
    cache: a directory of encoded texts
    """

    runs: dict[str, tuple[Path, Path]]
    recipe: Recipe
    cache: Path


@cache
def scene_below(directory: Path, process: int) -> Scene:
    """Train the runs. process: whose they are, its id"""
    place = directory / f"scene-{process}"
    shutil.rmtree(place, ignore_errors=True)
    data = write_mnli(place / "data", train=40, dev=12)
    model = write_model_config(place / "model", demo.model_directory(), **SIZES)
    recipe = load_recipe(recipe_path("demo"), SETTINGS | {"data": str(data), "model": str(model)})
    complete, interrupted = [], []
    with redirect_stderr(io.StringIO()):
        for name in ("one", "other"):
            seeded = replace(recipe, train=replace(recipe.train, seed=7 if name == "one" else 8))
            finetune(seeded, place / name)
            (place / name / "report.html").unlink(missing_ok=True)  # nothing reads it
            broken = place / f"{name}-interrupted"
            shutil.copytree(place / name, broken)
            for file in OF_A_COMPLETE_RUN:
                path = broken / file
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            complete.append(place / name)
            interrupted.append(broken)
        recipe = RunDirectory(complete[0]).recipe()
        kept = place / "cache"
        encode(recipe, kept)
    return Scene(runs={"complete": tuple(complete), "interrupted": tuple(interrupted)}, recipe=recipe, cache=kept)


def encode(recipe: Recipe, place: Path) -> list[bytes]:
    """Encode the rows through the cache in `place`, and return what the arrays hold."""
    before, os.environ["DEBFT_CACHE"] = os.environ["DEBFT_CACHE"], str(place)
    try:
        task, content = TASKS["mnli"], []
        tokenizer = build_tokenizer(find_model(recipe.model, from_scratch=True), task)
        for name, examples in load_examples(task, recipe).items():
            split = encode_split(task, examples, tokenizer, recipe, what=name)
            content += [split.ids_T.dtype.str.encode(), split.ids_T.tobytes(), split.ends_S.tobytes()]
        return content
    finally:
        os.environ["DEBFT_CACHE"] = before


def resume(path: Path, other: Path) -> None:
    """Do what `--resume` does before it trains or, with a complete run, shows the result."""
    run = RunDirectory(path)
    recipe = continued("mnli", run, {}, sift=None, assignments=())
    if check_output(run, recipe, "resume") is not None:
        return
    place_of_rows(run, recipe, "resume")
    saved = load_newest(run.checkpoints, run=run.number())
    assert saved is not None, "a run with checkpoints began anew"
    run.logs.rewind(saved.step, saved.state["evaluated"], saved.logs)


def reproduce(path: Path, other: Path) -> None:
    """Do what `debft reproduce` does to know whether a run counts."""
    recipe, result = RunDirectory(other.with_name("one")).recipe(), RunDirectory(other.with_name("one")).result()
    planned = PlannedRun(
        id=path.name, recipe=recipe, directory=path, arguments=(), total_steps=STEPS, fingerprints=result.data.fingerprints
    )
    if damage := planned.damage():
        raise InputError(damage)


def of_runs(read: Callable[[str], list[str]], path: Path, other: Path) -> None:
    """Raise the line that a list of runs, which goes on, has for a damaged one."""
    if damaged := read(str(path)):
        raise InputError(*damaged)


def start_from(path: Path, other: Path) -> None:
    """Do what `--init-from` does."""
    recipe = RunDirectory(other).recipe()
    make_plan(replace(recipe, init_from=str(path), train=replace(recipe.train, from_scratch=False)))


USED = ("recipe.yaml", "split.json", "result.json", "model/")
# By reader: what it does in this process, the command with RUN and OTHER for the runs, and the files whose content it reads.
READERS: dict[str, tuple[Callable[[Path, Path], object], tuple[object, ...], tuple[str, ...]]] = {
    "resume": (resume, ("mnli", "--output", "RUN", "--resume"), USED),
    "evaluate": (lambda path, _: find_used_model(str(path), None), ("evaluate", "RUN"), USED),
    "predict": (lambda path, _: find_used_model(str(path), "mnli"), ("predict", "RUN", "a dog runs", "an animal moves"), USED),
    "export": (lambda path, _: find_used_model(str(path), None), ("export", "RUN", "--onnx"), USED),
    "card": (lambda path, _: subject_of(str(path)), ("card", "RUN"), (*USED, "analysis.json")),
    "init-from": (
        start_from,
        ("mnli", "--init-from", "RUN", "--model", "MODEL", "--data", "DATA", "--max-steps", 1, "--output", "NEW"),
        ("recipe.yaml", "result.json", "model/"),
    ),
    "tables": (
        partial(of_runs, lambda place: tables_document([], [place]).damaged),
        ("tables", "RUN"),
        ("recipe.yaml", "result.json", "steps.jsonl"),
    ),
    "runs": (
        partial(of_runs, lambda place: list_runs([place], "date").damaged),
        ("runs", "RUN"),
        ("recipe.yaml", "result.json", "steps.jsonl"),
    ),
    "reproduce": (reproduce, (), ("recipe.yaml", "result.json", *LOGS)),
    "compare": (
        lambda path, other: compare([str(path), str(other)]),
        ("compare", "RUN", "OTHER"),
        ("recipe.yaml", "result.json", "steps.jsonl", "predictions/", "analysis.json"),
    ),
    "report": (lambda path, _: write_run_page(RunDirectory(path)), (), ("recipe.yaml", "result.json", "analysis.json", *LOGS)),
}


def damaged(content: bytes, kind: str, rng: random.Random, others: list[bytes]) -> bytes:
    """Return the content with one damage. others: what it may be swapped with"""
    if kind == "swap" and others:
        return rng.choice(others)
    if kind == "cut":
        return content[: rng.randrange(len(content))]
    start = rng.randrange(len(content))
    if kind == "overwrite":
        return (content[:start] + rng.randbytes(rng.randint(1, LONGEST)) + content[start + LONGEST :])[: len(content)]
    return content[:start] + bytes([content[start] ^ 1 << rng.randrange(8)]) + content[start + 1 :]


def changes_nothing(path: Path, before: bytes, after: bytes) -> bool:
    """Tell whether a damage is none: the same bytes, the same JSON, or lines of a log that are dropped and computed again."""
    if before == after:
        return True
    if path.name in ("result.json", "split.json"):
        try:
            return json.dumps(json.loads(before)) == json.dumps(json.loads(after))
        except ValueError:
            return False
    run = path.parent
    if path.name in LOGS and not (run / "result.json").exists() and (newest := steps_of(run)):
        return after.startswith((newest[-1] / path.name).read_bytes())
    return False


def steps_of(run: Path) -> list[Path]:
    """List the checkpoints of a run that it can go on from, the oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))


def read_files(run: Path, reads: tuple[str, ...]) -> list[Path]:
    """List the files of a run that a reader reads, of what it says that it reads."""
    paths = [path for path in sorted(run.rglob("*")) if path.is_file()]
    return [path for path in paths if path.relative_to(run).as_posix().startswith(reads)]


def files_to_resume(run: Path) -> list[Path]:
    """List the files of an interrupted run that --resume reads; an older checkpoint is not read while the newest is whole."""
    newest = steps_of(run)[-1]
    best = json.loads((newest / "state.json").read_bytes())["best_step"]
    return read_files(run, ("recipe.yaml", "split.json", *LOGS, f"checkpoints/{newest.name}/", f"checkpoints/best-{best:06d}/"))


def copy_of(run: Path, place: Path) -> Path:
    """Copy a run: its logs, which are appended to, and links to its other files, which nothing changes in place."""
    return Path(
        shutil.copytree(run, place, copy_function=lambda old, new: (shutil.copy if Path(old).name in LOGS else os.link)(old, new))
    )


def damage_file(path: Path, kind: str, rng: random.Random, counterparts: list[Path]) -> None:
    """Damage a file, in a way that changes something. counterparts: files that it may be swapped with"""
    before, others = path.read_bytes(), [one.read_bytes() for one in counterparts if one.is_file()]
    for _ in range(TRIES):
        after = damaged(before, kind, rng, others)
        if not changes_nothing(path, before, after):
            break
        kind = rng.choice(("flip", "cut", "overwrite")) if kind == "swap" else kind
    else:
        raise AssertionError(f"{path}: no damage of it was found that changes anything")
    path.unlink()
    path.write_bytes(after)


def told(read: Callable[[], object]) -> str:
    """Return what a reader says, the line of its error included. Any other error than one of the input is no answer."""
    said = io.StringIO()
    with redirect_stderr(said):
        try:
            read()
        except InputError as error:
            return " ".join([said.getvalue().replace("\n", " "), *error.problems, "(refused)"])
    return said.getvalue().replace("\n", " ")


def names(text: str, path: Path) -> bool:
    """Tell whether the text names the file: by its path, or one of a checkpoint by that and its name."""
    if path.parent.parent.name == "checkpoints":
        return path.parent.name in text and (path.name in text or "it is that of" in text)
    return str(path) in text


def check_named(text: str, path: Path, run: Path) -> None:
    """Raise AssertionError unless the text names the damaged file.

    Where a recipe or a result is another run's, both are named: neither is damaged by itself.
    """
    pair = {"recipe.yaml", "result.json", "split.json"}
    also = [run / name for name in pair] if path.name in pair and "another run" in text else []
    assert any(names(text, one) for one in (path, *also)), f"{path.relative_to(run)} is not named: {text!r}"


def damage_complete(seed: str, place: Path) -> str:
    """Damage a file of a complete run and ask one of its readers."""
    scene, rng = scene_below(place.parent, os.getpid()), random.Random(seed)
    whole, other = scene.runs["complete"]
    run = copy_of(whole, place / "run")
    name = rng.choice([name for name, (_, command, _) in READERS.items() if command or not asks_a_command(seed)])
    read, command, reads = READERS[name]
    path, kind = rng.choice(read_files(run, reads)), rng.choice(KINDS)
    inside = path.relative_to(run)
    damage_file(path, kind, rng, [other / inside, *(one for one in path.parent.iterdir() if path.parent != run and one != path)])
    if not asks_a_command(seed):
        text = told(lambda: read(run, other))
        assert "(refused)" in text, f"{name}: {kind} of {inside} was not noticed: {text!r}"
    else:
        text, code = command_said(command, run, other, scene)
        assert code == 2, f"debft {name}: {kind} of {inside}: exit code {code}: {text}"
        name = f"debft {name}"
    check_named(text, path, run)
    return f"{kind} of {inside}: named by {name}"


def damage_interrupted(seed: str, place: Path) -> str:
    """Damage a file of an interrupted run, or put another checkpoint in the place of one, and resume it."""
    scene, rng = scene_below(place.parent, os.getpid()), random.Random(seed)
    whole, other = scene.runs["interrupted"]
    run = copy_of(whole, place / "run")
    path, kind = rng.choice(files_to_resume(run)), rng.choice((*KINDS, "swap of the whole checkpoint"))
    if kind in KINDS or path.parent == run:
        kind = kind if kind in KINDS else "swap"
        inside = path.relative_to(run)
        counterparts = [
            other / inside,
            *(one for one in path.parent.parent.glob(f"*/{path.name}") if path.parent != run and one != path),
        ]
        damage_file(path, kind, rng, counterparts)
    else:
        inside, sources = path.parent.relative_to(run), [*(other / "checkpoints").iterdir(), *(run / "checkpoints").iterdir()]
        source = rng.choice([one for one in sources if one.name[:4] == path.parent.name[:4] and one != path.parent])
        copied = shutil.copytree(source, place / "copied")
        shutil.rmtree(path.parent)
        Path(copied).rename(path.parent)
    return check_resumed(seed, run, path, f"{kind} of {inside}", scene)


def check_resumed(seed: str, run: Path, path: Path, what: str, scene: Scene) -> str:
    """Resume the run and return in words what came of it: refused, or resumed with nothing lost but steps."""
    whole = scene.runs["interrupted"][0]
    if asks_a_command(seed):
        text, code = command_said(READERS["resume"][1], run, whole, scene)
        check_named(text, path, run)
        if code == 2:
            return f"{what}: named and refused by debft --resume"
        assert code == 0, f"{what}: exit code {code}: {text}"
        expected, got = RunDirectory(scene.runs["complete"][0]).result(), RunDirectory(run).result()
        assert got.scores == expected.scores and got.model_files == expected.model_files, f"{what}: another result: {text}"
        return f"{what}: named by debft --resume, which came to the same bits"
    text = told(lambda: resume(run, whole))
    check_named(text, path, run)
    if "(refused)" in text:
        return f"{what}: named and refused"
    saved = load_newest(RunDirectory(run).checkpoints, run=RunDirectory(run).number())
    manifest = (whole / "checkpoints" / f"step-{saved.step:06d}" / "manifest.json").read_bytes()
    assert saved.digest == hashlib.sha256(manifest).hexdigest(), f"{what}: went on from something else"
    for log in LOGS:
        assert (run / log).read_bytes() == (whole / "checkpoints" / f"step-{saved.step:06d}" / log).read_bytes(), log
    return f"{what}: named, and resumed from step {saved.step}"


def damage_every_checkpoint(seed: str, place: Path) -> str:
    """Damage each checkpoint that a run can go on from: it is refused, with all of them and the way on."""
    scene, rng = scene_below(place.parent, os.getpid()), random.Random(seed)
    whole, other = scene.runs["interrupted"]
    run = copy_of(whole, place / "run")
    paths = [rng.choice(sorted(step.iterdir())) for step in steps_of(run)]
    for path in paths:
        damage_file(path, rng.choice(KINDS), rng, [other / path.relative_to(run)])
    text, code = (
        command_said(READERS["resume"][1], run, whole, scene) if asks_a_command(seed) else (told(lambda: resume(run, whole)), 2)
    )
    assert code == 2 and (asks_a_command(seed) or "(refused)" in text), f"exit code {code}: {text}"
    for path in paths:
        check_named(text, path, run)
    assert "--restart" in text, text
    return f"{len(paths)} of {len(paths)} damaged: each named, refused"


def damage_cache(seed: str, place: Path) -> str:
    """Damage the file of a split's encoded texts: they are encoded again, to the same bits."""
    scene, rng = scene_below(place.parent, os.getpid()), random.Random(seed)
    kept = Path(shutil.copytree(scene.cache, place / "cache"))
    files = sorted((kept / "encoded").glob("*.safetensors"))
    path, kind = rng.choice(files), rng.choice(KINDS)
    damage_file(path, kind, rng, [one for one in files if one != path])
    expected, got = encode(scene.recipe, scene.cache), []
    text = told(lambda: got.extend(encode(scene.recipe, kept)))
    assert got == expected, f"{kind} of the cache: other tokens"
    assert re.search(rf"cache: {re.escape(str(path))} is damaged; encoding again", text), f"{kind} of the cache: not said: {text!r}"
    return f"{kind} of the cache: named, and encoded again"


def asks_a_command(seed: str) -> bool:
    """Tell whether a case asks the command itself."""
    return int(seed.rpartition("-")[2]) % WITH_A_COMMAND == 0


def command_said(command: tuple[object, ...], run: Path, other: Path, scene: Scene) -> tuple[str, int]:
    """Return (what a command says, its exit code)."""
    words = {"RUN": run, "OTHER": other, "NEW": run.with_name("new"), "MODEL": scene.recipe.model, "DATA": scene.recipe.data}
    done = Command(*(words.get(str(word), word) for word in command), cwd=run.parent, COLUMNS="2000")
    said = done.communicate()[1].replace("\n", " ")
    assert "Traceback" not in said, said
    return said, done.returncode


SHARES: tuple[tuple[str, float, Callable[[str, Path], str]], ...] = (
    ("complete", 0.46, damage_complete),
    ("interrupted", 0.42, damage_interrupted),
    ("every-checkpoint", 0.06, damage_every_checkpoint),
    ("cache", 0.06, damage_cache),
)


def cases() -> Iterator[Case]:
    """Give the cases of each kind, the kinds one after another."""
    for name, share, run in SHARES:
        for number in range(round(CASES * share)):
            seed = f"{name}-{number:04}"
            yield Case(name=seed, run=partial(run, seed))


PART = Part(
    name="damage",
    claim="every flip, cut, overwriting and swap is noticed, named by what reads the file, and loses nothing but steps",
    cases=cases,
    few=40,
)
