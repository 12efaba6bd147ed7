"""Recipe: everything that defines one run, typed and frozen, read from YAML.

`TrainConfig` holds what moves the score, `RuntimeConfig` what must not. Every error of a file is reported at once.
"""

import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from debft.config import yaml12
from debft.errors import InputError, did_you_mean, one_of

_PACKAGE = Path(__file__).parent.parent
RECIPES_DIR = next(path for path in (_PACKAGE / "recipes", _PACKAGE.parent / "recipes") if path.is_dir())

SOURCES = ("hub", "demo")  # of `data`, beside directories


def _bound(default: Any = MISSING, *, above: float | None = None, least: float | None = None, below: float | None = None):
    """A dataclass field whose value must be > above, >= least, < below."""
    return field(default=default, metadata={"above": above, "least": least, "below": below})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What moves the score.

    num_train_epochs: passes over the training data
    max_steps: optimizer steps in all, instead of the number the epochs give (the schedule then ends there)
    train_batch_size: sequences per optimizer step over all devices
    max_seq_length: tokens, special tokens included
    learning_rate: the peak
    warmup_steps: optimizer steps; a number below 1 is that fraction of the run
    schedule: `linear` falls from the end of the warm-up to 0 at the last step; `linear_unshifted` is
        1 - step/total after the warm-up, so the rate drops by warmup/total where the warm-up ends
    bias_correction: Adam's division by 1 - beta^t
    weight_decay: decoupled, on everything but biases and LayerNorm weights
    max_grad_norm: clip the global gradient norm to this
    head_dropout: probability before the classifier; null leaves the model's own
    truncation: `longest_first` cuts the end of the longer text (transformers); `random_ends` drops tokens one by
        one from the front or the back of the longer text, by a coin (the DeBERTa repository)
    train_language, languages: for XNLI. The language trained on; those evaluated, `fr,de`, null: all fifteen
    text_columns, label_column, problem: for own data. `a` or `a,b`, one or two columns; null: found in the file
    doc_stride, max_question_length, max_answer_length, n_best_size: for question answering. Tokens that neighbouring
        windows of a context share; tokens after which a question is cut; tokens of the longest answer; answers kept per question
    swap_texts: the second text of a pair goes first (the DeBERTa repository feeds QNLI as sentence, question)
    steps: `up` counts a part of a batch as a step; `down` is floor(sequences x epochs / train_batch_size)
    checkpoint: which weights are saved and reported: of the `last` step, or the `best` by the task's dev scores
    eval_steps: evaluate every so many optimizer steps; null: not during the run
    eval_each_epoch: evaluate at the end of each epoch as well
    from_scratch: random weights from the model's config instead of its pre-trained ones
    max_train_samples, max_eval_samples: only the first so many rows of each split, of those that are kept
    skip_bad_rows: leave out every row that cannot be read or is wrong, count and name it; false: the first one ends the run
    seed: of the head's initial weights, the data order and dropout
    """

    num_train_epochs: float = _bound(3.0, above=0)
    max_steps: int | None = _bound(None, least=1)
    train_batch_size: int = _bound(32, least=1)
    max_seq_length: int = _bound(256, least=8)
    learning_rate: float = _bound(2e-5, above=0)
    warmup_steps: float = _bound(0.1, least=0)
    schedule: Literal["linear", "linear_unshifted"] = "linear"
    bias_correction: bool = True
    adam_beta1: float = _bound(0.9, least=0, below=1)
    adam_beta2: float = _bound(0.999, least=0, below=1)
    adam_epsilon: float = _bound(1e-8, above=0)
    weight_decay: float = _bound(0.0, least=0)
    max_grad_norm: float = _bound(1.0, above=0)
    head_dropout: float | None = _bound(None, least=0, below=1)
    truncation: Literal["longest_first", "random_ends"] = "longest_first"
    swap_texts: bool = False
    train_language: str = "en"
    languages: str | None = None
    text_columns: str | None = None
    label_column: str | None = None
    problem: Literal["auto", "classification", "regression"] = "auto"
    doc_stride: int = _bound(128, least=0)
    max_question_length: int = _bound(64, least=1)
    max_answer_length: int = _bound(30, least=1)
    n_best_size: int = _bound(20, least=1)
    steps: Literal["up", "down"] = "up"
    checkpoint: Literal["last", "best"] = "last"
    eval_steps: int | None = _bound(1000, least=1)
    eval_each_epoch: bool = False
    from_scratch: bool = False
    max_train_samples: int | None = _bound(None, least=1)
    max_eval_samples: int | None = _bound(None, least=1)
    skip_bad_rows: bool = False
    seed: int = _bound(42, least=0)


@dataclass(frozen=True, kw_only=True)
class SiftConfig:
    """Scale-invariant adversarial fine-tuning; moves the score. Source: microsoft/DeBERTa DeBERTa/sift/sift.py.

    weight: lambda, of the SiFT loss beside the task's; 0: off
    init_std: of the first random perturbation of the normalised embeddings, cut at two of it; 0: the embeddings as they are
    step_size: the step of ascent, the largest change of one number of a token; 0: no ascent, the random perturbation alone
    """

    weight: float = _bound(0.0, least=0)
    init_std: float = _bound(1e-2, least=0)
    step_size: float = _bound(1e-4, least=0)


@dataclass(frozen=True, kw_only=True)
class RuntimeConfig:
    """What must not move the score, beyond rounding and dropout's masks.

    precision: of the matrix products; the weights are float32 always. `auto`: bf16 where the GPU has it, else fp32;
        with SiFT as its recipe was published, else fp32
    deterministic: torch's deterministic algorithms; on a GPU the same run then gives the same bits, slower
    micro_batch_tokens: padded tokens in one forward pass; null: 2,048 on a CPU, 16,384 on a GPU
    save_steps: a checkpoint every so many optimizer steps; null: only when interrupted
    keep_checkpoints: how many of the newest stay on disk
    """

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    deterministic: bool = False
    micro_batch_tokens: int | None = _bound(None, least=1)
    save_steps: int | None = _bound(500, least=1)
    keep_checkpoints: int = _bound(2, least=1)


# What a recipe's `dialect` sets in `train`. The recipe's own keys win.
# card: the transformers command of the model cards (run_glue of 2021: AdamW, linear schedule, last checkpoint).
# repo: the DeBERTa repository. Source: microsoft/DeBERTa DeBERTa/optims/xadam.py (adamw, eps_mode 1, no bias
# correction), optims/lr_schedulers.py (warmup_linear), training/trainer.py (_eval_model keeps the best),
# apps/run.py and apps/train.py (num_train_steps is an int of the quotient), at commit 4d7fe0b.
DIALECTS: dict[str, dict[str, Any]] = {
    "card": {},
    "repo": {
        "schedule": "linear_unshifted",
        "bias_correction": False,
        "adam_epsilon": 1e-6,
        "weight_decay": 0.01,
        "truncation": "random_ends",
        "steps": "down",
        "checkpoint": "best",
        "eval_each_epoch": True,
    },
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run.

    task, model: a name; an alias, hub id or directory. null: given on the command line
    data: `hub`, `demo` or a directory
    init_from: a run, or a fine-tuned model directory, whose weights the training starts from; its head stays only where it has
        the task's labels
    starts_from: the recipe whose run the published one started from, `mnli/deberta-base`; `debft reproduce` runs that first,
        elsewhere `init_from` gives its run
    reproduces: the published cell(s), `table/row/task`; source: where the hyper-parameters come from
    """

    task: str | None = None
    model: str | None = None
    data: str = "hub"
    init_from: str | None = None
    starts_from: str | None = None
    dialect: Literal["card", "repo"] = "card"
    train: TrainConfig = TrainConfig()
    sift: SiftConfig = SiftConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    reproduces: str | None = None
    source: str | None = None
    note: str | None = None


def load_recipe(path: Path, overrides: Mapping[str, Any] | None = None, origins: Mapping[str, str] | None = None) -> Recipe:
    """The recipe in `path` with `overrides` (`{"train.learning_rate": 1e-5}`) laid over it; an `init_from` ends its `from_scratch`.

    origins: what the user typed for an override (`{"train.learning_rate": "--learning-rate"}`), for the error lines.
    Raises InputError with one line per problem of the file and of the overrides.
    """
    content = yaml12.load(path)
    where = display(path)
    problems: list[str] = []
    overrides = dict(overrides or {})
    if overrides.get("init_from") is not None:
        overrides.setdefault("train.from_scratch", False)
    for dotted, value in overrides.items():
        section, _, key = dotted.rpartition(".")
        target = content.setdefault(section, {}) if section else content
        if isinstance(target, dict):
            target[key] = value
    dialect = content.get("dialect", "card")
    if isinstance(dialect, str) and dialect in DIALECTS and isinstance(content.get("train", {}), dict):
        content["train"] = {**DIALECTS[dialect], **content.get("train", {})}
    recipe = _build(Recipe, content, where, "", problems)
    if problems:
        raise InputError(*(_at_origin(problem, where, origins or {}) for problem in problems))
    return recipe


def parse_set(assignments: list[str]) -> dict[str, Any]:
    """`["train.seed=1"]` -> `{"train.seed": 1}`; values are read as YAML."""
    overrides = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        section, _, name = key.partition(".")
        if not equals or section not in ("train", "sift", "runtime") or not name:
            raise InputError(f"--set {text}: expected train.KEY=VALUE, sift.KEY=VALUE or runtime.KEY=VALUE, got '{text}'")
        if key in overrides:
            raise InputError(f"--set {text}: {key} is set twice; give it once")
        overrides[key] = yaml12.parse(value, f"--set {text}")
    return overrides


def recipe_path(name: str, task: str | None = None) -> Path:
    """The file of `mnli/deberta-v3-xsmall`, of `deberta-v3-xsmall` for a known task, or of a path to a YAML file."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"--recipe {name}: expected a YAML file, found none; `debft recipes` lists the packaged ones")
        return path
    for full in (name if task is None or "/" in name else f"{task}/{name}", name):
        if (path := RECIPES_DIR / f"{full}.yaml").is_file():
            return path
    raise InputError(f"--recipe {name}: no such recipe{did_you_mean(name if '/' in name else f'{task}/{name}', recipe_names())}")


def default_recipe_path(task: str, model: str, sift: bool = False) -> Path:
    """The published recipe of this model and task, with SiFT where that is asked for and there is one, else the task's default,
    else the default of all tasks.
    """
    candidates = (
        f"{task}/{model}-sift" if sift else "",
        f"{task}/{model}",
        model if model == "demo" else "",
        f"{task}/default",
        "default",
    )
    return next(path for name in candidates if name and (path := RECIPES_DIR / f"{name}.yaml").is_file())


def published_weight(model: str) -> float:
    """SiFT's lambda in the published recipes: 3 for deberta-v3-xsmall, 5 for every other model.

    Source: microsoft/DeBERTa experiments/glue/mnli.sh at commit 4d7fe0b.
    """
    return 3.0 if model == "deberta-v3-xsmall" else 5.0


def recipe_names() -> list[str]:
    """`mnli/deberta-v3-small`; without a task: `default`, `demo`."""
    return sorted(path.relative_to(RECIPES_DIR).with_suffix("").as_posix() for path in RECIPES_DIR.rglob("*.yaml"))


def source_kind(source: str) -> str:
    """`hub`, `demo` or `directory`."""
    return source if source in SOURCES else "directory"


def to_dict(recipe: Recipe) -> dict[str, Any]:
    return asdict(recipe)


def from_dict(content: dict[str, Any], where: str) -> Recipe:
    """The inverse of `to_dict`, with the same checks as a file."""
    problems: list[str] = []
    recipe = _build(Recipe, content, where, "", problems)
    if problems:
        raise InputError(*problems)
    return recipe


def recipe_hash(recipe: Recipe) -> str:
    """Hex digest of what moves the score: model, task, data, the weights it starts from, `train` and `sift`."""
    content = json.dumps(
        [recipe.model, recipe.task, recipe.data, recipe.init_from, asdict(recipe.train), asdict(recipe.sift)], sort_keys=True
    )
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def with_train(recipe: Recipe, **changes: Any) -> Recipe:
    return replace(recipe, train=replace(recipe.train, **changes))


def display(path: Path) -> str:
    """Packaged recipes are named as in the repository, whatever directory they are installed in."""
    return f"recipes/{path.relative_to(RECIPES_DIR).as_posix()}" if path.is_relative_to(RECIPES_DIR) else str(path)


def _at_origin(problem: str, where: str, origins: Mapping[str, str]) -> str:
    """The same problem, placed where the user typed the value."""
    for dotted, typed in origins.items():
        section, _, key = dotted.rpartition(".")
        for prefix in (f"{where}: {dotted}: ", f"{where}: {section}: unknown key '{key}'"):
            if problem.startswith(prefix):
                rest = problem.removeprefix(prefix)
                return f"{typed}: {rest}" if prefix.endswith(": ") else f"{typed}: unknown key '{key}'{rest}"
    return problem


def _build(kind: type, content: Any, where: str, section: str, problems: list[str]) -> Any:
    """A `kind` from a mapping; problems are collected, not raised."""
    place = f"{where}: {section}" if section else where
    if not isinstance(content, dict):
        problems.append(f"{place}: expected a mapping of keys to values, got {content!r}")
        return None
    known = {f.name: f for f in fields(kind)}
    hints = typing.get_type_hints(kind)
    values = {}
    for key, value in content.items():
        if key not in known:
            problems.append(f"{place}: unknown key '{key}'{did_you_mean(str(key), known)}")
        elif hasattr(hints[key], "__dataclass_fields__"):
            values[key] = _build(hints[key], value, where, key, problems)
        else:
            values[key] = _value(value, hints[key], known[key].metadata, f"{place}{'.' if section else ': '}{key}", problems)
    for name, f in known.items():
        if f.default is MISSING and name not in content:
            problems.append(f"{place}: missing key '{name}'")
    missing = [name for name, f in known.items() if f.default is MISSING and name not in values]
    return None if missing else kind(**values)


def _value(value: Any, hint: Any, bounds: Mapping[str, Any], where: str, problems: list[str]) -> Any:
    """`value` as the type `hint`, within `bounds`."""
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(h for h in typing.get_args(hint) if h is not type(None))
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if not isinstance(value, str) or value not in choices:
            problems.append(f"{where}: expected one of {one_of(choices)}, got {value!r}")
        return value
    expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[hint]
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    fits = {int: number and value == int(value) if number and abs(value) < 1e18 else False, float: number}.get(
        hint, isinstance(value, hint)
    )
    if not fits:
        problems.append(f"{where}: expected {expected}, got {value!r}")
        return value
    for name, fails, words in (
        ("above", lambda b: value <= b, "above"),
        ("least", lambda b: value < b, "of at least"),
        ("below", lambda b: value >= b, "below"),
    ):
        limit = bounds.get(name)
        if limit is not None and fails(limit):
            problems.append(f"{where}: expected {expected} {words} {limit}, got {value!r}")
    return hint(value)
